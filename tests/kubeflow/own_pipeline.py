"""A pipeline of somebody's own, which loops over what a task makes; ours has no loop. Kubeflow reads the types, so they are no texts here."""

# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false, reportInvalidTypeForm=false

from kfp import dsl, kubernetes


@dsl.container_component
def listed(items: dsl.OutputPath(list), table: dsl.Output[dsl.Dataset]):
    """Make something to loop over."""
    return dsl.ContainerSpec("own:1", ["list"], [items, table.path])


@dsl.container_component
def worked(text: str, table: dsl.Input[dsl.Dataset]):
    """Do something with one of the items."""
    return dsl.ContainerSpec("own:1", ["work"], [text, table.path])


@dsl.pipeline(name="own")
def own(count: str = "1", selector: dict = {}):  # noqa: B006  # Kubeflow reads the default
    """Loop."""
    made = listed()
    with dsl.ParallelFor(made.outputs["items"]) as text:
        task = worked(text=text, table=made.outputs["table"]).set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(count)
        task.register_pipeline_channels([count])  # the compiler does not see that an accelerator names it
        kubernetes.add_node_selector_json(task, selector)

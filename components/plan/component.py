"""Read the parameters of the run."""

import linecache
from typing import NamedTuple  # what the source below names

from kfp import dsl
from kfp.dsl.python_component import PythonComponent

from asdfd.base.run_form import fields
from asdfd.components import IMAGE

SOURCE = '''\
def plan(pipeline_run: str, {inputs}) -> NamedTuple(
    "Plan", run=str, fetching=str, checks=str, synthesis=str, distillation=str, evaluation=str, teacher_state=str, data_state=str, words_state=str,
    shards=List[int],
):
    """Check all parameters of the run, and give each task the ones that it needs: what does not concern a task leaves its cached result valid.

    Args:
        pipeline_run: Identifier of this run.
{descriptions}
    """
    values = dict(locals())
    from asdfd.steps.planning import plan
    from asdfd.steps.task import task

    with task("plan", values["registry_location"]):
        return plan(values.pop("pipeline_run"), values)
'''
"""Kubeflow wants every input in the component's source. They are those of the run's form, so they are filled in from there and stand nowhere twice."""


def plan_source() -> str:
    """The component's source with an input for each parameter of a run."""
    inputs = ", ".join(f"{field.name}: {field.type.__name__}" for field in fields())
    descriptions = "\n".join(f"        {field.name}: {field.description}" for field in fields())
    return SOURCE.format(inputs=inputs, descriptions=descriptions)


def _plan_component() -> PythonComponent:
    """Make the component; Kubeflow reads its source through `linecache`, as a traceback does."""
    name = "<asdfd plan>"
    source = plan_source()
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    made: dict = {}
    exec(compile(source, name, "exec"), {"NamedTuple": NamedTuple, "List": list, "__name__": __name__}, made)
    return dsl.component(base_image=IMAGE, install_kfp_package=False)(made["plan"])  # pyright: ignore[reportReturnType]


plan = _plan_component()

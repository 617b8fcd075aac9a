"""Whether a Kubeflow server can run the pipeline for whoever asks: known before anything is sent."""

from __future__ import annotations

from asdfd.base.errors import InputError
from asdfd.kubeflow.client import VERSION, Kubeflow, MissingError, UnansweredError

OLDEST = (2, 17)
NOBODY = "00000000-0000-0000-0000-000000000000"
"""Identifier of a version that no server has."""


def check_version(kubeflow: Kubeflow) -> None:
    """Refuse a server that is too old; one that does not tell its release is taken at its word.

    Raises:
        InputError: it is older than OLDEST.
    """
    found = VERSION.match(kubeflow.version)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        reason = "older ones do not give tasks the user that they run as (before 2.16), or their exit task the end of the run (before 2.14)"
        raise InputError(f"{kubeflow.endpoint}: is Kubeflow Pipelines {kubeflow.version}, and the pipeline needs {OLDEST[0]}.{OLDEST[1]}: {reason}; update it")


def check_rights(kubeflow: Kubeflow) -> None:
    """See that runs may be started: ask for one of a pipeline that is not there. A server asks for rights first, so nothing is made in any case.

    It needs an experiment, whose namespace is the one that counts; where there is none yet, nothing is found out.

    Raises:
        InputError: these credentials may not, or the server fails.
    """
    from kfp_server_api import V2beta1PipelineVersionReference, V2beta1Run

    options = {"namespace": kubeflow.namespace} if kubeflow.namespace else {}
    found = kubeflow.ask(kubeflow.experiments.experiment_service_list_experiments, page_size=1, **options).experiments
    if not found:
        return
    nothing = V2beta1PipelineVersionReference(pipeline_id=NOBODY, pipeline_version_id=NOBODY)
    wanted = V2beta1Run(display_name="asdfd doctor", experiment_id=found[0].experiment_id, pipeline_version_reference=nothing)
    try:
        kubeflow.ask(kubeflow.runs.run_service_create_run, wanted)
    except MissingError:
        return
    except UnansweredError as error:
        if NOBODY not in str(error):  # 2.17 calls it its own failure that there is no such version
            raise

"""One of the processes of a distillation, as a program that torchrun starts."""

from __future__ import annotations

import signal
import sys
import warnings
from pathlib import Path

from asdfd import steps
from asdfd.base.interruption import stop_requests
from asdfd.base.process import quiet_libraries
from asdfd.steps.launching import die_with_parent, leave_failure, read_job


def main(job: Path) -> int:
    """Do this process's share of a job; what goes wrong is left beside the job for the step that waits for it."""
    die_with_parent(signal.SIGKILL)
    quiet_libraries()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    with stop_requests() as stop:
        stop.patient = True
        try:
            run, teacher, bank, out, checkpoints = read_job(job)
            steps.distill(run, teacher, bank, out, stop, checkpoints)
        except Exception as error:
            leave_failure(job, error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

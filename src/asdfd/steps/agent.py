"""torchrun's agent, as a program that a distillation starts: it starts the workers, ends them all when one fails, and passes a signal on.

A program of its own, since `asdfd.steps` imports `launching`: Python warns of a module that is imported and then run.
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

from asdfd.steps.launching import die_with_parent, leave_failure


def main(processes: str, job: Path) -> int:
    """Start so many workers for a job and wait for them; what keeps torchrun from starting them is left beside the job."""
    die_with_parent(signal.SIGTERM)
    logging.disable(logging.CRITICAL)  # it would tell on stderr, at length, what the step raises
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    where = ["--standalone", "--nnodes=1", "--local-addr=127.0.0.1"]
    try:
        run(parse_args([*where, f"--nproc-per-node={processes}", "--max-restarts=0", "-m", "asdfd.steps.worker", str(job)]))
    except (ChildFailedError, SignalException):
        return 1
    except Exception as error:
        leave_failure(job, error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))

"""Several processes that train one student together: each takes its share of the rows of a step's batch.

The batch of a step is a function of the seed and the step, so every process knows the whole batch without asking. Gradients, losses and the units of the
hidden-state loss are averaged with the share of the batch as weight, so a step's loss is the one that a single process computes, whatever the shares. All
processes hold the same student, optimiser and harder entries, bit for bit; only the first one writes.

Plain reductions, not the wrapper DistributedDataParallel: that averages with equal weights, which is wrong for a batch that does not divide evenly (a length of
few entries makes a small batch), and it wants each backward pass to follow one call of the wrapped module, while a step here asks the student several times
(the adversary's ascent, the masked pass). What it would give is communication that overlaps with the backward pass; students are small, so a step sends little.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from asdfd.base.config import Run
from asdfd.base.errors import InputError
from asdfd.models.classifiers import choose_device


@dataclass(frozen=True)
class Share:
    """What one process computes of a batch."""

    rows: slice
    """Its rows of the batch; a batch of fewer rows than processes gives some of them the first row, with no weight."""
    weight: float
    """Rows that are its own over all rows of the batch."""


WHOLE = Share(slice(None), 1.0)
"""The share of a process that is alone."""


@dataclass(frozen=True)
class Processes:
    """All processes of a distillation, seen from one of them; alone by default, and then everything below returns what it was given."""

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def share(self, size: int) -> Share:
        """This process's share of a batch of `size` rows: rows that follow each other, in the order of the processes."""
        if self.count == 1:
            return WHOLE
        begin, end = size * self.rank // self.count, size * (self.rank + 1) // self.count
        return Share(slice(begin, end), (end - begin) / size) if end > begin else Share(slice(0, 1), 0.0)

    def mean(self, values: Tensor, share: Share) -> Tensor:
        """Means over the whole batch, of means over each process's share; no gradient flows through."""
        return values if self.count == 1 else _summed(values.detach() * share.weight)

    def average_gradients(self, parameters: Iterable[nn.Parameter], share: Share) -> None:
        """Turn the gradients of each process's mean loss into those of the whole batch's, in place and in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        summed = _summed(torch.cat([gradient.flatten() for gradient in gradients]) * share.weight)
        for gradient, values in zip(gradients, summed.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(values.view_as(gradient))

    def gather(self, values: Tensor, share: Share, size: int) -> Tensor:
        """The rows [B, ...] of the whole batch of `size`, of the rows [b, ...] that each process computed."""
        if self.count == 1:
            return values
        whole = torch.zeros((size, *values.shape[1:]), device=values.device)
        if share.weight:
            whole[share.rows] = values.detach().float()
        return _summed(whole).to(values.dtype)

    @torch.no_grad()
    def take_over(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the first one's parameters, in place: another kind of processor computes other last bits."""
        if self.count > 1:
            for parameter in parameters:
                parameter.copy_(_summed(parameter.detach() * float(self.writes)))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; nobody gets the answer before all have asked."""
        return flag if self.count == 1 else bool(_summed(torch.tensor(float(flag))))

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.any(False)

    def agree(self, text: str) -> bool:
        """Whether all processes hold the same text."""
        bits = torch.tensor(list(hashlib.sha256(text.encode()).digest()), dtype=torch.float64)
        return self.count == 1 or torch.equal(_summed(bits.clone()), bits * self.count)


ALONE = Processes()
"""A process that trains by itself."""


def _all_reduce(values: Tensor) -> Tensor:
    """The sum over all processes, in place.

    Raises:
        ConnectionResetError: another process has gone.
    """
    try:
        dist.all_reduce(values)
    except RuntimeError as error:  # that is what every backend raises
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET), "another process of this distillation") from error
    return values


_summed = cast("Callable[[Tensor], Tensor]", torch.compiler.disable(_all_reduce))  # pyright: ignore[reportCallIssue, reportArgumentType]
"""The sum over all processes, outside of what torch.compile compiles."""


@contextmanager
def joined(run: Run) -> Iterator[Processes]:
    """The processes that torchrun started, this one among them; this one alone where it did not.

    Raises:
        InputError: more processes than rows of a batch.
    """
    if not dist.is_torchelastic_launched():
        yield ALONE
        return
    on_gpu = choose_device(run.device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # from here on, `cuda` is this GPU
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    count = dist.get_world_size()
    if count > run.distillation.batch_size:
        raise InputError(f"distillation.processes: {count} processes cannot share a batch of {run.distillation.batch_size}; raise distillation.batch_size")
    yield Processes(dist.get_rank(), count)
    dist.destroy_process_group()  # after an error it would wait for processes that have gone

"""One training by several processes, as `torchrun` starts them, with the result of one process.

Every process keeps the features of its share of the training images: those whose place leaves its rank when divided by
the number of processes. A batch is drawn for all of them alike; each computes the gradient of the images that it keeps,
and the sum over the processes, divided by the images of the whole batch, is the gradient of one process. Updates use
`torch.autograd.grad`, not `backward`, so gradients are added up here explicitly, in one message an update.

The first process alone evaluates, writes the run directory and hears a wish to stop; the others wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from altub.errors import ConfigError
from altub.settings import torchrun_place

__all__ = ["ALONE", "Agreed", "Group", "join_group", "summed"]

PATIENCE = timedelta(hours=6)  # that the others wait while the first process evaluates or reads its images


class Group:
    """The processes of a training: this one alone.

    Attributes:
        rank: of this process, from 0 on.
        size: number of processes.
        local_rank: of this process among those on its machine.
    """

    rank, size, local_rank = 0, 1, 0

    @property
    def is_main(self) -> bool:
        """Does this process write and evaluate?"""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """(rank, size): which places of a list this process works on."""
        return self.rank, self.size

    def own(self, places: Iterable[int]) -> list[int]:
        """Those of some places that this process works on, in their order."""
        return [place for place in places if place % self.size == self.rank]

    def add(self, values: Tensor) -> Tensor:
        """The sum over all processes of tensors of one shape; each calls it."""
        return values

    def from_main(self, tensors: Iterable[Tensor]) -> None:
        """Makes tensors those of the first process."""

    def main_says(self, answer: bool) -> bool:
        """The first process's answer."""
        return answer

    def wait(self) -> None:
        """Until all processes are here."""

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The first process runs the block before the others do, so that they find what it wrote."""
        yield


class _Processes(Group):
    """What `torch.distributed` connects; messages go through the CPU with gloo, between GPUs with NCCL.

    Answers and meetings go by gloo in either case: by NCCL a process would wait for its GPU at each.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size, self.local_rank = torchrun_place()
        self._device = device
        self._programs = dist.new_group(backend="gloo", timeout=PATIENCE)

    def add(self, values: Tensor) -> Tensor:
        here = values.to(self._device)
        total = here.clone() if here is values else here
        dist.all_reduce(total)
        return total.to(values.device)

    def from_main(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            there = tensor.detach().to(self._device).contiguous()
            dist.broadcast(there, 0)
            with torch.no_grad():
                tensor.copy_(there)

    def main_says(self, answer: bool) -> bool:
        said = torch.tensor([float(answer)])
        dist.broadcast(said, 0, group=self._programs)
        return bool(said.item())

    def wait(self) -> None:
        dist.barrier(group=self._programs)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()


ALONE = Group()


@contextmanager
def join_group(device: str = "auto") -> Iterator[Group]:
    """The group that `torchrun` made this process a part of, for the length of the block; `ALONE` without it.

    Args:
        device: of the training; on GPUs each process takes one of its own.

    Raises:
        ConfigError: there are fewer GPUs than processes.
    """
    _, size, local_rank = torchrun_place()
    if size < 2:
        yield ALONE
        return
    gpus = torch.cuda.device_count() if device.partition(":")[0] in ("auto", "cuda") else 0
    if gpus and local_rank >= gpus:
        raise ConfigError(f"There are {gpus} GPUs for more processes: start torchrun with --nproc-per-node {gpus}.")
    place = torch.device("cuda", local_rank) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if gpus else "gloo", timeout=PATIENCE)
    try:
        yield _Processes(place)
    finally:
        dist.destroy_process_group()


class Agreed:
    """A question that all processes answer alike at the same step: what the first one answered when last asked."""

    def __init__(self, group: Group, ask: Callable[[], bool]) -> None:
        self._group, self._ask, self._answer = group, ask, False

    def look(self) -> None:
        """Asks the first process; all processes call it at the same step."""
        if self._group.size > 1:
            self._answer = self._group.main_says(self._group.is_main and self._ask())

    def __call__(self) -> bool:
        return self._answer if self._group.size > 1 else self._ask()


def summed(group: Group, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor's sum over all processes, in one message."""
    if group.size == 1 or not tensors:
        return list(tensors)
    total = group.add(torch.cat([tensor.flatten() for tensor in tensors]))
    parts = total.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

"""Several processes on one run, as `torchrun` starts them; a process alone is a group of one.

Every process reads and augments the same batch and takes its share of the clips, every `size`-th from its own number
on. The losses are weighed so that the mean of the gradients is the gradient of the whole batch: what comes out does
not depend on how many processes there were, but for dropout, BatchNorm's statistics (those of a share) and rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import os

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run: this one's number and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def joined(self, model: nn.Module) -> nn.Module:
        """Return what runs the model forwards and gives it the group's mean gradients backwards."""
        return model if self.size == 1 else DistributedDataParallel(model)

    def share(self, whole: Tensor) -> Tensor:
        """Take this process's clips of a batch; the first one where none is left, to be weighed with nothing."""
        share = whole[self.rank :: self.size]
        return share if len(share) else whole[:1]

    def count(self, n: int) -> int:
        """Count this process's clips of `n`."""
        return len(range(self.rank, n, self.size))

    def sums(self, *values: float) -> list[float]:
        """Add up each value over the group."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=_device_of_team())
        distributed.all_reduce(total)
        return total.tolist()

    def wait(self) -> None:
        """Go on when all are here."""
        if self.size > 1:
            distributed.barrier()


def _device_of_team() -> str:
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"


@contextmanager
def process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started; a group of one without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield ProcessGroup(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()

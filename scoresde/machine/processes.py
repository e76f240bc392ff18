"""Several processes of one command: `torchrun --nproc_per_node 2 run.py ...`, with or without GPUs.

`accelerate launch` does the same on several GPUs; on CPUs it starts one process, whatever --num_processes says.
"""

import atexit
import os

import torch
from torch import distributed as dist

from .launcher import launched, started


def missed() -> bool:
    """Whether accelerate launch was asked for several processes and started this one alone.

    On CPUs accelerate 1.15 (`simple_launcher`) leaves the starting to mpirun, and only tells where they should meet.
    """
    return "ACCELERATE_USE_CPU" in os.environ and "MASTER_PORT" in os.environ and not launched()


def on_cpu(device: str) -> bool:
    """Whether to tell accelerate so: else several processes on a machine without CUDA each think they are alone."""
    return device == "cpu" or (started() > 1 and not torch.cuda.is_available())


def join(device: str = "auto") -> None:
    """Joins the processes, by accelerate, and gives each its own GPU; nothing for one process."""
    if started() > 1 and not dist.is_initialized():
        import torch.distributed.nn.functional  # noqa: F401  before there is a group: see `_leave`
        from accelerate import PartialState

        PartialState(cpu=on_cpu(device))
        atexit.register(_leave)


def _leave() -> None:
    """Ends the group, and gloo's threads with it, before Python ends.

    A thread that is late and drops a tensor while Python ends asks for the GIL, and that aborts the process.  They end
    with the last reference to the group.  torch.distributed.nn.functional would keep one for ever if it were imported
    later, as DistributedDataParallel does: its functions have the group of that moment as a default.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def wait(device: str) -> None:
    """Waits until every process is here."""
    if started() > 1:
        join(device)
        dist.barrier()


def total(number: int, device: str) -> int:
    """The sum of a number over the processes, on each of them."""
    if started() == 1:
        return number
    join(device)
    numbers = [0] * dist.get_world_size()
    dist.all_gather_object(numbers, number)
    return sum(numbers)


def most(number: int, device: torch.device) -> int:
    """The largest of a number over the processes that have joined, on each of them."""
    value = torch.tensor(number, device="cpu" if dist.get_backend() == "gloo" else device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)

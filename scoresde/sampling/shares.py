"""Several processes sample together: each draws its share, and all of them get the whole."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch import distributed as dist

from ..errors import InputError
from ..machine import launcher


def joined() -> tuple[int, int]:
    """(rank, number) of this process among those that torch.distributed has joined; (0, 1) if it is alone.

    Raises `InputError` in one of several processes that were started together and have not been joined.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    if launcher.claimed() > 1:
        raise InputError(
            f"processes=True: {launcher.claimed()} processes were started, but not joined: "
            "call scoresde.machine.processes.join() first, or unset WORLD_SIZE if it was left over"
        )
    return 0, 1


def share(n: int, rank: int, ranks: int) -> range:
    """The samples of one process: consecutive; the first process has most, the last none where n is small.

    Arguments:
        n: the number of all samples.
        rank: which process, 0 to ranks - 1.
        ranks: the number of processes.

    Returns:
        A range within 0..n-1.
    """
    return range(-(-rank * n // ranks), -(-(rank + 1) * n // ranks))


def together(draw: Callable[[int, int], Sequence[Tensor]], n: int, size: int, empty: Tensor, store, ranks=(0, 1)):
    """The samples 0 to n - 1, drawn in rounds of at most `size` by each of several processes; the same on all of them.

    `draw(start, stop)` gives some samples in parts; `empty` (0, *shape) has their type and device; the samples are kept
    on the device `store`.  `ranks` is (rank, number) of the processes.  A round ends when all have finished it, and an
    error on one process is an error on all.
    """
    rank, number = ranks
    shares = [share(n, r, number) for r in range(number)]
    kept: list[list[Tensor]] = [[] for _ in shares]
    for start in range(0, len(shares[0]), size):
        rows = [s[start : start + size] for s in shares]
        if number == 1:
            kept[0] += [x.to(store) for x in draw(rows[0].start, rows[0].stop)]
            continue
        part, error = empty, None
        try:
            if rows[rank]:
                part = torch.cat(list(draw(rows[rank].start, rows[rank].stop)))
        except Exception as caught:
            error = caught
        _agree(error, empty.device)
        for pile, x in zip(kept, _gather(part, [len(r) for r in rows]), strict=True):
            pile.append(x.to(store))
    return torch.cat([x for pile in kept for x in pile])


def _place(device: torch.device) -> torch.device:
    return torch.device("cpu") if dist.get_backend() == "gloo" else device


def _agree(error: Exception | None, device: torch.device) -> None:
    """Raises on all processes if one has an error: there its own, elsewhere one that tells it."""
    failed = torch.tensor(int(error is not None), device=_place(device))
    dist.all_reduce(failed, dist.ReduceOp.MAX)
    if not failed:
        return
    texts: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(texts, error and f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    rank, text = next((r, t) for r, t in enumerate(texts) if t)
    # The command line prints what diverged, and what a user did wrong, in one line.
    kinds = {"FloatingPointError": FloatingPointError, "InputError": InputError}
    raise kinds.get(text.partition(":")[0], RuntimeError)(f"process {rank} failed with {text}")


def _gather(part: Tensor, sizes: list[int]) -> list[Tensor]:
    """The parts of all processes, of these sizes, on each of them."""
    place = _place(part.device)
    padded = torch.zeros(max(sizes), *part.shape[1:], dtype=part.dtype, device=place)
    padded[: len(part)] = part
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return [x[:size] for x, size in zip(parts, sizes, strict=True)]

"""Which items each training step takes, as a function of (seed, step)."""

import contextlib
import hashlib
import signal
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..data import Batch, collate
from ..errors import InputError
from ..machine.signals import patient


def seed_of(*numbers: int) -> int:
    """One 63-bit seed for several numbers."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:8], "big") >> 1


class Order(Sampler):
    """The batches of the steps start..stop - 1: successive permutations of the items, so a resumed run goes on alike.

    Of each batch of `size`, the process `rank` of `ranks` takes every `ranks`-th item.
    """

    def __init__(self, items: int, size: int, seed: int, start: int, stop: int, rank: int = 0, ranks: int = 1):
        self.items, self.size, self.seed = items, size, seed
        self.start, self.stop, self.rank, self.ranks = start, stop, rank, ranks

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[int]]:
        epoch, order = -1, []
        for step in range(self.start, self.stop):
            batch = []
            for place in range(step * self.size + self.rank, (step + 1) * self.size, self.ranks):
                if place // self.items != epoch:
                    epoch = place // self.items
                    generator = torch.Generator().manual_seed(seed_of(self.seed, epoch))
                    order = torch.randperm(self.items, generator=generator).tolist()
                batch.append(order[place % self.items])
            yield batch


class _Items(Dataset):
    def __init__(self, dataset: Dataset, names: Sequence[str]):
        self.dataset, self.names = dataset, tuple(names)

    def __getitems__(self, indices: list[int]) -> Batch:
        return collate(self.dataset, indices, self.names)


def _same(batch: Batch) -> Batch:
    return batch


def batches(
    dataset: Dataset, size: int, seed: int, start: int, stop: int, rank=0, ranks=1, workers=0, names: Sequence[str] = ()
) -> DataLoader:
    """A loader of the batches of `Order`, each a `Batch` of size / ranks items with the conditions `names`."""
    order = Order(len(dataset), size, seed, start, stop, rank, ranks)
    options = {"num_workers": workers, "collate_fn": _same, "worker_init_fn": patient}
    return DataLoader(_Items(dataset, names), batch_sampler=order, **options)


def _hear_no_more() -> None:
    """Takes torch's handler of SIGCHLD away, which raises wherever the next news of the dead reader comes in: while its
    loader is taken apart, that is noise and no longer an error."""
    number = getattr(signal, "SIGCHLD", None)
    if number is not None and "torch.utils.data" in str(getattr(signal.getsignal(number), "__module__", "")):
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What goes wrong in a process that reads data is told in one line, wherever in the block the news comes in.

    Raises `InputError` for a file that has gone bad, `ChildProcessError` for a process that died.
    """
    try:
        yield
    except InputError as error:
        raise InputError(
            str(error).strip().splitlines()[-1].removeprefix(f"{InputError.__module__}.InputError: ")
        ) from error
    except (RuntimeError, ConnectionError, EOFError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        lost = isinstance(error, ConnectionError | EOFError) or "DataLoader worker" in words
        if not lost or words.startswith("Caught "):  # the last: what it raised itself
            raise
        _hear_no_more()
        raise ChildProcessError(
            f"a process that reads data died ({words}): the same command goes on from the last "
            "checkpoint; where memory or /dev/shm is short, say fewer train.workers"
        ) from error

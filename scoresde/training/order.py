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


class Buckets(Sampler):
    """The batches of the steps start..stop - 1 of several sets of items, each of items of one shape.

    A round has of each set about as many batches as its items fill, one at least, in an order that is drawn for the
    round; a set's own batches are those of `Order`.  The numbers are those of the sets one after the other.

    Arguments:
        sizes: how many items each set has.
        size, seed, start, stop, rank, ranks: as `Order` takes them.
    """

    def __init__(
        self, sizes: Sequence[int], size: int, seed: int, start: int, stop: int, rank: int = 0, ranks: int = 1
    ):
        self.sizes, self.size, self.seed = tuple(sizes), size, seed
        self.start, self.stop, self.rank, self.ranks = start, stop, rank, ranks
        self.turns = [max(1, round(n / size)) for n in sizes]

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[int]]:
        each, first = sum(self.turns), [sum(self.sizes[:k]) for k in range(len(self.sizes))]
        orders: dict[int, Iterator[list[int]]] = {}
        for step in range(self.start, self.stop):
            turn, place = divmod(step, each)
            which = self._round(turn)
            k = which[place]
            if k not in orders:
                begun = turn * self.turns[k] + which[:place].count(k)
                own = self.size, seed_of(self.seed, k, len(self.sizes)), begun, self.stop, self.rank, self.ranks
                orders[k] = iter(Order(self.sizes[k], *own))
            yield [first[k] + i for i in next(orders[k])]

    def _round(self, turn: int) -> list[int]:
        """The sets of the steps of a round, in their order."""
        which = torch.tensor([k for k, n in enumerate(self.turns) for _ in range(n)])
        generator = torch.Generator().manual_seed(seed_of(self.seed, turn, *self.turns))
        return which[torch.randperm(len(which), generator=generator)].tolist()


class _Items(Dataset):
    def __init__(self, sets: Sequence[Dataset], names: Sequence[str]):
        self.sets, self.names = tuple(sets), tuple(names)

    def __getitems__(self, indices: list[int]) -> Batch:
        first = 0
        for dataset in self.sets:  # all are of one of them
            if not indices or indices[0] < first + len(dataset):
                return collate(dataset, [i - first for i in indices], self.names)
            first += len(dataset)
        raise IndexError(f"item {indices[0]} of {first}")


def _same(batch: Batch) -> Batch:
    return batch


def batches(
    dataset: Dataset,
    size: int,
    seed: int,
    start: int,
    stop: int,
    rank=0,
    ranks=1,
    workers=0,
    names: Sequence[str] = (),
    buckets: Sequence[Dataset] = (),
) -> DataLoader:
    """A loader of the batches of `Order`, each a `Batch` of size / ranks items with the conditions `names`.

    With `buckets`, more datasets, it has those of `Buckets`.
    """
    sets, share = (dataset, *buckets), (size, seed, start, stop, rank, ranks)
    order = Buckets([len(items) for items in sets], *share) if buckets else Order(len(dataset), *share)
    options = {"num_workers": workers, "collate_fn": _same, "worker_init_fn": patient}
    return DataLoader(_Items(sets, names), batch_sampler=order, **options)


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

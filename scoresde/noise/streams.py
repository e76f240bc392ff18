"""Who draws where: the parts of the counter that belong to one use each, so that no two have the same numbers."""

from enum import Enum
from typing import NamedTuple

from torch import Tensor


class Words(NamedTuple):
    """A rectangle of the counter's words (step, draw); `low`: of its numbers only the lowest bit is read, which tells
    nothing of the normal and the uniform numbers beside it (to 2^-32, and exactly)."""

    steps: range
    draws: range
    low: bool = False

    def meets(self, other: "Words") -> bool:
        """Whether a number of the one is a number of the other."""
        return self.low == other.low and _meet(self.steps, other.steps) and _meet(self.draws, other.draws)


def _meet(a: range, b: range) -> bool:
    """Whether two ranges, of the same stride up or down, have a 32-bit word in common; -1 is the last."""
    (a, b), far = ((min(r[0], r[-1]), max(r[0], r[-1])) for r in (a, b)), 1 << 32
    return any(a[0] <= b[1] + k and b[0] + k <= a[1] for k in (-far, 0, far))


_ANY = range(1 << 31)


def _one(draw: int) -> range:
    return range(draw, draw + 1)


class Stream(Enum):
    """The uses of random numbers by counter.  `Stream.X(step, draw)` are the words of the number `step`, `draw` of X:

        normal(x, index, seed, *Stream.REVERSE_BOUND(i))

    `tests/test_noise.py` sees that no two meet, but for those of data and of samples (`OF_DATA`): an item of a data
    set and a sample of the same index are never computed from one another.
    """

    SAMPLING = Words(_ANY, range(1 << 16))  # the prior is step 0, step i of the loop i + 1; a number for each draw
    TREE = Words(range(1 << 31, 3 << 30), range(1 << 25))  # Brownian paths: a step and level, and a place
    SIGNS = Words(_ANY, _ANY, low=True)  # of probes of a divergence: a probe, and a step along the path
    GAUSSIAN_PROBES = Words(range(-2, -(1 << 30), -1), _ANY)
    EXACT = Words(range(-1, -2, -1), _one(0))  # samples of the exact mixtures
    BOUND_PLACE = Words(_ANY, _one(1 << 16))
    BOUND_NOISE = Words(_ANY, _one(1 << 17))
    BOUND_END = Words(_ANY, _one(1 << 18))
    PLAN_NOISE = Words(_ANY, _one(1 << 19))
    PLAN_PLACE = Words(_ANY, _one(1 << 20))
    DEQUANTISER = Words(_one(1), range(1 << 22, (1 << 22) + (1 << 16)))
    DEQUANTISER_FIT = Words(_ANY, _one(1 << 23))
    TOLD = Words(_ANY, _one(1 << 24))  # of pictures that a model is told
    VIEW = Words(_ANY, _one(1 << 25))  # of what is seen of an item: a step for each choice
    LATENT = Words(_one(0), _one(1 << 26))  # of an item's latents
    CROP = Words(range(2), _one(1 << 27))  # of where an item is cropped: of train and of test
    POSTERIOR = Words(_ANY, _one(1 << 29))  # of draws of a latent, for a bound
    HELD_OUT_BIN = Words(_one(0), _one(0))
    HELD_OUT_NOISE = Words(_one(1), _one(0))
    BIN = Words(_one(1), range(1 << 16))  # uniform within the bin
    SHUFFLED = Words(_one(2), _one(0))
    RANDOM_LEVELS = Words(_one(3), _one(0))

    def __call__(self, step: int | Tensor = 0, draw: int | Tensor = 0) -> tuple[int | Tensor, int | Tensor]:
        """The words of the number `step`, `draw` of this use, each a number or each sample's own, (B,).

        Raises:
            IndexError: the use has no such number.
        """
        return _word(self.value.steps, step), _word(self.value.draws, draw)


OF_DATA = frozenset({Stream.HELD_OUT_BIN, Stream.HELD_OUT_NOISE, Stream.BIN, Stream.SHUFFLED, Stream.RANDOM_LEVELS})


def _word(words: range, number: int | Tensor) -> int | Tensor:
    return words.start + words.step * number if isinstance(number, Tensor) else words[number]

"""Which network, by the shape and the size of the data, and by the time that there is for it."""

from collections.abc import Mapping, Sequence

import torch

from ..conditions import Kind
from ..settings import Count, Positive, checked
from .base import Network
from .cost import cost
from .mlp import MLP
from .unets import UNet

LADDER = (16, 24, 32, 48, 64, 96, 128, 192, 256)  # channels of a U-Net; of an MLP the width is eight times as much
MOST = ((2_000, 32), (20_000, 64), (200_000, 128))  # with so many examples, no more of them


@checked
def auto(
    shape: Sequence[Count],
    examples: Count = 2000,
    steps: Count = 1000,
    batch_size: Count = 128,
    minutes: Positive = 30.0,
    speed: Positive | None = None,
    conditions: Mapping[str, Kind] | None = None,
    outputs: Count = 1,
) -> Network:
    """A network for data that nothing else is known of: the widest that the data feeds and the time allows.

    Items (D,) get an `MLP`; those with one to three axes of space a `UNet` that halves the longest down to 8 or fewer
    places, with attention where 64 are left.  Its channels are the most, of 16 to 256, for which `steps` steps of
    `batch_size` take no more than `minutes`, by 3 operations of the forward pass each, and at most 32 for 2000
    examples, 64 for 20000 and 128 for 200000.  More of them were worse on 1500 digits and better on nothing that small.

    Arguments:
        shape: of an item.
        examples: how many there are to train on.
        steps, batch_size: of the training.
        minutes: that it may take.
        speed: operations in a second; None: 60e9 for each of torch's threads, or 10e12 on a GPU: slow estimates.
        conditions, outputs: as the networks take them.

    Returns:
        A `UNet` or an `MLP`, which knows its settings (`arguments`).  The same for the same numbers.
    """
    limit = 60 * minutes * (speed or _speed())
    most = next((channels for n, channels in MOST if examples <= n), LADDER[-1])
    given = {"conditions": conditions, "outputs": outputs}
    fits = LADDER[0]
    for channels in (c for c in LADDER[1:] if c <= most):
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            flops = cost(_made(shape, channels, given), shape, conditions).flops
        if 3 * flops * batch_size * steps > limit:
            break
        fits = channels
    return _made(shape, fits, given)


def _made(shape: Sequence[int], channels: int, given: Mapping) -> Network:
    if len(shape) == 1:
        return MLP(shape, width=8 * channels, **given)
    space, mults = list(shape[1:]), [1]
    while len(mults) < 2 or (max(space) > 8 and len(mults) < 5):
        space, mults = [-(-n // 2) for n in space], [*mults, 1 if max(space) <= 8 else 2]
    attention = 16 if max(shape[1:]) <= 8 else 64
    blocks = 2 if channels >= 64 else 1
    return UNet(shape, channels, mults, blocks, attention, dropout=0.1, **given)


def _speed() -> float:
    return 10e12 if torch.cuda.is_available() else 60e9 * torch.get_num_threads()

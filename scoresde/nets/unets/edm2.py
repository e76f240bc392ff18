"""EDM2's U-Net, all of whose layers keep magnitudes."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...conditions import Kind
from ...errors import InputError
from ...settings import Count, Range, Whole
from ..base import Network
from ..parts.conditioning import Conditioner, Embedded
from ..parts.magnitude import MPAttention, MPFourier, MPLayer, force, mp_cat, mp_silu, mp_sum, normalise
from ..parts.runs import Block, eagerly

Space = tuple[int, ...]
BALANCE = 0.3  # of what a block adds, in its sum with what came in


class EDM2(Network):
    """The magnitude-preserving U-Net: `net(x, c)`, x (B, C, *space), c (B,) -> like x.

    There are no biases and no group norms: weights, activations and sums have the magnitude 1 by how they are made, and
    a channel of ones beside x stands for the biases.  In training, each forward pass first forces the weights to their
    magnitude, and the optimizer moves them from there: it wants a larger rate than other networks (1e-2), a decay of
    the rate, and no decay of the weights.  Resolution halves between the entries of `mults`; any size will do.  The
    sizes of the paper are `nets.presets.edm2`.

    Karras et al. (2023), Analyzing and Improving the Training Dynamics of Diffusion Models, arXiv 2312.02696,
    configuration G.

    Arguments:
        shape: of x, (C, *space) with 1 to 3 space axes.
        channels: of the first layer.
        mults: the factors of `channels`, one for each resolution.
        blocks: residual blocks for each of them.
        attention: the most positions at which attention follows a block.
        head: the most channels of a head of attention.
        dropout: the chance of a feature within a block.
        outputs: how many tensors like x the answer has, side by side in the channels.
        conditions: kinds by their names: it is then `net(x, c, cond)`; labels and vectors are normalised and join the
            level's embedding, pictures are channels beside x, and where there is attention each block attends to
            tokens too.

    Raises:
        InputError: data without a channel and one to three space axes, or settings that do not go together.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        channels: Annotated[int, Range(8, 2**16)] = 64,
        mults: Sequence[Count] = (1, 2),
        blocks: Count = 2,
        attention: Whole = 64,
        head: Count = 64,
        dropout: Annotated[float, Range(0, below=1)] = 0.0,
        outputs: Count = 1,
        conditions: Mapping[str, Kind] | None = None,
    ):
        super().__init__()
        self.shape, self.outputs = tuple(shape), outputs
        shape, widths, dims = tuple(shape), [m * channels for m in mults], len(shape) - 1
        if not 1 <= dims <= 3:
            raise InputError(f"shape={shape}: give (channels, *space) with 1 to 3 space axes", "shape")
        if not widths:
            raise InputError("mults=[]: give at least one whole number", "mults")
        level, self.conditions = max(widths), dict(conditions or {})
        self.conditioner = told = Conditioner(conditions, level) if conditions else None
        context = level if told and told.sequences else 0
        self.fourier, self.embed = MPFourier(channels), MPLayer(channels, level)
        self.enter = MPLayer(shape[0] + 1 + (told.channels if told else 0), widths[0], 3, dims)

        block = functools.partial(MPBlock, dims, level, dropout)
        heads = lambda width, space: heads_of(width, head) if math.prod(space) <= attention else 0
        self.down, spaces, skips = self._descent(block, heads, context, widths, blocks, shape[1:])
        self.up = nn.ModuleList()
        for i, cout in reversed([*enumerate(widths)]):
            width, attends = widths[min(i + 1, len(widths) - 1)], heads(cout, spaces[i])
            lowest = i == len(widths) - 1
            own = [block(width, width, attends, context), block(width, width)] if lowest else [block(width, width)]
            for _ in range(blocks + 1):
                own.append(block(width, cout, attends, context, joins=skips.pop()))
                width = cout
            self.up.append(nn.ModuleList(own))
        self.leave, self.gain = MPLayer(widths[0], outputs * shape[0], 3, dims), nn.Parameter(torch.zeros(()))

    @staticmethod
    def _descent(
        block: Callable[..., nn.Module],
        heads: Callable[[int, Space], int],
        context: int,
        widths: Sequence[int],
        blocks: int,
        space: Space,
    ) -> tuple[nn.ModuleList, list[Space], list[int]]:
        """The blocks of each resolution on the way down, its space, and the channels of all skips."""
        down, spaces, skips = nn.ModuleList(), [], [widths[0]]
        for i, cout in enumerate(widths):
            space, own = tuple((s + 1) // 2 for s in space) if i else space, []
            if i:  # the one after the halving
                own.append(block(skips[-1], skips[-1], down=True))
                skips.append(skips[-1])
            for _ in range(blocks):
                own.append(block(skips[-1], cout, heads(cout, space), context, down=True))
                skips.append(cout)
            down.append(nn.ModuleList(own))
            spaces.append(space)
        return down, spaces, skips

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        if self.training:
            eagerly(force, self)
        level, given, parts = self.embed(self.fourier(c / 4).to(self.embed.weight.dtype)), Embedded(), [x]
        if self.conditioner:
            given = self.conditioner(cond or {}, x)
            parts += [] if given.channels is None else [given.channels]
            level = level if given.vector is None else mp_sum(level, normalise(given.vector, 1).to(level.dtype), 0.5)
        level, h = mp_silu(level), self.enter(torch.cat([*parts, torch.ones_like(x[:, :1])], 1))
        skips = [h]
        for i, blocks in enumerate(self.down):
            h = half(h) if i else h
            for block in blocks:
                h = block(h, level, given)
                skips.append(h)
        for i, blocks in enumerate(self.up):
            h = F.interpolate(h, size=skips[-1].shape[2:], mode="nearest") if i else h
            for block in blocks:
                h = block(h, level, given, skips.pop() if block.joins else None)
        return self.leave(h, self.gain)


class MPBlock(Block):
    """A residual block whose first layer's answer is scaled by the level, and attention where `heads` > 0.

    On the way down it normalises each pixel first; on the way up `joins` channels of a skip are joined to its input.
    """

    def __init__(
        self,
        dims: int,
        level: int,
        dropout: float,
        cin: int,
        cout: int,
        heads: int = 0,
        context: int = 0,
        down: bool = False,
        joins: int = 0,
    ):
        super().__init__()
        self.down, self.joins, cin = down, joins, cin + joins
        self.skip = MPLayer(cin, cout, 1, dims) if cin != cout else nn.Identity()
        self.first = MPLayer(cout if down else cin, cout, 3, dims)
        self.modulate, self.gain = MPLayer(level, cout), nn.Parameter(torch.zeros(()))
        self.dropout, self.second = nn.Dropout(dropout), MPLayer(cout, cout, 3, dims)
        self.attend = MPAttention(cout, heads) if heads else None
        self.cross = MPAttention(cout, heads, context) if heads and context else None

    def forward(self, h: Tensor, level: Tensor, given: Embedded, skip: Tensor | None = None) -> Tensor:
        h = h if skip is None else mp_cat(h, skip)
        h = normalise(self.skip(h), 1) if self.down else h
        told = 1 + self.modulate(level, self.gain)
        y = mp_silu(self.first(mp_silu(h)) * told.reshape(*told.shape, *[1] * (h.ndim - 2)))
        h = mp_sum(h if self.down else self.skip(h), self.second(self.dropout(y)), BALANCE)
        if self.attend is None:
            return h
        tokens = h.flatten(2).transpose(1, 2)
        tokens = mp_sum(tokens, self.attend(tokens), BALANCE)
        if self.cross is not None:
            tokens = mp_sum(tokens, self.cross(tokens, normalise(given.tokens, -1), given.mask), BALANCE)
        return tokens.transpose(1, 2).reshape(h.shape)


def heads_of(width: int, head: int) -> int:
    """How many heads share a width, each of about `head` channels or more."""
    return next(n for n in range(max(width // head, 1), 0, -1) if width % n == 0)


def half(h: Tensor) -> Tensor:
    """Means of pairs along each axis; a last one alone is itself."""
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[h.ndim - 3]
    return pool(h, 2, ceil_mode=True, count_include_pad=False)

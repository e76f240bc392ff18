"""How conditions enter a network: as a vector, as channels, as a sequence; what is missing is a learned null."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....conditions import Features, Kind, Label, Picture, Tokens, Vector
from ....errors import InputError
from ....settings import nearest
from .sequence import Encoded as _Encoded
from .sequence import Sequence as _Sequence

SEQUENCES = (Tokens, Features)  # kinds whose rows have many parts, to attend to


@dataclass(frozen=True)
class Embedded:
    """Conditions as a network takes them; None where no kind gives it.

    `vector` (B, width) is added to the level's embedding; `channels` (B, C, *space) stand beside x; `tokens`
    (B, L, width), of which `mask` (B, L) are there, are attended to.
    """

    vector: Tensor | None = None
    channels: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None


class Conditioner(nn.Module):
    """Conditions by name, tensors with -1 or NaN where they are missing, to `Embedded`; an absent one is missing.

    A label is a row of a table and a vector goes through a small network, with what is known of it beside it; both are
    added up, with the vector of a sequence.  A picture becomes channels, resized to x's space, and one more that
    says what is known.  Whatever is missing has an entry of its own, which is learned: NaN enters no arithmetic.

    Arguments:
        conditions: the kinds by name.
        width: of the vector and of the tokens.
        flat: x has no space: pictures are resized to their kind's own, and flattened.
    """

    def __init__(self, conditions: Mapping[str, Kind], width: int, flat: bool = False):
        super().__init__()
        self.kinds, self.flat = dict(conditions), flat
        # A list: names that a user gives are no names of attributes.
        self.parts = nn.ModuleList(_part(name, kind, width) for name, kind in self.kinds.items())

    @property
    def channels(self) -> int:
        """How many channels, or with `flat` numbers, `Embedded.channels` has."""
        shapes = [(kind.shape[0] + 1, *kind.shape[1:]) for kind in self.kinds.values() if isinstance(kind, Picture)]
        return sum(math.prod(shape) if self.flat else shape[0] for shape in shapes)

    @property
    def sequences(self) -> bool:
        """Whether there are tokens to attend to."""
        return any(isinstance(kind, SEQUENCES) for kind in self.kinds.values())

    @property
    def vectors(self) -> bool:
        """Whether there is a vector."""
        return any(not isinstance(kind, Picture) for kind in self.kinds.values())

    @property
    def length(self) -> int:
        """How many tokens there are to attend to, at most."""
        return sum(kind.length for kind in self.kinds.values() if isinstance(kind, SEQUENCES))

    def forward(self, cond: Mapping[str, Tensor], x: Tensor) -> Embedded:
        """What the network takes.

        Arguments:
            cond: tensors by name with B rows each; what is absent is missing.
            x: (B, ...), whose rows, type and space count.

        Raises:
            InputError: a condition that is not among the kinds.
        """
        if unknown := cond.keys() - self.kinds.keys():
            name = sorted(unknown)[0]
            raise InputError(f"condition {name!r} is unknown{nearest(name, self.kinds)}", "cond")
        vectors, channels, tokens, masks = [], [], [], []
        for (name, kind), part in zip(self.kinds.items(), self.parts, strict=True):
            value = cond.get(name)
            value = kind.missing(len(x), x.device) if value is None else value
            if isinstance(kind, Picture):
                found = part(value, kind.shape[1:] if self.flat else x.shape[2:], x.dtype)
                channels.append(found.flatten(1) if self.flat else found)
            elif isinstance(kind, SEQUENCES):
                sequence, mask, pooled = part(value)
                tokens.append(sequence)
                masks.append(mask)
                vectors.append(pooled)
            else:
                vectors.append(part(value))
        join = lambda parts: torch.cat(parts, 1) if parts else None
        return Embedded(sum(vectors[1:], vectors[0]) if vectors else None, join(channels), join(tokens), join(masks))


def tell(
    conditioner: Conditioner | None, x: Tensor, level: Tensor, cond: Mapping[str, Tensor] | None
) -> tuple[Tensor, Tensor, Embedded]:
    """x with the channels of the conditions beside its own, the level's embedding (B, width) with their vector added to
    it, and all of them; x and the level as they are where there is no conditioner."""
    if conditioner is None:
        return x, level, Embedded()
    given = conditioner(cond or {}, x)
    x = x if given.channels is None else torch.cat([x, given.channels], 1)
    return x, level if given.vector is None else level + given.vector, given


def _part(name: str, kind: Kind, width: int) -> nn.Module:
    for known, module in PARTS.items():
        if isinstance(kind, known):
            return module(kind, width)
    raise InputError(f"condition {name} is a {type(kind).__name__}: give a Label, Vector, Picture or Tokens", name)


class _Table(nn.Module):
    """A row for each class, and one more for a class that is missing."""

    last_is_null = True

    def __init__(self, kind: Label, width: int):
        super().__init__()
        self.table = nn.Embedding(kind.classes + 1, width)

    def forward(self, value: Tensor) -> Tensor:
        return self.table(torch.where(value < 0, self.table.num_embeddings - 1, value))


class _Numbers(nn.Module):
    """A small network of the standardised numbers, 0 where they are missing, and of which are there."""

    def __init__(self, kind: Vector, width: int):
        super().__init__()
        # In float64, as the numbers may be far from 0; not saved, as the kind has them.
        for name, default in (("mean", 0.0), ("std", 1.0)):
            given = getattr(kind, name) or (default,) * kind.size
            self.register_buffer(name, torch.tensor(given, dtype=torch.float64), persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * kind.size, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, value: Tensor) -> Tensor:
        known, weight = ~value.isnan(), self.mlp[0].weight
        standard = (value - self.mean.to(value.dtype)) / self.std.to(value.dtype)
        return self.mlp(torch.cat([torch.where(known, standard, 0.0), known], 1).to(weight.dtype))


class _Channels(nn.Module):
    """The pixels, 0 where they are missing, and one channel of the share that is known; of the size `space`."""

    def __init__(self, kind: Picture, width: int):
        super().__init__()

    def forward(self, value: Tensor, space: Sequence[int], dtype: torch.dtype) -> Tensor:
        known = ~value.isnan()
        value, known = torch.where(known, value, 0.0).to(dtype), known.to(dtype)
        if tuple(value.shape[2:]) != tuple(space):
            share = resized(known, space)
            value = resized(value, space) / share.clamp_min(1e-6)
            known = share
        return torch.cat([value, known.mean(1, keepdim=True)], 1)


def resized(x: Tensor, space: Sequence[int]) -> Tensor:
    """x (B, C, *its space) to another: means where it shrinks, the nearest where it grows, axis by axis alike."""
    shrinks = all(a >= b for a, b in zip(x.shape[2:], space, strict=True))
    return F.interpolate(x, size=tuple(space), mode="area" if shrinks else "nearest")


PARTS: dict[type[Kind], type[nn.Module]] = {
    Label: _Table,
    Vector: _Numbers,
    Picture: _Channels,
    Tokens: _Sequence,
    Features: _Encoded,
}

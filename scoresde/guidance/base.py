"""What all guidance shares: a wrapped denoiser that is no posterior mean, and what of it has rows of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..conditions import Kind
from ..denoiser import Cond, Denoiser, Wrapped
from ..errors import InputError
from ..sde import SDE


class Steered(Wrapped):
    """A denoiser that leads another one elsewhere: no posterior mean, so that it has no likelihood and no moments.

    The attributes named in `rowed` may have a row for each sample (a scale, a label, another denoiser); they follow the
    rows in `select`.
    """

    rowed: ClassVar[tuple[str, ...]] = ()

    def __init__(self, denoiser: Denoiser):
        super().__init__(denoiser)
        self.moments, self.exact = None, False
        if denoiser.lands is not None:
            words = "train it with one, and give the scale as a condition, cond={'guidance': 3}"
            raise InputError(f"{type(self).__name__}: a model of few steps takes no guidance from outside: {words}")

    landing = Denoiser.landing

    def holds(self, name: str, n: int | None) -> None:
        """Binds it to the n rows of what is called `name`; None: to no number.  Raises `InputError` for two numbers."""
        if n is not None and self.bound not in (None, n):
            raise InputError(f"{name} has {n} rows, and the rest of the denoiser {self.bound}: give as many", name)
        self.bound = self.bound if n is None else n

    def select(self, rows):
        if self.bound is None:
            return self
        own = self.around(self.denoiser.select(rows))
        for name in self.rowed:
            setattr(own, name, picked(getattr(self, name), rows))
        own.bound = len(rows)
        return own


def picked(value: Any, rows: Tensor) -> Any:
    """The rows of a tensor, a denoiser, a scale, or of each in a collection; a single row is that of all."""
    if isinstance(value, Mapping):
        return {k: picked(v, rows) for k, v in value.items()}
    if isinstance(value, nn.ModuleList):
        return nn.ModuleList(picked(v, rows) for v in value)
    if isinstance(value, Tensor):
        return value if len(value) == 1 else value[rows.to(value.device)]
    return value.select(rows)


def beside(value: Tensor, x: Tensor, name: str) -> Tensor:
    """A tensor of 1 or B rows, with the B rows of x.  Raises `InputError` for another number."""
    if len(value) not in (1, len(x)):
        raise InputError(f"{name} has {len(value)} rows: x has {len(x)}", name)
    return value.to(x.device).expand(len(x), *value.shape[1:])


def per_row(mask: Tensor, x: Tensor) -> Tensor:
    """A mask (B,) in the shape that picks rows of x (B, *shape)."""
    return mask.reshape(-1, *[1] * (x.ndim - 1))


def same_sde(denoiser: Denoiser, other: Denoiser, name: str) -> None:
    """Raises `InputError`, which names the other, unless both have the same marginals at the same times."""
    a, b = denoiser.sde, other.sde
    if a is not b and a != b and not _alike(a, b):
        raise InputError(f"{name} is a model of {b}, the other of {a}: give models of one SDE", name)


def _alike(a: SDE, b: SDE) -> bool:
    if (a.t_min, a.t_max) != (b.t_min, b.t_max):
        return False
    t = torch.linspace(a.t_min, a.t_max, 9, dtype=torch.float64)[1:]
    return all(torch.allclose(u, v, rtol=1e-9, atol=1e-9) for u, v in zip(a.logs(t), b.logs(t), strict=True))


def merged(denoisers: Sequence[Denoiser]) -> dict[str, Kind]:
    """All conditions of several models by name.  Raises `InputError` where one name means two things (but for `drop`,
    of which the least is kept)."""
    found: dict[str, Kind] = {}
    for denoiser in denoisers:
        for name, kind in denoiser.conditions.items():
            known = found.setdefault(name, kind)
            drop = min(known.drop, kind.drop)
            if type(known) is not type(kind) or replace(known, drop=drop) != (kind := replace(kind, drop=drop)):
                raise InputError(f"condition {name} is {kind} in one model and {known} in another: give them two names")
            found[name] = kind
    return found


def known_to(denoiser: Denoiser, cond: Cond) -> Cond:
    """Those conditions that a model knows."""
    known = {**denoiser.conditions, **denoiser.made}
    return {name: value for name, value in (cond or {}).items() if name in known}

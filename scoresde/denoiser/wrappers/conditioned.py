"""Conditions, bound to a denoiser once, at the entry of whatever uses it: all that comes after is unconditional."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...errors import InputError
from ...settings import nearest
from ..base import Denoiser, Wrapped, device_of


def bind(denoiser: Denoiser, cond: Mapping[str, Any] | None, n: int) -> Denoiser:
    """A denoiser that knows the conditions of n samples; itself where there are none.

    Arguments:
        denoiser: the model; `denoiser.conditions` says what it can be told.
        cond: by name what each kind takes; what is not named is missing in all rows.
        n: how many samples there are.

    Returns:
        A denoiser whose `forward` needs no cond.

    Raises:
        InputError: a condition that the model does not know, that is of another shape or range, or that is missing
            though the model was trained to have it (`drop` 0); a denoiser that is bound to another number of rows.
    """
    if denoiser.bound not in (None, n):
        raise InputError(f"the denoiser is bound to conditions of {denoiser.bound} samples: {n} are asked for")
    if cond is not None and not isinstance(cond, Mapping):
        raise InputError(f"cond is a {type(cond).__name__}: give a mapping, cond={{'label': 3}}", "cond")
    kinds, given = denoiser.conditions, {}
    for name, value in (cond or {}).items():
        if name not in kinds:
            tip = nearest(name, kinds) if kinds else "; the model takes none"
            raise InputError(f"condition {name!r} is unknown{tip}", "cond")
        if value is not None:
            given[name] = kinds[name].rows(name, value, n).to(device_of(denoiser))
    for name, kind in kinds.items():
        if kind.of_items and kind.drop == 0 and (name not in given or bool(kind.absent(given[name]).any())):
            words = f"condition {name} is missing, and the model was trained with it in every row (drop 0)"
            raise InputError(f"{words}: give {kind.words(n)}", "cond")
    return Conditioned(denoiser, given) if given else denoiser


class Conditioned(Wrapped):
    """D(x, t) = E[x_0 | x_t = x, cond] of a denoiser and the conditions of its rows.

    Arguments:
        denoiser: the model.
        cond: tensors of B rows by name, one at least.  They are taken as they are: `bind` checks.
    """

    def __init__(self, denoiser: Denoiser, cond: Mapping[str, Tensor]):
        super().__init__(denoiser)
        self.cond, self.moments = dict(cond), None
        self.conditions = {name: kind for name, kind in denoiser.conditions.items() if name not in self.cond}
        self.bound = len(next(iter(self.cond.values())))

    def forward(self, x, t, cond=None):
        return self.denoiser(x, t, {**self.cond, **cond} if cond else self.cond)

    def with_variance(self, x, t, cond=None):
        return self.denoiser.with_variance(x, t, {**self.cond, **cond} if cond else self.cond)

    def landing(self, x, t, s, cond=None):
        return self.denoiser.landing(x, t, s, {**self.cond, **cond} if cond else self.cond)

    def log_posterior(self, x0, x, t, cond=None):
        return self.denoiser.log_posterior(x0, x, t, {**self.cond, **cond} if cond else self.cond)

    def score(self, x, t, cond=None):
        return self.denoiser.score(x, t, {**self.cond, **cond} if cond else self.cond)

    def beside(self, other):
        known = {name: value for name, value in self.cond.items() if name in other.conditions}
        other = self.denoiser.beside(other)
        return Conditioned(other, known) if known else other

    def select(self, rows):
        return Conditioned(self.denoiser.select(rows), {k: v[rows] for k, v in self.cond.items()})

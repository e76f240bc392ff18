"""Classifier-free guidance: a conditional model, led further away from what it says without the conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..conditions import Kind, missing_like
from ..denoiser import Denoiser, device_of
from ..errors import InputError
from ..settings import Checked, Fraction, Positive, checked, nearest
from .base import Steered, beside, per_row
from .scale import How, Interval, Scale, Strength, led, plain


@dataclass(frozen=True)
class Projected(Checked):
    """Adaptive projected guidance, a `how` of `Guided`.

    With d = D_c - D_u, shortened to at most `norm` in each row,

        D = D_c + (w - 1) (d_orthogonal + eta d_parallel)

    in its parts parallel and orthogonal to D_c.  The parallel part is what saturates colours.  Of the paper only its
    momentum is not here: it looks back at earlier steps, and a denoiser is a function of x and t.

    Sadat, Hilliges, Weber (2024), arXiv 2410.02416.

    Arguments:
        eta: the share of the parallel part, 0 to 1; 1 without a norm is plain guidance.
        norm: the greatest length of d over all numbers of a row; None: any.
    """

    eta: Fraction = 0.0
    norm: Positive | None = None

    def __call__(self, one: Tensor, base: Tensor, w: Any) -> Tensor:
        """D of the two parts.

        Arguments:
            one, base: D_c and D_u (B, *shape).
            w: a number or (B, 1, ...).

        Returns:
            (B, *shape).
        """
        d, c = (one - base).flatten(1), one.flatten(1)
        if self.norm is not None:
            length = d.norm(dim=1, keepdim=True)
            d = torch.where(length > self.norm, d * (self.norm / length), d)
        along = (d * c).sum(1, keepdim=True) / c.square().sum(1, keepdim=True).clamp_min(torch.finfo(c.dtype).tiny)
        return one + (w - 1) * (d - (1 - self.eta) * along * c).reshape(one.shape)


class Guided(Steered):
    """D_w(x, t) = D_u + w (D_c - D_u) = (1 - w) D_u + w D_c, of a model with its conditions (c) and without them (u).

    Score, eps and v are affine in D at the same x and t, so the same holds for each of them.  The conditions come as to
    any model, sample(Guided(model, 3.0), sampler, shape, cond={"label": 3}); those with `drop` 0, which the model
    cannot do without, are in both parts.  A row of which nothing is given is unconditional.

    Both parts are one call of 2 B rows; of B rows where w is 0 or 1 in the whole batch, which are D_u and D_c to the
    bit, in single rows too, whatever `how` and `rescale` are.

    Ho, Salimans (2022), arXiv 2207.12598.

    Arguments:
        denoiser: a model that takes conditions and has learned to do without one at least.
        scale: w, a number; (B,), a row's own; a function of t, a number, which gives a number; or a mapping with one of
            them for each of several conditions, D = D_u + sum_i w_i (D_i - D_u), where D_i is told only condition i of
            these, and those that are not named are given everywhere: k + 1 times B rows (Liu et al., 2022, arXiv
            2206.01714).
        interval: (low, high) of sigma / alpha; w is 1 elsewhere (Kynkaanniemi et al., 2024, arXiv 2404.07724).
        negative: conditions by name, one row or B, that D_u is told in place of none.
        how: another combination, how(D_c, D_u, w) for w a number or (B, 1, ...); `Projected`.  With several conditions
            D = D_u + sum_i (how(D_i, D_u, w_i) - D_u).
        rescale: a share phi; D is multiplied by phi std(D_c) / std(D) + 1 - phi, for standard deviations over all
            numbers of a row (Lin et al., 2023, arXiv 2305.08891, of whatever their network predicts; here of D).

    Raises:
        InputError: a model that knows no conditions, or never learned to do without one; one that is bound (give `cond`
            to what samples instead); wrong settings.
    """

    rowed = ("scales", "negative")

    @checked
    def __init__(
        self,
        denoiser: Denoiser,
        scale: Strength | Mapping[str, Strength] = 1.0,
        interval: Interval = None,
        negative: Mapping[str, Any] | None = None,
        how: How | None = None,
        rescale: Fraction = 0.0,
    ):
        super().__init__(denoiser)
        free = _free(denoiser)
        self.how, self.rescale = how or plain, rescale
        if isinstance(scale, Mapping):
            for name in scale or ("scale",):
                _known(name, free, denoiser, "scale")
            self.scales = {(k,): Scale.of(w, denoiser, interval, f"scale of {k}") for k, w in scale.items()}
        else:
            self.scales = {tuple(free): Scale.of(scale, denoiser, interval)}
        if rescale and len(self.scales) > 1:
            words = f"{len(self.scales)} scales have no one prediction to take the deviation of: leave it out"
            raise InputError(f"rescale={rescale!r}: {words}", "rescale")
        led_by = {name: free[name] for group in self.scales for name in group}
        self.negative = {}
        for name, value in (negative or {}).items():
            _known(name, led_by, denoiser, "negative")
            self.negative[name] = _one_or_many(led_by[name], name, value).to(device_of(denoiser))
        for w in self.scales.values():
            self.holds(w.name, w.rows)
        for name, value in self.negative.items():
            self.holds(f"negative {name}", len(value) if len(value) > 1 else None)

    def forward(self, x, t, cond=None):
        cond = {name: value for name, value in (cond or {}).items() if value is not None}
        led_by = {name for group in self.scales for name in group}
        base = {name: value for name, value in cond.items() if name not in led_by}
        base |= {name: beside(value, x, f"negative {name}") for name, value in self.negative.items()}
        groups = [group for group in self.scales if any(name in cond or name in self.negative for name in group)]
        level = self._level(t)
        at = {group: self.scales[group].at(x, t, *level) for group in groups}
        parts = {g: {**_without(base, g), **_only(cond, g)} for g in groups if not _is(at[g], 0.0)}
        if not parts:
            return self.denoiser(x, t, base)
        if len(parts) == 1 and _is(at[next(iter(parts))], 1.0):
            return self.denoiser(x, t, next(iter(parts.values())))
        first, *answers = self._together(x, t, [base, *parts.values()])
        found = [self._led(one, first, at[g], self._gone(g, cond)) for g, one in zip(parts, answers, strict=True)]
        return found[0] if len(found) == 1 else first + sum(one - first for one in found)

    def _together(self, x: Tensor, t: Any, parts: Sequence[Mapping[str, Tensor]]) -> Sequence[Tensor]:
        """D of the same rows told different things, by one call."""
        like = {name: value for part in parts for name, value in part.items()}
        cond = {}
        for name, value in like.items():
            told = [part[name].to(value.dtype) if name in part else missing_like(value) for part in parts]
            if any(v.shape != value.shape for v in told):
                shapes = " and ".join(str(tuple(v.shape[1:])) for v in told)
                raise InputError(f"negative {name} and the condition have shapes {shapes}: give the same", "negative")
            cond[name] = torch.cat(told)
        many = len(parts)
        t = t.repeat(many) if isinstance(t, Tensor) and t.ndim else t
        return self.denoiser(torch.cat([x] * many), t, cond).chunk(many)

    def _led(self, one: Tensor, base: Tensor, w: float | Tensor, gone: Tensor | None) -> Tensor:
        found = led(one, base, w, self._how)
        return found if gone is None else torch.where(per_row(gone, base), base, found)

    def _how(self, one: Tensor, base: Tensor, w: Any) -> Tensor:
        found = self.how(one, base, w)
        return _rescaled(found, one, self.rescale) if self.rescale else found

    def _gone(self, group: Sequence[str], cond: Mapping[str, Tensor]) -> Tensor | None:
        """The rows (B,) in which nothing of a group is given; None where something is said in place of that."""
        if any(name in self.negative for name in group):
            return None
        return torch.stack([self.conditions[name].absent(cond[name]) for name in group if name in cond]).all(0)


def _rescaled(found: Tensor, one: Tensor, phi: float) -> Tensor:
    right, wrong = (v.flatten(1).std(1, correction=0) for v in (one, found))
    factor = torch.where(wrong > 0, right / wrong, 1.0)
    return found * per_row(phi * factor + (1 - phi), found)


def _is(w: float | Tensor, number: float) -> bool:
    return isinstance(w, float) and w == number


def _only(cond: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    return {name: value for name, value in cond.items() if name in names}


def _without(cond: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    return {name: value for name, value in cond.items() if name not in names}


def _free(denoiser: Denoiser) -> dict[str, Kind]:
    """The conditions that the model can do without, of which there must be one."""
    who = f"the {type(denoiser).__name__}"
    if denoiser.bound is not None:
        raise InputError(f"{who} is bound to {denoiser.bound} samples: guide the model, and give cond to what samples")
    if not denoiser.conditions:
        raise InputError(f"{who} takes no conditions: there is nothing to guide it by")
    free = {name: kind for name, kind in denoiser.conditions.items() if kind.drop > 0}
    if not free:
        names = ", ".join(denoiser.conditions)
        raise InputError(f"{who} was trained with {names} in every row (drop 0): it has no unconditional part")
    return free


def _known(name: str, free: Mapping[str, Kind], denoiser: Denoiser, setting: str) -> None:
    if name in denoiser.conditions and denoiser.conditions[name].drop == 0:
        words = "the model was trained with it in every row (drop 0)"
        raise InputError(f"{setting} names {name}: {words}; choose of {', '.join(free)}", setting)
    if name not in free:
        raise InputError(f"{setting}: condition {name!r} is unknown{nearest(name, free)}", setting)


def _one_or_many(kind: Kind, name: str, value: Any) -> Tensor:
    """A checked value of one row, or of as many as it has."""
    try:
        return kind.rows(name, value, 1)
    except InputError:
        n = len(value) if hasattr(value, "__len__") and getattr(value, "ndim", 1) else 1
        return kind.rows(name, value, n)

"""Whether the SDE begins and ends where the data asks it to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch

from ..sde import SDE
from .finding import Finding, judged, near, well
from .material import Material

KL = 0.1, 0.5  # nats by which the end of the forward process is not the prior
BLUR = 1.0, 1.5  # of what the data resolves
SOME = 512  # items whose distances are looked at


def prior(material: Material) -> Finding:
    r"""Whether x_T is distributed as the prior that sampling starts from.

    With r = sigma_T / alpha_T, the data's mean m and its variances s_i^2,

        KL(q(x_T) || N(0, sigma_T^2)) ~ |m|^2 / 2 r^2 + 1/2 \sum_i (s_i^2 / r^2 - log(1 + s_i^2 / r^2)) nats,

    that of the Gaussian with the data's moments, and r should reach half of the largest distance between two items
    (Song, Ermon, 2020, arXiv 2006.09011, technique 1).  It is wrong where both are missed.
    """
    r = math.exp(-float(material.sde.log_snr(material.sde.t_max)) / 2)
    x = material.points[:SOME].flatten(1).double()
    far = float(torch.cdist(x, x).max())
    kl = _mismatch(material, r)
    figures = {"kl": kl, "ratio": r, "largest_distance": far}
    state = judged(kl, *KL) if r < far / 2 else "well"
    if state == "well":
        return well("noise at the end", f"x_T is {kl:.2g} nats from the prior, sigma/alpha {r:.3g}", **figures)
    need = far / 2
    while _mismatch(material, need) > KL[0] / 5:
        need *= 1.05
    name, value = _setting(material.sde, ("sigma_max", "beta_max", "t_max"), lambda sde: _end(sde) >= need, 1.02)
    words = (
        f"{name or 'the largest noise'} is too small: x_T is {kl:.2g} nats from the prior that sampling starts from "
    )
    words += f"(sigma/alpha is {r:.3g} there, the largest distance between two items {far:.3g})"
    change, override = f"let sigma/alpha reach {near(need)}", f"sde.{name}={value} fresh=true" if name else ""
    return Finding("noise at the end", state, words, "computed", change, override, figures)


def _end(sde: SDE) -> float:
    return math.exp(-float(sde.log_snr(sde.t_max)) / 2)


def _mismatch(material: Material, r: float) -> float:
    moments = material.moments
    share = (moments.deviations.expand(moments.directions) / r).square()
    return float((share - share.log1p()).sum() / 2 + (moments.mean / r).square().sum() / 2)


def start(material: Material, t_min: float | None = None) -> Finding:
    r"""Whether the noise at t_min is below what the data resolves: what lies under it, no sample has.

    Of a Gaussian with the data's variances s_i^2 the posterior mean at r = sigma / alpha loses, root mean square,

        sqrt(mean_i s_i^2 r^2 / (s_i^2 + r^2)),

    against half the width of a bin, or 5 % of the data's deviation, whichever is larger.
    """
    sde = material.sde
    at = sde.t_min if t_min is None else t_min
    r, s = math.exp(-float(sde.log_snr(at)) / 2), material.moments.deviations.expand(material.moments.directions)
    lost = float((s**2 * r**2 / (s**2 + r**2)).mean().sqrt())
    space = material.data.space
    half = float(torch.as_tensor(space.width).abs().double().mean()) / 2 if material.data.levels else 0.0
    fine = max(half, 0.05 * material.deviation)
    figures = {"ratio": r, "lost": lost, "resolved": fine, "t_min": at}
    state = judged(lost / fine, *BLUR)
    unit = "half a bin" if half >= fine else "5 % of the data's deviation"
    if state == "well":
        return well("noise at t_min", f"what is lost below it is {lost / fine:.2g} of {unit} ({fine:.3g})", **figures)
    need = fine / 10
    names = ("t_min", "sigma_min") if at > 0 else ("sigma_min",)
    name, value = _setting(sde, names, lambda sde: math.exp(-float(sde.log_snr(sde.t_min)) / 2) <= need, 0.9)
    words = f"{name or 't_min'} is too large: the noise that stays there, sigma/alpha {r:.3g}, blurs a value "
    words += f"by {lost:.2g}, {lost / fine:.2g} times {unit}"
    change, override = f"let sigma/alpha begin at {near(need)}", f"sde.{name}={value} fresh=true" if name else ""
    return Finding("noise at t_min", state, words, "computed", change, override, figures)


def _setting(sde: SDE, names: Sequence[str], fits: Callable[[SDE], bool], step: float) -> tuple[str, str]:
    """The first of the SDE's settings by which it can be made to fit, and to which value; "" for none."""
    fields = {f.name for f in dataclasses.fields(sde)} if dataclasses.is_dataclass(sde) else set()
    for name in (n for n in names if n in fields):
        value = float(getattr(sde, name))
        for _ in range(800):
            value *= step
            try:
                made = dataclasses.replace(sde, **{name: float(near(value))})
                if fits(made):
                    return name, near(value)
            except (ValueError, OverflowError):
                break
    return "", ""

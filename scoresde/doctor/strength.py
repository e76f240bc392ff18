"""Whether guidance is too strong: samples beyond the data's range, and alike within a class."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping

from torch import Tensor

from ..conditions import Label
from ..denoiser import Denoiser
from ..guidance.scale import Scale
from ..sampling import DPMpp2M, sample
from .finding import Finding, judged, near, unseen, well
from .material import Material

STEPS, SAMPLES = 20, 100
BEYOND = 0.05, 0.2  # shares of values beyond the data's range
SPREAD = 0.3, 0.12  # of the data's variance within a class
LOUD = 1.3, 1.8  # times the data's root mean square
MARGIN = 0.05  # of the range, on either side


def strength(material: Material, guided: Denoiser, cond: Mapping[str, Tensor] | None = None) -> Finding:
    r"""What guided samples have that the data has not, and a scale at which they have less of it.

    - the share of values beyond the range of the training items, and 5 % of it on either side (saturation);
    - their variance within a class, relative to the data's;
    - their root mean square, relative to the data's.

    Guidance by w leads to p(x) p(c | x)^w only for w that are not large: Ho, Salimans (2022), arXiv 2207.12598;
    saturation: Saharia et al. (2022), arXiv 2205.11487, section 2.3.  Where it is too strong, scales halved until they
    are not are tried.
    """
    check, scales = "guidance", scales_of(guided)
    if not scales:
        return unseen(check, f"a {type(guided).__name__} has no scale that is a number")
    n = guided.bound or SAMPLES
    given = dict(cond or {})
    if not given and guided.bound is None:
        some = material.train.rows(n)
        n = len(some)
        given = {k: v for k, v in some.cond.items() if k in guided.conditions}
    if guided.conditions and not given and guided.bound is None:
        return unseen(check, "there are no conditions that the samples could be given")
    w = max(map(abs, scales))
    try:
        state, figures = _measured(material, guided, given, n)
    except FloatingPointError as error:
        words = f"guidance is far too strong: at scale {w:g} samples are not finite ({error})"
        return Finding(check, "wrong", words, "", "lower the scale", "guidance.scale=2")
    figures["scale"] = w
    words = f"at scale {w:g} {100 * figures['beyond']:.2g} % of the values lie beyond the data's range"
    if "spread" in figures:
        words += f", samples of a class have {100 * figures['spread']:.0f} % of the data's spread"
    if state == "well":
        return well(check, words, **figures)
    lower = near(_lower(material, guided, given, n, w))
    words = f"guidance is {'far too ' * (state == 'wrong')}strong: {words}"
    sure = f"{100 * figures['beyond']:.0f} % of the values of {n} samples"
    change = f"a scale of {lower} has less of it; or bound it by interval, rescale or guidance=apg"
    return Finding(check, state, words, sure, change, f"guidance.scale={lower}", figures)


def _lower(material: Material, guided: Denoiser, given, n: int, w: float) -> float:
    """The largest of w / 2, w / 4, ... at which nothing is said; 1 where there is none above it."""
    lower = w / 2
    while lower > 1:
        try:
            if _measured(material, rescaled(guided, lower / w), given, n)[0] == "well":
                return lower
        except FloatingPointError:
            pass
        lower /= 2
    return 1.0


def _measured(material: Material, guided: Denoiser, given, n: int) -> tuple[str, dict[str, float]]:
    shape = tuple(material.data.shape)
    x = sample(guided, DPMpp2M(steps=STEPS), (n, *shape), material.seed, cond=given or None, progress=False).cpu()
    points = material.points
    low, high = float(points.min()), float(points.max())
    edge = MARGIN * (high - low)
    outside = ((x < low - edge) | (x > high + edge)).double().mean()
    loud = float(x.double().square().mean().sqrt() / points.double().square().mean().sqrt())
    figures = {"beyond": float(outside), "loud": loud}
    states = [judged(float(outside), *BEYOND), judged(loud, *LOUD)]
    label = next((k for k, v in given.items() if isinstance(guided.conditions.get(k), Label)), None)
    if label is not None:
        spread = _spread(x, given[label].cpu(), material, label)
        if math.isfinite(spread):
            figures["spread"] = spread
            states.append(judged(1 / max(spread, 1e-9), *(1 / s for s in SPREAD)))
    return min(states, key=("wrong", "suspect", "well").index), figures


def _spread(x: Tensor, labels: Tensor, material: Material, name: str) -> float:
    """The variance of samples within a class, relative to that of the data's training items of these classes."""
    some = material.train
    shares = []
    for c in labels.unique().tolist():
        mine, real = x[labels == c].double(), some.x0.cpu()[some.cond[name].cpu() == c].double()
        if len(mine) > 2 and len(real) > 2 and c >= 0:
            shares.append((float(mine.var(0).sum()), float(real.var(0).sum())))
    top, bottom = (sum(v) for v in zip(*shares, strict=True)) if shares else (math.nan, 1.0)
    return top / bottom if bottom else math.nan


def scales_of(guided: Denoiser) -> list[float]:
    """The scales of guidance that are numbers."""
    held = [*getattr(guided, "scales", {}).values(), getattr(guided, "scale", None)]
    return [float(s.value) for s in held if isinstance(s, Scale) and isinstance(s.value, float | int)]


def rescaled(guided: Denoiser, factor: float) -> Denoiser:
    """The same with its scales multiplied."""
    own = copy.copy(guided)
    times = lambda s: dataclasses.replace(s, value=s.value * factor) if isinstance(s.value, float | int) else s
    if hasattr(guided, "scales"):
        own.scales = {group: times(s) for group, s in guided.scales.items()}
    if isinstance(getattr(guided, "scale", None), Scale):
        own.scale = times(guided.scale)
    return own

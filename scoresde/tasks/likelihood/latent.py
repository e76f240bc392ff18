"""A model of latents scores the items behind them, by a bound on their log-probability."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ... import likelihood as lik
from ...data import Data, stack
from ...errors import InputError
from ...latent import bound
from ...latent.bound import has_density
from ...run import Run
from ...spaces import Bins
from ..given import of_items

TERMS = {"reconstruction": "reconstruction", "latents": "prior", "entropy": "entropy"}  # what the terms are called here


def bounded(run: Run) -> bool:
    """Whether the model is one of latents, of an autoencoder that has q(z | x) and p(x | z)."""
    return has_density(run.model.codec)


def scored(run: Run) -> Data:
    """The data whose items are scored: the model's, or those behind its latents."""
    return run.data.outer if bounded(run) else run.data


def columns(run: Run, flow: dict[str, Any], t_min: float) -> Callable[..., dict[str, Tensor]]:
    """A function (raw items, their numbers, conditions) -> columns in nats, the model's space apart, as of others.

    `flow` are the keywords of `log_likelihood`.  Raises `InputError` for settings that such a model has no use for.
    """
    data, settings, seed = run.data.outer, run.likelihood, run.config.seed
    if settings.bound is not None:
        words = "the figure of a model of latents is a bound by itself: choose likelihood.by=elbo, or bound=null"
        raise InputError(f"likelihood.bound={settings.bound}: {words}", "likelihood.bound")
    if run.guide.node is not None:
        raise InputError("guidance: a bound on log p(x) is of the model alone; say guidance=null", "guidance")
    how = flow if settings.by == "flow" else {"n": settings.bound_draws, "t_min": t_min, "density": _plan(run, t_min)}
    volume = Bins.of(data).log_volume(data.shape) if data.levels else data.log_det

    def found(raw: Tensor, index: range, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        known = cond if run.model.conditions else None
        one = bound(run.model, raw, settings.by, seed=seed, offset=index.start, cond=known, **how)
        figures = {name: getattr(one, own) for name, own in TERMS.items()} | {"stderr": one.stderr, "nfe": one.nfe}
        if data.levels:
            figures["bits_per_dim"] = -one.log_prob / (math.prod(data.shape) * math.log(2))
            figures |= {"log_prob": one.prior + one.entropy, "decoder": one.reconstruction}
            figures |= {"dequantisation": torch.full_like(one.prior, -volume)}  # P(v) is of points, without a volume
        else:
            figures |= {"log_prob": one.log_prob - volume, "nats": one.log_prob}
        return {k: v.detach().double().cpu() for k, v in figures.items()}

    return found


def _plan(run: Run, t_min: float) -> lik.Plan:
    """Where the bound on log p(z) looks, by training latents."""
    some = stack(run.data.train, range(min(len(run.data.train), 128)))
    cond = of_items(run, run.data.train, range(len(some)))
    x = run.data.encode(some).to(run.device)
    return lik.fit_plan(run.model, x, t_min=t_min, seed=run.config.seed, cond=cond)


def summarised(run: Run, found: dict[str, Tensor]) -> tuple[dict, list[tuple[str, str]]]:
    """The bound and each of its terms with its standard error, in bits/dim for data with levels, else in nats."""
    data, n = run.data.outer, len(found["log_prob"])
    total = sum(found[name] for name in TERMS)
    means = {name: _mean(values) for name, values in (("nats", total), *((t, found[t]) for t in TERMS))}
    figures = {"bound_of": "latents", "probes_stderr": float(found["stderr"].mean())}
    for name, (mean, stderr) in means.items():
        figures |= {name: mean, f"{name}_stderr": stderr}
    units = "nats of the levels" if data.levels else "nats in the data's units"
    words = f"{means['nats'][0]:.3f} +- {means['nats'][1]:.3f} {units} at least, {n} {run.likelihood.split} examples"
    rows = [("bound on log p", words), ("", f"= {_sum({t: means[t] for t in TERMS})}")]
    if data.levels is None:
        return figures, rows
    unit = -1 / (math.prod(data.shape) * math.log(2))
    parts = {name: found[name] for name in ("latents", "entropy")}
    known = (found["log_prob"], math.prod(data.shape), data.levels, data.log_det, parts)
    bits = lik.bits_per_dim(*known, found["dequantisation"], found["decoder"], seed=run.config.seed)
    figures |= {"bits_per_dim": bits.total, "bits_per_dim_stderr": bits.stderr}
    figures |= {"bits_per_dim_normal": list(bits.normal), "bits_per_dim_bootstrap": list(bits.bootstrap)}
    each = {t: (unit * means[t][0], abs(unit) * means[t][1]) for t in TERMS}
    for name, (mean, stderr) in each.items():
        figures |= {f"bits_per_dim_{name}": mean, f"bits_per_dim_{name}_stderr": stderr}
    ends = f"95 % {bits.bootstrap[0]:.3f} to {bits.bootstrap[1]:.3f}"
    rows += [("bits/dim", f"{bits.total:.3f} +- {bits.stderr:.3f} ({ends}) at most"), ("", f"= {_sum(each)}")]
    return figures, rows


def _sum(terms: dict[str, tuple[float, float]]) -> str:
    words = (f"{mean:+.3f} +- {stderr:.3f} ({name})" for name, (mean, stderr) in terms.items())
    return " ".join(words).removeprefix("+")


def _mean(values: Tensor) -> tuple[float, float]:
    n = len(values)
    return float(values.mean()), float(values.std() / math.sqrt(n)) if n > 1 else math.nan

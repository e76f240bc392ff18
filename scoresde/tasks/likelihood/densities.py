"""What is computed for an example: the flow's density of its dequantised values, and a bound beside it."""

from collections.abc import Callable

import torch
from torch import Tensor

from ... import grids
from ... import likelihood as lik
from ...data import Data, stack
from ...denoiser import LearnedVariance, levels
from ...errors import InputError
from ...run import Run
from ...spaces import Bins, Pyramid
from ..given import of_items
from . import latent, student
from .latent import bounded

OF_CENTRES = ("truncated_normal", "decoder")  # dequantisers for models that were trained on the bins' centres
Columns = Callable[[Tensor, range, dict[str, Tensor]], dict[str, Tensor]]


def time_of(run: Run) -> float:
    """Where the density is evaluated: `t_min`, or the time that matches the data's bins, or the SDE's own t_min."""
    settings, sde = run.likelihood, run.model.sde
    if settings.t_min is None and settings.dequantiser in OF_CENTRES:
        return lik.matching_time(sde, run.data)
    return lik.start_time(sde, settings.t_min)


def scorer(run: Run) -> Columns:
    """A function (raw items, their numbers, conditions) -> columns of figures in nats, the model's space apart."""
    data, settings, seed, t_min = run.data, run.likelihood, run.config.seed, time_of(run)
    check_density(data)
    _check_places(run)
    if bounded(run):
        flow = settings.flow | {"t_min": t_min, "control": _control(run, t_min)}
        return latent.columns(run, flow, t_min)
    if settings.by == "elbo":
        return _bound_alone(run, t_min)
    few = student.scorer(run)
    flow = settings.flow | {"t_min": t_min, "seed": seed, "control": _control(run, t_min)}
    dequantiser = _dequantiser(run, t_min) if data.levels else None
    bound = _bound(run, t_min) if settings.bound else None

    def columns(raw: Tensor, index: range, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        evaluations, lost, model = torch.zeros(len(raw)), torch.full((len(raw),), -1), run.guided(cond)
        known = cond if model.conditions else None

        def density(x: Tensor) -> lik.Likelihood:
            if few is not None:
                found = few(model, x.to(run.device), offset=index.start, cond=known)
                lost.copy_(torch.maximum(lost, found.failed.cpu()))
            else:
                found = lik.log_likelihood(model, x.to(run.device), offset=index.start, cond=known, **flow)
            evaluations.add_(found.nfe.cpu())
            return found

        numbers = torch.arange(index.start, index.stop)
        if dequantiser is None:
            found = density(data.encode(raw))
            figures = {"log_prob": found.log_prob, "stderr": found.stderr}
            figures |= {k: getattr(found, k) for k in ("prior", "volume", "divergence")}
        else:
            found = dequantiser.log_prob(density, raw, data, numbers, seed)
            figures = {"log_prob": found.model, "stderr": found.stderr, **found.parts}
            figures |= {"dequantisation": found.dequantisation, "decoder": found.decoder}
        figures |= {"nfe": evaluations} | ({} if few is None else {"failed": lost})
        if bound is not None:
            figures |= bound(raw, index, cond)
        return {k: v.detach().double().cpu() for k, v in figures.items()}

    return columns


def check_density(data: Data) -> None:
    """Raises `InputError` for pyramids, whose small pictures are functions of the largest."""
    if isinstance(data.codec, Pyramid) and data.codec.resolutions > 1:
        words = "its small pictures follow from the largest: take task=train, task=sample, task=evaluate"
        raise InputError(f"{data.name} has no density, {words}", "data")


def _check_places(run: Run) -> None:
    """Raises `InputError` for points within the bins, to a model that knows their centres alone."""
    rule, asked = getattr(run.model.bare, "rule", None), run.likelihood.dequantiser
    if isinstance(rule, levels) and not rule.spread and asked not in OF_CENTRES:
        words = "this model knows the centres of the bins alone: choose decoder or truncated_normal"
        raise InputError(f"likelihood.dequantiser={asked}: {words}", "likelihood.dequantiser")


def _control(run: Run, t_min: float) -> lik.Control | None:
    """The control variate of the divergence, from training data."""
    kind, data = run.likelihood.control, run.data
    some = stack(data.train, range(min(len(data.train), 8 if kind == "average" else 20_000)))
    if kind == "average":
        cond = of_items(run, data.train, range(len(some)))
        return lik.average_jacobian(run.model, data.encode(some).to(run.device), t_min=t_min, cond=cond)
    return lik.GaussianPart.fit(data.encode(some)) if kind == "gaussian" else None


def _dequantiser(run: Run, t_min: float) -> lik.Dequantiser:
    settings, sde = run.likelihood, run.model.sde
    if settings.dequantiser == "variational":
        raw = stack(run.data.train, range(min(len(run.data.train), 20_000)))
        cond = of_items(run, run.data.train, range(len(raw)))
        return lik.fit_variational(run.model, raw.to(run.device), run.data, seed=run.config.seed, cond=cond)
    return settings.dequantised(sde, t_min)


def _chain(run: Run, t_min: float) -> dict:
    """The chain of `vlb`, and how it is looked at: in every step of a short one, several times."""
    settings, sde = run.likelihood, run.model.sde
    times = grids.times(settings.bound_grid, sde, settings.bound_steps, sde.t_max, t_min)
    learned = isinstance(run.model.bare, LearnedVariance)
    variance = settings.bound_variance or ("learned" if learned else "posterior")
    if settings.bound_steps > settings.bound_draws:
        return {"times": times, "variance": variance, "n": settings.bound_draws}
    return {"times": times, "variance": variance, "draws": max(2, settings.bound_draws // settings.bound_steps)}


def _bound(run: Run, t_min: float) -> Columns:
    """A function (raw items, their numbers, conditions) -> the columns of the bound beside the flow's density.

    It is in that one's units: on the density of dequantised data, or on the probability of the levels for a model of
    the bins' centres.
    """
    model, data, settings, seed = run.model, run.data, run.likelihood, run.config.seed
    discrete = data.levels is not None and settings.dequantiser in OF_CENTRES
    bins = Bins.of(data) if discrete else None
    uniform = lik.Uniform()

    def place(raw: Tensor, numbers: Tensor) -> Tensor:
        if data.levels is None or discrete:
            return data.encode(raw)
        return uniform.draw(raw, data, numbers, seed, 0)[0]

    pilot = stack(data.train, range(min(len(data.train), 128)))
    some, numbers = of_items(run, data.train, range(len(pilot))), torch.arange(len(pilot))
    plan = lik.fit_plan(model, place(pilot, numbers).to(run.device), t_min=t_min, seed=seed, cond=some)
    options = {"seed": seed, "levels": bins, "density": plan}

    def columns(raw: Tensor, index: range, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        known = cond if model.conditions else None
        x = place(raw, torch.arange(index.start, index.stop)).to(run.device)
        if settings.bound == "vlb":
            found = lik.vlb(model, x, offset=index.start, cond=known, **_chain(run, t_min), **options)
        else:
            found = lik.elbo(model, x, settings.bound_draws, offset=index.start, t_min=t_min, cond=known, **options)
        parts = {f"bound_{k}": getattr(found, k) for k in ("prior", "diffusion", "reconstruction")}
        return {"bound": found.log_prob, "bound_stderr": found.stderr, **parts}

    return columns


def _bound_alone(run: Run, t_min: float) -> Columns:
    """The same columns of the evidence bound in the flow's place."""
    data, settings, bound = run.data, run.likelihood, _bound(run, t_min)
    centres = data.levels is not None and settings.dequantiser in OF_CENTRES

    def columns(raw: Tensor, index: range, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {k.removeprefix("bound_"): v for k, v in bound(raw, index, cond).items()}
        log_prob, zero = found.pop("bound"), torch.zeros(len(raw), dtype=torch.float64)
        found |= {"log_prob": log_prob, "nfe": zero + settings.bound_draws, "dequantisation": zero, "decoder": zero}
        if centres:  # log P of the levels, without a volume
            end = found.pop("reconstruction")
            back = zero - Bins.of(data).log_volume(data.shape)
            found |= {"log_prob": log_prob - end, "decoder": end, "dequantisation": back}
        return {k: v.detach().double().cpu() for k, v in found.items()}

    return columns

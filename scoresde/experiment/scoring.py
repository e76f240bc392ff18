"""The task that scores: log-likelihood of data and, where it has levels, bits/dim with its terms and their errors."""

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .. import likelihood as lik
from ..data import Data, stack
from ..errors import InputError
from ..sampling import joined, share
from . import checkpoint, pictures, processes
from .examples import Examples, batches, write_columns
from .other import other
from .report import bar
from .run import Run
from .track import Metrics

DEQUANTISERS = ("uniform", "importance", "truncated_normal", "decoder", "variational")
BOUNDS = ("elbo", "vlb")


@dataclass(frozen=True)
class Scoring:
    """What to score: `n` examples (None: all) of the `split`, through the flow, and beside it by a `bound`.

    `probes` of the divergence (None: exact; "auto": until the standard error of an example is `target_stderr` nats),
    `steps` of a fixed grid (None: adaptive, to `rtol` and `atol`).  `dequantiser` carries discrete values into the
    model's space, with `draws` of them averaged in probability.  `bound` is None, "elbo" or "vlb", of `bound_draws`.
    """

    split: str = "test"
    n: int | None = None
    probes: int | str | None = 1
    target_stderr: float = 0.1
    max_probes: int = 64
    steps: int | None = None
    rtol: float = 1e-3
    atol: float = 1e-3
    method: str = "adams"
    t_min: float | None = None
    control_variate: bool = False
    dequantiser: str = "uniform"
    draws: int = 1
    bound: str | None = None
    bound_draws: int = 32

    def __post_init__(self):
        for name, known in (("split", ("train", "test")), ("dequantiser", DEQUANTISERS), ("bound", (None, *BOUNDS))):
            if getattr(self, name) not in known:
                choices = ", ".join("null" if k is None else k for k in known)
                raise InputError(f"likelihood.{name}={getattr(self, name)!r}: choose one of {choices}")
        for name, free in (("n", True), ("probes", True), ("steps", True), ("draws", False), ("bound_draws", False)):
            value = getattr(self, name)
            if not ((free and value is None) or (name == "probes" and value == "auto") or _positive(value)):
                raise InputError(f"likelihood.{name}={value!r}: give a positive whole number{', or null' * free}")
        for name in ("rtol", "atol", "target_stderr"):
            if not getattr(self, name) > 0:
                raise InputError(f"likelihood.{name}={getattr(self, name)!r}: give a positive number")
        if self.draws > 1 and self.dequantiser in ("uniform", "variational"):
            raise InputError(f"likelihood.draws={self.draws} is for dequantiser=importance, truncated_normal or decoder")


def _positive(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def score(run: Run) -> None:
    """Scores the examples: likelihood.npz, histogram.png, extremes.png, and summary.json with every figure.

    Of several processes each scores its share; examples that an earlier, unfinished run scored are kept.
    """
    model, data, settings, seed = run.model, run.data, run.scoring, run.config.seed
    second = other(run.config, data)
    parts = (run.plain["likelihood"], seed, model.step, *([str(run.config.data.other)] if second else []))
    folder = run.place("likelihood", settings.split, *parts)
    processes.join(run.config.device)
    began = time.perf_counter()
    sets = {settings.split: getattr(data, settings.split)} | ({second[0]: second[1]} if second else {})
    columns = {name: _columns(run, folder, name, items) for name, items in sets.items()}
    if not run.lead:
        return
    for name, found in columns.items():
        write_columns(folder / f"likelihood{'' if name == settings.split else '_other'}.npz", found)
    own = columns[settings.split]
    t_min = _time(run)
    figures = {"n": len(own["log_prob"]), "evaluations": float(own["nfe"].mean())}
    figures |= {"seconds": time.perf_counter() - began, "t_min": t_min}
    more, rows = _figures(run, own)
    figures |= more
    if second:
        more, line = _compare(run, *second, columns)
        figures |= more
        rows.append(line)
    _pictures(run, folder, sets, columns)
    Metrics(folder / "metrics.jsonl", run.wandb, "likelihood/").log(0, **figures)
    how = {k: v for k, v in dataclasses.asdict(settings).items() if k not in ("n", "t_min")}
    summary = dict(task="likelihood", **how, seed=seed, ema=True, step=model.step, **figures)
    words = f"{figures['evaluations']:.0f} evaluations an example, {_how(settings)}, t_min {t_min:g}"
    run.finish(folder, summary, [*rows, ("", words), ("", str(folder / "summary.json"))])
    for name in sets:
        Examples(folder / f"parts-{name}", 0).remove()


def _time(run: Run) -> float:
    """The time at which the density is evaluated: `t_min`, or the one that matches the data's bins, or the SDE's own."""
    settings, sde = run.scoring, run.model.sde
    if settings.t_min is None and settings.dequantiser in ("truncated_normal", "decoder"):
        return lik.matching_time(sde, run.data)
    return lik.start_time(sde, settings.t_min)


def _columns(run: Run, folder: Path, name: str, items: Dataset) -> dict[str, Tensor]:
    """The figures of the first n items, a column each; on the first process only."""
    n = min(run.scoring.n or len(items), len(items))
    device, store = run.config.device, Examples(folder / f"parts-{name}", n)
    processes.wait(device)
    todo = store.missing()
    processes.wait(device)  # until all have seen what is there, before anyone adds to it
    own = [todo[i] for i in share(len(todo), *joined())]
    if len(todo) < n:
        run.say(f"{n - len(todo)} of {n} {name} examples were scored before")
    scorer, done = _scorer(run), 0
    with bar(run.console, f"likelihood ({name})", len(own)) as advance:
        for index in batches(own, run.config.batch_size):
            found = scorer(stack(items, index), index)
            store.put(index.start, found)
            done += len(index)
            advance(done, f"{float(found['nfe'].mean()):.0f} evaluations an example")
    processes.wait(device)
    return store.all() if run.lead else {}


def _scorer(run: Run):
    """A function (raw items, their numbers) -> columns of figures in nats: those of the model's space, and corrections."""
    model, data, settings, seed, t_min = run.model, run.data, run.scoring, run.config.seed, _time(run)
    known = ("probes", "target_stderr", "max_probes", "steps", "rtol", "atol", "method")
    flow = {k: getattr(settings, k) for k in known} | {"t_min": t_min, "seed": seed}
    if settings.control_variate:
        some = data.encode(stack(data.train, range(min(len(data.train), 20_000))))
        flow["control"] = lik.GaussianPart.fit(some)
    dequantiser = _dequantiser(run, t_min) if data.levels else None
    bound = _bound(run, t_min) if settings.bound else None

    def columns(raw: Tensor, index: range) -> dict[str, Tensor]:
        evaluations = torch.zeros(len(raw))

        def density(x: Tensor) -> lik.Likelihood:
            found = lik.log_likelihood(model, x.to(run.device), offset=index.start, **flow)
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
        figures["nfe"] = evaluations
        if bound is not None:
            figures |= bound(raw, index)
        return {k: v.detach().double().cpu() for k, v in figures.items()}

    return columns


def _dequantiser(run: Run, t_min: float) -> lik.Dequantiser:
    settings, sde = run.scoring, run.model.sde
    if settings.dequantiser == "variational":
        return lik.Variational.fit(run.model, run.data, t_min=t_min, seed=run.config.seed)
    return {
        "uniform": lambda: lik.Uniform(),
        "importance": lambda: lik.ImportanceWeighted(settings.draws),
        "truncated_normal": lambda: lik.TruncatedNormal(sde, t_min, settings.draws),
        "decoder": lambda: lik.Decoder(sde, t_min, settings.draws),
    }[settings.dequantiser]()


def _bound(run: Run, t_min: float):
    """A function (raw items, their numbers) -> the columns of the bound beside the flow's density, in its units.

    On the density of dequantised data, or on the probability of the levels for a model of the bins' centres.
    """
    model, data, settings, seed = run.model, run.data, run.scoring, run.config.seed
    discrete = data.levels is not None and settings.dequantiser in ("truncated_normal", "decoder")
    levels = lik.Levels.of(data) if discrete else None
    uniform = lik.Uniform()

    def place(raw: Tensor, numbers: Tensor) -> Tensor:
        if data.levels is None or discrete:
            return data.encode(raw)
        return uniform.draw(raw, data, numbers, seed, 0)[0]

    pilot = stack(data.train, range(min(len(data.train), 128)))
    plan = lik.fit_plan(model, place(pilot, torch.arange(len(pilot))).to(run.device), t_min=t_min, seed=seed)
    options = {"seed": seed, "levels": levels, "density": plan}

    def columns(raw: Tensor, index: range) -> dict[str, Tensor]:
        x = place(raw, torch.arange(index.start, index.stop)).to(run.device)
        if settings.bound == "vlb":
            times = model.sde.time(torch.linspace(*(float(model.sde.log_snr(t)) for t in (model.sde.t_max, t_min)), 1001))
            found = lik.vlb(model, x, times, settings.bound_draws, offset=index.start, **options)
        else:
            found = lik.elbo(model, x, settings.bound_draws, offset=index.start, t_min=t_min, **options)
        parts = {f"bound_{k}": getattr(found, k) for k in ("prior", "diffusion", "reconstruction")}
        return {"bound": found.log_prob, "bound_stderr": found.stderr, **parts}

    return columns


def _per_example(data: Data, columns: dict[str, Tensor]) -> Tensor:
    """Bits/dim of each example where the data has levels, else nats in the data's units."""
    if data.levels is None:
        return columns["log_prob"] + data.log_det
    nats = columns["log_prob"] + columns["dequantisation"] + columns["decoder"] + data.log_det
    return math.log2(data.levels) - nats / (math.prod(data.shape) * math.log(2))


def _mean(values: Tensor) -> tuple[float, float]:
    """The mean and its standard error."""
    n = len(values)
    return float(values.mean()), float(values.std() / math.sqrt(n)) if n > 1 else math.nan


def _figures(run: Run, columns: dict[str, Tensor]) -> tuple[dict, list[tuple[str, str]]]:
    """Nats in the data's own units, with bits/dim and its terms for discrete data; and the rows of the table."""
    data, settings = run.data, run.scoring
    mean, stderr = _mean(columns["log_prob"] + data.log_det)
    units = "of the unit cube" if data.levels else "in the data's units"
    n, split = len(columns["log_prob"]), settings.split
    figures = {"nats": mean, "nats_stderr": stderr, "probes_stderr": float(columns["stderr"].mean())}
    rows = [("log-likelihood", f"{mean:.3f} +- {stderr:.3f} nats {units}, {n} {split} examples")]
    if data.levels is None:
        if settings.bound:
            bound, error = _mean(columns["bound"] + data.log_det)
            figures |= {"bound_nats": bound, "bound_nats_stderr": error}
            rows.append((settings.bound, f"{bound:.3f} +- {error:.3f} nats {units}"))
        return figures, rows
    bits = _bits(run, columns)
    figures |= {f"bits_per_dim{'' if k == 'total' else '_' + k}": getattr(bits, k) for k in ("total", "stderr")}
    figures |= {f"bits_per_dim_{k}": list(getattr(bits, k)) for k in ("normal", "bootstrap")}
    figures |= {f"bits_per_dim_{k}": v.mean for k, v in bits.terms.items()} | {"bits_per_dim_model": bits.model}
    ends = f"95 % {bits.bootstrap[0]:.3f} to {bits.bootstrap[1]:.3f}"
    rows.append(("bits/dim", f"{bits.total:.3f} +- {bits.stderr:.3f} ({ends}), dequantisation {settings.dequantiser}"))
    terms = [f"{v.mean:+.3f} ({k})" for k, v in bits.terms.items() if v.mean or v.stderr]
    rows.append(("", f"= {' '.join(terms).removeprefix('+')}"))
    if settings.bound:
        bound = _bits(run, columns, "bound_")
        figures |= {f"bound_bits_per_dim{'' if k == 'total' else '_' + k}": getattr(bound, k) for k in ("total", "stderr")}
        figures |= {f"bound_bits_per_dim_{k}": v.mean for k, v in bound.terms.items()}
        rows.append((settings.bound, f"{bound.total:.3f} +- {bound.stderr:.3f} bits/dim"))
    return figures, rows


def _bits(run: Run, columns: dict[str, Tensor], of: str = "") -> lik.BitsPerDim:
    """Bits/dim of the flow's density, or of the bound's."""
    data, dims = run.data, math.prod(run.data.shape)
    names = ("prior", "diffusion", "reconstruction") if of else ("prior", "volume", "divergence")
    parts = {k: columns.get(of + k) for k in names}
    if of:
        return _bound_bits(run, columns["bound"], parts)
    extra = (columns["dequantisation"], columns["decoder"])
    return lik.bits_per_dim(columns["log_prob"], dims, data.levels, data.log_det, parts, *extra, seed=run.config.seed)


def _bound_bits(run: Run, bound: Tensor, parts: dict[str, Tensor]) -> lik.BitsPerDim:
    data, dims = run.data, math.prod(run.data.shape)
    # A bound on log P(v) has no bins left: what the formula adds for them is taken off.
    on_levels = run.scoring.dequantiser in ("truncated_normal", "decoder")
    none = -(data.log_det - dims * math.log(data.levels)) if on_levels else 0.0
    fill = torch.full_like(bound, none)
    return lik.bits_per_dim(bound, dims, data.levels, data.log_det, parts, fill, seed=run.config.seed)


def _compare(run: Run, name: str, items: Dataset, columns: dict[str, dict[str, Tensor]]) -> tuple[dict, tuple[str, str]]:
    """How far the other data lies from the model's own: its mean, and the chance that one of its examples is less likely."""
    own, far = (_per_example(run.data, columns[k]) for k in (run.scoring.split, name))
    if run.data.levels is not None:
        own, far = -own, -far
    pairs = torch.searchsorted(far.sort().values, own.contiguous())
    above = float(pairs.double().mean() / len(far))
    mean, stderr = _mean(far if run.data.levels is None else -far)
    units = "nats" if run.data.levels is None else "bits/dim"
    figures = {"other": name, "other_mean": mean, "other_stderr": stderr, "other_n": len(far), "auroc": above}
    return figures, (name, f"{mean:.3f} +- {stderr:.3f} {units}, {len(far)} examples; AUROC {above:.3f}")


def _pictures(run: Run, folder: Path, sets: dict[str, Dataset], columns: dict[str, dict[str, Tensor]]) -> None:
    """histogram.png of the figures of single examples, and extremes.png: the most and the least likely ones."""
    data, split = run.data, run.scoring.split
    values = {name: _per_example(data, found) for name, found in columns.items()}
    units = "nats" if data.levels is None else "bits/dim"
    pictures.histogram(folder / "histogram.png", values, units)
    order = values[split].argsort(descending=data.levels is None)
    few = min(10, len(order))
    most, least = (stack(sets[split], i) for i in (order[:few], order.flip(0)[:few]))
    pictures.extremes(folder / "extremes.png", most, least, data.levels)
    for name in ("histogram", "extremes"):
        run.wandb.image(f"likelihood/{name}", folder / f"{name}.png")


def _how(settings: Scoring) -> str:
    probes = {None: "exact", "auto": "by as many probes as it takes"}.get(settings.probes, f"{settings.probes} Rademacher")
    return f"divergence {probes}{' with control variate' * settings.control_variate}"

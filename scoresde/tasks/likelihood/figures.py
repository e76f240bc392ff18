"""What scored examples say: the figures with their errors, other data beside them, pictures."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ... import likelihood as lik
from ... import pictures
from ...data import Data, stack
from ...likelihood.discrete.dequantisation import PARTS
from ...run import Run
from ...tracking import tables
from . import latent
from .densities import OF_CENTRES
from .latent import bounded, scored

LN2 = math.log(2)


def _per_example(data: Data, columns: dict[str, Tensor]) -> Tensor:
    """Bits/dim of each example where the data has levels, else nats in the data's units."""
    if data.levels is None:
        return columns["log_prob"] + data.log_det
    nats = columns["log_prob"] + columns["dequantisation"] + columns["decoder"] + data.log_det
    return math.log2(data.levels) - nats / (math.prod(data.shape) * LN2)


def by_name(path: Path, items: Dataset, data: Data, columns: dict[str, Tensor]) -> None:
    """For examples that are files: a table of the name, the figure of each and its probes' standard error.

    Datasets of files have their `names`, in order; of any other nothing is written.
    """
    names = getattr(items, "names", None)
    if names is None:
        return
    figure, stderr = ("nats", 1.0) if data.levels is None else ("bits_per_dim", 1 / (math.prod(data.shape) * LN2))
    known = [_per_example(data, columns), stderr * columns["stderr"]]
    cells = ([v if math.isfinite(v) else None for v in column.tolist()] for column in known)
    tables.write_csv(path, ("name", figure, "stderr"), zip(names, *cells, strict=False))


def _mean(values: Tensor) -> tuple[float, float]:
    """The mean and its standard error."""
    n = len(values)
    return float(values.mean()), float(values.std() / math.sqrt(n)) if n > 1 else math.nan


def summarised(run: Run, columns: dict[str, Tensor]) -> tuple[dict, list[tuple[str, str]]]:
    """Nats in the data's own units, with bits/dim and its terms for discrete data; and the rows of the table."""
    if bounded(run):
        return latent.summarised(run, columns)
    data, settings = run.data, run.likelihood
    mean, stderr = _mean(columns["log_prob"] + data.log_det)
    units = "of the unit cube" if data.levels else "in the data's units"
    units = units if run.model.codec is None else "of the latents, which say nothing of log p(x)"
    n, split = len(columns["log_prob"]), settings.split
    figures = {"nats": mean, "nats_stderr": stderr, "probes_stderr": float(columns["stderr"].mean())}
    rows = [("log-likelihood", f"{mean:.3f} +- {stderr:.3f} nats {units}, {n} {split} examples")]
    if data.levels is None:
        if settings.bound:
            bound, error = _mean(columns["bound"] + data.log_det)
            figures |= {"bound_nats": bound, "bound_nats_stderr": error}
            rows.append((settings.bound, f"{bound:.3f} +- {error:.3f} nats {units}"))
        return figures, rows
    bits = _flow_bits(run, columns)
    figures |= {"bits_per_dim": bits.total, "bits_per_dim_stderr": bits.stderr}
    figures |= {"bits_per_dim_normal": list(bits.normal), "bits_per_dim_bootstrap": list(bits.bootstrap)}
    figures |= {f"bits_per_dim_{k}": v.mean for k, v in bits.terms.items()} | {"bits_per_dim_model": bits.model}
    ends = f"95 % {bits.bootstrap[0]:.3f} to {bits.bootstrap[1]:.3f}"
    rows.append(("bits/dim", f"{bits.total:.3f} +- {bits.stderr:.3f} ({ends}), dequantisation {settings.dequantiser}"))
    terms = [f"{v.mean:+.3f} ({k})" for k, v in bits.terms.items() if v.mean or v.stderr]
    rows.append(("", f"= {' '.join(terms).removeprefix('+')}"))
    if settings.bound:
        bound = _bound_bits(run, columns)
        figures |= {"bound_bits_per_dim": bound.total, "bound_bits_per_dim_stderr": bound.stderr}
        figures |= {f"bound_bits_per_dim_{k}": v.mean for k, v in bound.terms.items()}
        rows.append((settings.bound, f"{bound.total:.3f} +- {bound.stderr:.3f} bits/dim"))
    return figures, rows


def _flow_bits(run: Run, columns: dict[str, Tensor]) -> lik.BitsPerDim:
    """Bits/dim of the flow's density, or of the bound in its place."""
    data, parts = run.data, {k: columns.get(k) for k in PARTS}
    extra, dims = (columns["dequantisation"], columns["decoder"]), math.prod(data.shape)
    return lik.bits_per_dim(columns["log_prob"], dims, data.levels, data.log_det, parts, *extra, seed=run.config.seed)


def _bound_bits(run: Run, columns: dict[str, Tensor]) -> lik.BitsPerDim:
    """Bits/dim of the bound: on the density of dequantised data, or on the probability of the levels themselves."""
    data, seed, dims = run.data, run.config.seed, math.prod(run.data.shape)
    parts = {k: columns[f"bound_{k}"] for k in ("prior", "diffusion", "reconstruction")}
    bound = lik.Bound(columns["bound"], columns["bound_stderr"], **parts, nfe=0)
    if run.likelihood.dequantiser in OF_CENTRES:
        return lik.discrete_bits_per_dim(lik.discrete_bound(bound, data), data, seed)
    return lik.bits_per_dim(bound.log_prob, dims, data.levels, data.log_det, parts, seed=seed)


def compare(run: Run, name: str, columns: dict[str, dict[str, Tensor]]) -> tuple[dict, tuple[str, str]]:
    """The mean of the other data, and the chance that one of its examples is less likely than one of the test data."""
    own, far = (_per_example(scored(run), columns[k]) for k in (run.likelihood.split, name))
    if scored(run).levels is not None:
        own, far = -own, -far
    pairs = torch.searchsorted(far.sort().values, own.contiguous())
    above = float(pairs.double().mean() / len(far))
    mean, stderr = _mean(far if scored(run).levels is None else -far)
    units = "nats" if scored(run).levels is None else "bits/dim"
    figures = {"other": name, "other_mean": mean, "other_stderr": stderr, "other_n": len(far), "auroc": above}
    return figures, (name, f"{mean:.3f} +- {stderr:.3f} {units}, {len(far)} examples; AUROC {above:.3f}")


def draw(run: Run, folder: Path, sets: dict[str, Dataset], columns: dict[str, dict[str, Tensor]]) -> None:
    """histogram.png of the figures of single examples, and extremes.png: the most and the least likely ones."""
    data, split = scored(run), run.likelihood.split
    values = {name: _per_example(data, found) for name, found in columns.items()}
    units = "nats" if data.levels is None else "bits/dim"
    pictures.histogram(folder / "histogram.png", values, units)
    own = values[split]
    order = own.argsort(descending=data.levels is None)
    order = order[own[order].isfinite()]
    few = min(10, (len(order) + 1) // 2)
    ends = order[:few], order.flip(0)[:few]
    if few:
        said = {"values": [own[i] for i in ends], "units": units}
        said |= {"names": pictures.names_of(data), "real": pictures.some_real(data)}
        pictures.extremes(folder / "extremes.png", *(stack(sets[split], i) for i in ends), data.levels, **said)
    for name in ("histogram", "extremes"):
        run.tracker.image(f"likelihood/{name}", folder / f"{name}.png")
    for name, found in values.items():
        run.tracker.histogram(f"likelihood/{units.replace('/', '_per_')}_{name}", found)

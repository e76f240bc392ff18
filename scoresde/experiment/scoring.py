"""The task that scores: the log-likelihood of held-out data, and bits/dim where the data has levels."""

import dataclasses
import io
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .. import noise
from ..data import Data, stack
from ..errors import InputError
from ..likelihood import bits_per_dim, log_likelihood
from . import checkpoint
from .report import bar
from .run import Run
from .track import Metrics


@dataclass(frozen=True)
class Scoring:
    """What to score: `n` examples (None: all) of the `split`, with `probes` of the divergence (None: exact)."""

    split: str = "test"
    n: int | None = None
    probes: int | None = 1
    rtol: float = 1e-3
    atol: float = 1e-3
    method: str = "adams"
    t_min: float | None = None

    def __post_init__(self):
        if self.split not in ("train", "test"):
            raise InputError(f"likelihood.split={self.split!r}: choose train or test")
        for name in ("n", "probes"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"likelihood.{name}={value!r}: give a positive whole number, or null")
        if not (self.rtol > 0 and self.atol > 0):
            raise InputError(f"likelihood.rtol={self.rtol!r}, likelihood.atol={self.atol!r}: both must be positive")


def score(run: Run) -> None:
    """The log-likelihood of the examples through the probability flow, in nats; bits/dim where the data has levels."""
    model, data, settings, seed = run.model, run.data, run.scoring, run.config.seed
    folder = run.place("likelihood", settings.split, run.plain["likelihood"], seed, model.step)
    began = time.perf_counter()
    log_prob, stderr, nfe = _log_prob(run)
    t_min = model.sde.t_min if settings.t_min is None else settings.t_min
    figures = {"n": len(log_prob), "evaluations": nfe, "seconds": time.perf_counter() - began, "t_min": t_min}
    more, rows = _figures(data, log_prob, settings.split)
    figures |= more
    buffer = io.BytesIO()
    np.savez(buffer, log_prob=log_prob.numpy(), stderr=stderr.numpy())
    checkpoint.write(folder / "likelihood.npz", lambda file: file.write(buffer.getvalue()))
    Metrics(folder / "metrics.jsonl", run.wandb, "likelihood/").log(0, **figures)
    probes = "exact" if settings.probes is None else f"{settings.probes} Rademacher"
    how = {"split": settings.split, "divergence": probes, "rtol": settings.rtol, "atol": settings.atol}
    how["method"] = settings.method
    summary = dict(task="likelihood", **how, seed=seed, ema=True, step=model.step, **figures)
    words = f"{nfe:.0f} evaluations an example, divergence {probes}, t_min {t_min:g}"
    run.finish(folder, summary, [*rows, ("", words), ("", str(folder / "summary.json"))])


def _log_prob(run: Run) -> tuple[Tensor, Tensor, float]:
    """log p of each example in the model's space, its standard error over probes, and the mean evaluations."""
    settings, seed = run.scoring, run.config.seed
    examples = getattr(run.data, settings.split)
    n = min(settings.n or len(examples), len(examples))
    options = {k: getattr(settings, k) for k in ("probes", "rtol", "atol", "method", "t_min")}
    parts = []
    with bar(run.console, "likelihood", n) as advance:
        for start in range(0, n, run.config.batch_size):
            index = torch.arange(start, min(start + run.config.batch_size, n))
            raw = stack(examples, index)
            x = run.data.encode(raw, noise.uniform(raw.float(), index, seed, 1)).to(run.device)
            parts.append(log_likelihood(run.model, x, seed=seed, offset=start, **options))
            advance(start + len(x), f"{float(parts[-1].nfe.float().mean()):.0f} evaluations an example")
    log_prob, stderr, nfe = (torch.cat([getattr(p, k) for p in parts]).cpu() for k in ("log_prob", "stderr", "nfe"))
    return log_prob.double(), stderr.double(), float(nfe.float().mean())


def _figures(data: Data, log_prob: Tensor, split: str) -> tuple[dict, list[tuple[str, str]]]:
    """Nats in the data's own units, with bits/dim and its terms for discrete data; and the rows of the table."""
    n = len(log_prob)
    nats = log_prob + data.log_det
    figures = {"nats": float(nats.mean()), "nats_stderr": float(nats.std() / math.sqrt(n)) if n > 1 else math.nan}
    units = "of the unit cube" if data.levels else "in the data's units"
    rows = [
        ("log-likelihood", f"{figures['nats']:.3f} +- {figures['nats_stderr']:.3f} nats {units}, {n} {split} examples")
    ]
    if data.levels is None:
        return figures, rows
    bits = bits_per_dim(log_prob, math.prod(data.shape), data.levels, data.log_det)
    figures |= {f"bits_per_dim{'' if k == 'total' else '_' + k}": v for k, v in dataclasses.asdict(bits).items()}
    terms = f"{bits.model:.3f} (model) {bits.transform:+.3f} (transform) {bits.levels:+.3f} (levels)"
    return figures, [
        *rows,
        ("bits/dim", f"{bits.total:.3f} +- {bits.stderr:.3f} with uniform dequantisation"),
        ("", f"= {terms}"),
    ]

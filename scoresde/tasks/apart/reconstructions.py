"""What an autoencoder gives back of held-out items, in figures and as a picture."""

import math

import torch
from torch import Tensor

from ... import metrics, pictures
from ...data import Data, stack
from ...data.look import spaced
from ...errors import InputError
from ...metrics import Estimate
from ...metrics.estimate import interval
from ...model import TrainedAutoencoder
from ...run import Run
from ..evaluate.reference import Features, reference

SHOWN = 10  # items in the picture
GROUPS = 20  # of the jackknife
Rows = list[tuple[str, str]]


def told(run: Run, data: Data, model: TrainedAutoencoder, items: int, extractor: str | None) -> Rows:
    """Rows of a table: PSNR, SSIM, what the latents cost, a Frechet distance by an extractor; reconstructions.png."""
    raw = stack(data.test, spaced(len(data.test), items))
    again = model.reconstruct(raw)
    few = torch.from_numpy(spaced(len(raw), SHOWN))
    pictures.translations(run.folder / "reconstructions.png", raw[few], again[few][:, None], None, data.levels)
    shape, fewer = " x ".join(map(str, model.latent_shape)), math.prod(data.shape) / math.prod(model.latent_shape)
    rows, found = [("latents", f"{shape}, {fewer:.3g} times fewer numbers")], {}
    if data.levels and len(raw) > 1:
        of = (again, raw, data.levels - 1)
        found = {"psnr": metrics.psnr(*of), "ssim": metrics.ssim(*of)}
    for name, e in found.items():
        unit = " dB" if name == "psnr" else ""
        rows.append((name, f"{e.value:.4g}{unit} ({e.low:.4g} to {e.high:.4g}) of {e.n} held-out items"))
    rows += _cost(model, raw, found) + (_frechet(run, data, raw, again, extractor, found) if extractor else [])
    run.tracker.log("autoencoder/", model.step, {k: v for name, e in found.items() for k, v in _flat(name, e).items()})
    return rows


def check(data: Data, items: int, extractor: str | None) -> None:
    """Raises `InputError` for a Frechet distance of fewer items than it takes."""
    n, half = min(items, len(data.test)), len(data.train) - len(data.train) // 2
    if extractor is not None and min(n, half) < GROUPS:
        words = f"a Frechet distance takes {GROUPS} held-out items and {2 * GROUPS} for training; there are"
        raise InputError(f"task.extractor={extractor}: {words} {n} and {len(data.train)}", "task.extractor")


def _cost(model: TrainedAutoencoder, raw: Tensor, found: dict[str, Estimate]) -> Rows:
    """Bits: of a likelihood the bound with its terms, of a codebook what its codes take."""
    rows = []
    if model.codes is not None:
        places = math.prod(model.latent_shape[1:])
        each, pixels = places * math.log2(model.codes), math.prod(model.shape)
        words = f"{places} of {math.log2(model.codes):.3g} bits, {each / pixels:.3g} bits for each number of an item"
        rows.append(("codes of an item", words))
    if model.bare.log_std is not None and len(raw) > 1:
        bits = model.bits(raw, model.space)
        parts = ("bits_per_dim", bits.sum(1)), ("reconstruction_bits", bits[:, 0]), ("latent_bits", bits[:, 1])
        found |= {name: _mean(each) for name, each in parts}
        e, first, second = (found[name] for name, _ in parts)
        words = f"{e.value:.4f} +- {e.stderr:.4f} at most (of the autoencoder alone)"
        rows.append(("bits/dim", f"{words}: {first.value:.4f} given the latents, {second.value:.4f} for them"))
    return rows


def _frechet(run: Run, data: Data, raw: Tensor, again: Tensor, extractor: str, found: dict[str, Estimate]) -> Rows:
    """The Frechet distance of reconstructions to training items, and of the originals to the same.

    Not of reconstructions to their own originals: the two are no independent samples, as the figure takes them to be.
    """
    known = reference(run, Features(extractor=extractor))
    seen = [known.extractor(data.encode(part)) for part in (again, raw)]
    found |= {
        f"frechet{end}": metrics.frechet(x, known.floor, GROUPS)
        for end, x in zip(("", "_originals"), seen, strict=True)
    }
    ours, floor = (_words(found[name]) for name in ("frechet", "frechet_originals"))
    return [("frechet", f"{ours} by {known.name}, from {len(known.floor)} training items; the originals {floor}")]


def _mean(values: Tensor) -> Estimate:
    n, stderr = len(values), float(values.std()) / math.sqrt(len(values))
    return interval(float(values.mean()), stderr, n - 1, n, n, "Student's, of the mean over items")


def _words(e: Estimate) -> str:
    return f"{e.value:.3g} ({e.low:.3g} to {e.high:.3g})"


def _flat(name: str, e: Estimate) -> dict[str, float]:
    return {name: e.value, f"{name}_stderr": e.stderr, f"{name}_low": e.low, f"{name}_high": e.high}

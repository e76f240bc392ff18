"""task=translate: samples of what pictures may have been, given what is seen of them."""

import io
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ... import metrics, pictures
from ...config import build
from ...data import View, put_back
from ...denoiser import Counted
from ...errors import InputError
from ...machine import files, launcher
from ...machine.progress import fewer
from ...metrics import Estimate
from ...model.trained.denoiser import Model
from ...pictures.pixels import check_files, save_files
from ...run import Run, Task
from ...sampling import sample
from ...settings import Range, Text
from ...tracking.report import bar
from ...tracking.track import Metrics
from .. import train as tasks
from ..evaluate.reference import Features, reference
from ..likelihood.parts import write_columns
from .seen import Seen, seen

FEW = 40  # pictures that a Frechet distance needs


@dataclass(frozen=True)
class Translate(Features, Task):
    """`k` samples of each of n pictures, given what is seen of it: samples.npy (n, k, *shape), seen.npz, translate.png.

    The pictures are those of a `split`, or the files of a folder that the command names in the place of the model's
    data; of these, and with `png`, sample j of picture i is the file samples/NUMBER.png, of the number i k + j.  What
    is seen is by `view`: a name, a node, None (the model's own) or "none" (the pictures are degraded already).  Of
    pictures with holes what is known is `put_back`.

    Where the truth is known, its figures: the PSNR of one sample and of the mean of k, the diversity of samples, and
    with `frechet` the distance of the first samples to other held-out items, by the extractor of `Features`.

    With `train` the model is trained first, where it is not there yet.
    """

    k: Annotated[int, Range(1, 1000)] = 4
    view: Text | View | None = None
    put_back: bool = True
    split: Literal["train", "test"] = "test"
    frechet: bool = True
    train: bool = False

    @property
    def trains(self) -> bool:
        """As `train` says."""
        return self.train

    def __call__(self, run: Run) -> None:
        translate(run, self)


def translate(run: Run, settings: Translate) -> None:
    """Does what `Translate` says."""
    if launcher.claimed() > 1:
        raise InputError("task=translate draws in one process: start it without torchrun")
    if settings.train:
        tasks.train(run)
    found, config, model = seen(run, settings.view, settings.split), run.config, run.model
    if config.png or not found.held:
        check_files(model.shape, model.levels)
    n, k, choice = len(found.picture), settings.k, run.choices.get("sampler", build.name_of(config.sampler))
    how = (repr(run.fitted_sampler), n, config.seed, run.plain["task"], found.words, model.weights, config.autocast)
    folder = run.place("translate", choice, *how, *run.told())
    raw, figures = _drawn(run, settings, found)
    figures |= _figures(run, settings, found, raw)
    buffer = io.BytesIO()
    np.save(buffer, raw.numpy())
    files.write(folder / "samples.npy", lambda file: file.write(buffer.getvalue()))
    write_columns(folder / "seen.npz", found.cond)
    if config.png or not found.held:
        save_files(folder / "samples", raw.flatten(0, 1), model.levels)
    pictures.translations(folder / "translate.png", visible(model, found.picture), raw, found.truth, model.levels)
    run.tracker.image("translate/samples", folder / "translate.png")
    numbers = {name: value.value if isinstance(value, Estimate) else value for name, value in figures.items()}
    Metrics(folder / "metrics.jsonl", run.tracker, "translate/").log(0, **numbers)
    about = {"pictures": found.words, "n": n, "k": k, "seed": config.seed, "sampler": repr(run.fitted_sampler)}
    about |= {"ema": config.ema or True, "step": model.step, "weights": model.weights}
    summary = {name: vars(value) if isinstance(value, Estimate) else value for name, value in figures.items()}
    run.finish(folder, {"task": "translate", **about, **summary}, [*_rows(found, k, figures), ("", str(folder))])


def _drawn(run: Run, settings: Translate, found: Seen) -> tuple[Tensor, dict[str, Any]]:
    """The samples (n, k, *shape), in the data's own values, and what they cost."""
    config, n, k, began = run.config, len(found.picture), settings.k, time.perf_counter()
    cond = {name: value.repeat_interleave(k, 0) for name, value in found.cond.items()}
    counted = Counted(run.guided(cond))
    options = {name: config[name] for name in ("batch_size", "compile", "cuda_graphs", "autocast")} | {"store": "cpu"}
    with bar(run.console, "translating", n * k, 0, fewer("n=", n)) as advance:
        report = lambda done, words: advance(done, words)
        told = cond if counted.conditions else None
        shape = (n * k, *run.model.shape)
        x = sample(counted, run.fitted_sampler, shape, config.seed, cond=told, progress=report, **options)
    if settings.put_back and found.picture.shape[1:] == x.shape[1:]:
        x = put_back(x, found.picture.repeat_interleave(k, 0))
    seconds = time.perf_counter() - began
    figures = {"evaluations": counted.rows / (n * k), "seconds": seconds, "seconds_per_sample": seconds / (n * k)}
    return run.model.decode(x).unflatten(0, (n, k)), figures


def _figures(run: Run, settings: Translate, found: Seen, raw: Tensor) -> dict[str, Estimate]:
    """How good samples (n, k, *shape) are, and how far from each other."""
    figures, (n, k) = {}, raw.shape[:2]
    if n < 2:
        return figures
    if found.truth is not None:
        top = run.model.levels - 1
        figures["psnr"] = metrics.psnr(raw[:, 0], found.truth, top)
        if k > 1:
            figures["psnr_of_mean"] = metrics.psnr(raw.double().mean(1), found.truth, top)
        if found.picture.shape == found.truth.shape and not bool(found.picture.isnan().any()):
            figures["psnr_seen"] = metrics.psnr(run.model.decode(found.picture), found.truth, top)
    if k > 1:
        figures["diversity"] = metrics.diversity(raw)
    if settings.frechet and found.held and n >= FEW:
        known = reference(run, settings)
        # Others than those that are translated, of which the samples know a part.
        rest = known.test[n:] if settings.split == "test" else known.test
        rest = rest if len(rest) >= FEW else known.floor
        for name, of in (("frechet", raw[:, 0]), ("frechet_truth", found.truth)):
            figures[name] = metrics.frechet(known.extractor(run.data.encode(of)), rest)
    return figures


def visible(model: Model, picture: Tensor) -> Tensor:
    """What is seen, (n, C', *space'), as pictures of the model's shape, missing pixels half way: raw (n, *shape)."""
    x = torch.nan_to_num(picture, 0.0).clamp(-1, 1)
    if tuple(x.shape[2:]) != tuple(model.shape[1:]):
        x = F.interpolate(x, size=tuple(model.shape[1:]), mode="nearest")
    return model.decode(x if x.shape[1] == model.shape[0] else x[:, :1].expand(-1, model.shape[0], *x.shape[2:]))


def _rows(found: Seen, k: int, figures: dict[str, Any]) -> list[tuple[str, str]]:
    """The closing table."""
    words = f"{len(found.picture)} pictures of {found.words}, {k} samples of each"
    cost = f"{figures['evaluations']:.0f} evaluations and {1e3 * figures['seconds_per_sample']:.1f} ms a sample"
    names = {"psnr": "PSNR, dB", "psnr_of_mean": f"of the mean of {k}", "psnr_seen": "of what is seen"}
    names |= {"diversity": "diversity, levels", "frechet": "Frechet", "frechet_truth": "of the truth"}
    table = [(words, str(figures[name])) for name, words in names.items() if name in figures]
    return [("translated", f"{words}: {cost}"), *table]

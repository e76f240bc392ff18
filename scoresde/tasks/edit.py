"""The task that changes pictures: these made noisy in part, and denoised again."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .. import metrics, pictures
from ..config import build
from ..data import stack
from ..denoiser import Counted
from ..errors import InputError
from ..machine import files, launcher
from ..machine.progress import fewer
from ..metrics import Estimate
from ..pictures.pixels import check_files, save_files
from ..run import Run, Task
from ..sampling import edit
from ..settings import Fraction
from ..tracking.report import bar
from ..tracking.track import Metrics
from .given import of_items
from .likelihood.parts import write_columns
from .translate.seen import folder_of, read, said


@dataclass(frozen=True)
class Edit(Task):
    """A sample near each of n pictures (SDEdit), one for each `strength`: samples.npy (n, k, *shape), edit.png.

    The pictures are those of a `split`, with the conditions that they come with where the command gives no others, or
    the files of a folder that the command names in the place of the model's data; of these, and with `png`, sample j of
    picture i is the file samples/NUMBER.png, of the number i k + j.  A strength goes from 0, the picture as it is, to
    1, a sample that knows nothing of it.  How near it is says the PSNR to the picture.
    """

    strength: Fraction | Sequence[Fraction] = 0.6
    split: Literal["train", "test"] = "test"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.strengths:
            raise InputError("strength=[]: give one number from 0 to 1 at least", "strength")

    @property
    def strengths(self) -> tuple[float, ...]:
        """All of them."""
        return tuple(self.strength) if isinstance(self.strength, Sequence) else (self.strength,)

    def __call__(self, run: Run) -> None:
        edited(run, self)


def edited(run: Run, settings: Edit) -> None:
    """Does what `Edit` says."""
    if launcher.claimed() > 1:
        raise InputError("task=edit draws in one process: start it without torchrun")
    root = folder_of(run)
    outer, config = run.model.outer, run.config
    if outer.levels is None or len(outer.shape) != 3:
        words = f"the model's data has shape {tuple(outer.shape)} and levels {outer.levels}: Model.edit takes any"
        raise InputError(f"task=edit is for pictures with levels: {words}")
    if config.png or root is not None:
        check_files(outer.shape, outer.levels)
    if root is None:
        items = getattr(run.data.outer, settings.split)
        index, words = torch.arange(min(config.n, len(items))), f"{run.data.outer.name} {settings.split}"
        raw, cond = stack(items, index), of_items(run, items, index)
    else:
        raw, cond, words = read(root, outer.shape, outer.levels)[: config.n], {}, str(root)
    cond |= said(run, len(raw))
    choice = run.choices.get("sampler", build.name_of(config.sampler))
    how = (repr(run.fitted_sampler), len(raw), config.seed, run.plain["task"], words, run.model.weights)
    folder = run.place("edit", choice, *how, config.autocast, *run.told())
    found, figures = _drawn(run, settings, raw, cond)
    if len(raw) > 1:
        figures |= {
            f"psnr_{strength:g}": metrics.psnr(found[:, k], raw, outer.levels - 1)
            for k, strength in enumerate(settings.strengths)
            if strength
        }
    _write(run, settings, folder, raw, found, cond, root is not None)
    numbers = {name: value.value if isinstance(value, Estimate) else value for name, value in figures.items()}
    Metrics(folder / "metrics.jsonl", run.tracker, "edit/").log(0, **numbers)
    about = {"pictures": words, "n": len(raw), "seed": config.seed, "sampler": repr(run.fitted_sampler)}
    about |= {"strength": list(settings.strengths), "ema": config.ema or True, "step": run.model.step}
    summary = {name: vars(value) if isinstance(value, Estimate) else value for name, value in figures.items()}
    summary = {"task": "edit", **about, "weights": run.model.weights, **summary}
    run.finish(folder, summary, [*_rows(settings, words, len(raw), figures), ("", str(folder))])


def _drawn(run: Run, settings: Edit, raw: Tensor, cond: dict[str, Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """The samples (n, k, *shape), in the data's own values, and what they cost."""
    config, n, k, began = run.config, len(raw), len(settings.strengths), time.perf_counter()
    counted, x0, found = Counted(run.guided(cond)), run.model.inside(raw).to(run.device), []
    options = {name: config[name] for name in ("batch_size", "compile", "cuda_graphs", "autocast")} | {"store": "cpu"}
    told = cond if counted.conditions else None
    with bar(run.console, "editing", n * k, 0, fewer("n=", n)) as advance:
        for i, strength in enumerate(settings.strengths):
            report = lambda done, words, before=n * i: advance(before + done, words)
            x = edit(counted, run.fitted_sampler, x0, strength, config.seed, told, progress=report, **options)
            found.append(run.model.decode(x.cpu()))
    seconds = time.perf_counter() - began
    figures = {"evaluations": counted.rows / (n * k), "seconds": seconds, "seconds_per_sample": seconds / (n * k)}
    return torch.stack(found, 1), figures


def _write(
    run: Run, settings: Edit, folder: Any, raw: Tensor, found: Tensor, cond: dict[str, Tensor], as_files: bool
) -> None:
    """The samples, what they were given, and their picture."""
    levels = run.model.outer.levels
    buffer = io.BytesIO()
    np.save(buffer, found.numpy())
    files.write(folder / "samples.npy", lambda file: file.write(buffer.getvalue()))
    if cond:
        write_columns(folder / "given.npz", cond)
    if run.config.png or as_files:
        save_files(folder / "samples", found.flatten(0, 1), levels)
    heads = [f"{strength:g}" for strength in settings.strengths]
    pictures.translations(folder / "edit.png", raw, found, None, levels, heads=heads)
    run.tracker.image("edit/samples", folder / "edit.png")


def _rows(settings: Edit, words: str, n: int, figures: dict[str, Any]) -> list[tuple[str, str]]:
    """The closing table."""
    cost = f"{figures['evaluations']:.0f} evaluations and {1e3 * figures['seconds_per_sample']:.1f} ms a sample"
    told = [(f"strength {s:g}", s) for s in settings.strengths if f"psnr_{s:g}" in figures]
    table = [(name, f"PSNR to the picture, dB: {figures[f'psnr_{s:g}']}") for name, s in told]
    return [("edited", f"{n} pictures of {words}: {cost}"), *table]

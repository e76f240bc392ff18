"""task=cascade: samples of models in a row, of which a killed command keeps what it has drawn."""

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ... import pictures
from ...cascade import Cascade
from ...config import build
from ...config.commands.composed import plain as plain_of
from ...errors import InputError
from ...machine import files, launcher, locks
from ...machine.devices import best_device
from ...machine.progress import shown
from ...model.trained.denoiser import Model
from ...pictures.pixels import check_files, save_files
from ...run import Task
from ...settings import brief, nearest
from ...tracking.report import say
from ..given import groups, rows_of
from ..likelihood.parts import Examples, batches, write_columns
from . import judged
from .settings import Maker, read

Look = Callable[[int, Tensor], dict[str, Any]]  # figures of a stage's samples


@dataclass(frozen=True)
class Generate(Task):
    """Samples of the models in `stages`, each told what the one before has drawn: samples.npy and samples.png.

    stage-1.npy, ... are what each stage tells the next, in its model's space, and stage-1.png, ... its picture.  They
    lie in `folder`, or out/cascade-HASH; a command that was killed goes on with the samples that it had drawn.

    With `judge` the samples are told what the command gives, or else the first n held-out items of the last model's
    data, and how many are as they were told is said of each stage, by its data's judge.
    """

    judge: bool = False
    alone: ClassVar[bool] = True

    def __call__(self, config: Any) -> None:
        cascade(config, self.judge)


def cascade(config: Any, judge: bool = False) -> None:
    """Does what `Generate` says.

    Raises `InputError` before any work for stages that do not fit, and for what is given and no stage takes.
    """
    if launcher.claimed() > 1:
        raise InputError("task=cascade draws in one process: start it without torchrun")
    plain = plain_of(config)
    maker = Maker(config, plain, read(plain.get("stages")))
    folders = maker.folders()
    device = best_device() if config.device == "auto" else config.device
    made = Cascade([maker.stage(i, folder, device) for i, folder in enumerate(folders)])
    cond = _given(made, plain["given"], config.n)
    data = judged.judging(maker, folders[-1]) if judge else None
    if data is not None and not cond:
        cond = judged.held_out(data, made.conditions, config.n)
    made.check(cond, config.n)
    if config.png:
        check_files(made.stages[-1].model.outer.shape, made.stages[-1].model.outer.levels)
    told = [plain["given"], config.n, config.seed]
    for stage, said, guide in zip(made.stages, maker.said, maker.guides, strict=True):
        told.append([stage.model.weights, repr(stage.sampler), said.scale, guide])
        told.append([stage.gives, stage.augment, stage.truncate])
        told += [said.threshold] * (said.threshold is not None)
    told += ["judged"] * judge
    place = Path(config.folder or Path(config.out) / f"cascade-{build.short_hash(told)}").expanduser()
    with locks.alone(place, say=say):
        files.sweep(place)
        look = (lambda k, x: judged.figures(maker, folders[k], made.stages[k], x, cond)) if judge else None
        _drawn(config, made, cond, folders, place, build.short_hash(told), look)


def _given(made: Cascade, said: Mapping[str, Any], n: int) -> dict[str, Tensor]:
    """What the command gives, n rows of each."""
    kinds = made.conditions
    for name in said:
        if name not in kinds:
            tip = nearest(name, kinds) if kinds else "; no stage takes any"
            raise InputError(f"given.{name}={brief(said[name])}: {name!r} is unknown{tip}", "given")
    return {name: rows_of(name, value, kinds[name], n) for name, value in said.items() if value is not None}


def _drawn(
    config: Any, made: Cascade, cond: dict[str, Tensor], folders: list[Path], place: Path, key: str, look: Look | None
) -> None:
    """Draws what is not there yet, looks at each stage's samples, and writes it."""
    before = files.read_json(place / "summary.json", default={})
    if before.get("key") not in (None, key):
        raise InputError(f"{place} holds samples of another cascade: give another folder")
    if before.get("finished") and not config.fresh:
        say(f"{place} has these samples already: {place}/samples.png")
        return
    began, x, figures = time.perf_counter(), None, []
    files.write_json(place / "summary.json", {"task": "cascade", "key": key, "finished": False})
    for k, stage in enumerate(made.stages):
        path, parts = place / f"stage-{k + 1}.npy", Examples(place / f"stage-{k + 1}", config.n)
        if config.fresh:
            parts.remove()
            path.unlink(missing_ok=True)
        start, drawn = time.perf_counter(), 0 if path.exists() else len(parts.missing())
        x = _stage(config, made, k, x, cond, parts, path)
        figures.append({"folder": str(folders[k]), "sampler": repr(stage.sampler), "weights": stage.model.weights})
        figures[-1] |= {"shape": list(stage.shape), "seconds": time.perf_counter() - start}
        figures[-1] |= {"drawn": drawn, "evaluations": stage.denoiser.rows / max(drawn, 1)}
        if look is not None and not stage.truncate:
            figures[-1]["judged"] = look(k, x)
        if not stage.truncate and stage is not made.stages[-1]:
            _picture(place / f"stage-{k + 1}.png", stage.model, x, made, cond)
    last = made.stages[-1].model
    raw = last.decode(x)
    _save(place / "samples.npy", raw)
    if cond:
        write_columns(place / "given.npz", cond)
    if config.png:
        save_files(place / "samples", raw, last.outer.levels)
    _picture(place / "samples.png", last, x, made, cond)
    summary = {"task": "cascade", "key": key, "n": config.n, "seed": config.seed, "stages": figures}
    summary |= {"seconds": time.perf_counter() - began, "finished": True}
    files.write_json(place / "summary.json", summary)
    judged.show(figures)
    say(f"{config.n} samples of {len(made.stages)} stages: {place}/samples.png, {place}/samples.npy")


def _stage(
    config: Any, made: Cascade, k: int, before: Tensor | None, cond: dict[str, Tensor], parts: Examples, path: Path
) -> Tensor:
    """All samples of stage k, of which those in its parts are there already."""
    n, shape = config.n, tuple(made.stages[k].shape)
    if (whole := _read(path, (n, *shape))) is not None:
        return whole
    missing = parts.missing()
    options = {name: config[name] for name in ("compile", "cuda_graphs", "autocast")} | {"store": "cpu"}
    with shown(True, f"stage {k + 1} of {len(made.stages)}", n, n - len(missing)) as advance:
        done = n - len(missing)
        for rows in batches(missing, config.batch_size):
            report = (lambda part, words, done=done: advance(done + part, words)) if advance else False
            index = torch.arange(rows.start, rows.stop)
            own = {name: value[index] for name, value in cond.items()}
            x = made.one(
                k,
                None if before is None else before[index],
                len(rows),
                config.seed,
                own,
                rows.start,
                progress=report,
                **options,
            )
            parts.put(rows.start, {"x": x})
            done += len(rows)
    x = parts.all()["x"]
    _save(path, x)
    parts.remove()
    return x


def _read(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """The samples of a stage that was finished; None where there are none, or they are damaged."""
    if not path.exists():
        return None
    try:
        with files.reading(path) as data:
            found = torch.from_numpy(np.load(data, allow_pickle=False))
    except Exception:  # numpy raises what it happens to raise
        return None
    return found if tuple(found.shape) == shape else None


def _save(path: Path, x: Tensor) -> None:
    buffer = io.BytesIO()
    np.save(buffer, x.cpu().numpy())
    files.write(path, lambda file: file.write(buffer.getvalue()))


def _picture(path: Path, model: Model, x: Tensor, made: Cascade, cond: dict[str, Tensor]) -> None:
    names = pictures.names_of(model)
    pictures.samples(path, model.decode(x), model.outer.levels, names=names, groups=groups(made.conditions, cond))

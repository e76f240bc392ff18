"""The task that examines a model, or before there is one its data, SDE and settings."""

import dataclasses
import time
from dataclasses import dataclass

from ... import doctor, pictures
from ...config import build, conditions, settle
from ...config.guide import Guide
from ...doctor import Finding
from ...model import folder as model_folder
from ...model.folder import MODEL
from ...model.trained.denoiser import Model
from ...run import Run, Task
from ...settings import Count
from ...tracking.report import graded
from ...training.book import check
from ..given import given

COLOURS = {"wrong": "bold red", "suspect": "yellow", "well": "green", "not looked at": "dim"}
GUIDED = 100  # samples


@dataclass(frozen=True)
class Doctor(Task):
    """Is the score right?  `scoresde.doctor.examine` of the model in the folder, on `n` items of each split of the data
    given, which need not be those that it was trained with; of a folder without a model `scoresde.doctor.before`.

    A table, the worst first; summary.json, and doctor.png: the error by noise level against its floors.
    """

    n: Count = 256

    def __call__(self, run: Run) -> None:
        if run.lead:
            examine(run, self)


def examine(run: Run, settings: Doctor) -> None:
    """Does what `Doctor` says."""
    began = time.perf_counter()
    trained = (run.folder / MODEL).exists() and not run.config.fresh
    model = _model(run) if trained else None
    found = _of_model(run, settings, model) if model is not None else _before(run)
    weights = model.weights if model is not None else ""
    asked = [run.plain[k] for k in ("task", "data", "sde", "seed")]
    folder = run.place("doctor", "model" if trained else "data", *asked, *run.told(), weights)
    graded(run.console, _rows(found))
    summary = {"task": "doctor", "seed": run.config.seed, "weights": weights, "step": model.step if model else 0}
    summary |= {state.replace(" ", "_"): sum(f.state == state for f in found) for state in COLOURS}
    summary |= {"findings": [dataclasses.asdict(f) for f in found], "seconds": time.perf_counter() - began}
    rows = [("doctor", _said(found)), ("", str(folder / "summary.json"))]
    score = next((f for f in found if f.check == "score"), None)
    if score is not None:
        pictures.errors_by_level(folder / "doctor.png", score.figures)
        run.tracker.image("doctor/levels", folder / "doctor.png")
        rows.append(("", str(folder / "doctor.png")))
    run.finish(folder, summary, rows)


def _model(run: Run) -> Model:
    """The model in the folder, whatever data is given.  Raises `InputError` if it is not the config's."""
    known = {k: v for k, v in build.model_config(run.config).items() if k != "data"}
    check(run.folder, known)
    kinds = model_folder.conditions_of(run.folder)
    config = settle.as_in(run.config, model_folder.described(run.folder))
    bare = build.build_denoiser(config, model_folder.shape_of(run.folder), run.adopted, kinds)
    return model_folder.load(run.folder, run.device, denoiser=bare)


def _of_model(run: Run, settings: Doctor, model: Model) -> list[Finding]:
    course = doctor.course_of(run.folder, model)
    course = dataclasses.replace(course, steps=max(course.steps or 0, run.training.steps))
    raw = doctor.raw_of(run.folder, model)
    guided, cond = None, None
    if run.config.get("guidance"):
        run.model, run.data, run.guide = model, run.loaded, Guide(run.config, model)  # whatever it was trained on
        cond = given(run, GUIDED)
        guided = run.guided(cond)
    options = {"n": settings.n, "seed": run.config.seed, "dequantise": run.training.dequantise}
    return doctor.examine(model, run.loaded, raw=raw, guided=guided, cond=cond, course=course, **options)


def _before(run: Run) -> list[Finding]:
    run.say(f"{run.folder} has no model yet: the data, the SDE and the settings are looked at")
    kinds = conditions.kinds(run.config, run.loaded)
    t_min = getattr(run.sampler, "t_min", None)
    return doctor.before(build.build_sde(run.config, run.trusts("sde")), run.loaded, kinds or None, t_min)


def _said(found: list[Finding]) -> str:
    ill = [f for f in found if f.ill]
    if not ill:
        return f"nothing is wrong by {sum(f.state == 'well' for f in found)} checks"
    return f"{len(ill)} of {len(found)} checks found something, first of all: {ill[0].words}"


def _rows(found: list[Finding]) -> list[tuple[str, str, str, str]]:
    """State, its colour, check and words: what is wrong in full, a line for each of what is well."""
    rows = []
    for f in found:
        words = [f.words + (f" ({f.sure})" if f.ill and f.sure else "")]
        if f.ill:
            words += [f"-> {f.change}"] if f.change else []
            words += [f"   type: {f.override}"] if f.override else []
        rows.append((f.state, COLOURS[f.state], f.check, "\n".join(words)))
    return rows

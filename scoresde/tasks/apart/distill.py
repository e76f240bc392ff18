"""The task that makes a model of few steps of a trained one, or of data alone."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from ...config import build, method, objective, settle
from ...denoiser import FlowMap
from ...errors import InputError
from ...machine.progress import fewer
from ...model import Model
from ...model.folder import MODEL, described
from ...model.named import named
from ...objectives import Distilled
from ...objectives.distill.look import told
from ...run import Run, Task
from ...settings import Range
from ...students import student_of
from ...students.distill import taught_by
from ...tracking.report import bar
from ...training import fit

Strengths = Annotated[tuple[Annotated[float, Range(0)], ...], "two scales of guidance, [low, high]"]


@dataclass(frozen=True)
class Distill(Task):
    """Trains a model of few steps, by the settings `method` and `train`, in a folder of its own beside its teacher's.

    `guidance` is the range of scales that the student is told, as the condition `guidance`; `lands` what it learns to
    jump to, "data" or "any" time, null what the method is for.
    """

    trains: ClassVar[bool] = True

    guidance: Strengths | None = None
    lands: Literal["data", "any"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guidance is not None and len(self.guidance) != 2:
            raise InputError(f"guidance={list(self.guidance)}: give two scales, [low, high]", "guidance")

    def place(self, run: Run) -> Path:
        config = run.config
        if config.folder is not None:
            return run.folder
        if config.method is None:
            raise InputError("method=null: say how: method=consistency, ...", "method")
        known, name = build.model_config(method.taken(config)), run.choices.get("method") or "own"
        names = f"distill-{name}-{build.name_of(config.sde)}-{build.name_of(config.data)}"
        teacher = None if config.teacher is None else Path(str(config.teacher)).expanduser()
        taught = None if teacher is None else method.weights_in(str(teacher), "teacher")
        home = Path(config.out).expanduser() if teacher is None else teacher.parent
        return home / f"{names}-{build.short_hash([known, run.plain['task'], taught])}"

    def __call__(self, run: Run) -> None:
        found = self._trained(run)
        if run.lead:
            run.results.append(("student", found["took"]))

    def _trained(self, run: Run) -> dict[str, Any]:
        again = method.own_folder(run.config, run.adopted) is not None
        if again and run.loss is not None:
            raise InputError(f"folder={run.folder} holds no model of few steps: say teacher=FOLDER, and another folder")
        config = run.config if again else method.taken(run.config)
        how = method.known(config, "" if again else run.choices.get("method") or "")
        teacher, known = self._teacher(run, again)
        data = run.data
        target = self._objective(run, config, how, teacher, data)
        made = build.model_config(config) | {"paths": list(run.config.paths)} | known
        run.config = config
        last: dict[str, Any] = {}

        def report(step: int, **figures) -> None:
            run.tracker.log("train/", step, figures)
            last.update(figures)

        steps = run.training.steps
        run.say(f"distilling by {how.name or how.objective.__name__}: {data.name} {data.shape}")
        with bar(run.console, "training", steps, 0, fewer("train.steps=", steps)) as advance:
            options = {"report": report, "say": run.say, "device": config.device, "fresh": config.fresh}
            trained = fit(target, data, run.training, run.folder, progress=advance, made=made, **options)
        if last and run.lead:
            run.keep_config(run.folder)
            run.made["train"] = run.folder
        took = f"{steps} steps in {last.get('seconds', math.nan):.0f} s"
        return {"took": took, "trained": trained, "last": last}

    def _teacher(self, run: Run, again: bool) -> tuple[Model | None, dict[str, Any]]:
        """The teacher, None where there is none, and what a description says of it."""
        config, there = run.config, described(run.folder) if (run.folder / MODEL).exists() else {}
        place = config.teacher
        if place is None and again and "teacher" in there:
            place = method.teacher_of(there, run.folder)
        if place is None:
            return None, {}
        found = named("teacher", place, Model, run.device, config.trust)
        about, before = told(found), there.get("teacher")
        if isinstance(before, dict) and before.get("weights") != about["weights"] and not config.fresh:
            words = f"it has other weights than those that {run.folder} was trained by ({before.get('weights')})"
            raise InputError(f"teacher={place}: {words}: put them back, or say fresh=true", "teacher")
        return found, {"teacher": about}

    def _objective(self, run: Run, config: Any, how: Any, teacher: Model | None, data: Any) -> Distilled:
        """The objective, of a student that begins as its teacher or as nothing."""
        teaching = taught_by(how, teacher)
        guidance = None if self.guidance is None else (self.guidance[0], self.guidance[1])
        if teacher is not None:
            student = student_of(how, teacher, self.lands, guidance)
        else:
            student = self._untrained(run, config, how, data)
        place = "method" if method.own_folder(run.config, run.adopted) is None else "objective"
        given = {"student": student, "teacher": teaching, "data": data}
        return build.make(config.objective, place, Distilled, run.trusts("objective"), **given)

    def _untrained(self, run: Run, config: Any, how: Any, data: Any) -> FlowMap:
        kinds = objective.conditions(config, data)
        settled = settle.settled(config, data, kinds)
        return method.untrained(settled, data.shape, run.adopted, kinds, self.lands or how.objective.lands[0])

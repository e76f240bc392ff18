"""The task that makes a model of few steps of a trained one, or of data alone."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from ...config import build, method, objective, settle
from ...data import Data
from ...denoiser import Preconditioned
from ...errors import InputError
from ...machine.progress import fewer
from ...model import Model
from ...model.folder import MODEL, described
from ...model.named import named
from ...objectives import Distilled
from ...objectives.distill.look import told
from ...run import Run, Task
from ...settings import Scale
from ...students import Method, begun_with, student_of, taught_by
from ...tracking.report import bar
from ...tracking.track import read_rows
from ...training import fit
from . import against

Strengths = Annotated[tuple[Scale, ...], "two scales of guidance that rise, [1, 4]"]


@dataclass(frozen=True)
class Distill(Task):
    """Trains a model of few steps, by the settings `method` and `train`, in a folder of its own beside its teacher's.

    `guidance` is the range of scales that the student is told, as the condition `guidance`.
    """

    trains: ClassVar[bool] = True

    guidance: Strengths | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guidance is not None and (len(self.guidance) != 2 or self.guidance[0] >= self.guidance[1]):
            raise InputError(f"guidance={list(self.guidance)}: give two scales that rise, [1, 4]", "guidance")

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
        asked = None if self.guidance is None else list(self.guidance)
        return home / f"{names}-{build.short_hash([known, asked, taught])}"

    def __call__(self, run: Run) -> None:
        again = method.own_folder(run.config, run.adopted) is not None
        if again and run.loss is not None:
            words = "holds no model of few steps: say teacher=FOLDER, and another folder or none"
            raise InputError(f"folder={run.folder} {words}", "folder")
        there = described(run.folder) if (run.folder / MODEL).exists() and run.config.fresh is not True else {}
        teacher = self._teacher(run, there)
        if again:
            how = method.kept(run.config, there)
        else:
            run.config = method.taken(run.config)
            how = method.known(run.config, run.choices.get("method") or "")
        data = run.data
        method.same_parts(run.config, teacher, data)
        target = self._objective(run, how, teacher, data)
        words, student = self._fit(run, target, how, teacher, there)
        if run.lead:
            run.results.append(("student", f"by {how.name}, {words}"))
            against.compared(run, student, teacher, data)
            run.results.append(("use it", f"folder={run.folder} task=sample, task=evaluate"))

    def _teacher(self, run: Run, there: dict[str, Any]) -> Model | None:
        """The teacher, which is the one that a student was trained by."""
        place, before = run.config.teacher, there.get("teacher") or {}
        if place is None and before:
            place = method.teacher_of(before, run.folder)
        if place is None:
            return None
        found = named("teacher", place, Model, run.device, run.config.trust)
        if before and before.get("weights") != found.weights:
            words = f"it has other weights ({found.weights}) than the one that {run.folder} was trained by"
            raise InputError(f"teacher={place}: {words} ({before.get('weights')}): put them back, or say fresh=true")
        return found

    def _objective(self, run: Run, how: Method, teacher: Model | None, data: Data) -> Distilled:
        """The objective, of a student that begins as its teacher or as nothing."""
        guidance = None if self.guidance is None else (self.guidance[0], self.guidance[1])
        guidance = guidance or method.guidance_of(run.folder, run.config)
        teaching, settings = taught_by(how, teacher), method.settings(run.config)
        try:
            if teacher is not None:
                student = student_of(how, teacher, guidance, **settings)
            else:
                student = self._untrained(run, how, data, settings)
        except InputError as error:
            raise method.placed(error) from None
        place = "method" if method.own_folder(run.config, run.adopted) is None else "objective"
        given = {"student": student, "teacher": teaching, "data": data}
        return build.make(run.config.objective, place, Distilled, run.trusts("objective"), **given)

    def _untrained(self, run: Run, how: Method, data: Data, settings: dict[str, Any]) -> Preconditioned:
        """A student that begins as nothing, of the network, the SDE and the rule of the config."""
        kinds = objective.conditions(run.config, data)
        run.config = settle.settled(run.config, data, kinds)
        return method.untrained(run.config, data.shape, run.adopted, kinds, how, settings)

    def _fit(
        self, run: Run, target: Distilled, how: Method, teacher: Model | None, there: dict[str, Any]
    ) -> tuple[str, Model]:
        """Trains it; what there is to say of that, and the student."""
        config, steps, last = run.config, run.training.steps, {}

        def report(step: int, **found) -> None:
            run.tracker.log("train/", step, found)
            last.update(found)

        made = build.model_config(config) | {"paths": list(config.paths)} | begun_with(how, teacher, run.training)
        if teacher is not None and how.teacher != "begins":
            made["teacher"] = told(teacher)
        made |= {"start": there["start"]} if "start" in there and teacher is None else {}
        size, data = sum(p.numel() for p in target.product.parameters()), target.data
        of = f"of {teacher.folder}" if teacher is not None else "of data alone"
        run.say(f"a student {of} by {how.name}: {data.name} {data.shape}, {size:,} parameters")
        with bar(run.console, "training", steps, 0, fewer("train.steps=", steps)) as advance:
            options = {"report": report, "say": run.say, "device": config.device, "fresh": config.fresh}
            student = fit(target, data, run.training, run.folder, progress=advance, made=made, **options)
        if last and run.lead:
            run.keep_config(run.folder)
        last = last or {k: v for row in read_rows(run.folder / "metrics.jsonl") for k, v in row.items()}
        run.made["train"] = run.folder
        return f"{steps} steps in {last.get('seconds', math.nan):.0f} s", student

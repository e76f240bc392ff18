"""A model of few steps, of a trained one or of data alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..answers import derivatives
from ..data import as_data
from ..denoiser import Denoiser, Preconditioned
from ..errors import InputError
from ..model import load
from ..model.trained.denoiser import Model
from ..objectives.distill.look import told
from ..settings import checked
from ..training import Training, fit
from .methods import Method, method_of


@checked
@derivatives
def distill(
    teacher: Denoiser | str | Path | None = None,
    data: Any = None,
    method: str = "consistency",
    folder: str | Path | None = None,
    guidance: tuple[float, float] | None = None,
    training: Training | Mapping[str, Any] | None = None,
    student: Preconditioned | None = None,
    report: Callable[..., None] | None = None,
    device: str = "auto",
    fresh: bool = False,
    progress: bool | Callable = True,
    say: Callable[[str], None] | None = None,
    **settings: Any,
) -> Model:
    """Trains a model of few steps, the student, by a method of that name; begins as its teacher, if it has a network.

        student = scoresde.distill(scoresde.load("runs/mine"), data, "consistency", folder="runs/fast")
        samples = student.generate(100)

    Arguments:
        teacher: a trained model, its folder, or any denoiser of the same items; None: the data alone tell the flow, of
            methods that can do so, and `student` says what is trained.
        data: what it was trained on: a `Data`, a dataset, or a tensor as `as_data` takes it.
        method: one of `METHODS`.
        folder: where the student is kept; None: nowhere.  One that is there goes on, as `train` has it.
        guidance: (low, high) of the scale w of guidance that the student is told, as the condition "guidance".
        training: its settings, or some of them by name; the others are the method's.
        student: what is trained, where it does not begin as the teacher.
        report, device, fresh, progress, say: as in `train`.
        settings: those of the method's objective.

    Returns:
        The student with its averaged weights; `generate` takes its few steps.

    Raises:
        InputError: no such method or setting; a method that needs a teacher without one, or a student that begins
            nowhere; as the objective and `train` do.
        FloatingPointError: the loss stops being finite.
    """
    how = method_of(method)
    settings = {**how.settings, **settings}
    if data is None:
        raise InputError("data=None: give the data that the teacher was trained on", "data")
    teacher = load(teacher) if isinstance(teacher, str | Path) else teacher
    teaching = taught_by(how, teacher)
    if student is None:
        student = student_of(how, teacher, guidance, **settings)
    if training is None or isinstance(training, Mapping):
        training = Training(**{**how.training, **(training or {})})
    data, made = as_data(data), begun_with(how, teacher, training)
    target = how.objective(student, data, teaching, **settings)
    return fit(target, data, training, folder, report, device, fresh, progress, say, made)


def taught_by(how: Method, teacher: Denoiser | None) -> Denoiser | None:
    """The teacher, of a method that is taught by one.

    Arguments:
        how: the method.
        teacher: a denoiser, or None.

    Returns:
        The teacher, or None.

    Raises:
        InputError: a method that needs one, without.
    """
    if teacher is None and how.teacher == "needed":
        raise InputError(f"teacher=null: method={how.name} needs one, a trained model or its folder", "teacher")
    return None if how.teacher == "begins" else teacher


def student_of(
    how: Method, teacher: Denoiser | None, guidance: tuple[float, float] | None = None, **settings: Any
) -> Preconditioned:
    """What a method trains, beginning as a teacher.

    Arguments:
        how: the method.
        teacher: with a network.
        guidance: (low, high) of the scale that it is told.
        settings: those of the method's objective.

    Returns:
        The model that the objective takes.

    Raises:
        InputError: no teacher, one without a network, or one of no conditions to be guided to.
    """
    if teacher is None:
        raise InputError(f"student=None: method={how.name} without a teacher needs one, a FlowMap", "student")
    if guidance is not None and not teacher.conditions:
        words = "the teacher takes no conditions, and guidance leads to them: leave it out"
        raise InputError(f"guidance={list(guidance)}: {words}", "guidance")
    return how.objective.student(teacher, guidance, **settings)


def begun_with(how: Method, teacher: Denoiser | None, training: Training) -> dict[str, Any]:
    """What a description says of a teacher whose weights the student begins with, or lies on top of as an adapter.

    Arguments:
        how: the method.
        teacher: a denoiser, or None.
        training: its settings.

    Returns:
        {"start": ...}, or {}.
    """
    begins = teacher is not None and (how.teacher == "begins" or training.lora)
    return {"start": told(teacher)} if begins else {}

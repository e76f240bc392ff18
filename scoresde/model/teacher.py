"""The model that a student of few steps was made of, by the student's folder, and the sampler that has both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ..errors import InputError
from ..sampling import Corrected
from ..sampling.loop import Placing
from ..sampling.refine import Kind
from ..sampling.steps.jump import Few
from ..settings import Count, Fraction, Range, Text
from .folder import MODEL, described
from .named import named
from .trained import Model


def teacher_of(student: str | Path, teacher: str | Path | None = None, device: str = "cpu") -> Model:
    """The teacher of a student.

    Arguments:
        student: the student's folder.
        teacher: that of the teacher; None: as the student's folder says.
        device: where the model is put.

    Returns:
        The trained model.

    Raises:
        InputError: a folder of no student, or of one that had no teacher, without a teacher that is named; a teacher
            that is not where it was, or was trained again since.
    """
    if teacher is not None:
        return named("teacher", teacher, Model, device)
    known = described(Path(student))
    told = known.get("teacher") or known.get("start") or {}
    place = Path(str(told.get("folder") or ""))
    if not place.name:
        raise InputError(f"{student} names no teacher's folder: say which, teacher=FOLDER", "teacher")
    beside = Path(student).parent / place.name  # where both have moved
    found = named(
        "teacher", beside if not (place / MODEL).exists() and (beside / MODEL).exists() else place, Model, device
    )
    if found.weights != told.get("weights", found.weights):
        words = f"{found.folder} has other weights than when {student} was made of it"
        raise InputError(f"{words}: say teacher={found.folder} to take it as it is", "teacher")
    return found


@dataclass(frozen=True)
class Taught:
    """A function that gives a student's teacher, which is loaded when it is called.

    Arguments:
        student, teacher: as `teacher_of` takes them.
    """

    student: str
    teacher: str | None = None

    def __call__(self) -> Model:
        return teacher_of(self.student, self.teacher)


def corrected(
    folder: str | Path,
    teacher: Text | None = None,
    steps: Few = 1,
    draft: Literal["auto", "jump", "renoise"] = "auto",
    level: Fraction = 0.2,
    refine: Count = 2,
    kind: Kind = "gibbs",
    grid: Placing = "uniform_angle",
    t_min: Annotated[float, Range(0)] | None = None,
    last: Literal["none"] = "none",
) -> Corrected:
    """The sampler `Corrected` of the student in a folder.

    Arguments:
        folder: the student's.
        teacher: the teacher's folder; None: as the student's says.
        steps, draft, level, refine, kind, grid, t_min, last: as `Corrected` has them.

    Returns:
        The sampler, which loads the teacher when it begins.

    Raises:
        InputError: settings out of range; when it samples, as `teacher_of` does.
    """
    taught = Taught(str(folder), teacher)
    return Corrected(steps, grid, last, t_min, draft, level, refine, kind, teacher=taught)

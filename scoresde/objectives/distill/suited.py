"""Which student, teacher and method go together."""

from typing import Any

from ...denoiser import GUIDANCE, Denoiser, Preconditioned, Source
from ...errors import InputError
from ...guidance.base import same_sde
from ...settings import brief


def kind_of(student: Any) -> str | None:
    """What a student is to learn: "data", "any", "times" of a chain, or None; "" of what is no student."""
    if not isinstance(student, Preconditioned):
        return ""
    return "times" if isinstance(student.lands, tuple) else student.lands


def check_pair(
    name: str,
    lands: tuple[str | None, ...],
    alone: bool,
    student: Denoiser,
    teacher: Denoiser | None,
    paired: bool = False,
) -> None:
    """Raises `InputError` for what does not go together: a student of other `lands` than the method of this name
    trains, no teacher unless it learns `alone`, a teacher of another SDE, of other conditions, or of other noise than
    the method knows, which is plain, or `paired`."""
    if kind_of(student) not in lands:
        ways = " or ".join("a chain of times" if k == "times" else f"lands={k!r}" for k in lands)
        words = f"{name} trains one of {ways}: {name}.student(teacher) makes it"
        found = f"has lands={brief(student.lands)}" if isinstance(student, Denoiser) else "is no denoiser"
        raise InputError(f"student={type(student).__name__} {found}: {words}", "student")
    if teacher is None and not alone:
        raise InputError(f"teacher=None: {name} does not learn from data alone: give the trained model", "teacher")
    if teacher is None:
        if GUIDANCE in student.conditions:
            raise InputError("guidance needs a teacher, whose guided flow the student learns: give one", "guidance")
        return
    same_sde(student, teacher, "teacher")
    if teacher.lands is not None:
        words = f"it is a model of few steps, of lands={brief(teacher.lands)}, and has no flow to follow"
        raise InputError(f"teacher: {words}: give the model that it was made of", "teacher")
    if not teacher.source.plain and not (paired and teacher.source == Source(paired=True)):
        how = "offset noise" if teacher.source.offset else "noise that was paired with the data"
        more = ", or method=knowledge" if not teacher.source.offset and not paired else ""
        raise InputError(f"teacher was trained with {how}, and {name} draws plain noise: give another{more}", "teacher")
    wanted = {k: kind for k, kind in student.conditions.items() if k != GUIDANCE}
    if missing := [name for name in wanted if name not in teacher.conditions]:
        raise InputError(f"teacher takes no condition {missing[0]}, which the student has", "teacher")

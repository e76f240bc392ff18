"""A student beside its teacher: what task=distill has left in the folder."""

from ..drawn.markup import Html, absent, section, table, tag
from ..figures import number
from ..reading import Held, Result
from .overview import command_of, line
from .shown import plotted

OWN = ("ddim", "adams")  # the teacher's samplers that are beside it


def student(held: Held) -> Html:
    """How far its few steps end from the teacher's flow, how good they are, what they cost, and what they look like."""
    found, name = held.of("distill"), "Student and teacher"
    if not found:
        return section("student", name, absent("Not compared yet:", line(held, "distill")))
    result = found[0]
    picture = plotted(result, "student.png", "the teacher and the student in 1, 2 and 4 steps, from the same noises")
    words = f"Of {result.summary.get('n')} noises, and the conditions of as many held-out items.  Distance: the root "
    words += (
        "mean square, a coordinate, from where the teacher's own flow ends, of steps along it.  Energy: the energy "
    )
    words += "distance to the held-out items, with its standard error."
    return section("student", name, _table(result), tag("p", words, class_="note"), picture, command_of(result))


def _table(result: Result) -> Html:
    s = result.summary
    several = sorted(int(k.removeprefix("seconds_")) for k in s if k.startswith("seconds_") and k[8:].isdecimal())
    rows = []
    if number(s.get("teacher_energy")):
        evaluations = f"teacher, {s.get('teacher_evaluations')} evaluations"
        rows.append((evaluations, "", _energy(s, "teacher_energy"), _ms(s.get("teacher_seconds"))))
    for steps in several:
        rows.append((f"student, {steps}", _value(s.get(f"distance_{steps}")), _energy(s, f"energy_{steps}")))
        rows[-1] += (_ms(s.get(f"seconds_{steps}")),)
        for own in OWN:
            if number(s.get(f"teacher_{own}_{steps}")):
                energy = _energy(s, f"teacher_{own}_energy_{steps}")
                told = (f"teacher's {own}, {steps}", _value(s[f"teacher_{own}_{steps}"]), energy)
                rows.append((*told, _ms(s.get(f"teacher_seconds_{steps}"))))
    return table(("steps", "distance", "energy", "ms a sample"), rows)


def _value(value) -> str:
    return f"{value:.3g}" if number(value) else ""


def _energy(s: dict, name: str) -> str:
    value, error = s.get(name), s.get(f"{name}_stderr")
    return f"{value:.3g} ± {error:.1g}" if number(value) and number(error) else _value(value)


def _ms(value) -> str:
    return f"{1e3 * value:.2g}" if number(value) else ""

"""A student against its teacher: how far its few steps end from the teacher's flow, how good they are, how fast."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ... import metrics, pictures
from ...data import Data, collate, stack
from ...denoiser import Denoiser
from ...model import Model
from ...objectives.distill.look import LOOK, REFERENCE, Ends, can, led
from ...run import Run
from ...sampling import Adams, Jump, Renoise, Sampler, sample
from ...tracking.track import Metrics

STEPS = (1, 2, 4)
SHOWN = 10  # items of each row of the picture
PICTURE = "student.png"


@dataclass
class Looked:
    """What is looked at: the student, its teacher or None, held-out items in the model's space, and their conditions.

    `ends` is where the teacher's own flow ends from the noises of the samples, None without a teacher.
    """

    student: Model
    teacher: Model | None
    items: Tensor
    cond: dict[str, Tensor]
    ends: Tensor | None

    def drawn(self, sampler: Sampler, teacher: bool = False) -> tuple[Tensor, float]:
        """Samples of the student, or of the teacher, and the seconds of one."""
        led_by_it = teacher and self.teacher is not None
        model, cond = led(self.teacher, self.cond) if led_by_it else (self.student, self.cond)
        began = time.perf_counter()
        x = sample(model, sampler, tuple(self.items.shape), cond=cond or None, progress=False, store="cpu")
        return x, (time.perf_counter() - began) / len(x)

    def apart(self, x: Tensor) -> float:
        """The root mean square distance, a coordinate, of samples from where the teacher's flow ends."""
        return float((x - self.ends).square().mean().sqrt())

    def energy(self, x: Tensor) -> metrics.Estimate:
        """The energy distance of samples to the held-out items."""
        return metrics.energy(x.double(), self.items.double())


def looked(student: Model, teacher: Model | None, data: Data, device: str) -> Looked:
    """What a comparison looks at."""
    n = min(LOOK, len(data.test))
    items = data.encode(stack(data.test, range(n)).to(device)).cpu()
    if teacher is None:
        return Looked(student, None, items, dict(collate(data.test, range(n), student.conditions).cond), None)
    ends = Ends(teacher, data, dict(student.conditions), torch.device(device))
    return Looked(student, teacher, items, ends.cond, ends.ends.cpu())


def sampler_of(student: Denoiser, steps: int) -> Sampler | None:
    """How a student draws in so many steps; None: it has not learned them."""
    if can(student, steps):
        return Jump(steps=steps)
    return Renoise(steps=steps) if student.lands == "data" else None


def several(student: Denoiser) -> tuple[int, ...]:
    """The steps that are looked at."""
    return (len(student.lands) - 1,) if isinstance(student.lands, tuple) else STEPS


def figures(seen: Looked) -> tuple[dict[str, Any], list[tuple[str, Tensor]]]:
    """The figures of each number of steps, flat, and the samples of each row of the picture."""
    found: dict[str, Any] = {"n": len(seen.items)}
    rows: list[tuple[str, Tensor]] = []
    if seen.teacher is not None:
        x, seconds = seen.drawn(REFERENCE, teacher=True)
        found |= _energy("teacher_energy", seen.energy(x)) | {"teacher_seconds": seconds}
        found["teacher_evaluations"] = REFERENCE.steps
        rows.append((f"teacher, {REFERENCE.steps} evaluations", x))
    for steps in several(seen.student):
        sampler = sampler_of(seen.student, steps)
        if sampler is None:
            continue
        x, seconds = seen.drawn(sampler)
        found |= _energy(f"energy_{steps}", seen.energy(x)) | {f"seconds_{steps}": seconds}
        if seen.ends is not None:
            if isinstance(sampler, Jump):
                found[f"distance_{steps}"] = seen.apart(x)
            for name, other in (("ddim", Jump(steps=steps)), ("adams", Adams(steps=steps, last="none"))):
                y, seconds = seen.drawn(other, teacher=True)
                found |= {f"teacher_{name}_{steps}": seen.apart(y), f"teacher_seconds_{steps}": seconds}
                found |= _energy(f"teacher_{name}_energy_{steps}", seen.energy(y))
        rows.append((f"student, {steps} step{'s' * (steps > 1)}", x))
    return found, rows


def _energy(name: str, e: metrics.Estimate) -> dict[str, float]:
    return {name: e.value, f"{name}_stderr": e.stderr, f"{name}_low": e.low, f"{name}_high": e.high}


def words(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows of the closing table."""
    out = []
    if "teacher_energy" in found:
        ms = f"{1e3 * found['teacher_seconds']:.2g} ms a sample"
        said = f"{found['teacher_evaluations']} evaluations: energy {_told(found, 'teacher_energy')}"
        out.append(("teacher", f"{said}; {ms}"))
    for steps in (int(k.removeprefix("seconds_")) for k in found if k.startswith("seconds_")):
        told = [f"energy {_told(found, f'energy_{steps}')}{_own(found, 'energy_', steps)}"]
        if f"distance_{steps}" in found:
            told.insert(0, f"{found[f'distance_{steps}']:.3f} from the teacher's flow{_own(found, '', steps)}")
        told.append(f"{1e3 * found[f'seconds_{steps}']:.2g} ms a sample")
        out.append((f"{steps} step{'s' * (steps > 1)}", "; ".join(told)))
    return out


def _own(found: dict[str, Any], kind: str, steps: int) -> str:
    """What the teacher's own samplers have in as many evaluations."""
    own = {name: found.get(f"teacher_{name}_{kind}{steps}") for name in ("ddim", "adams")}
    if None in own.values():
        return ""
    return f" (its {' and '.join(own)} {' and '.join(f'{value:.3g}' for value in own.values())})"


def _told(found: dict[str, Any], name: str) -> str:
    return f"{found[name]:.3g} +- {found[f'{name}_stderr']:.1g}"


def compared(run: Run, student: Model, teacher: Model | None, data: Data) -> None:
    """The figures of a student beside its teacher's, in a folder beneath its own with student.png."""
    of = "" if teacher is None else teacher.weights
    folder = run.place("distill", "teacher" if of else "data", student.weights, of)
    seen = looked(student, teacher, data, run.device)
    found, rows = figures(seen)
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder, student, rows, data)
    run.tracker.image("distill/student", folder / PICTURE)
    Metrics(folder / "metrics.jsonl", run.tracker, "distill/").log(student.step, **found)
    about = {"weights": student.weights, "step": student.step, "teacher": of}
    run.finish(folder, {"task": "distill", **about, **found}, words(found))


def draw(folder: Any, student: Model, rows: list[tuple[str, Tensor]], data: Data) -> None:
    """student.png: a row of images of the teacher and of each number of steps, from the same noises."""
    raw = torch.cat([student.decode(x[:SHOWN]) for _, x in rows])
    places = [torch.arange(i * SHOWN, (i + 1) * SHOWN) for i in range(len(rows))]
    if len(student.outer.shape) > 1:
        pictures.samples(folder / PICTURE, raw, student.outer.levels, groups=([name for name, _ in rows], places))
        return
    last = student.decode(rows[-1][1])
    pictures.samples(folder / PICTURE, last, student.outer.levels, pictures.some_real(data.outer))

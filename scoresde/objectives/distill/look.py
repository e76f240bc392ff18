"""How far ends are apart: what a training of few steps is watched by, and the distance that losses are made of."""

from typing import Any

import torch
from torch import Tensor, nn

from ...conditions import Kind
from ...data import Data, collate
from ...denoiser import GUIDANCE, Denoiser, FlowMap
from ...guidance import Guided
from ...model.kept.state import plain_state
from ...model.kept.weights import hash_of
from ...model.trained.denoiser import Model
from ...sampling import Adams, Jump, Sampler, sample

LOOK = 256  # noises whose end points are compared
REFERENCE = Adams(steps=32, last="none")  # the teacher's own map, near enough to tell students apart


class Ends:
    """Where a teacher's flow ends from fixed noises, with the conditions of held-out items, and w from low to high.

    Arguments:
        teacher: which is led by w, if it is not told it.
        data: whose test items give the conditions.
        kinds: the conditions of the student.
        device: where they are kept.
    """

    def __init__(self, teacher: Denoiser, data: Data, kinds: dict[str, Kind], device: torch.device):
        n = min(LOOK, len(data.test))
        self.cond = dict(collate(data.test, range(n), [k for k in kinds if k != GUIDANCE]).to(device).cond)
        if (strength := kinds.get(GUIDANCE)) is not None:
            self.cond[GUIDANCE] = torch.linspace(strength.low, strength.high, n, device=device)[:, None]
        teacher, known = led(teacher, self.cond)
        shape = (n, *data.shape)
        self.ends: Tensor = sample(teacher, REFERENCE, shape, cond=known or None, device=device, progress=False)

    def __call__(self, student: FlowMap) -> dict[str, float]:
        """`distance_1` and so on: the root mean square distance, a coordinate, of jumps in 1, 2 and 4 steps, as far as
        the student has learned them; of a chain in its own number of steps."""
        several = (len(student.lands) - 1,) if isinstance(student.lands, tuple) else (1, 2, 4)
        return {f"distance_{n}": self.of(student, Jump(steps=n)) for n in several if can(student, n)}

    def of(self, student: Denoiser, sampler: Sampler) -> float:
        """The distance of a student's samples."""
        options = {"cond": self.cond or None, "device": self.ends.device, "progress": False}
        x = sample(student, sampler, tuple(self.ends.shape), **options)
        return float((x - self.ends).square().mean().sqrt())


def led(teacher: Denoiser, cond: dict[str, Tensor]) -> tuple[Denoiser, dict[str, Tensor]]:
    """A teacher that is led by the scale in `cond`, unless it is told it; and those conditions that it knows."""
    known = {k: v for k, v in cond.items() if k in teacher.conditions}
    if GUIDANCE not in cond or GUIDANCE in known or not known:
        return teacher, known
    return Guided(teacher, cond[GUIDANCE][:, 0]), known


def can(student: FlowMap, steps: int) -> bool:
    """Whether a student has learned to jump to the data in so many steps along the flow."""
    if not isinstance(student.lands, tuple):
        return student.lands in ("any", None) or steps == 1
    return len(student.lands) - 1 == steps


def told(teacher: nn.Module) -> dict[str, Any]:
    """What a description says of a teacher: its folder, the hash of its weights, its step."""
    weights = teacher.weights if isinstance(teacher, Model) else hash_of(plain_state(teacher))
    folder = getattr(teacher, "folder", None)
    return {"folder": str(folder or ""), "weights": weights, "step": getattr(teacher, "step", 0)}


def huber(a: Tensor, b: Tensor, c: float) -> Tensor:
    """sqrt(|a - b|^2 + c^2 D) - c sqrt(D) over sqrt(D), of each row of D numbers; the mean square where c is 0.

    Song, Dhariwal (2023), Improved Techniques for Training Consistency Models, arXiv 2310.14189.
    """
    square = (a - b).flatten(1).square().mean(1)
    return square if not c else (square + c**2).sqrt() - c

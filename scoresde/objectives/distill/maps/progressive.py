"""Progressive distillation: chains of jumps, each stage of half as many as the one before."""

import copy
import math
from typing import Annotated, Any

import torch
from torch import Tensor

from ....data import Data
from ....denoiser import Denoiser, FlowMap, turned
from ....errors import InputError
from ....making import recorded
from ....model.kept.state import load_state, plain_state
from ....sde import SDE
from ....settings import Count, Positive, Range
from ..base import Drawn
from ..paced import Paced
from ..times import at, both, ends

Jumps = Annotated[int, Range(1, 2**16)]


class Progressive(Paced):
    """Progressive distillation: a chain of jumps, each of which does what two of its teacher's do.

    In the first stage the teacher's are steps of DDIM; in each one after it those of the student before, the average of
    whose weights it begins with.  A jump from z_t to where the two steps land, z_s, has

        F* = (cos(d) z_t - z_s) / sin(d),    d = phi_t - phi_s

    and the loss is |F - F*|^2: in x_0 its weight is 1 + SNR, the third of those in the paper.  The steps are equal in
    u, phi = low + (high - low) u^power.

    Salimans, Ho (2022), Progressive Distillation for Fast Sampling of Diffusion Models, arXiv 2202.00512, algorithm 2.

    Arguments:
        student: of the chain of `last` jumps, `Progressive.student(teacher)`: what it has learned when all stages have
            ended.  Until then its jumps are as long as those of its stage.
        data, teacher: as in `Distilled`; there is a teacher.
        first: the teacher's steps of DDIM in the first stage, whose student has half as many.
        last: the jumps of the student of the last stage; `first` is `last` times a power of 2.
        stage: the optimizer's steps of a stage; the last goes on until the training ends, and is best as long as all
            others together, as its jumps are the longest and the rate of learning falls.
        power: of the angles: 1 is the paper's, uniform in them; larger ones are finer toward the data.

    Raises:
        InputError: as `Distilled` does; first that is not last times a power of 2; a student of another chain.
    """

    lands = ("times",)
    alone = False

    @recorded
    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        first: Jumps = 64,
        last: Jumps = 1,
        stage: Count = 1000,
        power: Positive = 1.0,
    ):
        self.stages = stages(first, last)
        super().__init__(student, data, teacher)
        self.first, self.stage, self.power = first, stage, power
        wanted = self.learns(student.sde, last=last, power=power)
        same = len(wanted) == len(student.lands)
        if not same or any(not math.isclose(a, b, rel_tol=1e-9) for a, b in zip(wanted, student.lands, strict=True)):
            words = f"it has a chain of {len(student.lands) - 1}, or other times: Progressive.student(teacher) makes it"
            raise InputError(f"student: last={last} and power={power:g} train a chain of {last} jumps, and {words}")
        self.before: FlowMap | None = None

    @classmethod
    def learns(cls, sde: SDE, **settings: Any) -> tuple[float, ...]:
        return chain(sde, settings.get("last", 1), settings.get("power", 1.0))

    @property
    def jumps(self) -> int:
        """Those of the student of this stage."""
        return self.first >> (1 + min(self.count // self.stage, self.stages - 1))

    def forward(self, drawn: Drawn, turn: str = "") -> Tensor:
        n = self.jumps
        k = (n * drawn.u).floor().clamp(0, n - 1)
        phi, middle, to = (self._angle((k + part) / n) for part in (1.0, 0.5, 0.0))
        z = self.noised(drawn.x0, drawn.eps, phi)
        target = self.target(z, phi, middle, to, drawn.cond)
        return (self.product.frame(z, phi, to, drawn.cond) - target).flatten(1).square().mean(1)

    def _angle(self, u: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * u**self.power

    @torch.no_grad()
    def target(self, z: Tensor, phi: Tensor, middle: Tensor, to: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """F* of the jump that does what two steps of the teacher of this stage do.

        Arguments:
            z: where it begins (B, *shape).
            phi, middle, to: the angles (B,) of the beginning, between the two steps and of the landing.
            cond: the step's conditions.

        Returns:
            (B, *shape).
        """
        ask = self.taught if self.before is None else self._asked_before
        f = ask(z, phi, cond)
        g = ask(turned(z, f, phi - middle), middle, cond)
        return both(z, f, g, phi - middle, middle - to)

    def _asked_before(self, z: Tensor, phi: Tensor, cond: dict[str, Tensor]) -> Tensor:
        return self.before.frame(z, phi, phi, cond)

    def check_length(self, steps):
        least = (self.stages - 1) * self.stage + 1
        if steps < least:
            words = f"{self.stages} stages of stage={self.stage} steps, and the last is never reached"
            raise InputError(f"steps={steps}: {words}: give {least} steps or more, or a shorter stage", "steps")

    def after(self, step, average):
        stage = min(self.count // self.stage, self.stages - 1)
        super().after(step, average)
        if min(step // self.stage, self.stages - 1) > stage:
            self.before = copy.deepcopy(average).requires_grad_(False).eval()
            load_state(self.product, plain_state(average))

    def check(self, average):
        """As `Distilled` does, of the jumps of this stage."""
        staged = copy.copy(average)
        staged.lands = chain(average.sde, self.jumps, self.power)
        return super().check(staged)

    def state(self):
        known = {} if self.before is None else {f"before.{k}": v for k, v in plain_state(self.before).items()}
        return super().state() | known

    def load_state(self, state):
        before = {k.removeprefix("before."): v for k, v in state.items() if k.startswith("before.")}
        if before:
            self.before = copy.deepcopy(self.product).requires_grad_(False).eval()
            load_state(self.before, before)
        super().load_state({k: v for k, v in state.items() if not k.startswith("before.")})


def stages(first: int, last: int) -> int:
    """How often `first` steps are halved to be `last`.  Raises `InputError` where that is no whole number above 0."""
    found = max(first // max(last, 1), 1).bit_length() - 1
    if found < 1 or last << found != first:
        near = last << max(found, 1)
        words = f"first is last times a power of 2: first={near}, say, for last={last}"
        raise InputError(f"first={first} and last={last}: {words}", "first")
    return found


def chain(sde: SDE, jumps: int, power: float = 1.0) -> tuple[float, ...]:
    """The times of a chain of jumps that are equal in u, phi = low + (high - low) u^power, t_max first."""
    low, high = ends(sde)
    u = torch.linspace(1, 0, jumps + 1, dtype=torch.float64)[1:-1]
    return (sde.t_max, *at(sde, low + (high - low) * u**power).tolist(), sde.t_min)

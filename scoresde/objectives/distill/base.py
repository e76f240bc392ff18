"""What all trainings of models of few steps share: what they draw, what they ask of a teacher, what they look at."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...conditions import Strength
from ...data import Batch, Data, collate
from ...denoiser import GUIDANCE, Denoiser, FlowMap, Lands, Preconditioned, flow_velocity, turned
from ...model.description import describe
from ...model.kept import moments
from ...model.kept.state import plain_state
from ...model.kept.weights import hash_of
from ...model.trained.denoiser import Model
from ...sde import SDE, expand
from ..denoising import dropped_rows
from ..guards import prepare
from ..own import Own
from .look import LOOK, Ends, led, told
from .suited import check_pair
from .times import ends, spread


class Drawn(NamedTuple):
    """What a step of a training is made of, with B rows each.

    x0, eps (B, *shape), the data and the noise of a step; u (B,) uniform numbers, stratified; v (B,) others,
    independent; cond: the conditions, some of them dropped, and the scale of guidance, if the student is told one.
    """

    x0: Tensor
    eps: Tensor
    u: Tensor
    v: Tensor
    cond: dict[str, Tensor]


class Distilled(Own):
    """A training of a `FlowMap`, from a teacher's flow or, without one, from data.

    A subclass writes `forward`, the loss of each row.  It draws x_0, noise, stratified and independent uniform numbers
    and conditions; of a student that is told a scale of guidance, w ~ U(low, high), and the teacher is led by it.

    Each validation jumps from 256 fixed noises in 1, 2 and 4 steps, as far as the student can (`look.Ends`), and the
    first distance is `validation`.  Without a teacher it is the loss on held-out items.

    Arguments:
        student: the flow map, whose weights are where training starts (`FlowMap.of`).
        data: whose items come with the student's conditions.
        teacher: a denoiser of the same SDE and conditions; None: the data tell the flow's velocity.

    Raises:
        InputError: a student that is no flow map, a teacher of another SDE or of other conditions; guidance without a
            teacher that takes it.
    """

    trains = FlowMap
    lands: tuple[str | None, ...] = ("data", "any")  # what its students may learn: these, "times", None
    alone: bool = True  # whether it does without a teacher
    paired: bool = False  # whether it follows a teacher whose noise was paired with the data

    def __init__(self, student: FlowMap, data: Data, teacher: Denoiser | None = None):
        super().__init__()
        check_pair(type(self).__name__, self.lands, self.alone, student, teacher, self.paired)
        self.product, self.data = student, data
        self.teacher = None if teacher is None else teacher.requires_grad_(False).eval()
        self.takes = tuple(name for name, kind in student.conditions.items() if kind.of_items)
        self.strength: Strength | None = student.conditions.get(GUIDANCE)
        self.low, self.high = ends(student.sde)
        self.ends: Ends | None = None
        self.held: Batch | None = None

    @classmethod
    def learns(cls, sde: SDE, **settings: Any) -> Lands:
        """What a student is to learn, `FlowMap.lands`.

        Arguments:
            sde: its SDE.
            settings: those of the method.

        Returns:
            The first of the method's `lands`; of a chain its times.
        """
        return cls.lands[0]

    @classmethod
    def student(cls, teacher: Denoiser, guidance: tuple[float, float] | None = None, **settings: Any) -> Preconditioned:
        """A student that begins as a trained denoiser.

        Arguments:
            teacher, guidance: as in `FlowMap.of`.
            settings: those of the method.

        Returns:
            The model that the method trains.

        Raises:
            InputError: as `FlowMap.of` does.
        """
        return FlowMap.of(teacher, cls.learns(teacher.sde, **settings), guidance)

    def draw(self, batch: Batch, size: int, part: slice, turn: str = "") -> Drawn:
        data, device = self.data, batch.x.device
        whole = (size, *batch.x.shape[1:])
        x0 = data.encode(batch.x, torch.rand(whole, device=device)[part] if data.levels else None)
        eps = torch.randn(whole, dtype=x0.dtype, device=device)[part]
        u = spread(size, part, device)
        v = torch.rand(size, device=device).double()[part]
        cond = dropped_rows(batch.cond, self.product.conditions, size, part)
        if (w := self.strength) is not None:
            cond[GUIDANCE] = w.low + (w.high - w.low) * torch.rand(size, 1, device=device)[part]
        return Drawn(x0, eps, u, v, cond)

    @staticmethod
    def noised(x0: Tensor, eps: Tensor, phi: Tensor) -> Tensor:
        """z = cos(phi) x_0 + sin(phi) eps.

        Arguments:
            x0, eps: (B, *shape).
            phi: (B,).

        Returns:
            (B, *shape).
        """
        return expand(phi.cos(), x0) * x0 + expand(phi.sin(), x0) * eps

    @torch.no_grad()
    def taught(self, z: Tensor, phi: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """The teacher's velocity dz/dphi = (cos(phi) z - D) / sin(phi).

        Arguments:
            z: (B, *shape).
            phi: (B,).
            cond: the step's conditions.

        Returns:
            (B, *shape).
        """
        teacher, known = led(self.teacher, cond)
        return flow_velocity(teacher, z, phi, known)

    def asked(self, x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """The teacher's D(x, t), led by the scale that the student is told.

        Arguments:
            x: (B, *shape).
            t: (B,).
            cond: the step's conditions.

        Returns:
            (B, *shape).
        """
        teacher, known = led(self.teacher, cond)
        return teacher(x, t, known)

    def velocity(self, drawn: Drawn, z: Tensor, phi: Tensor) -> Tensor:
        """That of the flow: the teacher's, or without one cos(phi) eps - sin(phi) x_0.

        Arguments:
            drawn: the step's numbers.
            z: of its data and noise at phi (B, *shape).
            phi: (B,).

        Returns:
            (B, *shape).
        """
        if self.teacher is not None:
            return self.taught(z, phi, drawn.cond)
        return expand(phi.cos(), z) * drawn.eps - expand(phi.sin(), z) * drawn.x0

    @torch.no_grad()
    def stepped(self, drawn: Drawn, z: Tensor, phi: Tensor, to: Tensor, order: int = 1) -> Tensor:
        """z on the same trajectory at another angle: by the teacher's step, or of the same data and noise.

        Arguments:
            drawn: the step's numbers.
            z: of its data and noise at phi (B, *shape).
            phi, to: the angles (B,).
            order: of the teacher's step, 1 is DDIM and 2 is Heun.

        Returns:
            (B, *shape).
        """
        if self.teacher is None:
            return self.noised(drawn.x0, drawn.eps, to)
        v = self.taught(z, phi, drawn.cond)
        first = turned(z, v, phi - to)
        if order == 1:
            return first
        return z + expand((to - phi) / 2, z) * (v + self.taught(z + expand(to - phi, z) * v, to, drawn.cond))

    @staticmethod
    def jump(student: FlowMap, z: Tensor, phi: Tensor, to: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """z where a student's jump lands.

        Arguments:
            student: the flow map.
            z: at phi (B, *shape).
            phi, to: the angles (B,).
            cond: the step's conditions.

        Returns:
            (B, *shape).
        """
        return turned(z, student.frame(z, phi, to, cond), phi - to)

    def begin(self, device):
        prepare(self.product, self.data)
        if self.teacher is not None:
            self.ends = Ends(self.teacher, self.data, dict(self.product.conditions), device)
        else:
            n = min(LOOK, len(self.data.test))
            self.held = collate(self.data.test, range(n), self.takes).to(device)

    def check(self, average: FlowMap) -> dict[str, Any]:
        if self.ends is not None:
            found = self.ends(average)
            return {"validation": next(iter(found.values()))} | found if found else {}
        return {"validation": self._held_out(average)}

    def _held_out(self, average: FlowMap) -> float:
        """The loss of held-out items with fixed numbers."""
        product, batch = self.product, self.held
        devices = [batch.x.device] if batch.x.device.type == "cuda" else []
        try:
            self.product = average
            with torch.random.fork_rng(devices=devices), torch.no_grad():
                torch.manual_seed(0)
                turn = self.turns[-1]
                return float(self(self.draw(batch, len(batch.x), slice(None), turn), turn).mean())
        finally:
            self.product = product

    def describe(self):
        known = describe(self.product, self.data, None, self)
        if self.teacher is None:
            return known
        about = told(self.teacher)
        begun = hash_of(plain_state(self.product)) == about["weights"]  # with all weights of the teacher, and no others
        return known | {"teacher": about} | ({"start": about} if begun else {})

    def made(self, average: FlowMap, step: int) -> Model:
        model = Model(average, self.facts, step)
        model.moments = moments.of_data(self.data, "uniform")
        model.carry(self.data.codec)
        return model

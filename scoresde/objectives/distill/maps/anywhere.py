"""Jumps to anywhere that agree with each other: shortcuts, and consistency trajectories."""

import contextlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from ....data import Data
from ....denoiser import Denoiser, FlowMap, turned
from ....making import recorded
from ....settings import Fraction, Range, Scale
from ..base import Drawn
from ..look import huber as distance
from ..paced import Target, Targeted
from ..times import angles, both


class Anywhere(Targeted):
    """What trainings of jumps to anywhere share: rows of no jump, which learn v itself, and rows of jumps.

    Arguments:
        student, data, teacher: as in `Distilled`.
        flow: the share of rows with no jump, whose loss is |F - v|^2.
        target: whose jumps are the target: of the "online" weights, or of their "average".

    Raises:
        InputError: as `Distilled` does.
    """

    lands = ("any",)

    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        flow: Fraction = 0.5,
        target: Target = "online",
    ):
        super().__init__(student, data, teacher)
        self.flow, self.target = flow, target

    def forward(self, drawn: Drawn, turn: str = "") -> Tensor:
        still = drawn.v < self.flow
        out = drawn.x0.new_zeros(len(still))
        if bool(still.any()):
            out[still] = self.tangent(picked(drawn, still))
        if not bool(still.all()):
            rest = picked(drawn, ~still)
            out[~still] = self.jumps(rest._replace(v=((rest.v - self.flow) / (1 - self.flow)).clamp(0, 1)))
        return out

    def tangent(self, drawn: Drawn) -> Tensor:
        """|F - v|^2 of jumps of no length (B,), of what was drawn."""
        phi = angles(drawn.u, self.low, self.high)
        z = self.noised(drawn.x0, drawn.eps, phi)
        v = self.velocity(drawn, z, phi)
        return (self.product.frame(z, phi, phi, drawn.cond) - v).flatten(1).square().mean(1)

    @abstractmethod
    def jumps(self, drawn: Drawn) -> Tensor:
        """The loss of rows that jump (B,), of what was drawn; v is uniform again."""


class Shortcut(Anywhere):
    """Shortcuts: a jump lands where two of half its length do, and a jump of no length is the flow's velocity.

    The loss is |F - F*|^2, with F* of the two half jumps, which have no gradient, or v.  The lengths are 2^-k in u, for
    phi = low + (high - low) u^1.5, k uniform from 0 to `levels`; halves of the shortest are steps by F at no length.

    Frans, Hafner, Levine, Abbeel (2024), One Step Diffusion via Shortcut Models, arXiv 2410.12557; here for any
    SDE, and jumps of all lengths in place of powers of 2.

    Arguments:
        student, data, teacher: as in `Distilled`; without a teacher, from data alone, as in the paper.
        flow: the share of rows with no jump.
        levels: the shortest jump is 2^-levels.
        target: whose half jumps: of the "online" weights, or of their "average".

    Raises:
        InputError: as `Distilled` does.
    """

    @recorded
    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        flow: Fraction = 0.5,
        levels: Annotated[int, Range(1, 16)] = 7,
        target: Target = "online",
    ):
        super().__init__(student, data, teacher, flow, target)
        self.levels = levels

    def jumps(self, drawn: Drawn) -> Tensor:
        length = 2.0 ** (-self.levels * drawn.v)
        u = length + (1 - length) * drawn.u
        phi, middle, to = (angles((u - part * length).clamp(0, 1), self.low, self.high) for part in (0.0, 0.5, 1.0))
        z = self.noised(drawn.x0, drawn.eps, phi)
        with torch.no_grad():
            short = length < 2.0 ** (1 - self.levels)
            f = self.other.frame(z, phi, torch.where(short, phi, middle), drawn.cond)
            there = turned(z, f, phi - middle)
            g = self.other.frame(there, middle, torch.where(short, middle, to), drawn.cond)
            target = both(z, f, g, phi - middle, middle - to)
        return (self.product.frame(z, phi, to, drawn.cond) - target).flatten(1).square().mean(1)


class Trajectory(Anywhere):
    """Consistency trajectories: the jump t -> s lands where the teacher's step t -> u and the student's u -> s do.

    The two ends at s are compared at the data, where the student, without gradients to its weights, jumps from both:

        d(J(J_theta(z_t, s), t_min), J(J(z_u, s), t_min)) / (phi_t - phi_u)

    without the paper's adversarial term.

    Kim et al. (2024), Consistency Trajectory Models, arXiv 2310.02279.

    Arguments:
        student, data, teacher: as in `Distilled`; without a teacher z_u is of the same x_0 and noise.
        flow: the share of rows with no jump.
        reach: how far u is from t at most, where phi = low + (high - low) u^1.5 of u in [0, 1].
        order: of the teacher's step, 1 is DDIM and 2 is Heun, two evaluations.
        huber: c of the distance, in deviations a coordinate; 0: the mean square.
        target: whose other jumps: of the "online" weights, or of their "average".

    Raises:
        InputError: as `Distilled` does.
    """

    @recorded
    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        flow: Fraction = 0.25,
        reach: Annotated[float, Range(above=0, high=1)] = 0.05,
        order: Literal[1, 2] = 2,
        huber: Scale = 0.03,
        target: Target = "online",
    ):
        super().__init__(student, data, teacher, flow, target)
        self.reach, self.order, self.c = reach, order, huber

    def jumps(self, drawn: Drawn) -> Tensor:
        u = self.reach + (1 - self.reach) * drawn.u
        step = self.reach * torch.ones_like(u)
        s = ((u - step) * (1.25 * drawn.v - 0.25).clamp_min(0)).clamp_min(0)  # a fifth of them to the data
        phi, middle, to = (angles(a, self.low, self.high) for a in (u, u - step, s))
        end = torch.full_like(phi, self.low)
        z, cond = self.noised(drawn.x0, drawn.eps, phi), drawn.cond
        with torch.no_grad():
            there = self.stepped(drawn, z, phi, middle, self.order)
            wanted = self.jump(self.other, self.jump(self.other, there, middle, to, cond), to, end, cond)
        found = self.jump(self.product, z, phi, to, cond)
        with frozen(self.other):
            found = self.jump(self.other, found, to, end, cond)
        return distance(found, wanted, self.c) / (phi - middle).to(z.dtype) * (self.high - self.low)


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Within it gradients go through a module and not to its weights."""
    moving = [p for p in module.parameters() if p.requires_grad]
    for p in moving:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in moving:
            p.requires_grad_(True)


def picked(drawn: Drawn, rows: Tensor) -> Drawn:
    """Some rows of what was drawn."""
    take: Any = lambda value: {k: w[rows] for k, w in value.items()} if isinstance(value, dict) else value[rows]
    return Drawn(*map(take, drawn))

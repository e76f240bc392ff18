"""Neighbours infinitely near: the derivative of a jump along the trajectory that it follows."""

from abc import abstractmethod

import torch
from torch import Tensor

from ....data import Data
from ....denoiser import Denoiser, FlowMap
from ....making import recorded
from ....sde import expand
from ....settings import Fraction, Positive, Whole
from ..base import Drawn
from ..paced import Paced
from ..times import angles


class Continuous(Paced):
    """A jump from z at phi to s ends where it does from any neighbour on its trajectory: what sCM and MeanFlow share.

    With d = phi - s and F of the jump (`FlowMap`), d/dphi of cos(d) z - sin(d) F along the flow is 0, which is

        r = cos(d) (v - F) - sin(d) (z + dF/dphi) = 0,    dF/dphi = (v . grad_z + d/dphi) F

    v the teacher's velocity, or that of the data and noise of the step.  The loss is w |F - F^- - g|^2, where F^-, g
    and w have no gradient, and g and w are a subclass's.  One derivative forward and one evaluation with its gradient a
    step.

    Arguments:
        student, data, teacher: as in `Distilled`.
        warmup: steps in which the second term of r grows in; 0: it is there from the start.

    Raises:
        InputError: as `Distilled` does.
    """

    def __init__(self, student: FlowMap, data: Data, teacher: Denoiser | None = None, warmup: Whole = 0):
        super().__init__(student, data, teacher)
        self.warmup = warmup

    @abstractmethod
    def landings(self, drawn: Drawn, phi: Tensor) -> Tensor:
        """The angles where the jumps of a step land.

        Arguments:
            drawn: the step's numbers.
            phi: where they begin (B,).

        Returns:
            (B,).
        """

    @abstractmethod
    def tangent(self, r: Tensor, cos: Tensor) -> tuple[Tensor, Tensor | float]:
        """g and w.

        Arguments:
            r: the residual (B, *shape).
            cos: cos(d) (B, 1, ...).

        Returns:
            (B, *shape), and a number or (B,).
        """

    def forward(self, drawn: Drawn, turn: str = "") -> Tensor:
        phi = angles(drawn.u, self.low, self.high)
        to = self.landings(drawn, phi)
        z = self.noised(drawn.x0, drawn.eps, phi)
        v = self.velocity(drawn, z, phi)
        grown = 1.0 if not self.warmup else min(self.count / self.warmup, 1.0)
        f, r = residual(self.product, z, phi, to, v, drawn.cond, grown)
        g, weight = self.tangent(r, expand((phi - to).cos(), z))
        found = self.product.frame(z, phi, to, drawn.cond)
        return weight * (found - f - g).flatten(1).square().mean(1)


class SCM(Continuous):
    """Continuous-time consistency (sCM).

    `Continuous` with s at t_min and

        g = cos(d) r / (|cos(d) r| + c),    w = 1,    |.| the root mean square of a row

    Lu, Song (2025), Simplifying, Stabilizing and Scaling Continuous-Time Consistency Models, arXiv 2410.11081.

    Arguments:
        student, data, teacher: as in `Distilled`; without a teacher it is consistency training.
        warmup: steps in which the second term of r grows in; 0: it is there from the start.
        small: c, which keeps small tangents small.

    Raises:
        InputError: as `Distilled` does.
    """

    lands = ("data",)

    @recorded
    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        warmup: Whole = 1000,
        small: Positive = 0.1,
    ):
        super().__init__(student, data, teacher, warmup)
        self.small = small

    def landings(self, drawn, phi):
        return torch.full_like(phi, self.low)

    def tangent(self, r, cos):
        g = cos * r
        return g / expand(g.flatten(1).square().mean(1).sqrt() + self.small, g), 1.0


class MeanFlow(Continuous):
    """Jumps to anywhere by a mean of the flow's velocity.

    `Continuous` with any s and

        g = r,    w = 1 / (|g|^2 + c^2),    |.| the root mean square of a row

    Solved for F the identity has g = r / cos(d), which has no bound at a quarter turn, from noise to data: a step by r
    has the same rest.  Of linear paths in x, F is the mean velocity but for the angle that it is measured in.

    Geng, Deng, Bai, Kolter, He (2025), Mean Flows for One-step Generative Modeling, arXiv 2505.13447; here for any SDE.

    Arguments:
        student, data, teacher: as in `Distilled`; without a teacher, from data alone, as in the paper.
        warmup: steps in which the second term of r grows in; 0: it is there from the start.
        flow: the share of rows with no jump, s = phi, which learn v itself.
        small: c.

    Raises:
        InputError: as `Distilled` does.
    """

    lands = ("any",)

    @recorded
    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        warmup: Whole = 0,
        flow: Fraction = 0.25,
        small: Positive = 0.1,
    ):
        super().__init__(student, data, teacher, warmup)
        self.flow, self.small = flow, small

    def landings(self, drawn, phi):
        share = (drawn.v / max(1 - self.flow, 1e-9)).clamp_max(1.0)  # 1 in rows of no jump
        return angles(drawn.u * share, self.low, self.high)

    def tangent(self, r, cos):
        return r, 1 / (r.flatten(1).square().mean(1) + self.small**2)


@torch.no_grad()
def residual(
    student: FlowMap, z: Tensor, phi: Tensor, to: Tensor, v: Tensor, cond: dict, grown: float = 1.0
) -> tuple[Tensor, Tensor]:
    """F, and r = cos(d) (v - F) - grown sin(d) (z + dF/dphi), which is 0 for the exact flow map.

    Arguments:
        student: whose `frame` is F.
        z: (B, *shape).
        phi, to: the angles (B,) where the jump begins and lands.
        v: dz/dphi of the flow at z (B, *shape).
        cond: conditions by name.
        grown: the share of the second term.

    Returns:
        Two tensors (B, *shape), without a graph.
    """
    ask = lambda y, angle: student.frame(y, angle, to, cond)
    f, df = torch.func.jvp(ask, (z, phi), (v, torch.ones_like(phi)))
    d = phi - to
    return f, expand(d.cos(), z) * (v - f) - grown * expand(d.sin(), z) * (z + df)

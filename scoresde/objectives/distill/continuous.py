"""Neighbours infinitely near: the derivative of a jump along the trajectory that it follows."""

from typing import Literal

import torch
from torch import Tensor

from ...data import Data
from ...denoiser import Denoiser, FlowMap
from ...making import recorded
from ...sde import expand
from ...settings import Fraction, Positive, Whole
from .base import Distilled, Drawn
from .times import angles


class Continuous(Distilled):
    """Continuous-time consistency (sCM) and MeanFlow: a jump from z at phi to s ends where it does from any neighbour.

    With d = phi - s and F of the jump (`FlowMap`), d/dphi of cos(d) z - sin(d) F along the flow is 0, which is

        r = cos(d) (v - F) - sin(d) (z + dF/dphi) = 0,    dF/dphi = (v . grad_z + d/dphi) F

    v the teacher's velocity, or that of the data and noise of the step.  The loss is |F - F^- - g|^2, where F^- and g
    have no gradient and, with the tangent r scaled by cos(d),

        g = cos(d) r / (|cos(d) r| + 0.1)           norm="tangent", |.| the root mean square of a row (sCM)
        g = r / cos(d),  divided by (|g|^2 + c)     norm="adaptive" (MeanFlow)

    and the second term of r grows in during `warmup` steps.  One derivative forward and one evaluation with its
    gradient a step.  The rule of the student must be smooth: v, eps, edm or x0.

    Lu, Song (2025), Simplifying, Stabilizing and Scaling Continuous-Time Consistency Models, arXiv 2410.11081; Geng,
    Deng, Bai, Kolter, He (2025), Mean Flows for One-step Generative Modeling, arXiv 2505.13447, here for any SDE.

    Arguments:
        student, data, teacher: as in `Distilled`; of lands="data" jumps to t_min are learned, of "any" all.
        norm: of the tangent.
        warmup: steps in which the second term grows in; 0: it is there from the start.
        flow: of a student that lands anywhere, the share of rows with no jump, which learn v itself.

    Raises:
        InputError: as `Distilled` does.
    """

    @recorded
    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        norm: Literal["tangent", "adaptive"] = "tangent",
        warmup: Whole = 1000,
        flow: Fraction = 0.25,
        small: Positive = 0.1,
    ):
        super().__init__(student, data, teacher)
        self.norm, self.warmup, self.flow, self.small = norm, warmup, flow, small
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def landings(self, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """The angles (B,) where the jumps of a step begin and land."""
        phi = angles(drawn.u, self.low, self.high)
        if self.product.lands == "data":
            return phi, torch.full_like(phi, self.low)
        share = (drawn.v / max(1 - self.flow, 1e-9)).clamp_max(1.0)  # the last rows land where they are
        return phi, angles(drawn.u * share, self.low, self.high)

    def forward(self, drawn: Drawn, turn: str = "") -> Tensor:
        phi, to = self.landings(drawn)
        z = self.noised(drawn.x0, drawn.eps, phi)
        v = self.velocity(drawn, z, phi)
        grown = 1.0 if not self.warmup else min(int(self.steps) / self.warmup, 1.0)
        f, r = residual(self.product, z, phi, to, v, drawn.cond, grown)
        cos = expand((phi - to).cos(), z)
        if self.norm == "tangent":
            g = cos * r
            size = g.flatten(1).square().mean(1).sqrt()
            g, weight = g / expand(size + self.small, z), 1.0
        else:
            g = r / cos.clamp_min(0.05)
            weight = 1 / (g.flatten(1).square().mean(1) + self.small**2)
        found = self.product.frame(z, phi, to, drawn.cond)
        return weight * (found - f - g).flatten(1).square().mean(1)

    def after(self, step, average):
        self.steps.fill_(step)

    def state(self):
        return super().state() | {"steps": self.steps.clone()}

    def load_state(self, state):
        self.steps.copy_(state["steps"])
        super().load_state({k: v for k, v in state.items() if k != "steps"})


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

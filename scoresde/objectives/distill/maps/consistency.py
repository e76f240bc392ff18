"""Consistency: two neighbours on one trajectory jump to the same data."""

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from ....data import Data
from ....denoiser import Denoiser, FlowMap
from ....errors import InputError
from ....making import recorded
from ....settings import Count, Range, Scale
from ..base import Drawn
from ..look import huber
from ..paced import Paced, Target, Targeted
from ..times import angles


class Consistency(Paced, Targeted):
    """Consistency distillation and training: neighbours on one trajectory end at one point.

    With f(z, phi) the jump to t_min, and phi' < phi a neighbour,

        w d(f(z, phi), f^-(z', phi')),    z' = the flow's step from z at phi to phi'

    where z' is the teacher's step (distillation; Song et al., 2023, arXiv 2303.01469), or, without one, the same x_0
    and noise at phi' (training).  f^- has no gradient; d is a pseudo-Huber distance, and w = 1 / (phi - phi').  Angles
    are those of u ~ U(0, 1), phi = low + (high - low) u^1.5, and the neighbour is 1/N before u, where N doubles from
    `first` to `last` in the course of `grows` steps (improved training; Song, Dhariwal, 2023, arXiv 2310.14189).  From
    a trained denoiser with neighbours that begin far apart it is easy consistency tuning (Geng et al., 2024, arXiv
    2406.14548); with `skip` intervals in one step of the teacher's, of latents and told the scale of guidance, it is
    latent consistency distillation (Luo et al., 2023, arXiv 2310.04378).

    Arguments:
        student, data, teacher: as in `Distilled`.
        first, last: N, the intervals that neighbours are apart, at first and at last.
        grows: the steps after which N is `last`; 0: from the start.
        order: of the teacher's step, 1 is DDIM and 2 is Heun, two evaluations.
        skip: how many of the N intervals a step crosses.
        huber: c of the distance, in deviations a coordinate; 0: the mean square.
        target: whose f^-: the "online" weights, or their "average".

    Raises:
        InputError: as `Distilled` does; a step that crosses all intervals.
    """

    @recorded
    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        first: Annotated[int, Range(2, 10**5)] = 8,
        last: Annotated[int, Range(2, 10**5)] = 16,
        grows: Annotated[int, Range(0, 10**8)] = 2000,
        order: Literal[1, 2] = 2,
        skip: Count = 1,
        huber: Scale = 0.0,
        target: Target = "online",
    ):
        super().__init__(student, data, teacher)
        if skip >= first:
            raise InputError(
                f"skip={skip}: {first} intervals at first, of which a step crosses at most {first - 1}", "skip"
            )
        self.first, self.last, self.grows, self.order = first, max(first, last), grows, order
        self.skip, self.c, self.target = skip, huber, target

    @property
    def intervals(self) -> int:
        """N at this step."""
        doublings = math.floor(math.log2(self.last / self.first)) + 1
        done = 1.0 if not self.grows else min(self.count / self.grows, 1.0)
        return min(self.first * 2 ** min(int(done * doublings), doublings), self.last)

    def forward(self, drawn: Drawn, turn: str = "") -> Tensor:
        near = self.skip / self.intervals
        u = near + (1 - near) * drawn.u
        phi, to = (angles(v, self.low, self.high) for v in (u, u - near))
        z = self.noised(drawn.x0, drawn.eps, phi)
        end = torch.full_like(phi, self.low)
        with torch.no_grad():
            there = self.stepped(drawn, z, phi, to, self.order)
            target = self.jump(self.other, there, to, end, drawn.cond)
        found = self.jump(self.product, z, phi, end, drawn.cond)
        return huber(found, target, self.c) / (phi - to).to(z.dtype) * (self.high - self.low)

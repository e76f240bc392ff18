"""Regression on stored pairs: knowledge distillation, and reflow."""

from typing import Any

import torch
from torch import Tensor

from ....data import Data
from ....denoiser import Denoiser, FlowMap, Preconditioned, Source
from ....making import recorded
from ....sde import SDE, expand
from ....settings import Count, Scale
from ..base import Drawn
from ..look import huber as distance
from ..stored import Stored
from ..times import angles, at


class Pairs(Stored):
    """Knowledge distillation: one jump from noise to where the teacher's flow ends that begins there.

    The loss is the distance of the jump from stored ends.  It needs no data but their conditions, and no more
    evaluations of the teacher than the pairs take.

    Luhman, Luhman (2021), Knowledge Distillation in Iterative Generative Models for Improved Sampling Speed, arXiv
    2101.02388.

    Arguments:
        student: of a chain of one jump, `Pairs.student(teacher)`.
        data: whose items give the conditions of the pairs.
        teacher: a denoiser of the same SDE and conditions.
        n: how many pairs.
        steps: of the sampler that makes them, `Adams`.
        huber: c of the distance, in deviations a coordinate; 0: the mean square.

    Raises:
        InputError: as `Stored` does.
    """

    lands, paired = ("times",), True

    @recorded
    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        n: Count = 5000,
        steps: Count = 20,
        huber: Scale = 0.0,
    ):
        super().__init__(student, data, teacher, n, steps)
        self.c = huber

    @classmethod
    def learns(cls, sde: SDE, **settings: Any) -> tuple[float, ...]:
        return sde.t_max, sde.t_min

    def forward(self, drawn: Drawn, turn: str = "") -> Tensor:
        phi, to = (torch.full_like(drawn.u, angle) for angle in (self.high, self.low))
        z, wanted = (self.noised(drawn.x0, drawn.eps, angle) for angle in (phi, to))
        return distance(self.jump(self.product, z, phi, to, drawn.cond), wanted, self.c)


class Reflow(Stored):
    """Reflow: an ordinary denoiser of noise that is paired with its end on the teacher's flow.

    The paths of the new flow cross less, and where they do not cross at all a step of DDIM of any length is exact.
    With `sde=linear` they are straight lines in x, of every SDE arcs in z.  Of the model the flow alone holds
    (`Source`): deterministic samplers, and its likelihood.  A second reflow has the first as its teacher.

    Liu, Gong, Liu (2022), Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow, arXiv
    2209.03003.

    Arguments:
        student: a denoiser that begins as the teacher, `Reflow.student(teacher)`.
        data: whose items give the conditions of the pairs.
        teacher: a denoiser of the same SDE and conditions.
        n: how many pairs.
        steps: of the sampler that makes them, `Adams`.

    Raises:
        InputError: as `Stored` does.
    """

    trains = Preconditioned
    lands, paired = (None,), True

    @recorded
    def __init__(
        self,
        student: Preconditioned,
        data: Data,
        teacher: Denoiser | None = None,
        n: Count = 5000,
        steps: Count = 20,
    ):
        super().__init__(student, data, teacher, n, steps)
        student.source = Source(paired=True)

    @classmethod
    def student(cls, teacher: Denoiser, guidance: tuple[float, float] | None = None, **settings: Any) -> Preconditioned:
        """A denoiser that begins as the teacher; told a scale of guidance it is a `FlowMap` of lands=None.

        Arguments:
            teacher, guidance, settings: as in `Distilled.student`.

        Returns:
            The model that is trained.

        Raises:
            InputError: as `FlowMap.of` does.
        """
        found = FlowMap.of(teacher, None, guidance)
        return found if guidance is not None else Preconditioned(found.net, found.sde, found.rule)

    def forward(self, drawn: Drawn, turn: str = "") -> Tensor:
        phi, sde = angles(drawn.u, self.low, self.high), self.product.sde
        z, t = self.noised(drawn.x0, drawn.eps, phi), at(sde, phi)
        x0 = self.product(expand(torch.hypot(*sde.marginal(t)), z) * z, t, drawn.cond)
        # v - v* = (x_0 - D) / sin(phi), as z is on the arc
        return (x0 - drawn.x0).flatten(1).square().mean(1) / phi.sin().square().to(z.dtype)

"""Guided distillation: a denoiser that is told how strongly it is led, in one evaluation."""

import torch
from torch import Tensor

from ....data import Data
from ....denoiser import GUIDANCE, Denoiser, FlowMap
from ....errors import InputError
from ....making import recorded
from ..base import Distilled, Drawn
from ..look import REFERENCE
from ..times import angles


class GuidedDistillation(Distilled):
    """Stage one of guided distillation: the student's D at every noise level is that of the teacher led by a scale w.

    The loss is |v - v_w|^2 of the two velocities, w ~ U(low, high) told to the student.  What comes of it is a denoiser
    for any deterministic sampler, told w as cond={"guidance": 3.0}; stage two is `Progressive`, or any other method,
    with it as the teacher.

    Meng et al. (2023), On Distillation of Guided Diffusion Models, arXiv 2210.03142.

    Arguments:
        student: `GuidedDistillation.student(teacher, guidance=(1, 4))`, a `FlowMap` of lands=None.
        data, teacher: as in `Distilled`; the teacher has conditions, which it was trained without too.

    Raises:
        InputError: as `Distilled` does; a student that is told no scale, or a teacher that is told one itself.
    """

    lands = (None,)
    alone = False

    @recorded
    def __init__(self, student: FlowMap, data: Data, teacher: Denoiser | None = None):
        super().__init__(student, data, teacher)
        if self.strength is None or GUIDANCE in self.teacher.conditions or not self.takes:
            words = "the student is told no scale" if self.strength is None else "the teacher is told the scale itself"
            words = words if self.takes else "the teacher has no conditions to be led to"
            raise InputError(f"{words}: give guidance=(1, 4), with a teacher of conditions", "guidance")

    def forward(self, drawn: Drawn, turn: str = "") -> Tensor:
        phi = angles(drawn.u, self.low, self.high)
        z = self.noised(drawn.x0, drawn.eps, phi)
        v = self.taught(z, phi, drawn.cond)
        return (self.product.frame(z, phi, phi, drawn.cond) - v).flatten(1).square().mean(1)

    @torch.no_grad()
    def check(self, average):
        """`distance`: of where the student's own flow ends from where the guided teacher's does."""
        found = self.ends.of(average, REFERENCE)
        return {"validation": found, "distance": found}

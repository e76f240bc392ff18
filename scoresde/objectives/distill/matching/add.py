"""Adversarial diffusion distillation: a critic, and a teacher that looks at what the student makes."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ....data import Data
from ....denoiser import Denoiser, FlowMap
from ....making import recorded
from ....settings import Fraction, Positive, Scale, Text
from .base import CRITIC, STUDENT, Play
from .contest import Contest, Judge
from .dmd import Few


class ADD(Contest):
    """Adversarial diffusion distillation, of a student that jumps to the data from a few angles:

        critic   as in `Contest`
        student  its part in the contest, and w cos(phi) |x_0 - D(z, phi)|^2,    z = cos(phi) x_0 + sin(phi) eps

    with D the teacher's, without a gradient, of what the student made (Sauer et al., 2023).  Its heads are on the
    features of a classifier there, of pictures without noise (noise = [0, 0]); on those of the teacher at several noise
    levels it is the latent form (LADD; Sauer et al., 2024), which has no second part (distillation = 0).

    The second part alone is least at the modes of the data, as D of a noisy input is drawn to them and nothing drives
    what the student makes apart: the critic has to, so that it learns at `pace` times the student's rate, and w is as
    small as leaves its gradient above the other's.

    Sauer, Lorenz, Blattmann, Rombach (2023), Adversarial Diffusion Distillation, arXiv 2311.17042; Sauer, Boesel,
    Dockhorn, Blattmann, Esser, Rombach (2024), Fast High-Resolution Image Synthesis with Latent Adversarial Diffusion
    Distillation, arXiv 2403.12015.

    Arguments:
        student, data, teacher: as in `Matching`.
        steps, times: the angles of its jumps, as in `Matching`.
        inputs: what a jump begins from: noised items of the "data", as in the papers, or where the student's own jumps
            lead, "simulated".
        distillation: w.
        critic, gan, r1, noise, pace: as in `Contest`.
        begin: as in `DMD2`.

    Raises:
        InputError: as `Contest` does.
    """

    turns = (CRITIC, STUDENT)

    @recorded
    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        steps: Few = 4,
        times: Sequence[float] = (),
        inputs: Literal["data", "simulated"] = "data",
        distillation: Scale = 0.02,
        critic: Judge = "teacher",
        gan: Literal["hinge", "softplus"] = "softplus",
        r1: Scale = 0.1,
        noise: tuple[Fraction, Fraction] = (0.0, 1.0),
        pace: Positive = 100.0,
        begin: Text | None = None,
    ):
        super().__init__(student, data, teacher, steps, times, critic, gan, r1, noise, pace)
        self.inputs, self.distillation = inputs, distillation

    def trained(self, turn):
        return list((self.critic if turn == CRITIC else self.product).parameters())

    def given(self, drawn):
        if self.inputs == "simulated":
            return self.simulated(drawn)
        z = self.noised(drawn.x0, drawn.chain[0], self.begins[drawn.k])
        only = self.begins[0].sin().to(z.dtype) * drawn.chain[0]  # from t_max a sampling begins with noise alone
        return torch.where((drawn.k == 0).reshape(-1, *[1] * (z.ndim - 1)), only, z)

    def forward(self, drawn: Play, turn: str = "") -> Tensor:
        if turn == CRITIC:
            return self.told_apart(drawn)
        x0 = self.generated(drawn)
        found = self.fooled(x0, drawn)
        if not self.distillation:
            return found
        phi = self.compared(drawn.u)
        with torch.no_grad():
            taught = self.denoised(self.teacher, self.noised(x0, drawn.other, phi), phi, drawn.cond)
        return found + self.distillation * phi.cos().to(x0.dtype) * (x0 - taught).flatten(1).square().mean(1)

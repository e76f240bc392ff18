"""Distribution matching distillation: the student follows the difference of two denoisers."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from ....data import Data
from ....denoiser import Denoiser, FlowMap
from ....errors import InputError
from ....making import recorded
from ....sde import SDE, expand
from ....settings import LATER, Count, Fraction, Positive, Range, Scale, Text, brief
from ..stored import Stored
from .base import CRITIC, FAKE, STUDENT, Matching, Play
from .contest import Contest, Judge
from .parts import fake_of

Few = Annotated[int, Range(1, 64)]
Most = Annotated[int, Range(1, 100)]


class Follower(Matching):
    """A student that follows the gradient of KL(its law | the data's) at every noise level.

    With z = cos(phi) x_0 + sin(phi) eps of an x_0 that it made, and the denoisers of its law and of the data's,

        d KL_phi / d x_0 = cos(phi)^2 / sin(phi)^2 (D_fake(z, phi) - D_real(z, phi))

    The fake denoiser learns from what the student makes, by denoising score matching, several times a step.
    """

    fake: Denoiser
    moves_of_fake: int

    @property
    def moves(self):
        return (FAKE,) * self.moves_of_fake + tuple(turn for turn in self.turns if turn != FAKE)

    def trained(self, turn):
        return list((self.fake if turn == FAKE else self.product).parameters())

    @torch.no_grad()
    def difference(self, x0: Tensor, drawn: Play) -> tuple[Tensor, Tensor, Tensor]:
        """What the two denoisers say of what the student made, noised.

        Arguments:
            x0: it (B, *shape).
            drawn: the turn's numbers.

        Returns:
            D_fake and D_real (B, *shape), and the angles (B,).
        """
        phi = self.compared(drawn.u)
        z = self.noised(x0, drawn.other, phi)
        mode = self.fake.training
        self.fake.eval()  # without dropout: their difference is what counts
        found = [self.denoised(one, z, phi, drawn.cond) for one in (self.fake, self.teacher)]
        self.fake.train(mode)
        return *found, phi

    def followed(self, x0: Tensor, drawn: Play) -> Tensor:
        """The loss (B,) whose gradient by x_0, times the numbers of an item, is (D_fake - D_real) / |x_0 - D_real|_1,
        |.|_1 the mean over an item, which holds all levels alike: equation 8 of the paper.

        Arguments:
            x0: what the student made (B, *shape).
            drawn: the turn's numbers.

        Returns:
            (B,).
        """
        fake, real, _ = self.difference(x0, drawn)
        scale = (x0.detach() - real).abs().flatten(1).mean(1).clamp_min(1e-3)
        slope = (fake - real) / expand(scale, fake)
        return (x0 * slope).flatten(1).mean(1)


class DMD(Follower, Stored):
    """Distribution matching distillation, a generator of one step from pure noise:

        fake     |v - v_fake|^2 of what the student makes
        student  (D_fake - D_real) / |x_0 - D_real|_1 as its gradient, and w |x_0(z) - y|^2 of pairs (z, y)

    where the pairs are noise and the ends of the teacher's flow from there, made beforehand (`Stored`): y is the x_0 by
    which the jump from z lands at the end.  The mean square is in place of the paper's LPIPS.  A student that is made
    for it has lands=(t_max, t_min), and refuses more steps than one.

    Yin, Gharbi, Zhang, Shechtman, Durand, Freeman, Park (2024), One-step Diffusion with Distribution Matching
    Distillation, arXiv 2311.18828.

    Arguments:
        student, data, teacher: as in `Matching`.
        pairs: how many.
        regression: w.
        fakes: how often the fake denoiser moves in a step.
        fake: its network, or itself; None: it begins as the teacher.

    Raises:
        InputError: as `Matching` does; a teacher without a network, and no `fake`.
    """

    turns = (FAKE, STUDENT)
    lands = ("times", "data")

    @classmethod
    def learns(cls, sde: SDE, **settings: Any) -> tuple[float, float]:
        """What a student is to learn, `FlowMap.lands`: one jump, from t_max to t_min.

        Arguments:
            sde: its SDE.
            settings: those of the method.

        Returns:
            The two times.
        """
        return sde.t_max, sde.t_min

    @recorded
    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        pairs: Count = 2000,
        regression: Positive = 1.0,
        fakes: Most = 1,
        fake: nn.Module | None = None,
    ):
        super().__init__(student, data, teacher)
        if not isinstance(student.lands, str) and student.lands != self.learns(student.sde):
            words = "DMD trains one jump, from t_max to t_min: make it with DMD.learns(sde)"
            raise InputError(f"student has lands={brief(student.lands)}: {words}", "student")
        self.fake, self.moves_of_fake = fake_of(fake, student, teacher), fakes
        self.n, self.regression = pairs, regression

    def forward(self, drawn: Play, turn: str = "") -> Tensor:
        if turn == FAKE:
            return self.learned(self.fake, drawn)
        z = self.noised(drawn.x0, drawn.eps, self.begins[drawn.k])
        away = self.jumped(z, drawn.k, drawn.cond) - drawn.x0
        return self.followed(self.generated(drawn), drawn) + self.regression * away.flatten(1).square().mean(1)


class DMD2(Follower, Contest):
    """Improved distribution matching distillation, with a faster fake denoiser and a critic in place of pairs:

        fake     |v - v_fake|^2 of what the student makes, `fakes` times a step
        critic   as in `Contest`
        student  (D_fake - D_real) / |x_0 - D_real|_1 as its gradient, and w times its part in the contest

    Of several jumps the k-th begins where the student's own before it lead, as in sampling, and it alone has a
    gradient.  The critic is a player of its own, in place of a head on the fake denoiser.

    Yin, Gharbi, Park, Zhang, Shechtman, Durand, Freeman (2024), Improved Distribution Matching Distillation for Fast
    Image Synthesis, arXiv 2405.14867.

    Arguments:
        student, data, teacher: as in `Matching`.
        steps, times: the angles of its jumps, as in `Matching`.
        fakes: how often the fake denoiser moves in a step.
        weight: w.
        critic, gan, r1, noise, pace: as in `Contest`.
        fake: the fake denoiser's network, or itself; None: it begins as the teacher.
        begin: the folder of another student, that this one begins as (`student`); None: it begins as the teacher.

    Raises:
        InputError: as `Contest` does; a teacher without a network, and no `fake`.
    """

    turns = (FAKE, CRITIC, STUDENT)

    @recorded
    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None = None,
        steps: Few = 4,
        times: Sequence[float] = (),
        fakes: Most = 5,
        weight: Scale = 0.1,
        critic: Judge = "teacher",
        gan: Literal["hinge", "softplus"] = "softplus",
        r1: Scale = 0.1,
        noise: tuple[Fraction, Fraction] = (0.0, 1.0),
        pace: Annotated[Positive, LATER] = 1.0,
        fake: nn.Module | None = None,
        begin: Text | None = None,
    ):
        super().__init__(student, data, teacher, steps, times, critic, gan, r1, noise, pace)
        self.fake, self.moves_of_fake, self.weight = fake_of(fake, student, teacher), fakes, weight

    def trained(self, turn):
        return list(self.critic.parameters()) if turn == CRITIC else super().trained(turn)

    def forward(self, drawn: Play, turn: str = "") -> Tensor:
        if turn == FAKE:
            return self.learned(self.fake, drawn)
        if turn == CRITIC:
            return self.told_apart(drawn)
        x0 = self.generated(drawn)
        found = self.followed(x0, drawn)
        return found + self.weight * self.fooled(x0, drawn) if self.weight else found

"""A student and a critic of what it makes: what DMD2 and ADD share."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....data import Data
from ....denoiser import Denoiser, FlowMap
from ....errors import InputError
from ....model.trained.classifier import NoisyClassifier, TrainedClassifier
from ....settings import Fraction, Positive
from .base import CRITIC, Matching, Play
from .critics import critic_of

Judge = Literal["teacher", "own"] | nn.Module


class Contest(Matching):
    """`Matching` with a critic c, which tells noised data from what the student made, noised alike:

        critic   max(0, 1 - c(z)) + max(0, 1 + c(z')) + r1/2 |grad c(z)|^2        student   -c(z')
        or       softplus(-c(z)) + softplus(c(z')) + ...                           student   softplus(-c(z'))

    the mean over its logits; the gradient is by what its heads look at, at data (Mescheder, Geiger, Nowozin, 2018,
    arXiv 1801.04406).  The angle of z and z' is uniform between two shares of the SDE's angles.

    Arguments:
        student, data, teacher, steps, times: as in `Matching`.
        critic: "teacher", heads on the features of its network; "own", a `nets.Encoder`; a classifier of noisy data, on
            whose features its heads are; a network net(z, c), c = log(sigma / alpha); or a `Critic`.
        gan: "hinge" or "softplus".
        r1: the weight of the gradient.
        noise: the two shares, 0 is t_min and 1 is t_max.
        pace: how many times the student's learning rate is the critic's (Heusel et al., 2017, arXiv 1706.08500): heads
            that learn slower than the student moves tell nothing, and say nothing to it.

    Raises:
        InputError: as `Matching` does; features asked of a teacher without a network.
    """

    def __init__(
        self,
        student: FlowMap,
        data: Data,
        teacher: Denoiser | None,
        steps: int,
        times: tuple[float, ...],
        critic: Judge,
        gan: str,
        r1: float,
        noise: tuple[Fraction, Fraction],
        pace: Positive,
    ):
        super().__init__(student, data, teacher, steps, times)
        if len(noise) != 2 or noise[0] > noise[1]:
            raise InputError(
                f"noise={list(noise)}: give two shares of the angles, the second not below the first", "noise"
            )
        if isinstance(critic, NoisyClassifier | TrainedClassifier):
            self.classifier = critic.requires_grad_(False)
        self.critic = critic_of(critic, teacher, student.sde, tuple(data.shape))
        self.gan, self.r1, self.noise, self.pace = gan, r1, tuple(noise), pace

    def rate(self, turn):
        return self.pace if turn == CRITIC else super().rate(turn)

    def watched(self, v: Tensor) -> Tensor:
        """The angles at which the critic looks.

        Arguments:
            v: uniform numbers (B,).

        Returns:
            (B,).
        """
        first, last = self.noise
        return self.low + (self.high - self.low) * (first + (last - first) * v)

    def told_apart(self, drawn: Play) -> Tensor:
        """The critic's loss.

        Arguments:
            drawn: the turn's numbers.

        Returns:
            (B,).
        """
        phi = self.watched(drawn.v)
        with torch.no_grad():
            z, made = (self.noised(x, drawn.other, phi) for x in (drawn.x0, self.generated(drawn)))
            seen = self.critic.seen(z, phi, drawn.cond)
        if self.r1:
            seen = [part.detach().requires_grad_() for part in seen]
        true, false = self.critic.judged(seen, phi), self.critic(made, phi, drawn.cond)
        sign = F.softplus if self.gan == "softplus" else lambda y: F.relu(1 + y)
        loss = (sign(-true) + sign(false)).mean(1)
        if not self.r1:
            return loss
        slopes = torch.autograd.grad(true.mean(1).sum(), seen, create_graph=True)
        return loss + self.r1 / 2 * sum(slope.flatten(1).square().sum(1) for slope in slopes)

    def fooled(self, x0: Tensor, drawn: Play) -> Tensor:
        """The student's part of the contest.

        Arguments:
            x0: what it made (B, *shape).
            drawn: the turn's numbers.

        Returns:
            (B,).
        """
        phi = self.watched(drawn.v)
        found = self.critic(self.noised(x0, drawn.other, phi), phi, drawn.cond)
        return (F.softplus(-found) if self.gan == "softplus" else -found).mean(1)

"""The noise that a model was trained with, where it was not N(0, I) drawn by itself."""

import math
from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError
from ..settings import Checked, Scale


@dataclass(frozen=True)
class Source(Checked):
    """The noise eps of x_t = alpha x_0 + sigma eps: N(0, I) drawn by itself, unless one of the settings says otherwise.

    Whatever eps is, D(x, t) = E[x_0 | x_t = x] and (x - alpha D) / sigma = E[eps | x_t = x], and the flow of their
    velocity has the marginals of x_t (Albergo, Vanden-Eijnden, 2022, arXiv 2209.15571): deterministic samplers and the
    likelihood through the flow hold.  (alpha D - x) / sigma^2 is the score of p_t for plain noise alone: samplers that
    add noise, and bounds, do not hold otherwise.

    Arguments:
        offset: o; eps = z + o k with z ~ N(0, I) and one normal number k for each channel: the covariance of a channel
            is I + o^2 J, J all ones.
        paired: eps was dealt to the x_0 of a batch; each by itself is distributed as ever.
    """

    offset: Scale = 0.0
    paired: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is N(0, I), independent of x_0."""
        return not self.offset and not self.paired

    def noise(self, z: Tensor, k: Tensor) -> Tensor:
        """z + o k (B, C, *space) of normal numbers z like it and k (B, C)."""
        return z + self.offset * k.reshape(*k.shape, *[1] * (z.ndim - 2))

    def log_ratio(self, eps: Tensor) -> Tensor:
        """The log-density of eps (B, C, *space) over that of N(0, I): (B,), in nats.

        With n numbers in a channel of sum s: -1/2 log(1 + n o^2) + 1/2 s^2 o^2 / (1 + n o^2), by Sherman and Morrison.
        """
        eps, square = eps.flatten(2), self.offset**2
        grown = 1 + eps.shape[2] * square
        return 0.5 * (eps.sum(2).square() * square / grown - math.log(grown)).sum(1)


def refuse_noise(source: Source, what: str) -> None:
    """Raises `InputError` if `what`, which needs the score, is asked of a model whose `source` leaves it the flow."""
    if not source.plain:
        why = "its noise was paired with the data" if source.paired else "it was trained with offset noise"
        raise InputError(
            f"{what} needs the score of p_t, and of this model the flow alone is known, as {why}: choose a "
            "deterministic sampler, or the likelihood through the flow"
        )

"""Weights w(t) of |D - x_0|^2: functions (sde, t (B,)) -> (B,)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from ..errors import InputError
from ..sde import SDE
from ..settings import Checked, OneOf, Positive


def simple(sde: SDE, t: Tensor) -> Tensor:
    """alpha^2 / sigma^2 (B,) of an SDE at t (B,): the mean square error of eps (Ho et al., 2020, arXiv 2006.11239).

    Over times uniform in the log-SNR lambda it is the likelihood's weight for every SDE:

        -log p(x_0) <= 1/2 integral of e^lambda E|D - x_0|^2 dlambda + terms of the two ends

    (Kingma, Salimans, Poole, Ho, 2021, Variational Diffusion Models, arXiv 2107.00630, equation 18).
    """
    return sde.log_snr(t).exp()


def likelihood(sde: SDE, t: Tensor) -> Tensor:
    """g^2 alpha^2 / sigma^4 = -snr'(t) of an SDE at t (B,): over uniform times a bound on -2 log p, up to a constant.

    Song, Durkan, Murray, Ermon (2021), Maximum Likelihood Training of Score-Based Models, arXiv 2101.09258.
    """
    _, sigma = sde.marginal(t)
    return sde.drift_diffusion(t)[1] * sde.log_snr(t).exp() / sigma**2


@dataclass(frozen=True)
class edm(Checked):
    """m / (sigma sd)^2 with m = alpha^2 sd^2 + sigma^2, sd = `sigma_data`: 1 / c_out^2 of the rule edm.

    With sd = 1 it is 1 + alpha^2 / sigma^2, the mean square error of v.  Karras et al. (2022), arXiv 2206.00364.
    """

    sigma_data: Positive = 0.5

    def __call__(self, sde: SDE, t: Tensor) -> Tensor:
        """The weight (B,) of an SDE at t (B,)."""
        return sde.log_snr(t).exp() + self.sigma_data**-2


@dataclass(frozen=True)
class min_snr(Checked):
    """min(alpha^2 / sigma^2, gamma): the mean square error of eps, bounded at low noise.

    Hang et al. (2023), Min-SNR Weighting, arXiv 2303.09556.
    """

    gamma: Positive = 5.0

    def __call__(self, sde: SDE, t: Tensor) -> Tensor:
        """The weight (B,) of an SDE at t (B,)."""
        return sde.log_snr(t).exp().clamp_max(self.gamma)


WEIGHTS: dict[str, Callable] = {"simple": simple, "likelihood": likelihood, "edm": edm(), "min_snr": min_snr()}
Weighting = Annotated[str, OneOf(WEIGHTS)] | Callable


def named_weight(weight: str | Callable) -> Callable:
    """The weight of that name, or the function itself.  Raises `InputError` for an unknown name."""
    if isinstance(weight, str) and weight not in WEIGHTS:
        raise InputError(f"loss weight {weight!r} is unknown: choose one of {', '.join(WEIGHTS)}")
    return WEIGHTS[weight] if isinstance(weight, str) else weight

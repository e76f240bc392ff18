"""DDPM's sampler, with the variance that is asked for or was learned."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ...denoiser import Denoiser
from ...errors import InputError
from ...settings import Fraction
from ..loop import Steps
from .fixed import DDIM


@dataclass(frozen=True)
class Ancestral(DDIM):
    """DDPM's chain: `DDIM` with eta = 1, its noise of standard deviation w (sigma_t / sigma_s)^v:

        x_s = alpha_s D + sqrt(sigma_s^2 - w^2) eps + temperature w (sigma_t / sigma_s)^v z

    The variance of a step is beta~, that of q(x_s | x_t, x_0), for v = 0, and beta, that of x_t given x_s, for v = 1.

    Ho, Jain, Abbeel (2020), arXiv 2006.11239; Nichol, Dhariwal (2021), arXiv 2102.09672.

    Arguments:
        variance: "posterior", v = 0; "beta", v = 1; "learned", that of the model, element by element (see
            `LearnedVariance`); "auto": learned where it was, else posterior.
    """

    steps: Steps = 200
    eta: Fraction = 1.0
    variance: Literal["auto", "posterior", "beta", "learned"] = "auto"

    def step(self, denoiser, x, t, s, state, noise):
        x0, v = self._asked(denoiser, x, t)
        x, w = self._moved(denoiser, x, x0, t, s)
        if w > 0:
            spread = (denoiser.sde.at(t).sigma / denoiser.sde.at(s).sigma) ** v
            x = x.add_(noise.transition(x) * spread, alpha=self.temperature * w)
        return x, None

    def _asked(self, denoiser: Denoiser, x: Tensor, t: float) -> tuple[Tensor, Tensor | float]:
        if self.variance in ("posterior", "beta"):
            return denoiser(x, t), float(self.variance == "beta")
        x0, v = denoiser.with_variance(x, t)
        if v is None and self.variance == "learned":
            words = f"variance='learned': the {type(denoiser).__name__} has learned none; give auto, posterior or beta"
            raise InputError(words, "variance")
        return x0, 0.0 if v is None else v

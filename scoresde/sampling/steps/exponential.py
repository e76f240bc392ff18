"""Multistep exponential integrators: what is linear in x is solved exactly, x_0 or eps is extrapolated."""

from dataclasses import dataclass

from ..loop import Placing
from .multistep import Multistep


@dataclass(frozen=True)
class DPMpp(Multistep):
    """DPM-Solver++ multistep of any order: x_0 as a polynomial in lambda = log(alpha / sigma):

        x_s = sigma_s / sigma_t x_t + sigma_s int p(lambda) e^lambda dlambda

    Order 3 is DPM-Solver++(3M).  The widely used code of 3M gives the second difference half of its weight, and
    converges at order 2; here the weights are those of the polynomial.

    Lu, Zhou, Bao, Chen, Li, Zhu (2022), DPM-Solver++, arXiv 2211.01095, section 4.
    """

    grid: Placing = "log_snr"

    def value(self, denoiser, x, t):
        return denoiser(x, t)

    def variable(self, sde, t):
        return sde.at(t).log_snr / 2

    def carrier(self, sde, t):
        return sde.at(t).sigma

    def density(self, sde, u):
        return u.exp()


@dataclass(frozen=True)
class UniPC(DPMpp):
    """UniPC: DPM-Solver++ multistep of order `order` as predictor, and a corrector of the next order at no evaluation.

    Zhao, Bai, Rao, Zhou, Lu (2023), UniPC, arXiv 2302.04867, with the exact weights of the polynomial, which
    make its B(h) drop out.
    """

    correct: bool = True


@dataclass(frozen=True)
class DEIS(Multistep):
    """tAB-DEIS: eps as a polynomial in t, with rho = sigma / alpha:

        x_s = alpha_s / alpha_t x_t + alpha_s int p(t) rho'(t) dt

    Zhang, Chen (2023), Fast Sampling of Diffusion Models with Exponential Integrator, arXiv 2204.13902.
    """

    def value(self, denoiser, x, t):
        return denoiser.eps(x, t)

    def variable(self, sde, t):
        return t

    def carrier(self, sde, t):
        return sde.at(t).alpha

    def density(self, sde, u):
        # rho' = rho (log rho)' = rho g^2 / (2 sigma^2)
        alpha, sigma = sde.marginal(u)
        return sde.drift_diffusion(u)[1] / (2 * alpha * sigma)

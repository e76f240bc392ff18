"""Correctors: steps that leave p_u as it is and bring x_u closer to it, (denoiser, x, u, t, s, noise) -> x_u.

x is at the time u, which is t or s: the two ends of the step that the predictor has made or is about to make.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...denoiser import weigh
from ...settings import Checked, Positive
from .fixed import DDIM


@dataclass(frozen=True)
class Langevin(Checked):
    """Langevin steps at the noise level of u: x <- x + e score(x, u) + sqrt(2 e) z, with a = alpha_t / alpha_s:

        e = 2 (a snr)^2 sigma^2 min(1, 4 D / (sigma |score|)^2)

    for data of D dimensions.  That is the paper's rule 2 a^2 (snr |z| / |score|)^2 with both norms at their values for
    pure noise, sqrt(D) and sqrt(D) / sigma; each sample's own |score| shortens the step where it is over twice that.
    Steps that follow |z| or |score| closely would not leave p_u as it is in few dimensions: in two, 100 steps made the
    variance 22 % too large.

    Song et al. (2021), arXiv 2011.13456, algorithms 4 and 5.

    Arguments:
        snr: larger takes larger steps.
        batch_norms: the paper's code: |z| and |score| are means over the batch, without a guard, and a sample depends
            on its batch mates.
    """

    snr: Positive = 0.16
    batch_norms: bool = False

    def __call__(self, denoiser, x, u, t, s, noise):
        """One step at the time u, which is t or s.

        Arguments:
            denoiser, t, s, noise: as in `Sampler.step`.
            x: x_u (B, *shape).
            u: the time of x.

        Returns:
            x_u (B, *shape).
        """
        sde = denoiser.sde
        score, z = denoiser.score(x, u), noise(x)
        if self.batch_norms:
            ratio = (z.flatten(1).norm(dim=1).mean() / score.flatten(1).norm(dim=1).mean().clamp_min(1e-12)) ** 2
        else:
            mean_square = score.flatten(1).square().mean(1).reshape(-1, *[1] * (x.ndim - 1))
            ratio = 1 / (mean_square / 4).clamp_min(sde.at(u).sigma ** -2)
        e = 2 * (sde.at(t).alpha / sde.at(s).alpha * self.snr) ** 2 * ratio
        return torch.addcmul(x, e, score).addcmul_((2 * e).sqrt(), z)


@dataclass(frozen=True)
class ALD(Checked):
    """Annealed Langevin: x <- x + e score(x, u) + sqrt(2 e) z with e = 2 (a snr sigma_u)^2, a = alpha_t / alpha_s.

    The step follows the noise level alone, e ~ sigma^2; in the paper's symbols eps / sigma_L^2 = 4 snr^2, so a larger
    snr takes larger steps.

    Song, Ermon (2019), NCSN, arXiv 1907.05600, algorithm 1; Song et al. (2021), arXiv 2011.13456, appendix G.
    """

    snr: Positive = 0.16

    def __call__(self, denoiser, x, u, t, s, noise):
        """One step at the time u, which is t or s.

        Arguments:
            denoiser, x, u, t, s, noise: as in `Langevin.__call__`.

        Returns:
            x_u (B, *shape).
        """
        sde = denoiser.sde
        e = 2 * (sde.at(t).alpha / sde.at(s).alpha * self.snr * sde.at(u).sigma) ** 2
        return torch.add(x, denoiser.score(x, u), alpha=e).add_(noise(x), alpha=math.sqrt(2 * e))


@dataclass(frozen=True)
class Gibbs:
    """Renoise and denoise: one sweep of Gibbs sampling over the pair (x_t, x_s), s < t.

        x_t = a x_s + G z      by the forward process, a = alpha_t / alpha_s, G^2 = sigma_t^2 - a^2 sigma_s^2
        x_s ~ p(x_s | x_t)     by an ancestral step, the exact posterior given x_0 = D(x_t, t)

    from x_s (after the predictor) in this order, from x_t (before it) in the other.  One evaluation.

    Lugmayr et al. (2022), RePaint, arXiv 2201.09865, where it is resampling; compare Xu et al. (2023), Restart
    sampling, arXiv 2306.14878.
    """

    def __call__(self, denoiser, x, u, t, s, noise):
        """One sweep at the time u, which is t or s.

        Arguments:
            denoiser, x, u, t, s, noise: as in `Langevin.__call__`.

        Returns:
            x_u (B, *shape).
        """
        ancestral = DDIM(eta=1.0)

        def denoise(x):
            return ancestral.step(denoiser, x, t, s, None, _Loud(noise))[0]

        def renoise(x):
            at, to = denoiser.sde.at(t), denoiser.sde.at(s)
            a = at.alpha / to.alpha
            return weigh(a, x, math.sqrt(max(at.sigma**2 - (a * to.sigma) ** 2, 0.0)), noise(x))

        return denoise(renoise(x)) if u == s else renoise(denoise(x))


class _Loud:
    """Draws whose transition is never silent: a corrector keeps its noise in the last step."""

    def __init__(self, noise):
        self.transition = noise


CORRECTORS: dict[str, Callable | None] = {"langevin": Langevin, "ald": ALD, "gibbs": Gibbs, "none": None}

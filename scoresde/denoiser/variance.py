"""A denoiser that knows how far its steps err: the learned variances of improved DDPM, and the terms of its bound."""

from typing import ClassVar

import torch
from torch import Tensor

from ..answers import answered
from ..sde import SDE, expand
from .base import weigh
from .preconditioned import Preconditioned


class LearnedVariance(Preconditioned):
    """D(x, t) of the first half of a network's answer, and v of the other: the variance of a step from t to any s < t.

        p(x_s | x_t) = N(mean of q(x_s | x_t, x_0 = D), Sigma),    Sigma = exp(v log beta + (1 - v) log beta~)

    element by element, between beta = sigma_t^2 - a^2 sigma_s^2, a = alpha_t / alpha_s, the variance of x_t given x_s,
    and beta~ = beta sigma_s^2 / sigma_t^2, that of q(x_s | x_t, x_0).  v = (1 + answer) / 2 is not bounded, and 1/2
    before training.  For short steps the best v does not depend on s, so that one network serves chains of any length.

    Nichol, Dhariwal (2021), Improved Denoising Diffusion Probabilistic Models, arXiv 2102.09672, section 3.1.

    Arguments:
        net: as in `Preconditioned`, but for its answer (B, 2 C, *space) to x (B, C, *space): `outputs=2` of `nets`.
        sde, rule: as in `Preconditioned`.

    Raises:
        InputError: as `Preconditioned` does; the rule `levels`, whose steps are no Gaussians.
    """

    outputs: ClassVar[int] = 2

    def forward(self, x, t, cond=None):
        return self.with_variance(x, t, cond)[0]

    def with_variance(self, x, t, cond=None):
        (c_skip, c_out), given = self._inputs(x, t, cond)
        shape = (len(x), 2 * x.shape[1], *x.shape[2:])
        answer = answered(self.net(*given), shape, f"the network {type(self.net).__name__}").to(x.dtype)
        mean, v = answer.chunk(2, 1)
        return weigh(c_skip, x, c_out, mean), (1 + v) / 2


def step_kl(sde: SDE, t: Tensor, s: Tensor, x0: Tensor, mean: Tensor, v: Tensor | float) -> Tensor:
    """KL(q(x_s | x_t, x_0), p(x_s | x_t)) of the steps of a chain, element by element:

        (r (snr(s) - snr(t)) (x_0 - D)^2 + r - 1 - log r) / 2,    r = beta~ / Sigma = (sigma_s / sigma_t)^(2 v)

    Ho, Jain, Abbeel (2020), arXiv 2006.11239, equation 5; Nichol, Dhariwal (2021), arXiv 2102.09672.

    Arguments:
        sde: whose steps they are.
        t, s: the times (B,), s <= t.
        x0: x_0 (B, *shape).
        mean: D(x_t, t) (B, *shape).
        v: that of `LearnedVariance`, (B, *shape), or a number: 0 is the variance beta~, 1 is beta.

    Returns:
        (B, *shape), in nats.
    """
    gap = sde.log_snr(t).exp() * torch.expm1(sde.log_snr(s) - sde.log_snr(t))
    log_r = v * expand(2 * (sde.log_sigma(s) - sde.log_sigma(t)), x0)
    return (log_r.exp() * expand(gap, x0) * (x0 - mean).square() + torch.expm1(log_r) - log_r) / 2

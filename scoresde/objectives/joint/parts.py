"""What is trained together, and how the noise levels weigh for each."""

import math
from typing import NamedTuple

from torch import Tensor, nn

from ...denoiser import Denoiser
from ...loss import DenoisingLoss, by_weight
from ...model.trained.autoencoder import Autoencoder
from ...sde import SDE


def reweighted(sde: SDE, t: Tensor) -> Tensor:
    """g^2 alpha^2 / sigma^2 of |D - z_0|^2, g^2 of the squared error of eps, (B,) at t (B,) of an SDE."""
    return sde.drift_diffusion(t)[1] * sde.log_snr(t).exp()


# By name the weight of |D - z_0|^2 over uniform times; of the squared error of eps: g^2 / sigma^2, 1, g^2.
WEIGHTINGS = {"ll": "likelihood", "un": "simple", "re": reweighted}


def loss_of(weighting: str) -> DenoisingLoss:
    """The denoising loss of a weighting, its times by importance: in proportion to the loss that z_0 ~ N(0, I) has."""
    weight = WEIGHTINGS[weighting]
    return DenoisingLoss(weight, by_weight(weight, "uniform", "v"), base="uniform")


class Joint(nn.Module):
    """An autoencoder and a denoiser of its latents, whose weights are trained and averaged together.

    Arguments:
        autoencoder: with a Gaussian bottleneck and a likelihood.
        denoiser: of latents z (B, *latent_shape), as they are.
    """

    def __init__(self, autoencoder: Autoencoder, denoiser: Denoiser):
        super().__init__()
        self.autoencoder, self.denoiser = autoencoder, denoiser

    @property
    def sde(self) -> SDE:
        """Of the denoiser."""
        return self.denoiser.sde


class Terms(NamedTuple):
    """Of each row (B,), in nats: -log p(x | z); -log p(z), its bound by one noise level; -log q(z | x), its mean."""

    reconstruction: Tensor
    cross_entropy: Tensor
    entropy: Tensor

    @property
    def total(self) -> Tensor:
        """-log p(x) at most (B,)."""
        return self.reconstruction + self.cross_entropy - self.entropy


def cross_entropy(denoiser: Denoiser, loss: DenoisingLoss, z: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """The bound on -log p(z) of each row (B,), estimated by one noise level t (B,): the mean over t and eps is

        1/2 integral of g^2 alpha^2 / sigma^4 E|D - z|^2 dt + alpha_T^2 / sigma_T^2 |z|^2 / 2
        + K/2 log(2 pi e sigma^2 / alpha^2) at t_min

    of K latents: what is left of z at t_max, and the entropy of what is not told at t_min (up to the square of sigma
    over the latents' std).

    Arguments:
        denoiser: of the latents.
        loss: `loss_of("ll")`.
        z: (B, *latent_shape).
        t: times of the loss.
        eps: standard normal numbers like z.
    """
    sde, size = denoiser.sde, z[0].numel()
    start = loss.start(sde)
    way = (sde.t_max - start) / 2 * size * loss.at(denoiser, z, t, eps)
    left = 0.5 * float(sde.log_snr(sde.t_max).exp()) * z.square().flatten(1).sum(1)
    end = 0.5 * size * (math.log(2 * math.pi * math.e) - float(sde.log_snr(start)))
    return way + left + end


def terms(joint: Joint, loss: DenoisingLoss, log_p: Tensor, z: Tensor, log_std: Tensor, at: tuple) -> Terms:
    """The terms of rows of log p(x | z) (B,), z and the log std of q(z | x) (B, *latent_shape); `at` is (t, eps)."""
    entropy = (log_std + 0.5 * math.log(2 * math.pi * math.e)).flatten(1).sum(1)
    return Terms(-log_p, cross_entropy(joint.denoiser, loss, z, *at), entropy)

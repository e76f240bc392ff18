"""Exact flow maps, of a Gaussian in closed form and of a mixture by an accurate solver, for the laws of few steps."""

import torch

from scoresde.denoiser import Denoiser, jumped
from scoresde.exact import GaussianMixture
from scoresde.sde import as_time, expand


class ExactMap(Denoiser):
    """A flow map that is exact: a subclass gives `moved`, z at phi_s of z at phi_t, and all else follows."""

    exact, lands = False, "any"

    def moved(self, z, phi_t, phi_s):
        """z (B, *shape) at the angles phi_s (B,) of z at phi_t (B,)."""
        raise NotImplementedError

    def frame(self, z, phi_t, phi_s, cond=None):
        d = phi_t - phi_s
        return (expand(d.cos(), z) * z - self.moved(z, phi_t, phi_s)) / expand(d.sin(), z)

    def landing(self, x, t, s, cond=None):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (self.sde.marginal(as_time(u)) for u in (t, s))
        phi_t, phi_s = (torch.atan(b / a).to(x).expand(len(x)) for a, b in ((alpha_t, sigma_t), (alpha_s, sigma_s)))
        n_t, n_s = (expand(torch.hypot(a, b).to(x), x) for a, b in ((alpha_t, sigma_t), (alpha_s, sigma_s)))
        there = n_s * self.moved(x / n_t, phi_t, phi_s)
        keep = sigma_s / sigma_t
        return (there - expand(keep.to(x), x) * x) / expand((alpha_s - alpha_t * keep).to(x), x)

    def forward(self, x, t, cond=None):
        return self.landing(x, t, self.sde.t_min)


class Affine(ExactMap):
    """That of N(mean, diag std^2): z_s = cos(phi_s) m + w_s / w_t (z - cos(phi_t) m), w^2 = cos^2 std^2 + sin^2."""

    def __init__(self, sde, mean, std):
        super().__init__(sde)
        self.mean, self.std = mean, std

    def moved(self, z, phi_t, phi_s):
        w_t, w_s = ((expand(p.cos(), z) ** 2 * self.std**2 + expand(p.sin(), z) ** 2).sqrt() for p in (phi_t, phi_s))
        return expand(phi_s.cos(), z) * self.mean + w_s / w_t * (z - expand(phi_t.cos(), z) * self.mean)

    def log_prob(self, x, t):
        """The exact log p_t(x)."""
        return self.mixture().log_prob(x, t)

    def mixture(self):
        """The same as a denoiser."""
        return GaussianMixture(torch.ones(1), self.mean[None], self.std[None], self.sde)


class Solved(ExactMap):
    """That of a mixture, by `steps` steps of Runge-Kutta of its flow in z and phi, through which derivatives go."""

    def __init__(self, model, steps=40):
        super().__init__(model.sde)
        self.model, self.steps = model, steps

    def velocity(self, z, phi):
        """v = (cos(phi) z - D) / sin(phi) in closed form: D the mean of the components', by their weights."""
        cos, sin = phi.cos()[:, None, None], phi.sin()[:, None, None]
        variance = cos**2 * self.model.stds**2 + sin**2
        away = z[:, None] - cos * self.model.means
        weights = (self.model.log_weights - 0.5 * (away**2 / variance + variance.log()).sum(2)).softmax(1)
        x0 = (weights[..., None] * (self.model.means + cos * self.model.stds**2 / variance * away)).sum(1)
        return (cos[:, 0] * z - x0) / sin[:, 0]

    def moved(self, z, phi_t, phi_s):
        h = (phi_s - phi_t) / self.steps
        half = h[:, None] / 2
        for i in range(self.steps):
            phi = phi_t + i * h
            k1 = self.velocity(z, phi)
            k2 = self.velocity(z + half * k1, phi + h / 2)
            k3 = self.velocity(z + half * k2, phi + h / 2)
            k4 = self.velocity(z + 2 * half * k3, phi + h)
            z = z + half / 3 * (k1 + 2 * (k2 + k3) + k4)
        return z


def jump(model, x, t, s):
    """x_s of a jump of the model from x_t."""
    return jumped(model.sde, x, model.landing(x, t, s), t, s)

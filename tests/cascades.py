"""Exact models of a cascade: Gaussian mixtures of which a linear measurement is told, with noise of any size."""

import torch

from scoresde.cascade import Stage
from scoresde.conditions import Corruption, Label, Picture
from scoresde.denoiser import Denoiser
from scoresde.sampling import DPMpp2M
from scoresde.sde import VP

MOST = 2.0
A = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], dtype=torch.float64)  # means of pairs


class Measured(Denoiser):
    """E[x_0 | x_t, y, label] of x_0 ~ sum_k w_k N(m_k, S_k), of items (1, D), y = A x_0 + s n and n ~ N(0, I).

    x_t and y are one Gaussian measurement H x_0 + noise of covariance R in each component:

        mean_k = m_k + S_k H^T G^-1 (z - H m_k)     G = H S_k H^T + R     p(k | z) ~ w_k N(z; H m_k, G)

    Without a matrix nothing is told but the label, of which component k is k.
    """

    def __init__(self, weights, means, covariances, sde, matrix=None):
        super().__init__(sde)
        self.weights, self.means, self.covariances = weights, means, covariances
        self.matrix = means.new_empty(0, means.shape[1]) if matrix is None else matrix
        self.conditions = {"label": Label(len(weights), drop=0.1)}
        if matrix is not None:
            self.conditions |= {"seen": Picture((1, len(matrix)), drop=0.0), "corruption": Corruption.of("noise", MOST)}

    def forward(self, x, t, cond=None):
        cond = cond or {}
        n, d, m = len(x), len(self.means[0]), len(self.matrix)
        level = self.sde.marginal(torch.as_tensor(t, dtype=torch.float64))
        alpha, sigma = (a.reshape(-1, 1).expand(n, d) for a in level)
        s = cond.get("corruption", torch.zeros(n, 1)).double().expand(n, m)
        z = torch.cat([x.double()[:, 0], *([cond["seen"].double()[:, 0]] if m else [])], 1)
        h = torch.cat([torch.diag_embed(alpha), self.matrix.expand(n, m, d)], 1)
        noise = torch.cat([sigma, s], 1) ** 2
        logits, means = [], []
        for w, mean, c in zip(self.weights, self.means, self.covariances, strict=True):
            g, away = h @ c @ h.mT + torch.diag_embed(noise), z - h @ mean
            solved = torch.linalg.solve(g, away)
            means.append(mean + (h.mT @ solved[..., None])[..., 0] @ c)
            logits.append(w.log() - 0.5 * (away * solved).sum(1) - 0.5 * torch.logdet(g))
        logits, label = torch.stack(logits, 1), cond.get("label")
        if label is not None:
            own = (label[:, None] < 0) | (label[:, None] == torch.arange(len(self.weights)))
            logits = torch.where(own, logits, -torch.inf)
        return (logits.softmax(1)[..., None] * torch.stack(means, 1)).sum(1)[:, None].to(x.dtype)


def law(k=2):
    """The weights, means and covariances of a mixture in 4 numbers."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    root = 0.5 * draw(k, 4, 4)
    weights = torch.arange(1.0, k + 1, dtype=torch.float64)
    return weights / weights.sum(), draw(k, 4), root @ root.mT + 0.05 * torch.eye(4, dtype=torch.float64)


def moments(weights, means, covariances):
    """The mean and the covariance of a mixture."""
    mean = weights @ means
    away = means - mean
    return mean, (weights[:, None, None] * (covariances + away[:, :, None] * away[:, None])).sum(0)


def stages(k=2, sde=None, steps=40, **settings):
    """Two stages that know the mixture of k: means of pairs, and the item given these, with settings of the second, and
    of the first those that begin with `base_`."""
    weights, means, covariances = law(k)
    first = Measured(weights, means @ A.T, A @ covariances @ A.T, sde or VP())
    second = Measured(weights, means, covariances, sde or VP(), A)
    own = {name.removeprefix("base_"): settings.pop(name) for name in [*settings] if name.startswith("base_")}
    base = Stage(first, **({"sampler": DPMpp2M(steps=steps), "shape": (1, 2)} | own))
    return [base, Stage(second, **({"sampler": DPMpp2M(steps=steps), "shape": (1, 4)} | settings))]

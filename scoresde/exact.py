"""Denoisers in closed form: for tests, for demonstrations, and as baselines."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .conditions import Label
from .denoiser import Cond, Denoiser, Given
from .denoiser.moments import LARGEST, Moments
from .errors import InputError
from .noise import Stream, normal
from .sde import SDE, as_time


class GaussianMixture(Denoiser):
    """The exact denoiser of p(x_0) = sum_k w_k N(m_k, diag(s_k^2)).

    Under x_t = alpha x_0 + sigma eps, with v_k = alpha^2 s_k^2 + sigma^2,

        p_t(x) = sum_k w_k N(x; alpha m_k, v_k)      D(x, t) = sum_k p(k | x) (m_k + alpha s_k^2 / v_k (x - alpha m_k)).

    Arguments:
        weights: w_k (K,), positive; they are normalised.
        means: m_k (K, *shape).
        stds: s_k (K,), (K, *shape) or a number.
        sde: which gives alpha and sigma.
        labels: (K,), a class for each component: it then has the condition "label", and the sums are over the
            components of a row's class, p(x | label), and over all of them where it is missing.

    Raises:
        InputError: weights that are not positive or not one for each mean, stds of another shape, labels that are not
            one class 0, 1, ... for each component.
    """

    def __init__(
        self,
        weights: Tensor,
        means: Tensor,
        stds: Tensor | float,
        sde: SDE,
        labels: Tensor | Sequence[int] | None = None,
    ):
        super().__init__(sde)
        weights, means = torch.as_tensor(weights), torch.as_tensor(means)
        stds = torch.as_tensor(stds, dtype=means.dtype)
        if weights.ndim != 1 or len(weights) != len(means) or not bool((weights > 0).all()):
            raise InputError(f"weights {tuple(weights.shape)} must be positive, one for each mean {tuple(means.shape)}")
        if stds.ndim not in (0, 1, means.ndim):
            raise InputError(f"stds {tuple(stds.shape)} must be (K,) or the shape of means {tuple(means.shape)}")
        if stds.ndim == 1 and means.ndim > 1:
            stds = stds.reshape(-1, *[1] * (means.ndim - 1))
        self.register_buffer("log_weights", torch.log(weights / weights.sum()))
        self.register_buffer("means", means)
        self.register_buffer("stds", stds.expand_as(means).clone())
        self.register_buffer("labels", None if labels is None else torch.as_tensor(labels).long())
        if labels is not None:
            if self.labels.shape != weights.shape or int(self.labels.min()) < 0:
                raise InputError(
                    f"labels {tuple(self.labels.shape)}: give a class 0, 1, ... for each of {len(weights)}"
                )
            self.conditions = {"label": Label(int(self.labels.max()) + 1)}

    @cached_property
    def moments(self) -> Moments:
        """The exact mean and covariance; of more than 1024 numbers one deviation for all."""
        weights = self.log_weights.detach().cpu().double().exp()
        means, stds = (v.detach().cpu().double().flatten(1) for v in (self.means, self.stds))
        mean = weights @ means
        away, within = means - mean, weights @ stds**2
        shaped = mean.reshape(self.means.shape[1:])
        if len(mean) > LARGEST:
            return Moments(shaped, (within + weights @ away**2).mean().sqrt())
        return Moments.of_covariance(shaped, (weights[:, None] * away).T @ away + torch.diag(within))

    def _components(self, x: Tensor, alpha: Tensor, sigma: Tensor, cond: Cond) -> tuple[Tensor, Tensor, Tensor]:
        """log w_k N(x; alpha m_k, v_k) (B, K), w_k given the label, x - alpha m_k and v_k (B or 1, K, *shape)."""
        alpha, sigma = (a.to(x.device, x.dtype).reshape(-1, *[1] * self.means.ndim) for a in (alpha, sigma))
        variance = alpha**2 * self.stds**2 + sigma**2
        distance = x[:, None] - alpha * self.means
        log_prob = -0.5 * (distance**2 / variance + variance.log() + math.log(2 * math.pi)).flatten(2).sum(2)
        return self._log_weights(cond) + log_prob, distance, variance

    def _log_weights(self, cond: Cond) -> Tensor:
        """Those of all components (K,), or of each row's class (B, K), its own summing to 1."""
        label = (cond or {}).get("label")
        if label is None:
            return self.log_weights
        label = label.to(self.labels.device)[:, None]
        own = torch.where((label < 0) | (label == self.labels), self.log_weights, -math.inf)
        whole = torch.where(label < 0, 0.0, own.logsumexp(1, keepdim=True))  # of all components it is 0, to the bit
        return own - whole

    def forward(self, x, t, cond=None):
        alpha, sigma = self.sde.marginal(t)
        logits, distance, variance = self._components(x, alpha, sigma, cond)
        alpha = alpha.to(x.device, x.dtype).reshape(-1, *[1] * self.means.ndim)
        posterior = self.means + alpha * self.stds**2 / variance * distance
        weights = logits.softmax(1)
        return (weights.reshape(*weights.shape, *[1] * (x.ndim - 1)) * posterior).sum(1).to(x.dtype)

    def log_prob(self, x: Tensor, t: float | Tensor | None = None, cond: Given = None) -> Tensor:
        """log p_t(x), or log p_t(x | cond).

        Arguments:
            x: (B, *shape).
            t: a number, () or (B,); None: the data's own density (alpha = 1, sigma = 0).
            cond: conditions by name, of B rows or of one for all.

        Returns:
            (B,), in nats.

        Raises:
            InputError: a condition that the mixture does not have, or a value that is none of it.
        """
        cond = dict(cond or {})
        if unknown := [name for name in cond if name not in self.conditions]:
            known = ", ".join(self.conditions) or "none"
            raise InputError(f"condition {unknown[0]!r} is unknown: the mixture has {known}")
        cond = {name: self.conditions[name].rows(name, value, len(x)) for name, value in cond.items()}
        alpha, sigma = (torch.ones(()), torch.zeros(())) if t is None else self.sde.marginal(t)
        return self._components(x, alpha, sigma, cond)[0].logsumexp(1)

    def sample(self, n: int, t: float | None = None, seed: int = 0) -> Tensor:
        """Exact samples of p_t, a function of the seed.

        Arguments:
            n: their number.
            t: a time; None: samples of the data.
            seed: independent of samplers' noise of the same seed.

        Returns:
            (n, *shape).
        """
        return self.draw(n, t, seed)[0]

    def draw(self, n: int, t: float | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
        """The samples of `sample`, and the components that they came from.

        Arguments:
            n, t, seed: as in `sample`.

        Returns:
            (n, *shape), and the numbers (n,) of the components.
        """
        alpha, sigma = (1.0, 0.0) if t is None else (float(a) for a in self.sde.marginal(t))
        generator = torch.Generator().manual_seed(seed)
        weights = self.log_weights.exp().cpu()
        k = torch.multinomial(weights, n, replacement=True, generator=generator).to(self.means.device)
        std = (alpha**2 * self.stds[k] ** 2 + sigma**2).sqrt()
        index = torch.arange(n, device=self.means.device)
        return alpha * self.means[k] + std * normal(self.means[k], index, seed, *Stream.EXACT()), k


class Empirical(Denoiser):
    """The optimal denoiser of a finite data set: the posterior mean over its points.

        D(x, t) = sum_i w_i x_i,    w = softmax_i(-|x - alpha x_i|^2 / (2 sigma^2))

    A perfectly trained network would be this, and would return training points (De Bortoli, 2022, arXiv 2208.05314).

    Arguments:
        data: x_i (N, *shape).
        sde: which gives alpha and sigma.
        chunk: points at a time, which bound the memory: B x chunk distances, in float64.

    Raises:
        InputError: data that is not (N, *shape) with N > 0.
    """

    def __init__(self, data: Tensor, sde: SDE, chunk: int = 8192):
        super().__init__(sde)
        if data.ndim < 2 or not len(data):
            raise InputError(f"data {tuple(data.shape)} must be (N, *shape) with N > 0")
        self.register_buffer("data", data)
        self.chunk = chunk

    @cached_property
    def moments(self) -> Moments:
        """Those of the points."""
        return Moments.of(self.data)

    def forward(self, x, t):
        t = as_time(t)
        alpha, sigma = (a.to(x.device).reshape(-1, 1) for a in self.sde.marginal(t))
        flat = x.flatten(1).to(alpha.dtype)
        top = flat.new_full((len(x), 1), -math.inf)
        total, mean = torch.zeros_like(top), torch.zeros_like(flat)
        for points in self.data.split(self.chunk):
            points = points.flatten(1).to(flat.dtype)
            # |x - alpha x_i|^2 less |x|^2, which all points share
            logits = (alpha * (flat @ points.T) - alpha**2 / 2 * points.square().sum(1)) / sigma**2
            new = torch.maximum(top, logits.amax(1, keepdim=True))
            weights, rescale = (logits - new).exp(), (top - new).exp()
            total = total * rescale + weights.sum(1, keepdim=True)
            mean = mean * rescale + weights @ points
            top = new
        return (mean / total).reshape(x.shape).to(x.dtype)


class Dequantised(Denoiser):
    """The optimal denoiser of a finite data set with levels whose values are uniform within their bins.

    p(x_0) = 1/N sum_i prod_d U(x_0d; bin of v_id) is what a training with uniform dequantisation sees.  With
    z = x / alpha, s = sigma / alpha and a bin [e, e'], of a coordinate

        M = Phi((e' - z) / s) - Phi((e - z) / s)      m = z + s (phi((e - z) / s) - phi((e' - z) / s)) / M

    are the bin's share and the mean within it, so that D(x, t) = sum_i w_i m_i with w_i ~ prod_d M_id.  All is float64,
    and takes N x D x levels numbers for D values an item.

    Arguments:
        raw: v_i (N, *shape), integers 0..levels-1.
        space: a `spaces.Bins`, which says where the bins are.
        sde: which gives alpha and sigma.

    Raises:
        InputError: no items, or some without a shape.
    """

    def __init__(self, raw: Tensor, space: Any, sde: SDE):
        super().__init__(sde)
        if raw.ndim < 2 or not len(raw):
            raise InputError(f"raw {tuple(raw.shape)} must be (N, *shape) with N > 0")
        first, width = (torch.as_tensor(v, dtype=torch.float64) for v in (space.first, space.width))
        first, width = (v.expand(raw.shape[1:]).flatten()[:, None] for v in (first, width))
        edges = first + width * (torch.arange(space.levels + 1) - 0.5)
        one = torch.nn.functional.one_hot(raw.flatten(1).long(), space.levels)
        self.register_buffer("edges", edges)  # (D, levels + 1), falling where the width is negative
        self.register_buffer("one", one.flatten(1).double())  # (N, D x levels)

    def forward(self, x, t):
        alpha, sigma = (a.to(x.device).double().reshape(-1, 1, 1) for a in self.sde.marginal(as_time(t)))
        z, s = x.flatten(1).double()[:, :, None] / alpha, sigma / alpha
        a = (self.edges - z) / s
        low, high = torch.minimum(a[..., :-1], a[..., 1:]), torch.maximum(a[..., :-1], a[..., 1:])
        flipped = low > 0  # the tail in which the two can be told apart
        under, over = torch.where(flipped, -high, low), torch.where(flipped, -low, high)
        top = torch.special.log_ndtr(over)
        share = top + torch.log(-torch.expm1((torch.special.log_ndtr(under) - top).clamp(max=-1e-300)))
        density = lambda u: torch.exp(-0.5 * u**2 - 0.5 * math.log(2 * math.pi) - share)
        mean = z + s * (density(low) - density(high))
        mean = torch.minimum(torch.maximum(mean, z + s * low), z + s * high)
        weights = (share.clamp(min=-1e200).flatten(1) @ self.one.T).softmax(1)
        mixed = (weights @ self.one).reshape(mean.shape) * mean
        return mixed.sum(-1).reshape(x.shape).to(x.dtype)

r"""
4. From DDPM to the score SDE
=============================

DDPM (Ho, Jain, Abbeel, 2020, arXiv 2006.11239) adds noise in N discrete steps,

.. math:: x_i = \sqrt{1 - \beta_i}\, x_{i-1} + \sqrt{\beta_i}\, z_i, \qquad z_i \sim N(0, I).

With :math:`\beta_i = \beta(i/N) / N` and more and more steps the chain becomes a stochastic differential equation, the
variance-preserving one (Song et al., 2021, arXiv 2011.13456, section 3.4 and appendix B):

.. math:: dx = -\tfrac{1}{2} \beta(t)\, x\, dt + \sqrt{\beta(t)}\, dw .

How fast? Halving the steps' size halves the distance: the order is one. This page measures it three times.
"""

import math

import matplotlib.pyplot as plt
import torch

import scoresde

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
sde = scoresde.VP(beta_min=0.1, beta_max=20.0)
counts = [50, 100, 200, 400, 800]


def beta(n):
    """beta_i of a chain of n steps, (n,)."""
    t = torch.arange(1, n + 1) / n
    return (sde.beta_min + (sde.beta_max - sde.beta_min) * t) / n


def orders(errors):
    """Prints an error for each number of steps, and the orders log2(e(N) / e(2 N)) between neighbours."""
    found = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    print("  ".join(f"N = {n}: {e:.2e}" for n, e in zip(counts, errors, strict=True)))
    print("orders", ", ".join(f"{order:.2f}" for order in found))
    return found


print(f"N = 1000: beta from {beta(1000)[0]:.1e} to {beta(1000)[-1]:.3f}; the DDPM paper has 1e-4 to 0.02")

# %%
# The marginals
# -------------
# The chain's :math:`\bar\alpha_i = \prod_{j \le i} (1 - \beta_j)` is the square of the mean's factor, and tends to
# :math:`\alpha_t^2 = \exp(-\int_0^t \beta)`. The largest difference over all times:

errors = []
for n in counts:
    chain = torch.cumprod(1 - beta(n), 0)
    errors.append(float((chain - sde.marginal(torch.arange(1, n + 1) / n)[0] ** 2).abs().max()))
found = orders(errors)
assert all(abs(order - 1) < 0.1 for order in found)

# %%
# The paths
# ---------
# Driven by the same Brownian motion, chain and equation stay together path by path. The equation's own solution for a
# given motion is :math:`x_t = \alpha_t (x_0 + \int_0^t g / \alpha \, dw)`, here on a grid of 12 800 steps.

fine, paths, x_0 = 12_800, 400, 1.0
dw = torch.randn(fine, paths) / fine**0.5
middle = (torch.arange(fine) + 0.5) / fine
rate = sde.drift_diffusion(middle)[1].sqrt() / sde.marginal(middle)[0]
at = torch.arange(1, fine + 1) / fine
exact = sde.marginal(at)[0][:, None] * (x_0 + (rate[:, None] * dw).cumsum(0))


def walk(n):
    """The chain of n steps, (n, paths), by the increments of the same motion."""
    noise = dw.reshape(n, fine // n, paths).sum(1) * n**0.5
    x, kept = torch.full((paths,), x_0), []
    for b, z in zip(beta(n), noise, strict=True):
        x = (1 - b).sqrt() * x + b.sqrt() * z
        kept.append(x)
    return torch.stack(kept)


found = orders([float((walk(n) - exact[fine // n - 1 :: fine // n]).square().mean(1).max().sqrt()) for n in counts])
assert all(abs(order - 1) < 0.2 for order in found)
figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
axes.plot(at, exact[:, 0], color="0.7", linewidth=0.8, label="SDE")
for n, colour in ((10, "#D55E00"), (50, "#E69F00"), (400, "#0072B2")):
    axes.plot(torch.arange(n + 1) / n, [x_0, *walk(n)[:, 0]], color=colour, linewidth=1.2, label=f"N = {n}")
axes.set(xlim=(0, 0.5), xlabel="$t$", ylabel="$x_t$", title="a chain and its limit")
axes.legend(frameon=False, ncols=2, loc="upper left")

# %%
# And back
# --------
# DDPM's sampler takes N steps of the posterior (the first page), with the denoiser's guess in the place of :math:`x_0`.
# For data :math:`N(m, s^2)` the guess is linear in :math:`x_t`, so that the mean and the variance after each step are
# known without drawing a sample. Their distance from those of the exact reverse process tends to order one.

m, s = 0.7, 0.5
gaussian = scoresde.exact.GaussianMixture(torch.ones(1), torch.tensor([[m]]), s, sde)
errors, end = [], 1e-3
for n in counts:
    times = torch.linspace(sde.t_max, end, n + 1)
    alpha, sigma = sde.marginal(times)
    mean, variance = alpha[0] * m, alpha[0] ** 2 * s**2 + sigma[0] ** 2
    for i in range(n):
        low, high = gaussian(torch.tensor([[0.0], [1.0]]), times[i])[:, 0]  # D = low + slope x
        b2 = sigma[i] ** 2 - (alpha[i] / alpha[i + 1] * sigma[i + 1]) ** 2
        to_x0 = alpha[i + 1] * b2 / sigma[i] ** 2
        to_xt = alpha[i] / alpha[i + 1] * sigma[i + 1] ** 2 / sigma[i] ** 2
        mean = to_xt * mean + to_x0 * (low + (high - low) * mean)
        variance = (to_xt + to_x0 * (high - low)) ** 2 * variance + sigma[i + 1] ** 2 * b2 / sigma[i] ** 2
    error = torch.stack([mean - alpha[-1] * m, variance - alpha[-1] ** 2 * s**2 - sigma[-1] ** 2])
    errors.append(float(error.norm()))
found = orders(errors)
assert sorted(found) == found and abs(found[-1] - 1) < 0.1

plt.show()

# %%
# Hence the freedom of the score SDE: a network trained on the equation can be sampled with any number of steps, at any
# times and by better methods than DDPM's. Which, is the page about samplers.

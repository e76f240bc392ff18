r"""
1. The forward process and its posterior
========================================

A diffusion model starts from a process that needs no learning: it mixes data with noise until only noise is left.
Everything about it is known in closed form, also the way back if one knows where it began.

With data :math:`x_0` and a time :math:`t` from 0 to 1, the forward process of Song et al. (2021, arXiv 2011.13456) is

.. math:: dx = f(t)\, x\, dt + g(t)\, dw, \qquad x_t \mid x_0 \sim N(\alpha_t x_0,\ \sigma_t^2 I).

The variance-preserving one, ``scoresde.VP``, has :math:`f = -\beta/2` and :math:`g^2 = \beta`: the continuous form of
DDPM (Ho, Jain, Abbeel, 2020, arXiv 2006.11239). Its :math:`\alpha^2 + \sigma^2` is 1.
"""

import matplotlib.pyplot as plt
import torch

import scoresde
from scoresde import plot

torch.manual_seed(0)
sde = scoresde.VP()
for t in (0.01, 0.1, 0.3, 1.0):
    alpha, sigma = (float(a) for a in sde.marginal(t))
    print(f"t = {t:4}: alpha = {alpha:.4f}, sigma = {sigma:.4f}")
    assert abs(alpha**2 + sigma**2 - 1) < 1e-12

# %%
# The data here is a mixture of two Gaussians, so that the density :math:`p_t` of the noisy :math:`x_t` is a mixture of
# two as well. It starts as the data, on the left, and ends as :math:`N(0, 1)`.

mixture = scoresde.exact.GaussianMixture(
    torch.tensor([1.0, 2.0]), torch.tensor([[-1.5], [1.0]]), torch.tensor([0.2, 0.4]), sde
)
figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
plot.marginals(mixture, n=0, axes=axes)

x = torch.linspace(-3, 3, 7)[:, None]
noise = torch.distributions.Normal(0.0, 1.0)
far = (mixture.log_prob(x, 1.0) - noise.log_prob(x)[:, 0]).abs().max()
print(f"at t = 1, log p_t differs from log N(0, 1) by at most {far:.3f}")
assert far < 0.03

# %%
# Small steps or one jump
# -----------------------
#
# Simulating the equation in small steps gives the same distribution as the jump :math:`x_t = \alpha_t x_0 + \sigma_t
# \epsilon`. Training only ever jumps: it never simulates.

steps, n, start, end = 400, 20_000, 1.2, 0.3
walk = torch.full((n,), start)
for i in range(steps):
    f, g2 = sde.drift_diffusion((i + 0.5) * end / steps)
    walk = walk + f * walk * end / steps + (g2 * end / steps).sqrt() * torch.randn(n)
alpha, sigma = sde.marginal(end)
print(f"after {steps} steps: mean {walk.mean():.3f}, deviation {walk.std():.3f}")
print(f"in one jump:     mean {alpha * start:.3f}, deviation {sigma:.3f}")
assert abs(walk.mean() - alpha * start) < 5 * sigma / n**0.5 + 1e-3
assert abs(walk.std() - sigma) < 5 * sigma / (2 * n) ** 0.5 + 1e-3

# %%
# The posterior
# -------------
#
# A step from a time :math:`s` to a later :math:`t` is Gaussian too, with :math:`a = \alpha_t / \alpha_s` and :math:`b^2
# = \sigma_t^2 - a^2 \sigma_s^2`: :math:`x_t \mid x_s \sim N(a x_s, b^2)`. By Bayes' rule so is the way back of a sample
# whose :math:`x_0` is known (Ho et al., equations 6 and 7, here for any two times):
#
# .. math:: q(x_s \mid x_t, x_0) = N\left(\frac{a \sigma_s^2}{\sigma_t^2} x_t + \frac{\alpha_s b^2}{\sigma_t^2} x_0,\
#           \frac{\sigma_s^2 b^2}{\sigma_t^2}\right).


def posterior(x_t, x_0, t, s):
    """Mean and deviation of q(x_s | x_t, x_0)."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = sde.marginal(t), sde.marginal(s)
    a = alpha_t / alpha_s
    b2 = sigma_t**2 - a**2 * sigma_s**2
    return (a * sigma_s**2 * x_t + alpha_s * b2 * x_0) / sigma_t**2, sigma_s * b2.sqrt() / sigma_t


x_0, x_t, t, s = 1.2, -0.4, 0.5, 0.2
(alpha_t, sigma_t), (alpha_s, sigma_s) = sde.marginal(t), sde.marginal(s)
a, grid = alpha_t / alpha_s, torch.linspace(-5, 5, 4001, dtype=torch.float64)
likelihood = torch.distributions.Normal(a * grid, (sigma_t**2 - a**2 * sigma_s**2).sqrt()).log_prob(torch.tensor(x_t))
prior = torch.distributions.Normal(alpha_s * x_0, sigma_s).log_prob(grid)
bayes = (likelihood + prior).softmax(0) / (grid[1] - grid[0])
formula = torch.distributions.Normal(*posterior(x_t, x_0, t, s)).log_prob(grid).exp()
print(f"Bayes' rule on a grid and the formula differ by at most {(bayes - formula).abs().max():.1e}")
assert (bayes - formula).abs().max() < 1e-6

# %%
# Between the two ends the posterior is a bridge: narrow at :math:`x_0`, narrow at :math:`x_t`, wide in between.

times = torch.linspace(1e-4, t - 1e-4, 200)
mean, std = (torch.stack(part) for part in zip(*(posterior(x_t, x_0, t, float(u)) for u in times), strict=True))
figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
axes.fill_between(times, mean - 2 * std, mean + 2 * std, color="#0072B2", alpha=0.2, label="2 deviations")
axes.plot(times, mean, color="#0072B2", label="mean")
axes.plot([0, t], [x_0, x_t], "o", color="#D55E00", label="$x_0$ and $x_t$")
axes.set(xlabel="$s$", ylabel="$x_s$", title="$q(x_s | x_t, x_0)$")
axes.legend(frameon=False)

# %%
# A sampler that knows :math:`x_0` may use it. DDPM's ancestral sampling, ``DDIM(eta=1.0)``, draws from this posterior
# with the denoiser's guess in the place of :math:`x_0`. For data that is a single point the guess is right, and one
# step from noise to :math:`s` gives the forward marginal there.

point = scoresde.exact.GaussianMixture(torch.ones(1), torch.tensor([[x_0]]), 0.0, sde)
jump = scoresde.sampling.DDIM(steps=1, grid=[1.0, s], t_min=s, eta=1.0, last="none")
x_s = scoresde.sample(point, jump, (n, 1))
print(f"x_s: mean {x_s.mean():.3f}, deviation {x_s.std():.3f}; alpha_s x_0 {alpha_s * x_0:.3f}, sigma_s {sigma_s:.3f}")
assert abs(x_s.mean() - alpha_s * x_0) < 0.02 and abs(x_s.std() - sigma_s) < 0.02

plt.show()

# %%
# For data that is more than a point the guess :math:`E[x_0 | x_t]` is not :math:`x_0`. How the way back is right all
# the same is the next page.

r"""
2. The reverse process
======================

The forward process has an exact reverse, which starts from noise and ends at the data. All that it needs to know of the
data is the score, the gradient of the log-density of noisy data (Anderson, 1982; Song et al., 2021, arXiv 2011.13456):

.. math:: dx = \left[f(t)\, x - g(t)^2\, \nabla_x \log p_t(x)\right] dt + g(t)\, d\bar w .

There is also a deterministic way with the same densities at every time, the probability flow:

.. math:: \frac{dx}{dt} = f(t)\, x - \tfrac{1}{2} g(t)^2\, \nabla_x \log p_t(x) .

Everything in scoresde is a ``Denoiser``: ``denoiser(x, t)`` is :math:`D(x, t) = E[x_0 | x_t = x]`, and the score is
:math:`(\alpha D - x) / \sigma^2`. That of a mixture is exact, so that what goes wrong here is the sampler's alone.
"""

import matplotlib.pyplot as plt
import torch

import scoresde
from scoresde import plot
from scoresde.sampling import EulerMaruyama, ProbabilityFlow

sde = scoresde.VP()
weights, means, stds = torch.tensor([1.0, 2.0]), torch.tensor([[-1.5], [1.0]]), torch.tensor([0.2, 0.4])
mixture = scoresde.exact.GaussianMixture(weights, means, stds, sde)

figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.2), layout="constrained")
for axis, t in zip(axes, (0.01, 0.1, 0.5), strict=True):
    plot.score_field(mixture, t, axes=axis)

# %%
# The score points to where more data is. With little noise it has a zero at each mode and one between them; with much
# noise it is nearly :math:`-x`, and pulls everything to the middle.
#
# Two ways back
# -------------
#
# Below are ways of both, over the density :math:`p_t`. They go from right, noise, to left, data. Those of the equation
# with noise are rough, those of the flow are smooth and never cross.

reverse, flow = EulerMaruyama(steps=300, grid="uniform"), ProbabilityFlow()
figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained", sharey=True)
for axis, sampler, title in zip(axes, (reverse, flow), ("reverse SDE", "probability flow"), strict=True):
    plot.marginals(mixture, n=5, sampler=sampler, axes=axis)
    axis.set_title(title)

# %%
# The same density at every time
# ------------------------------
#
# The largest distance between the distribution function of n samples and the exact one (Kolmogorov and Smirnov) is
# below :math:`1.95 / \sqrt n` in 999 of 1000 cases if the samples are exact.

n = 4000


def distance(x, t):
    """Kolmogorov-Smirnov distance of x (n, 1) from p_t."""
    alpha, sigma = sde.marginal(t)
    x = x[:, 0].double().sort().values
    z = (x[:, None] - alpha * means[:, 0]) / (alpha**2 * stds**2 + sigma**2).sqrt()
    exact = torch.special.ndtr(z) @ (weights / weights.sum()).double()
    steps = torch.arange(n + 1) / n
    return float(torch.maximum((exact - steps[:-1]).abs(), (exact - steps[1:]).abs()).max())


print(f"exact samples stay below {1.95 / n**0.5:.4f}")
for t in (0.5, 0.2, 0.05, sde.t_min):
    found = []
    for sampler in (EulerMaruyama, ProbabilityFlow):
        found.append(distance(scoresde.sample(mixture, sampler(t_min=t, last="none"), (n, 1), seed=1), t))
    print(f"t = {t:7.3g}: reverse SDE {found[0]:.4f}, probability flow {found[1]:.4f}")
    assert max(found) < 1.95 / n**0.5

# %%
# Between the two lies a family: noise of any strength :math:`\eta \ge 0`, with the score's share grown to match, has
# the same densities (:math:`\eta = 0` is the flow, 1 the reverse SDE; Karras et al., 2022, arXiv 2206.00364, equation
# 6).

for eta in (0.0, 0.5, 1.0, 1.5):
    x = scoresde.sample(mixture, EulerMaruyama(steps=400, eta=eta, last="none"), (n, 1), seed=2)
    print(f"eta = {eta}: distance {distance(x, sde.t_min):.4f}")
    assert distance(x, sde.t_min) < 1.95 / n**0.5

# %%
# What the score does
# -------------------
#
# A model that knows nothing of the data but its mean and variance has the score of a single Gaussian. Its reverse
# process is as exact as the other one, and ends at that Gaussian: what a sampler can know of the data is in the score.

mean, variance = mixture.moments.mean.float(), mixture.moments.deviations.float() ** 2
gaussian = scoresde.exact.GaussianMixture(torch.ones(1), mean[None], variance.sqrt(), sde)
x = scoresde.sample(gaussian, EulerMaruyama(last="none"), (n, 1), seed=1)
print(f"with the Gaussian's score: mean {x.mean():.3f} (data {mean.item():.3f}), distance {distance(x, sde.t_min):.3f}")
assert abs(x.mean() - mean) < 0.1 and distance(x, sde.t_min) > 0.1
plt.show()

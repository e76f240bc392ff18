r"""
7. The likelihood through the flow
==================================

The probability flow is a smooth map between data and noise that can be gone both ways. Densities follow volumes along
it (Chen et al., 2018, arXiv 1806.07366), so that a score model has an exact likelihood (Song et al., 2021, arXiv
2011.13456, section 4.3). With :math:`z = x / n`, :math:`n^2 = \alpha^2 + \sigma^2`, and the flow's velocity v in the
angle :math:`\varphi`,

.. math:: \log p_{t_{\min}}(x) = \underbrace{\log p_T(x_T)}_{\text{prior}} +
          \underbrace{D \log \frac{n_T}{n_{t_{\min}}}}_{\text{volume}} +
          \underbrace{\int \nabla \cdot v\, d\varphi}_{\text{divergence}} .

A mixture has a density of its own to compare with.
"""

import matplotlib.pyplot as plt
import torch

import scoresde
from scoresde import plot

torch.set_default_dtype(torch.float64)
sde = scoresde.VP()
means, stds = torch.tensor([[-2.0, 0.0], [1.0, 1.5], [1.5, -1.5]]), torch.tensor([0.3, 0.6, 0.4])
mixture = scoresde.exact.GaussianMixture(torch.tensor([1.0, 2.0, 1.0]), means, stds, sde)

# %%
# A model of which only the score is known
# ----------------------------------------
#
# ``FromScore`` makes a denoiser of any score function: here of the mixture's, as if that was all we had. The left
# picture knows the density, the right one finds it through the flow.

model = scoresde.FromScore(mixture.score, sde)
figure, axes = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
limits = ((-3.5, 3.5), (-3.2, 3.8))
plot.density(mixture, sde.t_min, axes=axes[0], limits=limits)
plot.density(model, axes=axes[1], limits=limits, shape=(2,))
axes[0].set_title("in closed form")
axes[1].set_title("through the flow")

# %%
# In numbers, at points of the mixture and at points far from it:

near, far = mixture.sample(300), 4 * mixture.sample(300, seed=1)
for name, x in (("near", near), ("far", far)):
    found = scoresde.log_likelihood(model, x)
    exact = mixture.log_prob(x, sde.t_min)
    error = (found.log_prob - exact).abs()
    print(f"{name}: log p = {exact.mean():8.3f}, through the flow {found.log_prob.mean():8.3f}, ", end="")
    print(f"largest difference {error.max():.0e}, {found.nfe.double().mean():.0f} evaluations")
    parts = [float(part.mean()) for part in (found.prior, found.volume, found.divergence)]
    print("      prior {:.3f} + volume {:.3f} + divergence {:.3f}".format(*parts))
    assert (error / exact.abs().clamp_min(1)).max() < 5e-3

# %%
# What is left is not the solver's: the flow starts at :math:`N(0, \sigma_T^2)`, and the data that has been noised up to
# :math:`T` is not quite that. For the exact :math:`p_T` the difference goes:

found = scoresde.log_likelihood(model, near, terminal=lambda x: mixture.log_prob(x, sde.t_max), rtol=1e-7, atol=1e-7)
rest = (found.log_prob - mixture.log_prob(near, sde.t_min)).abs().max()
print(f"with the exact p_T the largest difference is {rest:.0e}")
assert rest < 1e-4

# %%
# Tolerance
# ---------
#
# Each row takes steps of its own, until the solver's estimate of its error is below the tolerance.

tolerances, errors, cost = [10.0**-k for k in range(1, 8)], [], []
for tolerance in tolerances:
    options = {"rtol": tolerance, "atol": tolerance, "terminal": lambda x: mixture.log_prob(x, sde.t_max)}
    found = scoresde.log_likelihood(model, near, **options)
    errors.append(float((found.log_prob - mixture.log_prob(near, sde.t_min)).square().mean().sqrt()))
    cost.append(float(found.nfe.double().mean()))
    print(f"tolerance {tolerance:.0e}: error {errors[-1]:.1e} nats, {cost[-1]:.0f} evaluations")
assert errors[-1] < 1e-5 and errors[-1] < errors[2] < errors[0]
figure, axes = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
axes.semilogy(cost, errors, marker="o", color="#0072B2")
axes.set(xlabel="evaluations", ylabel="error of log p, nats", title="tolerances from 0.1 to 1e-7")

# %%
# In many dimensions
# ------------------
#
# The exact divergence takes a product with the Jacobian for each dimension. Hutchinson's estimate takes a few random
# probes instead, is right on average, and tells its own error (Grathwohl et al., 2019, arXiv 1810.01367). In units of
# that error, its differences from the truth have a deviation of about one:

found = scoresde.log_likelihood(model, near, probes=16)
exact = scoresde.log_likelihood(model, near).log_prob
z = (found.log_prob - exact) / found.stderr
print(f"standard error {found.stderr.mean():.3f} nats; differences in units of it: {z.mean():.2f} +- {z.std():.2f}")
assert abs(z.mean()) < 0.3 and 0.8 < z.std() < 1.3
plt.show()

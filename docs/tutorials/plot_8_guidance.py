r"""
8. Conditional generation and guidance
======================================

A conditional model gives the score of :math:`p_t(x | c)`: same process, same samplers, one more input. Guidance goes
further, and trades variety for samples that are surely of the class. By Bayes' rule :math:`\nabla \log p_t(x | c) =
\nabla \log p_t(x) + \nabla \log p_t(c | x)`; classifier-free guidance counts the second part w times (Ho, Salimans,
2022, arXiv 2207.12598; with a classifier, Dhariwal, Nichol, 2021, arXiv 2105.05233):

.. math:: \nabla \log p_t(x) + w\, \nabla \log p_t(c | x) = \nabla \log \left[ p_t(x)\, p_t(c | x)^w \right] .

On a mixture whose components have labels every one of these is known in closed form.
"""

import matplotlib.pyplot as plt
import torch

import scoresde
from scoresde import plot
from scoresde.guidance import Guided

torch.set_default_dtype(torch.float64)
sde = scoresde.VP()
means = torch.tensor([[-1.0, 0.0], [0.6, 1.2], [1.0, -0.8], [-0.2, -1.6]])
mixture = scoresde.exact.GaussianMixture(torch.tensor([2.0, 1.0, 2.0, 1.0]), means, 0.55, sde, labels=[0, 0, 1, 1])

figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
limits = ((-3.0, 3.0), (-3.4, 3.0))
for axis, cond, name in zip(axes, (None, {"label": 0}, {"label": 1}), ("p(x)", "p(x | 0)", "p(x | 1)"), strict=True):
    plot.density(mixture, cond=cond, axes=axis, limits=limits)
    axis.set_title(f"${name}$")

# %%
# The guided score
# ----------------
#
# ``Guided`` makes of the model's answers with and without the label :math:`D_u + w (D_c - D_u)`. Its score is the
# gradient of the tilted density, by autograd, at any time and any w.

t, w, x = 0.2, 3.0, 2 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
leaf = x.clone().requires_grad_()
of_class = mixture.log_prob(leaf, t, cond={"label": 0}) + torch.tensor(0.5).log()  # half of the weight has label 0
log_c_given_x = of_class - mixture.log_prob(leaf, t)
(tilt,) = torch.autograd.grad((mixture.log_prob(leaf, t) + w * log_c_given_x).sum(), leaf)
guided = Guided(mixture, w).score(x, t, {"label": torch.zeros(50, dtype=torch.long)})
print(f"the two scores differ by at most {(guided - tilt).abs().max():.0e}")
assert (guided - tilt).abs().max() < 1e-10

# %%
# What w does
# -----------
#
# The density :math:`p(x)\, p(c | x)^w` of data for c = 0 and three strengths, and samples of the guided flow. With w =
# 0 the label does not count, w = 1 is the conditional model, w = 3 keeps away from the other class.

side = [torch.linspace(low, high, 201) for low, high in limits]
grid = torch.cartesian_prod(*side)


def posterior(x):
    """p(c = 0 | x) of data."""
    return (mixture.log_prob(x, cond={"label": 0}) + torch.tensor(0.5).log() - mixture.log_prob(x)).exp()


n = 3000
figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained", sharey=True)
print("  w   p(c | x)   spread    mean of the samples    mean of the tilted density")
told = {}
for axis, w in zip(axes, (0.0, 1.0, 3.0), strict=True):
    tilted = mixture.log_prob(grid).exp() * posterior(grid) ** w
    tilted = tilted / tilted.sum()
    sampler = scoresde.sampling.ProbabilityFlow()
    x = scoresde.sample(Guided(mixture, w), sampler, (n, 2), cond={"label": 0}, seed=1)
    center = (tilted[:, None] * grid).sum(0)
    spread = (x - x.mean(0)).norm(dim=1).square().mean().sqrt()
    told[w] = float(posterior(x).mean()), float(spread), (x.mean(0) - center).norm() / (spread / n**0.5)
    means_ = "  ".join(f"({a:6.3f}, {b:6.3f})      " for a, b in (x.mean(0), center))
    print(f"{w:4}   {told[w][0]:.3f}      {spread:.3f}    {means_}")
    axis.imshow(tilted.reshape(201, 201).T, origin="lower", extent=(*limits[0], *limits[1]), cmap="Blues")
    axis.scatter(*x[:400].T, s=3, color="#D55E00", alpha=0.5, linewidths=0)
    axis.set(xlim=limits[0], ylim=limits[1], xlabel="$x_1$", title=f"w = {w:g}")
axes[0].set_ylabel("$x_2$")
assert told[0.0][0] < told[1.0][0] < told[3.0][0] and told[0.0][1] > told[1.0][1] > told[3.0][1]

# %%
# Guided samples are not samples of the tilt
# ------------------------------------------
#
# For w = 0 and 1 the samples' mean is that of the density within its standard error. For w = 3 it is not: at each t the
# score is that of the tilted :math:`p_t`, but the tilted densities at different t are not the noisy versions of one
# distribution, so that no flow leads through all of them. Guidance is a useful heuristic, not a sampler of
# :math:`p(x)\, p(c|x)^w`.

for w, (_, _, off) in told.items():
    print(f"w = {w:g}: the means differ by {off:.1f} standard errors")
assert told[0.0][2] < 4 and told[1.0][2] < 4 and told[3.0][2] > 6

# %%
# Nor has a guided model a likelihood, and the library says so rather than give a number:

try:
    scoresde.log_likelihood(Guided(mixture, 3.0), x[:2], cond={"label": 0})
except scoresde.InputError as error:
    print(error)
else:
    raise AssertionError("a guided model was scored")
plt.show()

r"""
5. Denoising score matching and Tweedie's formula
=================================================

A network should match the score :math:`\nabla \log p_t` of noisy data. The plain objective (Hyvarinen, 2005)

.. math:: J_{ESM}(\theta) = \tfrac{1}{2} E_{p_t(x)} |s_\theta(x) - \nabla \log p_t(x)|^2

asks for what nobody knows. Vincent (2011, A connection between score matching and denoising autoencoders) replaces it
by the score of the noise alone, :math:`\nabla \log q(x_t | x_0) = -\epsilon / \sigma`:

.. math:: J_{DSM}(\theta) = \tfrac{1}{2} E_{x_0, \epsilon} \left|s_\theta(\alpha x_0 + \sigma \epsilon) +
          \epsilon / \sigma\right|^2 = J_{ESM}(\theta) + C .

The constant has no :math:`\theta` in it, so both have the same gradient. On a mixture both can be computed without
drawing a number, by Gauss and Hermite's rule for the mean over a normal variable, and compared.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch

import scoresde

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
sde, t = scoresde.VP(), 0.15
weights, means, stds = torch.tensor([1.0, 2.0]) / 3, torch.tensor([-1.5, 1.0]), torch.tensor([0.3, 0.5])
mixture = scoresde.exact.GaussianMixture(weights, means[:, None], stds, sde)
alpha, sigma = sde.marginal(t)

nodes, mass = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(140))
mass = mass / math.sqrt(2 * math.pi)

# %%
# Two objectives, one gradient
# ----------------------------


def explicit(network):
    """J_ESM: the mean over p_t, which is a mixture itself."""
    x = alpha * means[:, None] + (alpha**2 * stds**2 + sigma**2).sqrt()[:, None] * nodes
    error = network(x.reshape(-1, 1)) - mixture.score(x.reshape(-1, 1), t)
    return 0.5 * (weights[:, None] * mass * error.reshape(x.shape) ** 2).sum()


def denoising(network):
    """J_DSM: the mean over x_0 and eps."""
    x_0, eps = (means[:, None] + stds[:, None] * nodes)[:, :, None], nodes
    x_t = alpha * x_0 + sigma * eps
    error = network(x_t.reshape(-1, 1)).reshape(x_t.shape) + eps / sigma
    return 0.5 * (weights[:, None, None] * mass[:, None] * mass * error**2).sum()


for trial in range(3):
    network = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    values = [objective(network) for objective in (explicit, denoising)]
    one, other = (torch.cat([g.flatten() for g in torch.autograd.grad(v, network.parameters())]) for v in values)
    print(f"{trial}: J_DSM - J_ESM = {values[1] - values[0]:.6f}, the gradients differ by {(one - other).norm():.0e}")
    assert (one - other).norm() < 1e-6 * one.norm()

# %%
# The constant is the noise's share, :math:`\tfrac{1}{2} E |\epsilon / \sigma|^2 - \tfrac{1}{2} E |\nabla \log p_t|^2`:

zero = torch.nn.Linear(1, 1)
torch.nn.init.zeros_(zero.weight)
torch.nn.init.zeros_(zero.bias)
constant = float(0.5 / sigma**2 - explicit(zero).detach())
print(f"in closed form:        {constant:.6f}")
assert abs(constant - float((values[1] - values[0]).detach())) < 1e-6

# %%
# Tweedie's formula
# -----------------
#
# The best guess of the clean :math:`x_0` is given by the score (Efron, 2011, who names Tweedie), and the other way
# round:
#
# .. math:: E[x_0 | x_t] = \frac{x_t + \sigma^2\, \nabla \log p_t(x_t)}{\alpha} .
#
# So a denoiser and a score are the same thing. Below, the posterior mean by Bayes' rule: a weighted mean over the
# data's distribution, on the nodes.

x = torch.linspace(-3, 3, 13)[:, None]
x_0 = means[:, None] + stds[:, None] * nodes
prior = (weights[:, None] * mass).log() + torch.zeros_like(x_0)
posterior = (prior.flatten() - 0.5 * ((x - alpha * x_0.flatten()) / sigma) ** 2).softmax(1)
bayes = posterior @ x_0.flatten()
tweedie = ((x + sigma**2 * mixture.score(x, t)) / alpha)[:, 0]
print(f"Bayes and Tweedie differ by at most {(bayes - tweedie).abs().max():.0e}")
print(f"and the library's D(x, t) from both by {(mixture(x, t)[:, 0] - tweedie).abs().max():.0e}")
assert (bayes - tweedie).abs().max() < 1e-6 and (mixture(x, t)[:, 0] - tweedie).abs().max() < 1e-10

# %%
# Training
# --------
#
# What ``scoresde.train`` minimises is the denoising objective at all noise levels at once (Song et al., 2021, arXiv
# 2011.13456, equation 7). From 4000 samples, and without ever being told a score, a small network finds it where there
# is data.

torch.set_default_dtype(torch.float32)
data = scoresde.data.from_tensor(mixture.sample(4000).float(), standardize=None)
network = scoresde.nets.MLP(data.shape, width=48, blocks=2, fourier=8, fourier_scale=0.3)
model = scoresde.train(scoresde.Preconditioned(network, sde, rule="v"), data, steps=400, progress=False)
x = torch.linspace(-2.5, 2.5, 200)[:, None]
with torch.no_grad():
    learned, exact = model.score(x, t)[:, 0], mixture.score(x, t)[:, 0]
density = mixture.log_prob(x, t).exp()
off = float((density * (learned - exact) ** 2).sum() / (density * exact**2).sum()) ** 0.5
print(f"the learned score is off by {100 * off:.0f} % (root mean square over p_t)")
assert off < 0.25

figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
axes.fill_between(x[:, 0], -6, -6 + 8 * density, color="0.9", label="$p_t$")
axes.plot(x, exact, color="#0072B2", label="exact")
axes.plot(x, learned, color="#D55E00", linestyle="--", label="learned")
axes.set(xlabel="$x$", ylabel=r"$\nabla \log p_t(x)$", ylim=(-6, 6), title=f"the score at $t$ = {t}")
axes.legend(frameon=False)
plt.show()

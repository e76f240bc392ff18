r"""
3. The ELBO and the simple loss
===============================

DDPM was first a hierarchical model: a chain :math:`x_T \to \ldots \to x_0` whose steps are Gaussians, trained by a
bound on the likelihood (Sohl-Dickstein et al., 2015, arXiv 1503.03585; Ho, Jain, Abbeel, 2020, arXiv 2006.11239).
Written out, the bound is a weighted sum of denoising errors, and the loss that everybody trains is the same sum with
other weights.

.. math:: -\log p(x_0) \le \underbrace{KL(q(x_T | x_0) \,\|\, p(x_T))}_{\text{prior}}
          + \sum_{s < t} \underbrace{E\, KL(q(x_s | x_t, x_0) \,\|\, p(x_s | x_t))}_{L_t}
          \underbrace{- E \log p(x_0 | x_{t_0})}_{\text{reconstruction}} .
"""

import matplotlib.pyplot as plt
import torch

import scoresde
from scoresde.likelihood import elbo, fit_plan, vlb

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
sde = scoresde.VP()
mixture = scoresde.exact.GaussianMixture(
    torch.tensor([1.0, 2.0]), torch.tensor([[-1.5], [1.0]]), torch.tensor([0.2, 0.4]), sde
)

# %%
# A step's term
# -------------
#
# The model's step :math:`p(x_s | x_t)` is the posterior of the first page with :math:`D(x_t, t)` in the place of
# :math:`x_0`. Two Gaussians of one variance differ by the distance of their means alone, so that the step's term is a
# denoising error times a difference of signal-to-noise ratios :math:`\mathrm{snr} = \alpha^2 / \sigma^2` (Kingma,
# Salimans, Poole, Ho, 2021, arXiv 2107.00630, equation 13):
#
# .. math:: L_t = \tfrac{1}{2}\left(\mathrm{snr}(s) - \mathrm{snr}(t)\right) E\, |x_0 - D(x_t, t)|^2 .

x_0, x_t, t, s = torch.tensor([[0.8]]), torch.tensor([[-0.3]]), 0.4, 0.35
(alpha_t, sigma_t), (alpha_s, sigma_s) = sde.marginal(t), sde.marginal(s)
a = alpha_t / alpha_s
b2 = sigma_t**2 - a**2 * sigma_s**2
q, p = (
    torch.distributions.Normal((a * sigma_s**2 * x_t + alpha_s * b2 * x) / sigma_t**2, sigma_s * b2.sqrt() / sigma_t)
    for x in (x_0, mixture(x_t, t))
)
kl = float(torch.distributions.kl_divergence(q, p))
snr_s, snr_t = (float(sde.log_snr(u).exp()) for u in (s, t))
by_error = 0.5 * (snr_s - snr_t) * float((x_0 - mixture(x_t, t)) ** 2)
print(f"KL of the two Gaussians {kl:.10f}, by the denoising error {by_error:.10f}")
assert abs(kl - by_error) < 1e-10

# %%
# The bound
# ---------
#
# For the exact denoiser the bound is loose only because the chain's steps are finite. ``vlb`` sums all terms of a
# chain, ``elbo`` is the limit of infinitely many. Below: the mean over 200 points of the mixture, in nats. ``fit_plan``
# puts the draws where the terms are large, which makes the errors smaller and changes nothing else.

x = mixture.sample(200)
exact = mixture.log_prob(x).mean()
plan = fit_plan(mixture, mixture.sample(200, seed=1))
limit = elbo(mixture, x, n=256, density=plan, ends=32)
gaps = []
for steps in (10, 30, 100):
    times = scoresde.grids.times("log_snr", sde, steps, sde.t_max, sde.t_min)
    bound = vlb(mixture, x, times, variance="beta", draws=8, density=plan, ends=32)
    gaps.append(float(exact - bound.log_prob.mean()))
    print(f"{steps:4} steps: {bound.log_prob.mean():.4f} +- {bound.stderr.square().sum().sqrt() / len(x):.4f}")
noise = float(limit.stderr.square().sum().sqrt()) / len(x)
print(f"the limit:  {limit.log_prob.mean():.4f} +- {noise:.4f}")
print(f"log p:      {exact:.4f}")
assert all(a > b for a, b in zip(gaps, gaps[1:], strict=False)) and gaps[0] > 0
assert abs(limit.log_prob.mean() - exact) < 5 * noise + 1e-3

# %%
# The simple loss
# ---------------
#
# With :math:`\epsilon`, what was added, and the guess :math:`\hat\epsilon = (x_t - \alpha D) / \sigma`, the error of
# one is that of the other: :math:`|\epsilon - \hat\epsilon|^2 = \mathrm{snr}\, |x_0 - D|^2`. In the limit the sum
# becomes an integral over the log-SNR :math:`\lambda`, in which this error has the same weight everywhere:
#
# .. math:: \sum L_t \to \tfrac{1}{2} \int E\, |\epsilon - \hat\epsilon|^2 \, d\lambda .
#
# So the simple loss, the plain mean of :math:`|\epsilon - \hat\epsilon|^2`, is the bound if noise levels are drawn
# evenly in :math:`\lambda`. Drawn evenly in :math:`t`, the bound's weight is :math:`g^2 \alpha^2 / \sigma^4` on
# :math:`|x_0 - D|^2` (Song, Durkan, Murray, Ermon, 2021, arXiv 2101.09258). All three are one number:

n = 50_000
data = mixture.sample(n, seed=2)
span = float(sde.log_snr(sde.t_min) - sde.log_snr(sde.t_max))
simple = scoresde.DenoisingLoss(weight="simple", times="log_snr")(mixture, data) * span / 2
textbook = scoresde.DenoisingLoss(weight="likelihood", times="log_snr", base="uniform")(mixture, data)
textbook = textbook * (sde.t_max - sde.t_min) / 2
integral = -elbo(mixture, data[:2000], n=64, density=plan).diffusion
for name, terms in (("simple loss", simple), ("likelihood weight", textbook), ("from elbo", integral)):
    print(f"{name:18}: {terms.mean():.3f} +- {terms.std() / len(terms) ** 0.5:.3f}")
    assert abs(terms.mean() - simple.mean()) < 4 * (terms.std() / len(terms) ** 0.5 + simple.std() / n**0.5)

# %%
# DDPM draws :math:`t` evenly and leaves the weight out, which asks less of the network where noise is small: better
# pictures, a worse bound. The curves are the share of each :math:`t` in the two losses of the exact denoiser.

t = torch.linspace(0.003, 1, 100)
one = scoresde.DenoisingLoss(weight="simple")
error = torch.stack([one.at(mixture, data[:3000], u.expand(3000), torch.randn(3000, 1)).mean() for u in t])
f, g2 = sde.drift_diffusion(t)
bound = error * g2 / sde.marginal(t)[1] ** 2
figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for values, colour, name in ((error, "#0072B2", "simple, $t$ even"), (bound, "#D55E00", "the bound")):
    axes.plot(t, values / torch.trapezoid(values, t), color=colour, label=name)
axes.set(xlabel="$t$", ylabel="share of the loss, per unit of $t$", yscale="log")
axes.legend(frameon=False)
plt.show()

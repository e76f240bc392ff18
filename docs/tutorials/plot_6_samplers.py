r"""
6. Samplers: error against evaluations
======================================

With a trained model, what a sampler costs is how often it asks the network, and what it gets wrong is how far its
samples end from where the exact flow would have taken them. On a mixture both are known, without any error of training.

The probability flow is the same for every SDE in :math:`z = x / \sqrt{\alpha^2 + \sigma^2}` and the angle
:math:`\varphi = \arctan(\sigma / \alpha)`:

.. math:: \frac{dz}{d\varphi} = \cos\varphi\ \hat\epsilon - \sin\varphi\ D .

A method of order p errs by a multiple of :math:`h^p`: half the steps' size, :math:`2^p` times less error.
"""

import math

import matplotlib.pyplot as plt
import torch

import scoresde
from scoresde import plot
from scoresde.sampling import DDIM, RK4, Adams, DPMpp2M, EulerMaruyama, GaussianAdams, Heun, ProbabilityFlow

torch.set_default_dtype(torch.float64)
sde = scoresde.VP(t_min=1e-3)
means, stds = torch.tensor([[-2.0, 0.0], [1.0, 1.5], [1.5, -1.5]]), torch.tensor([0.5, 0.7, 0.5])
mixture = scoresde.exact.GaussianMixture(torch.tensor([1.0, 2.0, 1.0]), means, stds, sde)

# %%
# The way is short and bent: few large steps cut the corner. Left four steps of DDIM, right the flow, from the same
# noise (a sample's noise is a function of its seed and number, whatever the sampler).

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharex=True, sharey=True)
for axis, sampler, title in zip(axes, (DDIM(steps=4), None), ("DDIM, 4 steps", "the flow"), strict=True):
    plot.trajectories(mixture, 40, sampler, axes=axis)
    axis.set_title(title, loc="left")

# %%
# Error against evaluations
# -------------------------
#
# The distance (root mean square over 200 samples) between where a method ends and where the flow does, solved to a
# tolerance of 1e-10. DDIM is of order 1 (Song, Meng, Ermon, 2021, arXiv 2010.02502), DPM-Solver++(2M) of order 2 (Lu et
# al., 2022, arXiv 2211.01095), as is Heun's method (Karras et al., 2022, arXiv 2206.00364).

n = 200
reference = scoresde.sample(mixture, ProbabilityFlow(rtol=1e-10, atol=1e-10, last="none"), (n, 2))
methods = {
    "DDIM": (DDIM, 1, "#555555"),
    "Heun": (Heun, 2, "#E69F00"),
    "DPM-Solver++(2M)": (DPMpp2M, 2, "#009E73"),
    "Adams": (Adams, 3, "#D55E00"),
    "GaussianAdams": (GaussianAdams, None, "#0072B2"),
    "RK4": (RK4, 4, "#CC79A7"),
}
figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
print(f"{'evaluations':18}{'5':>9}{'10':>9}{'20':>9}{'40':>9}{'80':>9}{'160':>9}   order at the end")
errors = {}
for name, (kind, order, colour) in methods.items():
    spent, found = [], []
    for budget in (5, 10, 20, 40, 80, 160):
        each = {Heun: 2, RK4: 4}.get(kind, 1)
        if budget // each < 2:
            continue
        counted = scoresde.Counted(mixture)
        x = scoresde.sample(counted, kind(steps=budget // each, last="none"), (n, 2))
        spent.append(counted.rows / n)
        found.append(float((x - reference).square().sum(1).mean().sqrt()))
    errors[name] = found
    words = f"   {math.log2(found[-2] / found[-1]):.1f} of {order}" if order else ""
    print(f"{name:18}" + " " * 9 * (6 - len(found)) + "".join(f"{e:9.1e}" for e in found) + words)
    axes.loglog(spent, found, marker="o", markersize=4, color=colour, label=name)
axes.set(xlabel="evaluations of the denoiser", ylabel="distance from the flow")
axes.set_xticks([5, 10, 20, 40, 80, 160], ["5", "10", "20", "40", "80", "160"])
axes.minorticks_off()
axes.legend(frameon=False, fontsize=9)

for name, (_, order, _) in methods.items():
    if order is not None:
        assert math.log2(errors[name][-2] / errors[name][-1]) > order - 0.35, name
best = {name: found[-5] for name, found in errors.items() if name not in ("Heun", "RK4")}
print("with 10 evaluations the least error is that of", min(best, key=best.get))
assert min(best, key=best.get) == "GaussianAdams"

# %%
# A high order pays where steps are many. With ten evaluations other things count: a method that looks back (Adams)
# spends one evaluation a step where Runge and Kutta's spend two or four, and one that knows the data's mean and
# covariance (``GaussianAdams``) solves the Gaussian part of the flow exactly and extrapolates only the rest.
#
# Samplers with noise
# -------------------
#
# A sampler of the reverse SDE has no exact end point, only a distribution. Its error is that of the samples' law, here
# by the energy distance to exact samples, which is about 0 for equal laws. It needs more steps, and forgives more: what
# an imperfect score did wrong early is partly forgotten.

exact = mixture.sample(2000, t=sde.t_min, seed=7)
for name, kind in (("Euler and Maruyama", EulerMaruyama), ("ancestral (DDPM)", DDIM)):
    more, found = {"eta": 1.0, "grid": "uniform_angle"}, []
    for steps in (5, 20, 80):
        x = scoresde.sample(mixture, kind(steps=steps, last="none", **more), (2000, 2), seed=3)
        found.append(float(scoresde.metrics.energy(x, exact).value))
    print(f"{name:20} 5, 20, 80 steps: " + ", ".join(f"{d:.4f}" for d in found))
    assert found[0] > found[1] and found[2] < 0.01

plt.show()

# %%
# ``python run.py task=tune`` makes this picture for your own model, and keeps the best sampler of each budget.

"""The public API as a user calls it: a type checker finds nothing wrong.  Read by test_release.py, never run."""

from pathlib import Path

import torch
from torch import Tensor, nn

import scoresde

sde: scoresde.SDE = scoresde.VP(beta_max=18.0)
others: list[scoresde.SDE] = [
    scoresde.VE(sigma_max=20.0),
    scoresde.SubVP(),
    scoresde.EDM(),
    scoresde.Linear(),
    scoresde.Cosine(),
]

mixture = scoresde.exact.GaussianMixture(torch.ones(2), torch.zeros(2, 2), 0.3, sde, labels=[0, 1])
x: Tensor = scoresde.sample(mixture, scoresde.sampling.ProbabilityFlow(), (1000, 2), seed=1, progress=False)
labelled: Tensor = scoresde.sample(mixture, scoresde.sampling.DPMpp2M(steps=10), (4, 2), cond={"label": 1})
score: Tensor = mixture.score(x, 0.5)
moments: scoresde.Moments = scoresde.Moments.of(x)

data = scoresde.data.from_tensor(x)
net: nn.Module = scoresde.nets.MLP(data.shape, width=64)
denoiser: scoresde.Denoiser = scoresde.Preconditioned(net, sde, rule="v")
trained: scoresde.Model = scoresde.train(denoiser, data, steps=300, folder="runs/mine")
again: scoresde.Model = scoresde.train(denoiser, data, scoresde.DenoisingLoss(), folder=Path("runs/mine"))
decoded: Tensor = data.decode(scoresde.sample(trained, scoresde.sampling.GaussianAdams(steps=10), (5, *data.shape)))

found: scoresde.Likelihood = scoresde.log_likelihood(trained, data.encode(x), rtol=1e-3, atol=1e-3, probes=1)
nats: Tensor = found.log_prob + data.log_det
bits: float = scoresde.bits_per_dim(found.log_prob, 2, 256, data.log_det).total

loaded = scoresde.load("runs/mine", device="cpu")
if isinstance(loaded, scoresde.Model):
    made: Tensor = loaded.generate(16, seed=1, guide=lambda model: scoresde.guidance.Guided(model, 3.0))
    step: int = loaded.step
    shape: tuple[int, ...] = loaded.shape

latent: Tensor = scoresde.to_latent(trained, data.encode(x))
back: Tensor = scoresde.from_latent(trained, latent)
steered: scoresde.Denoiser = scoresde.guidance.Guided(mixture, 2.0)
record = scoresde.sampling.Trajectory(every=5)
scoresde.sample(mixture, scoresde.sampling.PC(), (16, 2), batch_size=4, callback=record)
times: list[float] = record.times
at: float = sde.at(0.5).phi
settings = scoresde.Training(steps=10)

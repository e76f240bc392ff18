"""Wrong calls of the public API, which a type checker reports line by line.  Read by test_release.py, never run."""

import torch

import scoresde

scoresde.VP(beta_max="large")  # wrong
scoresde.VE(sigma=20.0)  # wrong
mixture = scoresde.exact.GaussianMixture(torch.ones(2), torch.zeros(2, 2), 0.3)  # wrong
denoiser = scoresde.Preconditioned(torch.nn.Linear(2, 2), scoresde.VP(), ruler="v")  # wrong
scoresde.sample(denoiser, "ddim", (4, 2))  # wrong
scoresde.sampling.DDIM(steps="many")  # wrong
scoresde.sampling.DDIM(eta=0.5, last="average")  # wrong
scoresde.load(3)  # wrong
scoresde.Training(steps=[1])  # wrong
n: int = scoresde.log_likelihood(denoiser, torch.zeros(4, 2))  # wrong
scoresde.train(denoiser, None, "mse")  # wrong
scoresde.data.toy(kind=3)  # wrong
scoresde.guidance.Guided(denoiser, "strong")  # wrong
print(scoresde.sampled)  # wrong
scoresde.nets.MLP((2,), width="wide")  # wrong

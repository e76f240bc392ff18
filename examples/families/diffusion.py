"""The library's own family: a denoiser of the default settings, whose likelihood is that of its probability flow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import scoresde
from scoresde.likelihood import Likelihood
from scoresde.objectives import Denoising

SETTINGS = {"lr": 3e-3, "batch_size": 128, "ema": 0.999}
STEPS = 20  # of DPM-Solver++(2M), and one evaluation more


def objective(data, **settings: Any) -> Denoising:
    """What is trained: as `python run.py` does, but for its number of steps."""
    options = {"channels": 32, "mults": (1, 1), "blocks": 1, "attention": 16, "dropout": 0.1} | settings
    denoiser = scoresde.Preconditioned(scoresde.nets.UNet(data.shape, **options), scoresde.VP(), rule="v")
    return Denoising(denoiser, scoresde.DenoisingLoss(), data)


def generate(model: scoresde.Model, n: int, seed: int = 0) -> Tensor:
    """n samples in the data's own values."""
    return model.generate(n, scoresde.sampling.DPMpp2M(steps=STEPS), seed, progress=False)


@torch.no_grad()
def log_density(model: scoresde.Model, x: Tensor) -> Likelihood:
    """log p(x) through the flow, its divergence by one probe a row: an unbiased estimate of each."""
    return scoresde.log_likelihood(model, x, probes=1, rtol=1e-2, atol=1e-2)

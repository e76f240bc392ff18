"""What training minimises, and what it is watched by."""

import copy

import torch
from torch import Tensor, nn

from .. import noise
from ..data import Data, stack
from ..denoiser import Denoiser
from ..loss import DenoisingLoss
from ..sde import SDE


class Objective(nn.Module):
    """The loss as a module's forward, so that accelerate's wrappers (precision, processes) see all of it."""

    def __init__(self, denoiser: Denoiser, loss: DenoisingLoss):
        super().__init__()
        self.denoiser, self.loss = denoiser, loss
        self.times = loss.times if isinstance(loss.times, nn.Module) else None  # so that they go to the device

    def forward(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return self.loss(self.denoiser, x0, t, eps).sum()


class Validation:
    """The loss on fixed test data, times and noise, the times stratified; also its means in 8 bins of the times (fewer
    of fewer items), low noise first: those between the `noise_levels`.

    It keeps a copy of the loss as it is given: times that learn would not be fixed.
    """

    def __init__(
        self,
        data: Data,
        loss: DenoisingLoss,
        denoiser: Denoiser,
        device: torch.device,
        n: int = 512,
        dequantise: str = "uniform",
    ):
        n, loss = min(n, len(data.test)), copy.deepcopy(loss)
        raw, index = stack(data.test, range(n)), torch.arange(n)
        u = noise.uniform(raw.float(), index, 0, 0) if dequantise == "uniform" else None
        self.x0 = data.encode(raw, u).to(device)
        self.eps = noise.normal(self.x0, index.to(device), 0, 1, 0)
        # Strata are dealt out in a fixed order that does not follow the data's.
        strata = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        self.t = loss.place((strata + 0.5) / n, denoiser.sde).to(device)
        self.bins, self.loss = strata * min(8, n) // n, loss

    @torch.no_grad()
    def __call__(self, denoiser: Denoiser) -> tuple[float, list[float]]:
        parts = zip(self.x0.split(256), self.t.split(256), self.eps.split(256), strict=True)
        losses = torch.cat([self.loss.at(denoiser, *part) for part in parts]).cpu()
        return float(losses.mean()), [float(losses[self.bins == b].mean()) for b in self.bins.unique()]


def noise_levels(loss: DenoisingLoss, sde: SDE, bins: int) -> list[float]:
    """sigma / alpha at the ends of so many bins that the loss's times fall into alike: bins + 1 numbers, growing."""
    ends = torch.linspace(0, 1, bins + 1, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    times = loss.place(ends, sde)
    return torch.exp(-sde.log_snr(times) / 2).tolist()

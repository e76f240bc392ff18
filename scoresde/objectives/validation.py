"""What a training is watched by: the loss on held-out data, at fixed times, with fixed noise."""

import copy

import torch

from .. import noise
from ..data import Data, collate
from ..denoiser import Denoiser
from ..loss import DenoisingLoss
from ..sde import SDE


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
        batch, index = collate(data.test, range(n), denoiser.conditions), torch.arange(n)
        raw = batch.x
        u = noise.uniform(raw.float(), index, 0, 0) if dequantise == "uniform" else None
        self.x0 = data.encode(raw, u).to(device)
        self.eps = noise.normal(self.x0, index.to(device), 0, 1, 0)
        # Strata are dealt out in a fixed order that does not follow the data's.
        strata = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        self.t = loss.place((strata + 0.5) / n, denoiser.sde).to(device)
        self.bins, self.loss, self.cond = strata * min(8, n) // n, loss, batch.to(device).cond

    @torch.no_grad()
    def __call__(self, denoiser: Denoiser) -> tuple[float, list[float]]:
        losses = []
        for i in range(0, len(self.t), 256):
            part = slice(i, i + 256)
            cond = {name: value[part] for name, value in self.cond.items()}
            losses.append(self.loss.at(denoiser, self.x0[part], self.t[part], self.eps[part], cond))
        losses = torch.cat(losses).cpu()
        return float(losses.mean()), [float(losses[self.bins == b].mean()) for b in self.bins.unique()]


def noise_levels(loss: DenoisingLoss, sde: SDE, bins: int) -> list[float]:
    """sigma / alpha at the ends of so many bins that the loss's times fall into alike: bins + 1 numbers, growing."""
    ends = torch.linspace(0, 1, bins + 1, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    times = loss.place(ends, sde)
    return torch.exp(-sde.log_snr(times) / 2).tolist()

"""What a training is watched by: the loss on held-out data, at fixed times, with fixed noise."""

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from .. import noise
from ..conditions import of_items
from ..data import Data, collate
from ..denoiser import Denoiser
from ..loss import DenoisingLoss
from ..sde import SDE


class HeldOut:
    """Fixed test data, times and noise, the times stratified, in 8 bins (fewer of fewer items), low noise first.

    The bins are those between the `noise_levels`.

    Arguments:
        data: its test items.
        loss: where the times are; a copy is kept, as times that learn would not be fixed.
        sde: of x_t.
        names: the conditions that the items come with.
        device: where they are kept.
        items: which ones.
        dequantise: "uniform" within the bin, or "none".
    """

    def __init__(
        self,
        data: Data,
        loss: DenoisingLoss,
        sde: SDE,
        names: Iterable[str],
        device: torch.device,
        items: Sequence[int],
        dequantise: str = "uniform",
    ):
        n, self.loss = len(items), copy.deepcopy(loss)
        batch, index = collate(data.test, items, names), torch.arange(n)
        raw = batch.x
        u = noise.uniform(raw.float(), index, 0, *noise.Stream.HELD_OUT_BIN()) if dequantise == "uniform" else None
        self.x0 = data.encode(raw, u).to(device)
        self.eps = noise.normal(self.x0, index.to(device), 0, *noise.Stream.HELD_OUT_NOISE())
        # Strata are dealt out in a fixed order that does not follow the data's.
        strata = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        self.t = self.loss.place((strata + 0.5) / n, sde).to(device)
        self.bins, self.cond = strata * min(8, n) // n, batch.to(device).cond

    @torch.no_grad()
    def rows(self, function: Callable[..., Tensor]) -> Tensor:
        """function(x0, t, eps, cond) of all items, in parts, on the CPU."""
        found = []
        for i in range(0, len(self.t), 256):
            part = slice(i, i + 256)
            cond = {name: value[part] for name, value in self.cond.items()}
            found.append(function(self.x0[part], self.t[part], self.eps[part], cond))
        return torch.cat(found).cpu()

    def by_level(self, values: Tensor) -> list[float]:
        """The means of values (n,) in the bins."""
        return [float(values[self.bins == b].mean()) for b in self.bins.unique()]


class Validation(HeldOut):
    """The denoising loss on up to `n` test items with fixed times and noise, and its means by level: see `HeldOut`.

    Arguments:
        data: its test items.
        loss: the loss; a copy is kept, as times that learn would not be fixed.
        denoiser: whose SDE and conditions count.
        device: where they are kept.
        n: the most items.
        dequantise: "uniform" within the bin, or "none".
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
        items = range(min(n, len(data.test)))
        super().__init__(data, loss, denoiser.sde, of_items(denoiser.conditions), device, items, dequantise)

    def __call__(self, denoiser: Denoiser) -> tuple[float, list[float]]:
        """The mean loss of a denoiser, and its means by level."""
        losses = self.rows(partial(self.loss.at, denoiser))
        return float(losses.mean()), self.by_level(losses)


def noise_levels(loss: DenoisingLoss, sde: SDE, bins: int) -> list[float]:
    """sigma / alpha at the ends of so many bins that the loss's times fall into alike.

    Arguments:
        loss: where the times are.
        sde: of x_t.
        bins: how many.

    Returns:
        bins + 1 numbers, growing.
    """
    ends = torch.linspace(0, 1, bins + 1, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    times = loss.place(ends, sde)
    return torch.exp(-sde.log_snr(times) / 2).tolist()

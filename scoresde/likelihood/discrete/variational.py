"""Variational dequantisation: a small network that learns where in its bin a level should lie."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...answers import derivatives
from ...denoiser import Denoiser, Given, bind
from ...noise import Stream, normal
from ...settings import Count, Positive, Seed, checked
from ...spaces import Bins
from .dequantisation import Dequantiser


class BinNet(nn.Module):
    """Mean and log standard deviation of a logit for every element, from the centres x_v.

    Convolutions for (C, *space) with 1 to 3 space axes, linear layers for any other shape; `width` features.  Untrained
    it gives N(0, 1.6^2), whose sigmoid is uniform within 0.02 nats.
    """

    def __init__(self, shape: Sequence[int], width: int = 32):
        super().__init__()
        self.shape, flat = tuple(shape), len(shape) not in (2, 3, 4)
        size = math.prod(shape) if flat else shape[0]
        if flat:
            layers = [nn.Linear(size, width), nn.Linear(width, width), nn.Linear(width, 2 * size)]
        else:
            conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(shape) - 2]
            layers = [conv(size, width, 3, padding=1), conv(width, width, 3, padding=1), conv(width, 2 * size, 1)]
        nn.init.zeros_(layers[-1].weight)
        nn.init.zeros_(layers[-1].bias)
        self.flat = flat
        self.layers = nn.Sequential(layers[0], nn.SiLU(), layers[1], nn.SiLU(), layers[2])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log standard deviation, each (B, *shape), for centres x (B, *shape)."""
        mean, log_std = self.layers(x.flatten(1) if self.flat else x).chunk(2, 1)
        return mean.reshape(x.shape), math.log(1.6) + log_std.reshape(x.shape).clamp(-6, 3)


@dataclass(frozen=True)
class Variational(Dequantiser):
    """y = the place u of the bin with u = sigmoid(m(v) + s(v) e), e ~ N(0, I) and (m, log s) = `net`(x_v):

        log P(v) >= E[log p(y) - log q(u | v)] + log(volume of the bin)

    Ho, Chen, Srinivas, Duan, Abbeel (2019), Flow++, arXiv 1902.00275, with a flow of one layer.

    Arguments:
        net: net(x_v) is a `BinNet` or any module like it; `fit_variational` trains one.
    """

    net: nn.Module
    draws: Count = 1

    def draw(self, raw, data, index, seed, i):
        levels = Bins.of(data)
        e = normal(levels.place(raw), index, seed, *Stream.DEQUANTISER(draw=i))
        with torch.no_grad():
            u, log_q = _place(self.net, levels, raw, e)
        return levels.place(raw, u), log_q - levels.log_volume(raw.shape[1:]), log_q.new_zeros(len(raw))


@checked
@derivatives
def fit_variational(
    denoiser: Denoiser,
    raw: Tensor,
    data: Any,
    steps: Count = 300,
    batch: Count = 128,
    lr: Positive = 3e-3,
    t: Positive | None = None,
    net: nn.Module | None = None,
    seed: Seed = 0,
    cond: Given = None,
) -> Variational:
    """The `Variational` dequantiser of a denoiser, by AdamW on -E[log p - log q].

    The gradient of log p at y is the model's score: one evaluation a step, nothing through a solver.  Whatever is
    learned is a valid q.

    Arguments:
        denoiser: the model.
        raw: items (N, *shape), levels, on the denoiser's device.
        data: the data set, or what has its `space`.
        steps: of AdamW.
        batch: items a step.
        lr: the learning rate at first; it falls to 0 on a cosine.
        t: the time of the score; None: the one whose noise is an eighth of a bin wide: closer to the data a network's
            score has larger errors than the slope of log p within a bin (on digits the gain over uniform, in bits/dim,
            is -0.01, 0.01, 0.03, 0.04, 0.04, -0.05, each +- 0.01, for noise of 1, 1/2, 1/4, 1/8, 1/16, 1/40 of a bin).
        net: what is trained; None: a new `BinNet`.
        seed: of its weights, the batches and the draws.
        cond: the conditions of the items, by name.

    Returns:
        A `Variational`.

    Raises:
        InputError: wrong arguments, or a data set without levels.
    """
    levels, sde = Bins.of(data), denoiser.sde
    denoiser = bind(denoiser, cond, len(raw))
    if t is None:
        t = float(sde.time(-2 * math.log(float(torch.as_tensor(levels.width).abs().min()) / 8)))
    generator = torch.Generator().manual_seed(seed)
    if net is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = BinNet(raw.shape[1:]).to(raw.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        index = torch.randint(len(raw), (min(batch, len(raw)),), generator=generator).to(raw.device)
        rows = raw[index]
        words = Stream.DEQUANTISER_FIT(step)
        e = normal(levels.place(rows), torch.arange(len(rows), device=raw.device), seed, *words)
        u, log_q = _place(net, levels, rows, e)
        y = levels.place(rows, u)
        with torch.no_grad():
            alpha = float(sde.marginal(t)[0])
            slope = alpha * denoiser.select(index).score(alpha * y, t)
        loss = (log_q - (slope * y).flatten(1).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    real = levels.place(raw[:1]).dtype  # float64 where the device has it: a row then does not feel its batch
    return Variational(net.to(real).eval())


def _place(net: nn.Module, levels: Bins, raw: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    """u = sigmoid(m + s e), (B, *shape), and log q(u | v), (B,)."""
    dtype = next((p.dtype for p in net.parameters()), torch.float32)
    mean, log_std = net(levels.place(raw).to(dtype))
    logit = mean.to(e) + log_std.to(e).exp() * e
    # log du/dlogit = log u + log(1 - u)
    log_q = -0.5 * e**2 - 0.5 * math.log(2 * math.pi) - log_std - F.logsigmoid(logit) - F.logsigmoid(-logit)
    return torch.sigmoid(logit), log_q.flatten(1).sum(1)

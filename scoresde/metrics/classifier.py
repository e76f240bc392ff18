"""Small classifiers that are trained in seconds, and the two-sample test that one of them makes."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..answers import derivatives
from ..errors import InputError
from .estimate import Estimate, proportion, rows
from .near import mann_whitney


@derivatives
def fit(net: nn.Module, x: Tensor, labels: Tensor, steps: int, seed: int, lr: float = 3e-3, batch: int = 128) -> None:
    """Trains net(x) -> logits by cross-entropy with AdamW, the rate falling to zero along a cosine.

    The batches are a function of `seed` alone; the net is left in evaluation mode, without gradients.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    net.train()
    with torch.enable_grad():
        for _ in range(steps):
            index = torch.randint(len(x), (min(batch, len(x)),), generator=generator).to(x.device)
            loss = F.cross_entropy(net(x[index]), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    net.eval().requires_grad_(False)


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """What `make` makes, its weights a function of `seed`; torch's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def c2st(x: Tensor, y: Tensor, steps: int = 500, width: int = 64, seed: int = 0) -> Estimate:
    """The classifier two-sample test: how often an MLP tells x from y, 1/2 where it cannot.

    The larger set is cut to the size of the smaller, and one half of each trains the MLP.  On the other halves, of a
    rows each, with f the trained logit of "x":

        value = (#{f(x_i) > 0} + #{f(y_j) <= 0}) / 2a

    Wilson's interval holds the accuracy of this very classifier on new data, which is at most that of the best one.
    `p_value` is Mann and Whitney's, of one side, on the held-out logits: under the hypothesis that both have one
    distribution these are exchangeable, so that it is uniform whatever was learnt.

    Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests, arXiv 1610.06545.

    Arguments:
        x, y: rows (n, *shape) and (m, *shape), 8 at least.
        steps: of the training.
        width: of the MLP's hidden layer.
        seed: of the halves, the weights and the batches.

    Returns:
        An `Estimate`, from 0 to 1.

    Raises:
        InputError: rows of two shapes, too few, or not finite.
    """
    x, y = rows(x, y, 8)
    least = min(len(x), len(y))
    generator = torch.Generator().manual_seed(seed)
    # On the CPU wherever x is: the dropout's numbers are then a function of the seed.
    x, y = (v.cpu()[torch.randperm(len(v), generator=generator)[:least]] for v in (x, y))
    half = least // 2
    data = torch.cat([x[:half], y[:half]])
    mean, std = data.mean(0), data.std(0)
    std = torch.where(std > 0, std, 1.0)
    scaled = lambda v: ((v - mean) / std).clamp(-10, 10).float()
    labels = torch.arange(2).repeat_interleave(half)
    size = x.shape[1]
    layers = lambda: nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 2))
    net = seeded(layers, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of the dropout
        fit(net, scaled(data), labels, steps, seed)
    of_x, of_y = (_logit(net, scaled(v[half:])).double() for v in (x, y))
    count = len(of_x) + len(of_y)
    value = (float((of_x > 0).sum()) + float((of_y <= 0).sum())) / count
    above = (of_x[:, None] > of_y).double() + (of_x[:, None] == of_y).double() / 2
    p_value = mann_whitney(float(above.mean()), of_x, of_y, sides=1)
    stderr = math.sqrt(value * (1 - value) / count)
    return proportion(value, stderr, count - 1, least, least, count, "Wilson, held-out half", p_value=p_value)


def _logit(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        out = torch.cat([net(part) for part in x.split(4096)])
    return out[:, 0] - out[:, 1]


class Classifier(nn.Module):
    """A small classifier of items: `net(x)` gives logits, `net.features(x)` the `width` entries before.

    Three convolutions, the last two of stride two, for items with 2 or 3 axes of space after the channels or 1; two
    hidden layers for vectors.

    Arguments:
        shape: of an item, (D,) or (C, *space) with 1 to 3 space axes.
        classes: how many.
        width: of the last hidden layer.

    Raises:
        InputError: items of another number of axes.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, width: int = 64):
        super().__init__()
        self.shape = tuple(shape)
        space = len(self.shape) - 1
        if space < 0 or space > 3:
            raise InputError(f"items of shape {self.shape}: the classifier takes vectors, or 1 to 3 axes of space")
        if space == 0:
            body = [nn.Linear(self.shape[0], 2 * width), nn.SiLU()]
            inside = 2 * width
        else:
            conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[space - 1]
            pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[space - 1]
            body, channels = [], self.shape[0]
            for i in range(3):
                body += [conv(channels, 32 * 2 ** min(i, 1), 3, stride=1 if i == 0 else 2, padding=1), nn.SiLU()]
                channels = 32 * 2 ** min(i, 1)
            body += [pool(2), nn.Flatten()]
            inside = channels * 2**space
        self.body = nn.Sequential(*body, nn.Linear(inside, width), nn.SiLU())
        self.head = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer, (B, width), of x (B, *shape)."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """The logits (B, classes) of x (B, *shape)."""
        return self.head(self.body(x))

"""What training does at a step, by hand: rate, clipping, AdamW, average, dropout, precision, validation by level."""

import math
import sys

import numpy as np
import pytest
import torch
from commands import TINY, command
from torch import nn

import scoresde
from scoresde.data import Data, Tensors
from scoresde.training import Training

CENTRE = torch.tensor([0.5, -0.25, 1.0])
PLAIN = {"weight": lambda sde, t: torch.ones_like(t)}


class Line(scoresde.Denoiser):
    """D = W x + b in float64; it keeps what it is shown in training."""

    def __init__(self):
        super().__init__(scoresde.VP())
        self.weight = nn.Parameter(0.1 * torch.arange(9.0, dtype=torch.float64).reshape(3, 3))
        self.bias = nn.Parameter(torch.tensor([0.3, 0.0, -0.2], dtype=torch.float64))
        self.shown = []

    def forward(self, x, t):
        if self.training:
            self.shown.append(x.detach().numpy().copy())
        return x @ self.weight.T + self.bias


def by_hand(shown, start, steps, lr, betas, weight_decay, warmup, clip, ema):
    """The average, and each step's loss, gradient norm and rate, of AdamW on mean |W x + b - CENTRE|^2."""
    weights, average = list(start), [a.copy() for a in start]
    first, second = [0 * a for a in start], [0 * a for a in start]
    told = []
    for k, x in enumerate(shown):
        rate = lr * min(1, (k + 1) / (warmup + 1)) * (1 + math.cos(math.pi * k / steps)) / 2
        residual = x @ weights[0].T + weights[1] - CENTRE.double().numpy()
        slope = [2 * residual.T @ x / residual.size, 2 * residual.sum(0) / residual.size]
        norm = math.sqrt(sum((g**2).sum() for g in slope))
        told.append((np.mean(residual**2), norm, rate))
        slope = [g * min(1, clip / norm) for g in slope]
        first = [betas[0] * m + (1 - betas[0]) * g for m, g in zip(first, slope, strict=True)]
        second = [betas[1] * v + (1 - betas[1]) * g**2 for v, g in zip(second, slope, strict=True)]
        one, two = (1 - b ** (k + 1) for b in betas)
        for i in range(2):
            step = first[i] / one / (np.sqrt(second[i] / two) + 1e-8)
            weights[i] = (1 - rate * weight_decay) * weights[i] - rate * step
        decay = min(ema, (2 + k) / (11 + k))
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
    return average, told


@pytest.mark.parametrize("clip", [0.3, 100.0])
@pytest.mark.parametrize("ema", [0.0, 0.25])
def test_steps_of_the_optimizer(clip, ema):
    settings = dict(lr=0.02, betas=(0.7, 0.85), weight_decay=0.6, warmup=3, clip=clip, ema=ema, steps=9)
    model, rows = Line(), []
    start = [p.detach().numpy().copy() for p in model.parameters()]
    trained = scoresde.train(
        model,
        CENTRE.expand(64, 3),
        scoresde.DenoisingLoss(**PLAIN),
        report=lambda step, **figures: rows.append(figures),
        batch_size=16,
        log_every=1,
        device="cpu",
        **settings,
    )
    assert len(model.shown) == 9 and len(np.unique(np.concatenate(model.shown), axis=0)) == 9 * 16
    average, told = by_hand(model.shown, start, **settings)
    for mine, expected in zip(trained.parameters(), average, strict=True):
        np.testing.assert_allclose(mine.numpy(), expected, rtol=0, atol=1e-6)
    for figures, expected in zip(rows, told, strict=True):
        assert [figures[k] for k in ("loss", "gradient", "lr")] == pytest.approx(expected, rel=1e-6)
    assert all((norm > clip) == (clip < 1) for _, norm, _ in told)


def test_the_rate_warms_up_and_falls_by_a_cosine():
    rate = Training(steps=12, lr=0.8, warmup=3).rate
    assert rate(0) == pytest.approx(0.2) and rate(6) == pytest.approx(0.4) and rate(12) == pytest.approx(0)
    assert rate(1) == pytest.approx(0.4 * (1 + math.cos(math.pi / 12)) / 2)
    assert rate(3) == pytest.approx(0.8 * (2 + math.sqrt(2)) / 4) and rate(9) == pytest.approx(0.8 - rate(3))
    assert Training(steps=12, lr=0.8, warmup=0).rate(0) == pytest.approx(0.8)


class Spy(nn.Module):
    """A network that notes the masks of its dropout, its type of numbers, and whether it is being trained."""

    def __init__(self):
        super().__init__()
        self.drop, self.linear, self.noted = nn.Dropout(0.25), nn.Linear(3, 3), []

    def forward(self, x, c):
        mask = self.drop(torch.ones_like(x))
        y = self.linear(x * mask)
        self.noted.append((self.training, mask.detach(), y.dtype, torch.is_autocast_enabled("cpu")))
        return y


def spied(**options):
    """What the spy noted in training, and in validation (by its averaged copy)."""
    net = Spy()
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    settings = dict(steps=4, batch_size=32, validate_every=2, device="cpu", **options)
    trained = scoresde.train(scoresde.Preconditioned(net, scoresde.VP()), x, **settings)
    return net.noted, trained.denoiser.net.noted


def test_dropout_is_drawn_in_training_alone_and_anew_at_each_step():
    noted, validated = spied()
    masks = torch.stack([mask for _, mask, _, _ in noted])
    assert len(noted) == 4 and all(training for training, *_ in noted)
    assert masks.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float((masks == 0).double().mean()) == pytest.approx(0.25, abs=0.1)
    assert not any(torch.equal(masks[i], masks[j]) for i in range(4) for j in range(i))
    assert validated and not any(training for training, *_ in validated)
    assert all(bool((mask == 1).all()) for _, mask, _, _ in validated)
    again = torch.stack([mask for _, mask, _, _ in spied()[0]])
    other = torch.stack([mask for _, mask, _, _ in spied(seed=1)[0]])
    assert torch.equal(masks, again) and not torch.equal(masks, other)  # a function of the seed and the step


@pytest.mark.parametrize("without_accelerate", [False, True])
@pytest.mark.parametrize(("precision", "dtype"), [("no", torch.float32), ("bf16", torch.bfloat16)])
def test_the_network_computes_in_the_precision_that_is_asked_for(monkeypatch, without_accelerate, precision, dtype):
    if without_accelerate:
        monkeypatch.setitem(sys.modules, "accelerate", None)
    noted, validated = spied(precision=precision)
    assert {(kind, autocast) for _, _, kind, autocast in noted} == {(dtype, dtype == torch.bfloat16)}
    assert {(kind, autocast) for _, _, kind, autocast in validated} == {(torch.float32, False)}


def test_the_validation_is_told_by_level_in_the_order_of_t():
    """On the test data, an answer that is wrong by t: the loss is t^2, its mean over each eighth of the times known."""

    class Off(scoresde.Denoiser):
        def __init__(self):
            super().__init__(scoresde.VP(t_min=0.1))
            self.nothing = nn.Parameter(torch.zeros(()))

        def forward(self, x, t):
            return CENTRE.double() + t.double().reshape(-1, 1) + 0 * self.nothing

    rows, n = [], 80
    train, test = (Tensors(a.expand(count, 3)) for a, count in ((torch.arange(3.0), 200), (CENTRE, n)))
    data = Data("two", train, test, scoresde.data.Affine())
    options = dict(steps=2, batch_size=8, validate_every=2, device="cpu")
    loss = scoresde.DenoisingLoss(times="uniform", **PLAIN)
    scoresde.train(Off(), data, loss, report=lambda step, **figures: rows.append((step, figures)), **options)
    ((step, figures),) = (row for row in rows if "validation" in row[1])
    times = 0.1 + 0.9 * (np.arange(n) + 0.5) / n
    assert step == 2 and figures["validation"] == pytest.approx((times**2).mean(), rel=1e-6)
    assert figures["validation_by_level"] == pytest.approx((times.reshape(8, -1) ** 2).mean(1), rel=1e-6)


@pytest.mark.parametrize(("sigma_max", "warns"), [(2.97, True), (3.03, False)])
def test_a_largest_noise_under_half_of_the_farthest_distance_is_warned_of(
    monkeypatch, capfd, tmp_path, sigma_max, warns
):
    """Data on two points, 6 apart."""
    np.save(tmp_path / "x.npy", np.repeat([[-1.8, 2.4], [1.8, -2.4]], 60, 0).astype(np.float32))
    data = ["data=array", "data.root=x.npy", "data.standardize=null", "net=mlp", "net.width=8"]
    tiny = [word for word in TINY if not word.startswith("net.")]
    code, out, err = command(
        monkeypatch, capfd, tmp_path, *tiny, *data, "task=train", "sde=ve", f"sde.sigma_max={sigma_max}"
    )
    assert code == 0, err
    words = " ".join(out.split())
    assert ("samples may miss parts of the data" in words) == warns
    assert not warns or (f"sigma/alpha = {sigma_max}" in words and "sde.sigma_max=6" in words)

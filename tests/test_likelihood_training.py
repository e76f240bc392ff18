"""Training for likelihood: what the times learn is part of a run, and the objective finds the data's density."""

import pytest
import torch

import scoresde
from scoresde.data import Affine, Data, Tensors
from scoresde.loss import Adaptive, DenoisingLoss
from scoresde.model import checkpoint
from scoresde.objectives import Validation
from scoresde.training import Training

SETTINGS = {"batch_size": 32, "lr": 1e-3, "warmup": 2, "validate_every": 2, "checkpoint_every": 2, "log_every": 1}


def denoiser():
    torch.manual_seed(1)
    return scoresde.Preconditioned(scoresde.nets.MLP((2,), width=32, blocks=1, octaves=(0,)), scoresde.VP())


def points(n=300):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return Data("points", Tensors(x[50:]), Tensors(x[:50]), Affine())


def objective(**options):
    return DenoisingLoss("simple", Adaptive("simple", "log_snr", bins=16), base="log_snr", draw="even", **options)


@pytest.mark.parametrize("control", [None, 0.1])
def test_a_stopped_run_with_times_that_learn_goes_on_exactly(tmp_path, control):
    """The same weights, times and validation, to the bit, as of one run."""
    training, figures = Training(steps=6, **SETTINGS), {"whole": {}, "parts": {}}

    class Stop(Exception):
        pass

    def report(name, last):
        def take(step, **found):
            figures[name][step] = (found["loss"], found.get("validation"))
            if step == last:
                raise Stop

        return take

    options = {"loss": objective(control=control), "training": training}
    whole = scoresde.train(denoiser(), points(), folder=tmp_path / "whole", report=report("whole", None), **options)
    with pytest.raises(Stop):
        scoresde.train(denoiser(), points(), folder=tmp_path / "parts", report=report("parts", 5), **options)
    torch.rand(3)
    parts = scoresde.train(denoiser(), points(), folder=tmp_path / "parts", report=report("parts", None), **options)
    assert figures["whole"] == figures["parts"]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
    a, b = (checkpoint.load(tmp_path / name / "checkpoint.pt")["loss"] for name in ("whole", "parts"))
    assert a.keys() == b.keys() == {"total", "count"} and all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["total"], torch.ones(16, dtype=torch.float64))
    assert torch.equal(
        options["loss"].state()["total"], torch.ones(16, dtype=torch.float64)
    )  # the caller's is as it was


def test_the_validation_does_not_move_with_the_times():
    loss, model = objective(), denoiser()
    validation = Validation(points(), loss, model, torch.device("cpu"))
    before = validation(model)
    for _ in range(5):
        loss(model, torch.randn(32, 2))
    assert validation(model) == before


class Scale(scoresde.Denoiser):
    """The exact denoiser of N(0, s^2), its s to be found."""

    def __init__(self):
        super().__init__(scoresde.VP())
        self.log_s = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x, t):
        snr, s2 = torch.exp(self.sde.log_snr(t))[:, None], torch.exp(2 * self.log_s)
        return s2 * snr / (s2 * snr + 1) * x / self.sde.marginal(t)[0][:, None]


@pytest.mark.parametrize("control", [None, 0.1])
def test_it_finds_the_maximum_of_the_likelihood(control):
    """For the scale of a Gaussian the bound is tight: its minimum is the data's root mean square."""
    x = 0.3 * torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    loss = objective(control=control)
    model = scoresde.train(Scale(), x, loss, steps=80, batch_size=256, lr=0.1, warmup=0, ema=0.8, weight_decay=0)
    rms = float(x[:900].square().mean().sqrt())  # the split leaves these or others for training: alike to 3 %
    assert float(model.denoiser.log_s.detach().exp()) == pytest.approx(rms, rel=0.05)


@pytest.mark.parametrize("how", ["uniform", "none"])
def test_dequantise_is_within_the_bin_or_in_its_middle(how):
    """A network that is shown almost no noise sees where in its bin each value is."""
    seen = []

    class Spy(scoresde.Denoiser):
        def __init__(self):
            super().__init__(scoresde.EDM())
            self.p = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x, t):
            seen.append(x.detach())
            return x + self.p

    raw = torch.randint(0, 4, (200, 3), dtype=torch.uint8)
    data = Data("levels", Tensors(raw[:100]), Tensors(raw[100:]), Affine(2.0, -1.0), levels=4)
    loss = DenoisingLoss(times=lambda sde, u, t_min: torch.full_like(u, 1e-6))
    scoresde.train(Spy(), data, loss, steps=3, batch_size=32, dequantise=how)
    place = ((torch.cat(seen[:-1]) + 1) / 2 * 4) % 1
    if how == "none":
        assert float((place - 0.5).abs().max()) < 1e-4
    else:
        assert float(place.min()) < 0.1 and float(place.max()) > 0.9
    with pytest.raises(scoresde.InputError, match="dequantise='centre': give one of uniform, none"):
        Training(dequantise="centre")

"""Laws of the last step where data have levels: samplers end at the noise that hides a bin, and round less wrongly."""

import math

import pytest
import torch
from torch import nn

import scoresde
from scoresde import VE, VP, exact
from scoresde.denoiser import Counted, Preconditioned
from scoresde.model import Model
from scoresde.sampling import Adams, DPMpp2M, sample
from scoresde.sampling.loop import ending

WIDTH = 2 / 17


class Smeared(exact.GaussianMixture):
    """Levels 0 and 8 of 17 in [-1, 1], that a network has smeared to normal laws a little wider than their bins."""

    grain = WIDTH / 2

    def __init__(self, sde):
        middles = torch.tensor([[-1 + WIDTH / 2], [-1 + 8.5 * WIDTH]], dtype=torch.float64)
        super().__init__(torch.tensor([0.9, 0.1]), middles, 0.35 * WIDTH, sde)


@pytest.mark.parametrize("sde", [VP(), VE(), scoresde.Linear()], ids=str)
def test_sampling_ends_where_noise_is_half_a_bin(sde):
    model, sampler = Smeared(sde), DPMpp2M(steps=5)
    t = ending(sampler, model)
    assert math.exp(-float(sde.log_snr(torch.tensor(t, dtype=torch.float64))) / 2) == pytest.approx(WIDTH / 2, rel=1e-6)
    seen = []
    sample(model, sampler, (2, 1), callback=lambda i, t, x, x0: seen.append(t), progress=False)
    assert seen[-1] == pytest.approx(t)


def test_whoever_says_where_it_ends_is_heard():
    model, plain = Smeared(VP()), exact.GaussianMixture(torch.ones(1), torch.zeros(1, 1), 1.0, VP())
    assert ending(DPMpp2M(t_min=1e-4), model) == 1e-4
    assert ending(DPMpp2M(last="none"), model) is None
    assert ending(Adams(steps=2, grid=[1.0, 0.5, 1e-3]), model) is None
    assert ending(DPMpp2M(), plain) is None
    assert ending(DPMpp2M(), Counted(model)) == ending(DPMpp2M(), model)


def test_fewer_samples_are_rounded_into_the_next_level():
    model = Smeared(VP())
    spilt = []
    for sampler in (DPMpp2M(steps=20), DPMpp2M(steps=20, t_min=1e-5)):
        x = sample(model, sampler, (4000, 1), dtype=torch.float64, progress=False)
        level = ((x + 1) / WIDTH).floor()
        spilt.append(float(((level != 0) & (level != 8)).double().mean()))
    smeared = math.erfc(0.5 / 0.35 / math.sqrt(2))  # of a normal law beyond its bin
    assert spilt[1] == pytest.approx(smeared, abs=4 * math.sqrt(smeared / 4000)) and spilt[0] < 0.2 * smeared


def test_a_trained_model_knows_its_levels():
    denoiser = Preconditioned(nn.Identity(), VP())
    facts = {"shape": [1], "levels": 17, "scale": torch.tensor(2.0), "shift": torch.tensor(-1.0), "name": "digits"}
    assert Model(denoiser, facts, 1).grain == pytest.approx(1 / 17)
    assert Model(denoiser, facts | {"levels": None}, 1).grain is None

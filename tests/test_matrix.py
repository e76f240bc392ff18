"""Every SDE with every sampler, corrector and shape of data: a cell works, or is refused when the sampler is made."""

import math

import pytest
import torch
from commands import ROOT
from matrix import SHAPES, build, cell, table
from orders import end_moments, stop
from problems import SDES, close, mixture
from samplers import ADAPTIVE, CORRECTORS, SAMPLERS

from scoresde.exact import GaussianMixture
from scoresde.sampling import sample

WORKING = [(name, corrector) for name in SAMPLERS for corrector in CORRECTORS if cell(name, corrector) == "yes"]


@pytest.mark.parametrize(("name", "corrector"), [c for c in WORKING if c[0] not in ADAPTIVE])
def test_every_cell_ends_near_the_exact_moments(name, corrector):
    """40 steps leave 5 % of a standard deviation and 20 % of a variance, for every SDE, without chance."""
    for sde in SDES.values():
        sampler = build(name, corrector, steps=40, last="none", t_min=stop(sde, 6.0))
        mean, variance, exact_mean, exact_variance = end_moments(sde, sampler)
        assert abs(mean - exact_mean) < 0.05 * math.sqrt(exact_variance)
        assert abs(math.log(variance / exact_variance)) < 0.2


@pytest.mark.parametrize(("name", "corrector"), WORKING)
def test_the_shape_of_data_is_a_shape_and_no_more(name, corrector):
    """The samples are those of the same problem with its data laid out flat."""
    sampler = build(name, corrector)
    for i, sde in enumerate(SDES.values()):
        shape = SHAPES[(i + len(name)) % len(SHAPES)]
        model = mixture(sde, shape)
        flat = GaussianMixture(model.log_weights.exp(), model.means.flatten(1), model.stds.flatten(1), sde)
        x = sample(model, sampler, (3, *shape), dtype=torch.float64)
        assert x.shape == (3, *shape)
        close(x.flatten(1), sample(flat, sampler, (3, math.prod(shape)), dtype=torch.float64), rtol=1e-6, atol=1e-6)
        assert torch.cdist(x.flatten(1), x.flatten(1)).fill_diagonal_(1).min() > 1e-6


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_does_not_go_together_is_refused_with_the_reason(name):
    for corrector in CORRECTORS:
        words = cell(name, corrector)
        assert words == "yes" or ("takes no corrector" in words or "one trajectory" in words)


def test_the_table_in_the_docs_is_this_one():
    assert (ROOT / "docs" / "reference" / "compatibility.md").read_text() == table(), "run python docs/make.py matrix"

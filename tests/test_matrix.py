"""Every SDE with every sampler, corrector and shape of data: a cell works, or is refused when the sampler is made."""

import pytest
import torch
from commands import ROOT
from matrix import SHAPES, build, cell, table
from problems import SDES, mixture
from samplers import CORRECTORS, SAMPLERS

from scoresde.sampling import sample


@pytest.mark.parametrize("corrector", CORRECTORS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_cell_works_or_is_refused_with_the_reason(name, corrector):
    if cell(name, corrector) != "yes":
        assert "takes no corrector" in cell(name, corrector) or "one trajectory" in cell(name, corrector)
        return
    sampler = build(name, corrector)
    for sde in SDES.values():
        for shape in SHAPES:
            x = sample(mixture(sde, shape), sampler, (3, *shape), dtype=torch.float64)
            assert x.shape == (3, *shape) and torch.isfinite(x).all()
            assert x.flatten(1).unique(dim=0).shape[0] == 3


def test_the_table_in_the_docs_is_this_one():
    assert (ROOT / "docs" / "compatibility.md").read_text() == table(), "run python docs/make.py matrix"

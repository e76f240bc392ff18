"""The 95 % interval of every metric holds the truth in at least 93 of 100 repeats, on Gaussians with known distance."""

import pytest
from gaussians import EXPECTED, KNOWN, covered


@pytest.mark.slow
@pytest.mark.parametrize("name", [*KNOWN, *EXPECTED])
def test_intervals_hold_the_truth(name):
    assert covered(name)[0] >= 93

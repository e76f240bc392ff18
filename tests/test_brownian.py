"""Laws of scoresde.noise.brownian: a Brownian path in its clock, the same however it is looked up."""

import math

import pytest
import torch
from problems import close
from scipy import stats

from scoresde.noise import normal
from scoresde.noise.brownian import BrownianTree

DEPTH = 24
END = 1 << DEPTH
CLOCKS = {
    "uniform": lambda k: k.double() / END * 3,
    "steep": lambda k: torch.exp(20 * (k.double() / END - 1)),
    "still": lambda k: (k.double() / END - 0.5).clamp_min(0),  # nothing happens in the first half
}
each_clock = pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)


def tree(n, clock, seed=0, step=1, first=0):
    return BrownianTree(torch.arange(first, first + n), seed, step, clock, DEPTH)


def look(path, n, place, shape=(1,)):
    return path(torch.empty(n, *shape, dtype=torch.float64), torch.arange(n), torch.full((n,), int(place)))


@each_clock
@pytest.mark.parametrize("places", [range(0, 17, 2), (0, 1, 3, 7, 12, 15, 16), (5, 6, 11)], ids=str)
def test_increments_are_those_of_a_brownian_motion(clock, places):
    """Independent, with the variance of the clock: their covariance is diag(clock(r) - clock(l))."""
    n, places = 20000, torch.tensor(list(places)) * (END // 16)
    path = tree(n, clock)
    increments = torch.cat([look(path, n, k) for k in places], 1).diff(dim=1)
    variance = clock(places).diff()
    moving = variance > 0
    assert (increments[:, ~moving] == 0).all()
    scaled = increments[:, moving] / variance[moving].sqrt()
    close(scaled.T @ scaled / n, torch.eye(int(moving.sum())), rtol=0, atol=5 * math.sqrt(2 / n))
    assert scaled.mean(0).abs().max() < 5 / math.sqrt(n)
    assert stats.kstest(scaled.flatten().numpy(), "norm").pvalue > 1e-3


@each_clock
def test_the_path_begins_at_zero_and_is_continuous(clock):
    path, n = tree(50, clock), 50
    assert (look(path, n, 0) == 0).all()
    for place in (END // 3, END - 2):
        a, b = look(path, n, place), look(path, n, place + 1)
        step = float(clock(torch.tensor(place + 1)) - clock(torch.tensor(place)))
        assert (b - a).abs().max() <= 6 * math.sqrt(step)


@each_clock
def test_rows_may_look_in_any_order_and_company(clock):
    n = 12
    path, places = tree(n, clock, seed=3), torch.randint(0, END + 1, (n,), generator=torch.Generator().manual_seed(0))
    like = torch.empty(n, 2, 3, dtype=torch.float64)
    together = path(like, torch.arange(n), places)
    for i in (0, 5, 11):
        alone = path(like[:1], torch.tensor([i]), places[i : i + 1])
        assert torch.equal(alone[0], together[i])
        other = tree(n - i, clock, seed=3, first=i)(like[:1], torch.tensor([0]), places[i : i + 1])
        assert torch.equal(other[0], together[i])
    back = torch.arange(n - 1, -1, -1)
    assert torch.equal(path(like, back, places.flip(0)).flip(0), together)


def test_trees_and_loops_share_no_numbers():
    n, clock = 20000, CLOCKS["uniform"]
    base = look(tree(n, clock), n, END // 2)
    x = torch.empty(n, 1, dtype=torch.float64)
    others = [look(tree(n, clock, seed=1), n, END // 2), look(tree(n, clock, step=2), n, END // 2)]
    others += [normal(x, torch.arange(n), 0, step, 0) for step in (-1, 0, 1, 32, 33)]
    for other in others:
        assert abs(float(torch.corrcoef(torch.cat([base, other], 1).T)[0, 1])) < 4.5 / math.sqrt(n)


def test_single_precision_follows_double():
    path, places = tree(6, CLOCKS["steep"]), torch.randint(0, END, (6,), generator=torch.Generator().manual_seed(1))
    double = path(torch.empty(6, 4, dtype=torch.float64), torch.arange(6), places)
    single = path(torch.empty(6, 4), torch.arange(6), places)
    assert single.dtype == torch.float32
    close(single, double, rtol=1e-4, atol=1e-5)

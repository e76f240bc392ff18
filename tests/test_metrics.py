"""Laws of the metrics: their definitions, exact distances, other packages."""

import functools
import math
import sys

import numpy as np
import pytest
import scipy.linalg
import torch

from scoresde import InputError, metrics
from scoresde.metrics.estimate import wilson

GENERATOR = torch.Generator()


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR.manual_seed(seed))


def covariance(d, seed=0):
    a = normal(d, d + 2, seed=seed)
    return a @ a.T / d


@pytest.mark.parametrize("n", [7, 300])
def test_frechet_is_the_formula_with_scipy_s_root(n):
    d = 12
    x, y = normal(n, 3, 4, seed=1), 1.5 * normal(n + 5, 3, 4, seed=2) + 0.3
    a, b = (v.flatten(1).numpy() for v in (x, y))
    cx, cy = np.cov(a.T), np.cov(b.T)
    # The root of C_x^{1/2} C_y C_x^{1/2}, symmetric, has the same trace and stands covariances of low rank.
    half = scipy.linalg.sqrtm(cx + 1e-14 * np.eye(d)).real
    root = scipy.linalg.sqrtm(half @ cy @ half + 1e-14 * np.eye(d)).real
    truth = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cx) + np.trace(cy) - 2 * np.trace(root)
    found = metrics.frechet(x, y, groups=3)
    assert found.plain == pytest.approx(truth, rel=1e-9 if n > d else 1e-5)
    assert (found.n, found.m) == (n, n + 5)


def test_frechet_of_known_gaussians():
    cx, cy = covariance(5, 1), covariance(5, 2)
    truth = 4.0 + float((cx.trace() + cy.trace()) - 2 * np.trace(scipy.linalg.sqrtm((cx @ cy).numpy()).real))
    zero, shift = torch.zeros(5).double(), torch.tensor([2.0, 0, 0, 0, 0]).double()
    assert metrics.frechet_gaussians(zero, cx, shift, cy) == pytest.approx(truth, rel=1e-10)
    assert metrics.frechet_gaussians(zero, cx, zero, cx) == pytest.approx(0, abs=1e-12)
    low = torch.diag(torch.tensor([1.0, 4.0, 0.0])).double()
    assert metrics.frechet_gaussians(zero[:3], low, zero[:3], 4 * low) == pytest.approx(1 + 4, rel=1e-12)


def test_moments_merge_in_any_order_to_the_same():
    x = 1000 + normal(101, 2, 3)
    group = torch.arange(101) % 4
    whole = metrics.Moments.of(x, group, 4)
    pieces = [metrics.Moments.of(x[i], group[i], 4) for i in torch.arange(101).split([1, 2, 40, 3, 55])]
    merged = pieces[4].merge(pieces[0]).merge(pieces[2].merge(pieces[1])).merge(pieces[3])
    for name in ("count", "mean", "square"):
        assert torch.allclose(getattr(merged, name), getattr(whole, name), rtol=1e-10), name
    mean, cov = merged.gaussian()
    assert torch.allclose(mean, x.flatten(1).mean(0)) and torch.allclose(cov, torch.cov(x.flatten(1).T), rtol=1e-9)
    assert torch.allclose(whole.total(2).gaussian()[1], torch.cov(x[group != 2].flatten(1).T), rtol=1e-9)


def test_frechet_of_a_stream_is_that_of_the_rows():
    x, y = normal(90, 6, seed=1), normal(70, 6, seed=2) + 0.2
    whole, streams = metrics.frechet(x, y, groups=5), []
    for side, v in enumerate((x, y)):
        group = metrics.estimate.parts(len(v), 5, side)
        pieces = [metrics.Moments.of(v[i], group[i], 5) for i in torch.arange(len(v)).split(16)]
        streams.append(functools.reduce(metrics.Moments.merge, pieces))
    found = metrics.frechet(*streams)
    assert (found.value, found.stderr) == pytest.approx((whole.value, whole.stderr), rel=1e-9)


def test_mmd_is_its_definition_and_its_error_the_jackknife_s():
    x, y = normal(9, 2, seed=1), normal(7, 2, seed=2) + 0.5
    kernel = metrics.RBF(0.8)

    def value(x, y):
        k = lambda a, b: math.exp(-float(((a - b) ** 2).sum()) / (2 * 0.64))
        both = lambda v: [(a, b) for i, a in enumerate(v) for j, b in enumerate(v) if i != j]
        own = lambda v: sum(k(*pair) for pair in both(v)) / len(both(v))
        return own(x) + own(y) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y))

    found = metrics.mmd(x, y, kernel)
    assert found.value == pytest.approx(value(x, y), rel=1e-10)
    variance = 0.0
    for side, rows in enumerate((x, y)):
        left = []
        for i in range(len(rows)):
            kept = torch.cat([rows[:i], rows[i + 1 :]])
            left.append(value(kept, y) if side == 0 else value(x, kept))
        variance += (len(rows) - 1) / len(rows) * sum((v - np.mean(left)) ** 2 for v in left)
    assert found.stderr == pytest.approx(math.sqrt(variance), rel=1e-8)


def test_memory_s_bounds_do_not_change_the_kernels_or_the_neighbours(monkeypatch):
    x, y = normal(50, 4, seed=1), normal(40, 4, seed=2)
    before = metrics.kid(x, y), metrics.energy(x, y), metrics.neighbours(x, y, 3, groups=5)
    monkeypatch.setattr(metrics.kernels, "CHUNK", 77)
    monkeypatch.setattr(sys.modules["scoresde.metrics.near"], "CHUNK", 77)
    after = metrics.kid(x, y), metrics.energy(x, y), metrics.neighbours(x, y, 3, groups=5)
    assert after[0].value == pytest.approx(before[0].value, rel=1e-10) and after[2] == before[2]
    assert after[1].stderr == pytest.approx(before[1].stderr, rel=1e-10)


def test_energy_in_one_dimension_is_the_integral_over_the_distribution_functions():
    x, y = normal(400, 1, seed=1), normal(300, 1, seed=2) + 1
    found = metrics.energy(x, y)
    grid = torch.linspace(-6, 8, 20001).double()
    f, g = (((v <= grid).double().mean(0)) for v in (x, y))
    # 2 int (F - G)^2 is the biased figure: its diagonals are within.
    biased = 2 * float(torch.trapezoid((f - g) ** 2, grid))
    own = [float((v - v.T).abs().sum()) for v in (x, y)]
    diagonal = own[0] / 400**2 / 399 + own[1] / 300**2 / 299
    assert found.value == pytest.approx(biased - diagonal, abs=1e-3)


def test_kid_against_torchmetrics():
    image = pytest.importorskip("torchmetrics.image.kid")

    class Features(torch.nn.Module):
        num_features = 16

        def forward(self, x):
            return x.flatten(1).double()

    x, y = normal(200, 1, 4, 4, seed=1), 0.9 * normal(200, 1, 4, 4, seed=2) + 0.1
    theirs = image.KernelInceptionDistance(Features(), subsets=1, subset_size=200)
    theirs.update(x, real=False)
    theirs.update(y, real=True)
    assert metrics.kid(x, y).value == pytest.approx(float(theirs.compute()[0]), rel=1e-6)


def test_frechet_against_torchmetrics():
    image = pytest.importorskip("torchmetrics.image.fid")
    x, y = normal(200, 16, seed=1), 0.9 * normal(180, 16, seed=2) + 0.1
    theirs = image._compute_fid(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T))
    assert metrics.frechet(x, y).plain == pytest.approx(float(theirs), rel=1e-8)


def naive(x, y, k):
    """Precision, recall, density, coverage, sum by sum as in the two papers."""
    far = lambda a, b: float(((a - b) ** 2).sum().sqrt())
    radius = lambda v: [sorted(far(a, b) for j, b in enumerate(v) if j != i)[k - 1] for i, a in enumerate(v)]
    rx, ry = radius(x), radius(y)
    inside = [[far(a, b) <= ry[j] for j, b in enumerate(y)] for a in x]
    among = [[far(a, b) <= rx[j] for j, b in enumerate(x)] for a in y]
    return {
        "precision": np.mean([any(row) for row in inside]),
        "recall": np.mean([any(row) for row in among]),
        "density": np.sum(inside) / (k * len(x)),
        "coverage": np.mean([any(inside[i][j] for i in range(len(x))) for j in range(len(y))]),
    }


@pytest.mark.parametrize("k", [1, 3])
def test_neighbours_are_the_papers_formulas_in_all_and_without_each_group(k):
    x, y = normal(34, 2, 2, seed=1), 0.8 * normal(25, 2, 2, seed=2) + 0.4
    groups, seed = 5, 3
    found = metrics.neighbours(x, y, k, groups, seed)
    gx, gy = (metrics.estimate.parts(n, groups, seed + side) for side, n in enumerate((34, 25)))
    truth = naive(x, y, k)
    left = [naive(x[gx != g], y[gy != g], k) for g in range(groups)]
    for name, value in truth.items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name
        figures = [v[name] for v in left]
        stderr = math.sqrt((groups - 1) / groups * sum((v - np.mean(figures)) ** 2 for v in figures))
        assert found[name].stderr == pytest.approx(stderr, abs=1e-12), name
        assert found[name].low <= value <= found[name].high
        assert getattr(metrics, name)(x, y, k, groups, seed) == found[name]


def test_neighbours_at_the_ends():
    y = normal(200, 3, seed=1)
    same = metrics.neighbours(y + 0.01 * normal(200, 3, seed=2), y)
    assert same["precision"].value > 0.98 and same["coverage"].value > 0.98 and same["precision"].low > 0.9
    far = metrics.neighbours(y + 100, y)
    assert all(far[k].value == 0 for k in far) and 0 < far["recall"].high < 0.05


def test_wasserstein_in_one_dimension_and_sliced():
    x, y = normal(60, 1, seed=1), normal(60, 1, seed=2) * 2
    truth = float(((x.sort(0).values - y.sort(0).values) ** 2).mean()) ** 0.5
    assert metrics.wasserstein(x, y).value == pytest.approx(truth, rel=1e-12)
    assert metrics.sliced_wasserstein(x, y, 1, groups=5).plain == pytest.approx(truth, rel=1e-12)
    from scipy.stats import wasserstein_distance

    z = normal(35, 1, seed=3)
    assert metrics.wasserstein(x, z, p=1).value == pytest.approx(wasserstein_distance(x[:, 0], z[:, 0]), rel=1e-10)


def test_wasserstein_in_the_plane_is_the_best_of_all_assignments():
    from itertools import permutations

    x, y = normal(12, 2, seed=1)[:6], normal(12, 2, seed=2)[:6]
    cost = torch.cdist(x, y) ** 2
    best = min(sum(float(cost[i, j]) for i, j in enumerate(p)) for p in permutations(range(6)))
    assert metrics.wasserstein(x, y, groups=3).value == pytest.approx(math.sqrt(best / 6), rel=1e-10)
    shifted = metrics.wasserstein(x, x + torch.tensor([3.0, 4.0]), groups=3)
    assert shifted.value == pytest.approx(5, rel=1e-10)


def test_unequal_sizes_against_pot():
    ot = pytest.importorskip("ot")
    x, y = normal(20, 2, seed=1), normal(30, 2, seed=2)
    truth = ot.emd2([], [], (torch.cdist(x, y) ** 2).numpy()) ** 0.5
    assert metrics.wasserstein(x, y).value == pytest.approx(truth, rel=1e-8)


def test_the_p_value_of_the_two_sample_test_is_uniform_where_both_are_one():
    from scipy.stats import kstest

    found = [metrics.c2st(normal(60, 2, seed=3 * i), normal(60, 2, seed=3 * i + 1), 20, seed=i) for i in range(100)]
    assert kstest([f.p_value for f in found], "uniform").pvalue > 0.01
    assert sum(0.5 in f for f in found) >= 90
    told = metrics.c2st(normal(200, 2, seed=1), normal(150, 2, seed=2) + 2, 100)
    assert told.p_value < 1e-6 and told.low > 0.75 and told.n == 150


def test_memorisation_sees_copies():
    train, held, fresh = (normal(300, 5, seed=i) for i in range(3))
    copied = train[:100] + 1e-3 * normal(100, 5, seed=4)
    near = {k: metrics.nearest(v, train) for k, v in (("held", held), ("fresh", fresh), ("copied", copied))}
    dist = torch.cdist(held, train).sort(1).values[:, :2]
    assert torch.allclose(near["held"], dist)
    honest = metrics.memorisation(near["fresh"][:, 0], near["held"][:, 0])
    assert 0.5 in honest and honest.p_value > 0.01
    caught = metrics.memorisation(near["copied"][:, 0], near["held"][:, 0])
    assert caught.value == 1 and caught.low > 0.9 and caught.p_value < 1e-10
    shares = [metrics.copies(near[k], near["held"]).value for k in ("copied", "fresh")]
    assert shares[0] > 0.95 > 0.05 > shares[1]
    pairs = (near["fresh"][:, 0, None] < near["held"][:, 0]).double()
    assert honest.value == pytest.approx(float(pairs.mean()))


def test_the_same_seed_gives_the_same_and_mistakes_are_named():
    x, y = normal(64, 3, seed=1), normal(64, 3, seed=2)
    for metric in (metrics.c2st, metrics.sliced_wasserstein, metrics.precision, metrics.frechet, metrics.wasserstein):
        assert metric(x, y) == metric(x.clone(), y.clone())
        with pytest.raises(InputError, match="give the same"):
            metric(x, y[:, :2])
        with pytest.raises(InputError, match="NaN"):
            metric(x, y * math.nan)
        with pytest.raises(InputError, match="at least"):
            metric(x[:1], y)
    assert "95 %" in str(metrics.kid(x, y)) and "n 64 against 64" in str(metrics.kid(x, y))


@pytest.mark.parametrize(("hits", "n"), [(0, 12), (3, 12), (170, 200), (50, 50)])
def test_the_interval_of_a_share_is_wilson_s(hits, n):
    """That of scipy, for z of the normal distribution."""
    from scipy.stats import binomtest

    theirs = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits / n, n, 1.959963984540054) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_orders_below_1_are_no_distance():
    x = torch.randn(40, 2)
    for distance in (metrics.sliced_wasserstein, metrics.wasserstein):
        with pytest.raises(InputError, match="p=0"):
            distance(x, x, p=0)

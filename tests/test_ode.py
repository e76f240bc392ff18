"""Laws of scoresde.ode: the right solution, at the right order, and each row as if it were alone."""

import numpy as np
import pytest
import torch
from problems import close, refuses
from scipy.integrate import solve_ivp

from scoresde.ode import DOPRI5, integrate


def full(value, n):
    return torch.full((n,), value, dtype=torch.float64)


class Oscillators:
    """y'' = -w^2 y for the frequency w of each row, as (B, 2); counts the evaluations of every row."""

    def __init__(self, w):
        self.w, self.counts = w, torch.zeros(len(w), dtype=torch.long)

    def __call__(self, t, y, rows):
        assert len(t) == len(rows) == len(y[0])
        self.counts[rows] += 1
        w = self.w[rows]
        return (torch.stack([y[0][:, 1], -(w**2) * y[0][:, 0]], 1),)

    def exact(self, t):
        return torch.stack([(self.w * t).cos(), -self.w * (self.w * t).sin()], 1)


def solve(w, t0=0.0, t1=1.0, tolerance=1e-6, **kwargs):
    f = Oscillators(torch.as_tensor(w, dtype=torch.float64))
    start = f.exact(full(t0, len(w)))
    (y,), nfe = integrate(f, (start,), full(t0, len(w)), full(t1, len(w)), tolerance, tolerance, **kwargs)
    return f, y, nfe


def test_the_tableau_meets_the_order_conditions():
    """Those of order 1 to 5 on b, c and, of the trees with more than one branch, b A c and b A c^2 (Butcher, 1964)."""
    a = np.zeros((7, 7))
    for i, row in enumerate(DOPRI5.a, 1):
        a[i, : len(row)] = row
    b, c, e = a[6], np.array([0, *DOPRI5.c]), np.array(DOPRI5.e)
    assert np.allclose(a.sum(1), c, atol=1e-14)
    for k in range(5):
        assert b @ c**k == pytest.approx(1 / (k + 1), abs=1e-14)
    for tree, value in ((a @ c, 1 / 6), (a @ c**2, 1 / 12), (a @ a @ c, 1 / 24), (a @ c**3, 1 / 20)):
        assert b @ tree == pytest.approx(value, abs=1e-14)
    assert b * c @ a @ c == pytest.approx(1 / 8, abs=1e-14) and b * c**2 @ a @ c == pytest.approx(1 / 10, abs=1e-14)
    for k in range(4):  # the embedded solution b - e is of order 4, and not of order 5
        assert e @ c**k == pytest.approx(0, abs=1e-14)
    assert abs(e @ c**4) > 1e-4


@pytest.mark.parametrize("t0, t1", [(0.0, 3.0), (3.0, 0.0), (-1.0, 2.0)])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
def test_linear_equation(t0, t1, tolerance):
    f, y, _ = solve([0.5, 1.0, 4.0], t0, t1, tolerance)
    assert (y - f.exact(full(t1, 3))).abs().max() < 30 * tolerance


def test_error_per_evaluation_is_that_of_order_5():
    found = [solve([5.0], 0.0, 10.0, tolerance) for tolerance in (1e-5, 1e-10)]
    errors = [float((y - f.exact(full(10.0, 1))).abs().max()) for f, y, _ in found]
    order = np.log(errors[0] / errors[1]) / np.log(int(found[1][2]) / int(found[0][2]))
    assert 4.5 < order < 6


def predator(t, y):
    return [y[0] * (1 - y[1]) + 0.1 * np.sin(3 * t), y[1] * (y[0] - 1)]


def test_nonlinear_equation_against_scipy():
    y0 = torch.tensor([[0.5, 1.0], [2.0, 0.3], [1.0, 3.0]], dtype=torch.float64)
    t1 = torch.tensor([1.0, 5.0, 9.0], dtype=torch.float64)  # each row its own end

    def f(t, y, rows):
        a, b = y[0].unbind(1)
        return (torch.stack([a * (1 - b) + 0.1 * torch.sin(3 * t), b * (a - 1)], 1),)

    (y,), _ = integrate(f, (y0,), full(0.0, 3), t1, 1e-9, 1e-9)
    for i in range(3):
        exact = solve_ivp(predator, (0, float(t1[i])), y0[i].numpy(), rtol=1e-11, atol=1e-12, method="DOP853").y[:, -1]
        close(y[i], torch.from_numpy(exact), rtol=0, atol=1e-7)


def test_a_hard_row_leaves_the_others_alone():
    easy = [0.3, 1.0, 2.0]
    _, alone, nfe = solve(easy)
    _, together, nfe_together = solve([*easy, 200.0])
    assert (together[:3] - alone).abs().max() < 1e-12
    assert torch.equal(nfe_together[:3], nfe) and nfe_together[3] > 10 * nfe.max()
    for i, w in enumerate(easy):
        _, single, nfe_single = solve([w])
        assert (single[0] - alone[i]).abs().max() < 1e-12 and nfe_single[0] == nfe[i]


def test_nfe_is_the_number_of_evaluations():
    f, _, nfe = solve([0.1, 1.0, 30.0, 5.0])
    assert torch.equal(nfe, f.counts) and nfe.unique().numel() > 2


def test_state_of_several_parts():
    """(y, log-volume) of y' = A y: parts of different shapes, integrated together."""
    a = torch.randn(3, 3, dtype=torch.float64)

    def f(t, y, rows):
        assert y[0].shape[1:] == (3,) and y[1].shape[1:] == (2, 1)
        return y[0] @ a.T, torch.trace(a) * torch.ones_like(y[1]) * t.reshape(-1, 1, 1)

    y0 = torch.randn(3, 3, dtype=torch.float64)
    kept = y0.clone()
    (y, volume), _ = integrate(
        f, (y0, torch.zeros(3, 2, 1, dtype=torch.float64)), full(0.0, 3), full(2.0, 3), 1e-9, 1e-9
    )
    close(y, y0 @ torch.matrix_exp(2 * a).T, rtol=1e-6, atol=1e-6)
    close(volume, 2 * torch.trace(a).expand(3, 2, 1), rtol=1e-7, atol=1e-7)
    assert torch.equal(y0, kept)


def test_rows_that_are_there_stay():
    f = Oscillators(full(1.0, 2))
    y0, t0 = f.exact(full(0.0, 2)), full(0.0, 2)
    (y,), _ = integrate(f, (y0,), t0, torch.tensor([0.0, 1.0], dtype=torch.float64))
    close(y[0], y0[0], rtol=0, atol=0)
    close(y[1], f.exact(full(1.0, 2))[1], rtol=0, atol=1e-4)


def test_there_and_back():
    f, y, _ = solve([1.0, 3.0], 0.0, 2.0, 1e-9)
    (back,), _ = integrate(f, (y,), full(2.0, 2), full(0.0, 2), 1e-9, 1e-9)
    close(back, f.exact(full(0.0, 2)), rtol=0, atol=1e-7)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_derivative_that_is_not_finite_is_named(bad):
    def f(t, y, rows):
        return (torch.where((t > 0.5) & (rows == 1), bad, 1.0)[:, None].expand(-1, 2) * torch.ones_like(y[0]),)

    y0 = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(FloatingPointError, match="row 1"):
        integrate(f, (y0,), full(0.0, 3), full(1.0, 3))


def test_blow_up_and_too_many_steps_are_errors():
    def f(t, y, rows):
        return (y[0] ** 2,)  # y = 1 / (1 - t)

    with pytest.raises(FloatingPointError, match="row 0"):
        integrate(f, (torch.ones(1, 1, dtype=torch.float64),), full(0.0, 1), full(2.0, 1))
    with pytest.raises(FloatingPointError, match="did not arrive in 3 steps"):
        solve([50.0], max_steps=3)


@pytest.mark.parametrize("rtol, atol", [(0, 1e-5), (1e-5, -1.0), (float("nan"), 1e-5)])
def test_tolerances_must_be_positive(rtol, atol):
    y = (torch.zeros(1, 1),)
    refuses("tolerances", call=lambda: integrate(lambda t, y, r: y, y, full(0.0, 1), full(1.0, 1), rtol, atol))

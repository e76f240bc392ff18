"""Laws of the methods of scoresde.ode: their coefficients, their weights and their order."""

import numpy as np
import pytest
import torch
from oscillators import Oscillators, full, solve
from problems import close

from scoresde.ode import BS32, DOP853, DOPRI5, METHODS, TSIT5, Adams
from scoresde.ode.adams import lagrange_integrals


def test_the_tableaux_meet_the_order_conditions():
    """sum_i b_i Phi_i(tree) = 1 / gamma(tree) for every tree of up to `order` nodes (Butcher, 1964)."""
    for tableau, error_order in ((BS32, 2), (DOPRI5, 4), (TSIT5, 4), (DOP853, 5)):
        n = len(tableau.c) + 1
        a, b, c = np.zeros((n, n)), np.zeros(n), np.array([0, *tableau.c])
        for i, row in enumerate(tableau.a, 1):
            a[i, : len(row)] = row
        b[: n - 1] = tableau.a[-1]
        errors = [np.array([*e, *[0.0] * (n - len(e))]) for e in (tableau.e, tableau.e_low) if e is not None]
        assert np.allclose(a.sum(1), c, atol=1e-13)
        for order in range(1, tableau.order + 1):
            for phi, gamma in trees(a, order):
                assert b @ phi == pytest.approx(1 / gamma, abs=1e-13)
                if order <= error_order:  # the embedded solution b - e is of this order, and not of the next
                    assert errors[0] @ phi == pytest.approx(0, abs=1e-13)
                if order <= 3 and len(errors) == 2:
                    assert errors[1] @ phi == pytest.approx(0, abs=1e-13)
        assert max(abs(errors[0] @ phi) for phi, _ in trees(a, error_order + 1)) > 1e-5
        assert len(errors) == 1 or max(abs(errors[1] @ phi) for phi, _ in trees(a, 4)) > 1e-5


def trees(a, order):
    """(Phi, gamma) of every rooted tree with `order` nodes: a root with a multiset of smaller trees on it."""

    def forests(nodes, limit):
        if nodes == 0:
            yield np.ones(len(a)), 1.0
        for size in range(min(nodes, limit[0]), 0, -1):
            these = list(trees(a, size))
            top = limit[1] if size == limit[0] else len(these)
            for i, (phi, gamma) in enumerate(these[:top]):
                for more, product in forests(nodes - size, (size, i + 1)):
                    yield more * (a @ phi), product * gamma

    for phi, gamma in forests(order - 1, (order, 10**6)):
        yield phi, order * gamma


def test_the_weights_of_the_multistep_method_integrate_polynomials():
    """Exactly, through any set of nodes, up to the degree of their number less 1."""
    nodes = torch.tensor([[1.0, 0.0, -0.4, -1.1, -1.3, -2.5], [1.0, 0.0, -9.0, -9.5, -20.0, -21.0]]).double()
    for m in range(1, 7):
        used = (torch.arange(6) < m).expand(2, 6)
        weights = lagrange_integrals(nodes, used)
        assert (weights[:, m:] == 0).all()
        for power in range(m):
            close((weights * nodes**power).sum(1), full(1 / (power + 1), 2), rtol=1e-9, atol=1e-9)


def fixed_steps(method, n, w=2.0, t1=1.0):
    """The error of n equal steps on y' = (y_2, -w^2 y_1), for a Runge-Kutta pair without its control."""
    f = Oscillators(full(w, 1))
    y, h, rows = (f.exact(full(0.0, 1)),), t1 / n, torch.zeros(1, dtype=torch.long)
    k = f(full(0.0, 1), y, rows)
    for i in range(n):
        trial = method.trial(f, full(i * h, 1), full((i + 1) * h, 1), y, k, (), rows, lambda e, y: full(0.0, 1))
        y, k = trial.y, f(full((i + 1) * h, 1), trial.y, rows) if trial.k is None else trial.k
    return float((y[0] - f.exact(full(t1, 1))).abs().max())


@pytest.mark.parametrize("name, n", [("bs32", 20), ("dopri5", 10), ("tsit5", 10), ("dop853", 3)])
def test_each_pair_shows_its_order(name, n):
    method = METHODS[name]
    order = np.log2(fixed_steps(method, n) / fixed_steps(method, 2 * n))
    assert abs(order - method.order) < 0.35, order


def test_the_multistep_method_shows_the_order_it_is_held_to():
    """Held to `top` past points it is of order top + 1: error and evaluations on a long smooth way."""
    for top, tolerances in ((1, (1e-3, 1e-5)), (2, (1e-4, 1e-7)), (4, (1e-5, 1e-9))):
        found = [solve([1.0], 0.0, 10.0, tolerance, method=Adams(top)) for tolerance in tolerances]
        errors = [float((y - f.exact(full(10.0, 1))).abs().max()) for f, y, _ in found]
        order = np.log(errors[0] / errors[1]) / np.log(int(found[1][2]) / int(found[0][2]))
        assert abs(order - top - 1) < 0.5, (top, order)


@pytest.mark.parametrize(
    "name, low, high", [("bs32", 2.7, 3.3), ("dopri5", 4.5, 6), ("tsit5", 4.5, 6), ("dop853", 7, 9)]
)
def test_error_per_evaluation_is_that_of_the_order(name, low, high):
    found = [
        solve([5.0], 0.0, 10.0, tolerance, method=name)
        for tolerance in ((1e-4, 1e-7) if name == "bs32" else (1e-5, 1e-10))
    ]
    errors = [float((y - f.exact(full(10.0, 1))).abs().max()) for f, y, _ in found]
    order = np.log(errors[0] / errors[1]) / np.log(int(found[1][2]) / int(found[0][2]))
    assert low < order < high, order

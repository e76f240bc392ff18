"""Laws of scoresde.ode: the right solution, at the right order, and each row as if it were alone."""

import itertools

import numpy as np
import pytest
import torch
from oscillators import Oscillators, full, solve
from problems import close, mixture, refuses
from scipy.integrate import solve_ivp

from scoresde.denoiser import Counted
from scoresde.likelihood import log_likelihood
from scoresde.ode import METHODS, Adams, integrate
from scoresde.ode.parts import Method, Trial
from scoresde.sampling import ProbabilityFlow, sample
from scoresde.sde import VP

each_method = pytest.mark.parametrize("method", METHODS)


@pytest.mark.parametrize("t0, t1", [(0.0, 3.0), (3.0, 0.0), (-1.0, 2.0)])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
@each_method
def test_linear_equation(method, t0, t1, tolerance):
    if method == "bs32":
        tolerance = max(tolerance, 1e-8)
    f, y, _ = solve([0.5, 1.0, 4.0], t0, t1, tolerance, method=method)
    assert (y - f.exact(full(t1, 3))).abs().max() < (30 if method in ("dopri5", "tsit5", "dop853") else 100) * tolerance


@each_method
def test_error_follows_tolerance(method):
    """A hundredth of the tolerance is between a tenth and a five-hundredth of the error."""
    errors = []
    for tolerance in (1e-3, 1e-5, 1e-7):
        f, y, _ = solve([1.0, 2.0, 3.0, 5.0], 0.0, 6.0, tolerance, method=method)
        errors.append(float((y - f.exact(full(6.0, 4))).square().mean().sqrt()))
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert 10 < coarse / fine < 500, errors


def predator(t, y):
    return [y[0] * (1 - y[1]) + 0.1 * np.sin(3 * t), y[1] * (y[0] - 1)]


@each_method
def test_nonlinear_equation_against_scipy(method):
    y0 = torch.tensor([[0.5, 1.0], [2.0, 0.3], [1.0, 3.0]], dtype=torch.float64)
    t1 = torch.tensor([1.0, 5.0, 9.0], dtype=torch.float64)  # each row its own end

    def f(t, y, rows):
        a, b = y[0].unbind(1)
        return (torch.stack([a * (1 - b) + 0.1 * torch.sin(3 * t), b * (a - 1)], 1),)

    (y,), _ = integrate(f, (y0,), full(0.0, 3), t1, 1e-8, 1e-8, method)
    for i in range(3):
        for theirs, tolerance in (("RK23", 1e-8), ("RK45", 1e-10), ("DOP853", 1e-11)):
            span, start = (0, float(t1[i])), y0[i].numpy()
            end = solve_ivp(predator, span, start, theirs, rtol=tolerance, atol=tolerance).y[:, -1]
            close(y[i], torch.from_numpy(end), rtol=0, atol=1e-6 if theirs == "RK23" else 3e-7)


@each_method
@pytest.mark.parametrize("place", [0, 40, 63])
def test_a_hard_row_leaves_the_others_alone(method, place):
    """One row of 64 needs ten times the steps: the results and the evaluations of the others are what they were."""
    easy = torch.linspace(0.3, 3.0, 63).tolist()
    _, alone, nfe = solve(easy, method=method)
    _, together, nfe_together = solve([*easy[:place], 200.0, *easy[place:]], method=method)
    others = torch.arange(64) != place
    assert (together[others] - alone).abs().max() < 1e-10
    assert torch.equal(nfe_together[others], nfe) and nfe_together[place] > 10 * nfe.max()
    for i in (0, 20, 62):
        _, single, nfe_single = solve(easy[i : i + 1], method=method)
        assert (single[0] - alone[i]).abs().max() < 1e-10 and nfe_single[0] == nfe[i]


@each_method
def test_nfe_is_the_number_of_evaluations(method):
    f, _, nfe = solve([0.1, 1.0, 30.0, 5.0], method=method)
    assert torch.equal(nfe, f.counts) and nfe.unique().numel() > 2


@each_method
def test_state_of_several_parts(method):
    """(y, log-volume) of y' = A y: parts of different shapes, integrated together."""
    a = torch.randn(3, 3, dtype=torch.float64)

    def f(t, y, rows):
        assert y[0].shape[1:] == (3,) and y[1].shape[1:] == (2, 1)
        return y[0] @ a.T, torch.trace(a) * torch.ones_like(y[1]) * t.reshape(-1, 1, 1)

    y0 = torch.randn(3, 3, dtype=torch.float64)
    kept = y0.clone()
    (y, volume), _ = integrate(
        f, (y0, torch.zeros(3, 2, 1, dtype=torch.float64)), full(0.0, 3), full(2.0, 3), 1e-9, 1e-9, method
    )
    close(y, y0 @ torch.matrix_exp(2 * a).T, rtol=1e-6, atol=1e-6)
    close(volume, 2 * torch.trace(a).expand(3, 2, 1), rtol=1e-7, atol=1e-7)
    assert torch.equal(y0, kept)


def test_a_step_is_taken_where_its_error_is_within_the_tolerance_and_nowhere_else():
    """A method that tells an error of its own: 1.2 or, two times of three, 0.9 times the tolerance."""
    tried = []

    class Told(Method):
        cost = 1

        def trial(self, f, t, t_new, y, k, memory, rows, norm):
            error = np.full_like(t, 1.2 if len(tried) % 3 == 1 else 0.9)
            tried.append((t.item(), t_new.item(), error.item()))
            return Trial(y, f(t_new, y, rows), error, 2, 0.1 * error, 2, ())

    integrate(
        lambda t, y, rows: (torch.ones_like(y[0]),), (full(1.0, 1)[:, None],), full(0.0, 1), full(3.0, 1), method=Told()
    )
    assert len(tried) > 5 and tried[-1][1:] == (3.0, 0.9)
    for (t, t_new, error), (after, _, _) in itertools.pairwise(tried):
        assert after == (t_new if error < 1 else t)


@each_method
def test_the_error_of_a_step_is_measured_against_atol_and_rtol(method):
    """The norm: rms over a row of error / (atol + rtol max(|y|, |y_new|)), the largest over the parts."""
    seen = []

    class Spied(type(METHODS[method])):
        def trial(self, f, t, t_new, y, k, memory, rows, norm):
            if not seen:
                error, after = (torch.tensor([[3.0, -4.0]]), torch.tensor([[0.5]])), (2 * y[0], -y[1])
                seen.extend(norm(tuple(e.double() for e in error), after).tolist())
            return super().trial(f, t, t_new, y, k, memory, rows, norm)

    spied = Spied(**vars(METHODS[method]))
    y = (torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[0.1]]).double())
    integrate(lambda t, y, rows: y, y, full(0.0, 1), full(0.1, 1), rtol=0.5, atol=0.25, method=spied)
    first = ((3 / (0.25 + 0.5 * 2)) ** 2 / 2 + (4 / (0.25 + 0.5 * 4)) ** 2 / 2) ** 0.5
    assert seen == [pytest.approx(max(first, 0.5 / (0.25 + 0.5 * 0.1)))]


@each_method
def test_rows_that_are_there_stay(method):
    f = Oscillators(full(1.0, 2))
    y0, t0 = f.exact(full(0.0, 2)), full(0.0, 2)
    (y,), _ = integrate(f, (y0,), t0, torch.tensor([0.0, 1.0], dtype=torch.float64), method=method)
    close(y[0], y0[0], rtol=0, atol=0)
    close(y[1], f.exact(full(1.0, 2))[1], rtol=0, atol=1e-4)
    (same,), nfe = integrate(f, (y0,), t0, t0, method=method)
    assert torch.equal(same, y0) and not nfe.any()


@each_method
def test_there_and_back(method):
    f, y, _ = solve([1.0, 3.0], 0.0, 2.0, 1e-9, method=method)
    (back,), _ = integrate(f, (y,), full(2.0, 2), full(0.0, 2), 1e-9, 1e-9, method)
    close(back, f.exact(full(0.0, 2)), rtol=0, atol=1e-7)


@each_method
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_derivative_that_is_not_finite_is_named(bad, method):
    def f(t, y, rows):
        return (torch.where((t > 0.5) & (rows == 1), bad, 1.0)[:, None].expand(-1, 2) * torch.ones_like(y[0]),)

    y0 = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(FloatingPointError, match="row 1"):
        integrate(f, (y0,), full(0.0, 3), full(1.0, 3), method=method)


@each_method
def test_blow_up_and_too_many_steps_are_errors(method):
    def f(t, y, rows):
        return (y[0] ** 2,)  # y = 1 / (1 - t)

    with pytest.raises(FloatingPointError, match="row 0"):
        integrate(f, (torch.ones(1, 1, dtype=torch.float64),), full(0.0, 1), full(2.0, 1), method=method)
    with pytest.raises(FloatingPointError, match="did not arrive in 3 steps"):
        solve([50.0], max_steps=3, method=method)


@each_method
def test_rows_out_of_evaluations_are_an_error(method):
    with pytest.raises(FloatingPointError, match="rows 1, 2 ran out of max_nfe=60 .* times .*raise max_nfe, loosen"):
        solve([0.5, 300.0, 400.0], 0.0, 3.0, 1e-3, method=method, max_nfe=60)
    _, y, nfe = solve([0.5], method=method)
    _, again, same = solve([0.5], method=method, max_nfe=int(nfe) + 1)
    assert torch.equal(y, again) and torch.equal(nfe, same)


@each_method
def test_rows_out_of_evaluations_finish(method):
    """Within max_nfe, in 4 steps of order 3, with one warning; the other rows are what they were."""
    w, limit = [1.0, 40.0, 60.0], 100
    with pytest.warns(UserWarning, match=r"2 of 3 rows ran out of max_nfe=100 evaluations \(rows 1, 2\)") as caught:
        f, y, nfe = solve(w, method=method, tolerance=1e-5, max_nfe=limit, on_max_nfe="finish")
    assert len(caught) == 1 and torch.equal(nfe, f.counts) and nfe.max() <= limit and y.isfinite().all()
    _, alone, nfe_alone = solve(w[:1], method=method, tolerance=1e-5)
    close(y[:1], alone, atol=1e-10) and nfe[0] == nfe_alone
    with pytest.warns(UserWarning, match="1 of 1 rows"):
        f, y, _ = solve([2.0], method=method, tolerance=1e-10, max_nfe=13 + 12, on_max_nfe="finish")
    assert (y - f.exact(full(1.0, 1))).abs().max() < 0.05


@each_method
def test_the_flow_and_the_likelihood_take_every_method(method):
    model = mixture(VP())
    x = model.sample(4, model.sde.t_min)
    fine = dict(rtol=1e-7, atol=1e-7)
    terminal = lambda x: model.log_prob(x, model.sde.t_max)
    out = log_likelihood(model, x, method=method, terminal=terminal, **fine)
    close(out.log_prob, model.log_prob(x, model.sde.t_min), rtol=0, atol=1e-5)
    back, _ = ProbabilityFlow(method=method, **fine).step(model, out.latent, 1.0, model.sde.t_min, None, None)
    close(back, x, rtol=0, atol=1e-4)


def test_the_flow_hands_on_its_limit():
    model = mixture(VP())
    for limit in (5, 20):
        with pytest.raises(FloatingPointError, match=f"max_nfe={limit} evaluations"):
            sample(model, ProbabilityFlow(max_nfe=limit), (8, 2))
    counted = Counted(model)
    with pytest.warns(UserWarning, match="8 of 8 rows ran out of max_nfe=20"):
        x = sample(counted, ProbabilityFlow(max_nfe=20, on_max_nfe="finish", last="none"), (8, 2), dtype=torch.float64)
    assert counted.rows <= 8 * 20
    assert (x - sample(model, ProbabilityFlow(last="none"), (8, 2), dtype=torch.float64)).abs().max() < 1
    refuses("method='rk4'", call=lambda: ProbabilityFlow(method="rk4"))
    refuses("max_nfe=12", call=lambda: ProbabilityFlow(max_nfe=12, on_max_nfe="finish"))


def test_wrong_arguments_are_refused():
    refuses("top=0", call=lambda: Adams(0))
    y = (torch.zeros(1, 1),)
    for said, kwargs in (
        ("method='euler'", dict(method="euler")),
        ("max_nfe=5", dict(max_nfe=5, on_max_nfe="finish")),
        ("max_nfe=0", dict(max_nfe=0)),
        ("max_nfe=60.5", dict(max_nfe=60.5)),
        ("on_max_nfe='stop'", dict(on_max_nfe="stop")),
    ):
        refuses(said, call=lambda kwargs=kwargs: integrate(lambda t, y, r: y, y, full(0.0, 1), full(1.0, 1), **kwargs))


@pytest.mark.parametrize("rtol, atol", [(0, 1e-5), (1e-5, -1.0), (float("nan"), 1e-5)])
def test_tolerances_must_be_positive(rtol, atol):
    y = (torch.zeros(1, 1),)
    refuses("tol=", "above 0", call=lambda: integrate(lambda t, y, r: y, y, full(0.0, 1), full(1.0, 1), rtol, atol))

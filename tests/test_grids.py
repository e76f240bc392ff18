"""Laws of scoresde.grids: from t_max to t_min, decreasing, and even in the quantity that the name says."""

import pytest
import torch
from problems import SDES, close, each_sde, refuses

from scoresde.grids import GRIDS, karras, times
from scoresde.sampling import DDIM
from scoresde.sde import VP

EVEN = {  # (the quantity, what a step of 1/n in it looks like)
    "uniform": lambda sde, t: t,
    "quadratic": lambda sde, t: t.sqrt(),
    "log_snr": lambda sde, t: -sde.log_snr(t),
    "exponential": lambda sde, t: torch.log(sde.marginal(t)[1] / sde.marginal(t)[0]),
    "angle": lambda sde, t: ((sde.angle(t) - sde.angle(sde.t_min)) / 1.6).clamp_min(0) ** (1 / 1.5),
    "uniform_angle": lambda sde, t: sde.angle(t),
    "cosine_angle": lambda sde, t: -torch.acos(2 * share_of_angle(sde, t) - 1),
    "information": lambda sde, t: share_of_steps(sde, t),
    "karras": lambda sde, t: torch.exp(-sde.log_snr(t) / 14),
    "paper": lambda sde, t: t if sde.grid == "uniform" else EVEN["karras"](sde, t),
}


def share_of_angle(sde, t):
    low, high = sde.angle(sde.t_min), sde.angle(sde.t_max)
    return ((sde.angle(t) - low) / (high - low)).clamp(0, 1)


def share_of_steps(sde, t):
    """u of phi = phi_0 + (phi_T - phi_0) ((1 - a) u^p + a (1 - cos pi u) / 2), by bisection, for 20 steps."""
    a, p, (low, high) = (
        1 - 180 / 400,
        1.8 + 0.5 / 20,
        torch.zeros(2, len(t), dtype=torch.float64) + torch.arange(2)[:, None],
    )
    for _ in range(60):
        u = (low + high) / 2
        above = (1 - a) * u**p + a * (1 - torch.cos(torch.pi * u)) / 2 > share_of_angle(sde, t)
        low, high = torch.where(above, low, u), torch.where(above, u, high)
    return u


@each_sde
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_grids_run_down_from_end_to_end(sde, grid, steps):
    for t_min in (None, 0.2):
        t = DDIM(steps=steps, grid=grid, t_min=t_min).times(sde)
        assert len(t) == steps + 1 and t[0] == sde.t_max and t[-1] == (sde.t_min if t_min is None else t_min)
        assert all(b < a for a, b in zip(t, t[1:], strict=False))


@each_sde
@pytest.mark.parametrize("grid", GRIDS)
def test_grids_are_even_in_their_quantity(sde, grid):
    t = torch.tensor(times(grid, sde, 20, sde.t_max, sde.t_min), dtype=torch.float64)
    steps = EVEN[grid](sde, t).diff()
    close(steps, steps.mean().expand(20), rtol=1e-6, atol=0)


@each_sde
@pytest.mark.parametrize("rho", [1.0, 3.0])
def test_karras_has_the_power_that_it_is_given(sde, rho):
    t = karras(sde, 20, sde.t_max, sde.t_min, rho)
    steps = torch.exp(-sde.log_snr(t) / (2 * rho)).diff()
    close(steps, steps.mean().expand(20), rtol=1e-6, atol=0)
    close(t[[0, -1]], [sde.t_max, sde.t_min], rtol=1e-6, atol=1e-12)


def test_every_grid_has_its_law():
    assert EVEN.keys() == GRIDS.keys()


def test_a_grid_may_be_a_function_or_the_times():
    assert times([0.9, 0.5, 0.1], VP(), 99, 1.0, 0.0) == [0.9, 0.5, 0.1]
    assert times(torch.tensor([0.75, 0.5]), VP(), 99, 1.0, 0.0) == [0.75, 0.5]
    half = times(lambda sde, n, a, b: torch.linspace(a, b, n + 1, dtype=torch.float64) / 2, VP(), 4, 1.0, 0.1)
    assert (
        half[0] == 1.0 and half[1] == pytest.approx(0.3875) and half[-1] == 0.1
    )  # the ends are always those asked for


@pytest.mark.parametrize("bad", [[0.5, 0.5], [0.1, 0.5], [0.5], [], [1.0, float("nan")]])
def test_wrong_times_are_refused(bad):
    refuses("decrease", call=lambda: times(bad, VP(), 1, 1.0, 0.0))


def test_wrong_grids_are_refused():
    refuses("'even'", "uniform, quadratic, log_snr", call=lambda: times("even", VP(), 1, 1.0, 0.0))
    refuses("[0, 1.0]", call=lambda: times([2.0, 0.5], VP(), 1, 1.0, 0.0))
    refuses("[0, 1.0]", call=lambda: times([0.5, -0.1], VP(), 1, 1.0, 0.0))
    for sde in SDES.values():
        refuses("t_min=", "before t_max", call=lambda sde=sde: DDIM(t_min=sde.t_max).times(sde))

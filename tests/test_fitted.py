"""Laws of what is fitted to a model: a time grid, a multistep method, and the search for the best sampler."""

import numpy as np
import pytest
import torch
from commands import short_search
from hydra.utils import instantiate
from problems import SDES, Around, close, each_sde, each_song_sde, mixture, refuses

from scoresde import tune, tuning
from scoresde.denoiser import Counted
from scoresde.exact import GaussianMixture
from scoresde.sampling import Adams, FittedGrid, FittedMultistep, ProbabilityFlow, fit_grid, fit_multistep, sample
from scoresde.sampling.fitting.grid import flow_points
from scoresde.sde import VP
from scoresde.tuning import candidates, plain


def run(model, sampler, n=64, **kwargs):
    return sample(model, sampler, (n, *model.means.shape[1:]), dtype=torch.float64, **kwargs)


def error(model, sampler, n=64, seed=0):
    end = run(model, ProbabilityFlow(rtol=1e-9, atol=1e-9, last=sampler.last, t_min=sampler.t_min), n, seed=seed)
    return float((run(model, sampler, n, seed=seed) - end).square().mean().sqrt())


# -- the grid ---------------------------------------------------------------------------------------------------------


@each_sde
def test_a_fitted_grid_is_a_grid(sde):
    grid = fit_grid(mixture(sde), (8, 2), dtype=torch.float64)
    for steps in (1, 7, 100):
        times = Adams(steps=steps, grid=grid).times(sde)
        assert len(times) == steps + 1 and times[0] == sde.t_max and times[-1] == sde.t_min
    assert len(Adams(steps=5, grid=grid, t_min=0.3).times(sde)) == 6


@each_song_sde
@pytest.mark.parametrize("std", [0.05, 0.3])
def test_steps_go_where_the_flow_bends(sde, std):
    """For Gaussian data the flow bends below about sigma / alpha = std, and goes straight above."""
    model = GaussianMixture(torch.ones(1), torch.ones(1, 2, dtype=torch.float64), std, sde)
    grid = fit_grid(model, (32, 2), steps=200, dtype=torch.float64)
    density = np.diff(grid.share) / np.diff(grid.angles)
    middle = (np.array(grid.angles[1:]) + np.array(grid.angles[:-1])) / 2
    assert middle[density.argmax()] < 3 * std and density.max() > 1.5 * density[-1]
    assert density.min() > 0.4 / (grid.angles[-1] - grid.angles[0])  # half of all steps are uniform in phi
    even, fitted = (error(model, Adams(steps=20, grid=g, last="none")) for g in ("uniform_angle", grid))
    assert fitted < even / 2


def test_a_fitted_grid_is_a_function_of_the_model_and_the_seed():
    model = mixture(VP())
    one, two, other = (fit_grid(model, (8, 2), seed=s, dtype=torch.float64) for s in (0, 0, 1))
    assert one == two != other
    refuses("order=0", call=lambda: fit_grid(model, (8, 2), order=0))
    refuses("steps=5", "2 order + 2", call=lambda: fit_grid(model, (8, 2), steps=5))
    narrow = FittedGrid((0.5, 0.6), (0.0, 1.0))
    refuses("0.5..0.6", call=lambda: Adams(grid=narrow, t_min=0.9).times(VP()))


# -- the multistep method ---------------------------------------------------------------------------------------------


@each_sde
@pytest.mark.parametrize("steps", [4, 10])
def test_fitting_beats_the_method_it_starts_from(sde, steps):
    """On other samples than it was fitted to."""
    model = mixture(sde)
    for last in ("none", "tweedie"):
        plain_method = Adams(steps=steps, last=last)
        fitted = fit_multistep(model, plain_method, (128, 2), seed=5)
        assert fitted.times(sde) == plain_method.times(sde) and fitted.last == last
        assert error(model, fitted) < 0.8 * error(model, plain_method)


@each_sde
def test_a_linear_flow_is_fitted_exactly(sde):
    """For Gaussian data of one variance z_s is a multiple of z_t plus a constant one of v_t: one step suffices."""
    model = GaussianMixture(torch.ones(1), torch.zeros(1, 3, dtype=torch.float64), 0.4, sde)
    fitted = fit_multistep(model, Adams(steps=3, last="none"), (16, 3), seed=2)
    assert error(model, fitted) < 1e-4


def test_evaluations_and_shapes():
    model = mixture(VP(), (1, 4, 4))
    fitted = fit_multistep(model, Adams(steps=6, last="none"), (8, 1, 4, 4), velocities=2, points=2)
    assert [len(a) for a in fitted.points] == [1, 2, 2, 2, 2, 2] == [len(b) for b in fitted.velocities]
    counted = Counted(model)
    x = sample(counted, fitted, (3, 1, 4, 4), dtype=torch.float64)
    assert counted.calls == 6 and x.shape == (3, 1, 4, 4)
    alone = sample(model, fitted, (1, 1, 4, 4), dtype=torch.float64, offset=2)
    close(alone, x[2:], rtol=0, atol=1e-10)
    single = sample(model, fitted, (3, 1, 4, 4))
    assert single.dtype == torch.float32
    close(single, x, rtol=1e-3, atol=1e-3)


def test_conditions_go_along(monkeypatch):
    short_search(monkeypatch)
    model, means = Around(VP()), torch.arange(8.0).double()[:, None] + torch.zeros(2).double()
    fitted = fit_multistep(model, Adams(steps=5), (8, 2), cond={"mean": means})
    x = sample(model, fitted, (8, 2), dtype=torch.float64, cond={"mean": means})
    assert (x - means).abs().max() < 2
    trials = tune(model, 4, (8, 2), cond={"mean": means})
    assert (sample(model, trials[0].sampler, (8, 2), dtype=torch.float64, cond={"mean": means}) - means).abs().max() < 2


def test_wrong_weights_are_refused():
    refuses("steps=3", "2 times", call=lambda: FittedMultistep(steps=3, grid=(1.0, 0.1), points=(), velocities=()))


@each_sde
def test_the_points_of_the_flow(sde):
    model = mixture(sde)
    times = Adams(steps=4).times(sde)
    points = flow_points(model, times, (6, 2), seed=3)
    assert len(points) == 4
    for t, x in zip(times[1:], points, strict=True):
        end = run(model, ProbabilityFlow(rtol=1e-8, atol=1e-8, last="none", t_min=t), 6, seed=3)
        close(x, end, rtol=0, atol=1e-3 * float(torch.hypot(*sde.marginal(t))))


# -- the search -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vp", pytest.param("ve", marks=pytest.mark.slow)])
def test_the_winner_wins_on_other_samples(name):
    model = mixture(SDES[name])
    for budget in (5, 10):
        seen: list[tuple] = []
        trials = tune(model, budget, (64, 2), seed=3, report=lambda *args, seen=seen: seen.append(args))
        assert seen[-1][0] == seen[-1][1] == len(seen)
        assert [t.error for t in trials] == sorted(t.error for t in trials)
        counted = Counted(model)
        sample(counted, trials[0].sampler, (8, 2))
        assert counted.calls <= budget
        best, default = trials[0].sampler, Adams(steps=budget - 1)
        assert error(model, best, 256, seed=9) < error(model, default, 256, seed=9)


def test_what_is_fitted_is_judged_on_other_samples(monkeypatch):
    """By the root of the rms and the median, all samplers from the same starts, none of which anything is fitted to."""
    seeds, calls = (
        {},
        {name: getattr(tuning, name) for name in ("fit_grid", "fit_multistep", "fit_through", "flow_points", "sample")},
    )

    def noted(name):
        def call(*given, **options):
            seeds.setdefault(name, set()).add(options["seed"] if "seed" in options else given[3])
            return calls[name](*given, **options)

        return call

    for name in calls:
        monkeypatch.setattr(tuning, name, noted(name))
    short_search(monkeypatch)
    trials = tuning.tune(mixture(VP()), 2, (8, 2), seed=3)
    assert seeds.pop("sample") == {3} and len(seeds) == 4 and all(3 not in found for found in seeds.values())
    assert all(t.error == pytest.approx((t.rms * t.median) ** 0.5) for t in trials if np.isfinite(t.rms))


def test_every_candidate_keeps_to_the_budget():
    for budget in (2, 3, 8):
        for last in ("none", "tweedie", "mean"):
            for name, make in candidates(budget, last, None).items():
                counted = Counted(mixture(VP()))
                sample(counted, make("angle"), (2, 2))
                assert counted.calls <= budget, (name, budget, last)


def test_a_sampler_survives_as_plain_types():
    model = mixture(VP())
    for sampler in (
        fit_multistep(model, Adams(steps=4), (8, 2)),
        Adams(steps=4, grid=fit_grid(model, (8, 2))),
        Adams(order=3),
    ):
        node = plain(sampler, VP())
        assert torch.equal(run(model, instantiate(node, _convert_="all"), 4), run(model, sampler, 4))


def test_wrong_searches_are_refused(monkeypatch):
    short_search(monkeypatch)
    model = mixture(VP())
    refuses("budget=1", call=lambda: tune(model, 1, (8, 2)))
    refuses("at least 8 samples", call=lambda: tune(model, 4, (4, 2)))
    trials = tune(model, 2, (8, 2))
    assert all(np.isfinite(t.error) for t in trials[:3])

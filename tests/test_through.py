"""Laws of the sampler that is fitted to a model through the whole solver."""

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from problems import SDES, Around, close, each_sde, mixture, refuses

from scoresde import tune
from scoresde.denoiser import Counted, Denoiser, Preconditioned
from scoresde.exact import GaussianMixture
from scoresde.nets import MLP
from scoresde.sampling import Adams, FittedLinear, ProbabilityFlow, fit_through, sample
from scoresde.sampling.fitting.through import STARTS, _Fit
from scoresde.sde import VP
from scoresde.tuning import plain


def error(model, sampler, item=(2,), n=256, seed=9, **cond):
    """The root-mean-square distance from the flow's ends, from starts that nothing was fitted to."""
    flow = ProbabilityFlow(rtol=1e-8, atol=1e-8, last=sampler.last, t_min=sampler.t_min)
    x, end = (sample(model, s, (n, *item), seed, dtype=torch.float64, **cond) for s in (sampler, flow))
    return float((x - end).square().mean().sqrt())


def fit_of(model, n=16, seed=1):
    weights = model.log_weights.exp().double()
    mean = float(model.sde.marginal(model.sde.t_min)[0]) * (weights @ model.means)
    return _Fit(model, torch.arange(4 * n), mean, n, seed, None, 1e-8)


@each_sde
def test_the_fit_beats_its_start_on_other_samples(sde):
    model = mixture(sde)
    fitted = fit_through(model, 5, (64, 2), seed=1, last="none", iterations=200)
    fit = fit_of(model, 64)
    starts = [fit.sampler(fit.start(place, 5), "none", None) for place in STARTS]
    assert error(model, fitted) < 0.8 * min(error(model, s) for s in starts)
    assert error(model, fitted) < 0.5 * error(model, Adams(steps=5, last="none"))


@pytest.mark.parametrize("last", ["none", "mean", "tweedie"])
def test_it_keeps_to_the_budget(last):
    model = mixture(VP())
    fitted = fit_through(model, 4, (16, 2), last=last, t_min=0.02, iterations=10)
    assert fitted.last == last and fitted.t_min == 0.02 and fitted.times(VP())[-1] == 0.02
    counted = Counted(model)
    sample(counted, fitted, (3, 2))
    assert counted.calls == 4


def test_it_is_a_function_of_the_model_and_the_seed():
    model = mixture(VP())
    one, two, other = (fit_through(model, 3, (16, 2), seed=s, iterations=10) for s in (0, 0, 1))
    assert one == two != other


def test_it_survives_as_plain_types():
    model = mixture(VP(), (1, 4, 4))
    fitted = fit_through(model, 4, (16, 1, 4, 4), iterations=10)
    again = instantiate(plain(fitted, VP()), _convert_="all")
    x, y = (sample(model, s, (4, 1, 4, 4), dtype=torch.float64) for s in (fitted, again))
    assert torch.equal(x, y)
    close(sample(model, fitted, (4, 1, 4, 4)), x, rtol=1e-4, atol=1e-4)


def test_a_network_in_float32_is_left_as_it_was():
    torch.manual_seed(0)
    model = Preconditioned(MLP((2,), width=16), VP())
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)  # its last layer begins with zeros
    frozen = next(model.parameters()).requires_grad_(False)
    before = [p.clone() for p in model.parameters()]
    fitted = fit_through(model, 4, (64, 2), last="none", iterations=200)
    assert not frozen.requires_grad and all(p.requires_grad for p in list(model.parameters())[1:])
    assert all(p.grad is None and torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert error(model, fitted) < 0.8 * error(model, Adams(steps=4, last="none"))


def test_conditions_go_along():
    model, means = Around(VP()), torch.arange(8.0).double()[:, None] + torch.zeros(2).double()
    fitted = fit_through(model, 4, (8, 2), last="none", iterations=200, cond={"mean": means})
    assert error(model, fitted, n=8, cond={"mean": means}) < 0.5 * error(
        model, Adams(steps=4, last="none"), n=8, cond={"mean": means}
    )


@each_sde
def test_a_gaussian_of_one_deviation_is_exact(sde):
    """Whatever the steps and weights: the model adds nothing to what the mean and the deviation know."""
    model = GaussianMixture(torch.ones(1), torch.tensor([[1.0, -2.0]]).double(), 0.4, sde)
    fit = fit_of(model)
    fit.deviation = 0.4
    logits, added = fit.start(STARTS[0], 3)
    close(fit.distances((logits, added + 0.3), torch.arange(16)), torch.zeros(16).double(), rtol=0, atol=1e-6)


def test_the_start_is_of_third_order():
    model = mixture(VP())
    fit = fit_of(model)
    errors = [float(fit.distances(fit.start(STARTS[0], k), torch.arange(64)).median()) for k in (16, 32, 64)]
    assert np.log2(errors[0] / errors[1]) > 2 and np.log2(errors[1] / errors[2]) > 2.5


@pytest.mark.parametrize("name", ["vp", "edm", "quadratic"])
def test_gradients_are_those_of_the_distances(name):
    """With those of the model in its time, where `SDE.time` has a graph (VP) and where it has none."""
    fit = fit_of(mixture(SDES[name]))
    logits, added = (p.requires_grad_() for p in fit.start(STARTS[0], 3))
    assert torch.autograd.gradcheck(lambda *found: fit.distances(found, torch.arange(3)), (logits, added), atol=1e-6)


def test_reports_tell_every_iteration():
    seen: list[tuple] = []
    fit_through(mixture(VP()), 3, (8, 2), iterations=13, report=lambda *told: seen.append(told))
    assert [s[0] for s in seen] == list(range(1, seen[-1][1] + 1)) and all(np.isfinite(s[2]) for s in seen)


class NoGradient(Denoiser):
    """A model of numpy's."""

    def __init__(self, model):
        super().__init__(model.sde)
        self.model = model

    def forward(self, x, t):
        return torch.from_numpy(self.model(torch.from_numpy(x.numpy()), t).numpy())


def test_a_model_without_gradients_is_tuned_without_them():
    model = mixture(VP())
    with pytest.warns(UserWarning, match="no sampler could be fitted"):
        trials = tune(NoGradient(model), 2, (8, 2))
    assert "fitted through" not in {t.name for t in trials} and np.isfinite(trials[0].error)
    assert "fitted through" in {t.name for t in tune(model, 2, (8, 2))}


def test_wrong_input_is_refused():
    model = mixture(VP())
    refuses("at least 8 samples", call=lambda: fit_through(model, 4, (4, 2)))
    refuses("budget=1", call=lambda: fit_through(model, 1, (8, 2)))
    refuses("iterations=9", call=lambda: fit_through(model, 4, (8, 2), iterations=9))
    rows = {"grid": (1.0, 0.5, 0.1), "mean": (0.0, 0.0)}
    refuses("1 rows of weights", call=lambda: FittedLinear(2, weights=((),), **rows))
    refuses("rows of [0, 2]", call=lambda: FittedLinear(2, weights=((), (1.0, 1.0)), **rows))
    refuses("deviation=0", call=lambda: FittedLinear(2, weights=((), (1.0,)), deviation=0.0, **rows))
    wrong = FittedLinear(2, weights=((), (1.0,)), t_min=0.1, **rows)
    refuses("mean of 2 numbers", "(3,)", call=lambda: sample(mixture(VP(), (3,)), wrong, (4, 3)))

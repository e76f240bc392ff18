"""What a user's function answers is looked at: its kind and shape, and its graph, where a derivative is taken of it."""

import pytest
import torch
from torch import nn

import scoresde
from scoresde import InputError, log_likelihood
from scoresde.exact import GaussianMixture
from scoresde.likelihood import Exact, elbo, vlb
from scoresde.loss import DenoisingLoss
from scoresde.sampling import DDIM, EulerMaruyama

SDE = scoresde.VP()


class Answers(scoresde.Denoiser):
    """D = answer(x, t)."""

    def __init__(self, answer):
        super().__init__(SDE)
        self.answer = answer

    def forward(self, x, t):
        return self.answer(x, t)


class Net(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.linear, self.answer = nn.Linear(2, 2), answer

    def forward(self, x, c):
        return self.answer(self.linear(x), c)


def mixture():
    means = torch.tensor([[1.0, 0.5], [-1.0, 0.3], [0.2, -1.1]])
    return GaussianMixture(torch.ones(3), means, torch.tensor(0.3), SDE)


WRONG = {
    "rows": lambda x, t: x[:, 0],
    "narrow": lambda x, t: x[:, :1],
    "wide": lambda x, t: x[..., None],
    "tuple": lambda x, t: (x,),
    "object": lambda x, t: type("Output", (), {"sample": x})(),
    "array": lambda x, t: x.detach().numpy(),
    "none": lambda x, t: None,
    "whole": lambda x, t: x.long(),
    "complex": lambda x, t: x.to(torch.complex64),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_of_another_kind_or_shape_is_refused(name):
    x, wrong = mixture().sample(8, SDE.t_min, seed=0), WRONG[name]
    for denoiser in (Answers(wrong), scoresde.FromScore(wrong, SDE)):
        with pytest.raises(InputError, match=r"x of shape \(6, 2\) answers with .*of shape \(6, 2\)"):
            scoresde.sample(denoiser, DDIM(steps=3), (6, 2))
        with pytest.raises(InputError, match=r"x of shape \(8, 2\) answers with"):
            log_likelihood(denoiser, x)
    with pytest.raises(InputError, match=r"the network Net for x of shape \(4, 2\) answers with"):
        scoresde.train(scoresde.Preconditioned(Net(wrong), SDE), torch.randn(50, 2), steps=2, batch_size=4)


@pytest.mark.parametrize("options", [{}, {"probes": 2}, {"steps": 20}, {"divergence": Exact("forward")}], ids=str)
def test_the_likelihood_leaves_inference_mode(options):
    model = mixture()
    x = model.sample(4, SDE.t_min, seed=1)
    right = log_likelihood(model, x, **options)
    with torch.inference_mode():
        found = log_likelihood(model, x.clone(), **options)
    assert torch.equal(found.log_prob, right.log_prob)
    assert (right.log_prob - model.log_prob(x, SDE.t_min)).abs().max() < 1e-2 or "probes" in options


@pytest.mark.parametrize("divergence", [None, "rademacher", Exact("forward")], ids=str)
@pytest.mark.parametrize("how", ["detach", "no_grad", "numpy"])
def test_an_answer_that_lost_its_graph_is_refused(how, divergence):
    model, other = mixture(), mixture()
    scores = {
        "detach": lambda x, t: other.score(x, t).detach(),
        "no_grad": torch.no_grad()(other.score),
        "numpy": lambda x, t: torch.from_numpy(other.score(x.detach(), t).numpy()),
    }
    x = model.sample(4, SDE.t_min, seed=1)
    of_score, of_x0 = scoresde.FromScore(scores[how], SDE), Answers(lambda x, t: scores[how](x, t) * 0.1)
    for denoiser in (of_score, of_x0):
        with pytest.raises(InputError, match="depends on x without a graph"):
            log_likelihood(denoiser, x, divergence=divergence)
    assert scoresde.sample(of_score, DDIM(steps=3), (4, 2)).isfinite().all()  # which needs none


def test_a_graph_to_weights_alone_is_none():
    class Cut(scoresde.Denoiser):
        def __init__(self):
            super().__init__(SDE)
            self.linear = nn.Linear(2, 2).double()

        def forward(self, x, t):
            return self.linear(x.detach())

    with pytest.raises(InputError, match="the denoiser Cut depends on x without a graph"):
        log_likelihood(Cut(), torch.randn(3, 2))


def test_an_answer_that_is_constant_has_no_derivative():
    """The flow to a point: log p = log N(z_T) - D log(sigma_T n_t / sigma_t) in closed form."""
    t = 0.1
    model = Answers(lambda x, t: torch.ones_like(x))
    exact = GaussianMixture(torch.ones(1), torch.ones(1, 2), torch.tensor(1e-7), SDE)
    x = exact.sample(5, t, seed=0).double()
    found = log_likelihood(model, x, t_min=t, terminal=lambda y: exact.log_prob(y, SDE.t_max)).log_prob
    assert (found - exact.log_prob(x, t)).abs().max() < 1e-3


def test_a_schedule_has_derivatives_or_is_refused():
    class Up(scoresde.SDE):
        t_min, t_max = 1e-3, 1.0

        def log_alpha(self, t):
            return (-t).detach()

        def log_sigma(self, t):
            return torch.log(1 - torch.exp(-2 * t)) / 2

    with pytest.raises(InputError, match=r"Up\.log_alpha depends on x without a graph"):
        Up().drift_diffusion(0.5)
    right = SDE.drift_diffusion(torch.tensor([0.5]))
    with torch.inference_mode():
        found = SDE.drift_diffusion(torch.tensor([0.5]))
    assert all(torch.equal(a, b) for a, b in zip(found, right, strict=True))
    assert float(scoresde.VE().drift_diffusion(0.3)[0]) == 0


def test_what_is_no_batch_is_refused():
    model = mixture()
    for x in (torch.randn(0, 2), torch.randn(2), torch.ones(3, 2, dtype=torch.int64)):
        for ask in (log_likelihood, scoresde.encode, elbo, lambda m, x: vlb(m, x, [1.0, 0.5, 0.1])):
            with pytest.raises(InputError, match=r"give rows \(B, \*shape\)"):
                ask(model, x)


class Schedule(scoresde.SDE):
    """VP's, but for an answer of log_alpha."""

    t_min, t_max = 1e-3, 1.0

    def __init__(self, answer):
        self.answer = answer

    def log_alpha(self, t):
        return self.answer(-t)

    def log_sigma(self, t):
        return torch.log(1 - torch.exp(-2 * t)) / 2


@pytest.mark.parametrize("name", ["number", "none", "array", "column", "whole", "one"])
def test_functions_of_time_answer_with_a_number_for_each_time(name):
    wrong = {
        "number": lambda t: 0.5,
        "none": lambda t: None,
        "array": lambda t: t.numpy(),
        "column": lambda t: t[..., None],
        "whole": lambda t: t.long(),
        "one": lambda t: t.sum(),
    }[name]
    net = lambda sde, rule="v": scoresde.Preconditioned(scoresde.nets.MLP((2,), width=8), sde, rule)
    x = torch.randn(50, 2)
    train = lambda sde, **loss: scoresde.train(net(sde), x, DenoisingLoss(**loss), steps=1, batch_size=8)
    with pytest.raises(InputError, match=r"^weight answers with .* of shape \(8,\)"):
        train(SDE, weight=lambda sde, t: wrong(t))
    with pytest.raises(InputError, match=r"^times answers with .* of shape"):
        train(SDE, times=lambda sde, u, start: wrong(u))
    with pytest.raises(InputError, match="^rule answers with"):
        net(SDE, lambda alpha, sigma: wrong(alpha))
    with pytest.raises(InputError, match=r"^Schedule\.log_alpha answers with .* of shape"):
        train(Schedule(wrong))
    with pytest.raises(InputError, match=r"^Schedule\.log_alpha answers with .* of shape"):
        scoresde.sample(net(Schedule(wrong)), DDIM(steps=3), (4, 2))


def test_functions_that_steer_a_sampling_answer_with_numbers():
    model = mixture()
    for wrong in (lambda *given: None, lambda *given: torch.ones(6, 1), lambda *given: [1.0, 0.5, 0.1]):
        with pytest.raises(InputError, match="^grid answers with .* must give 6 times at least"):
            scoresde.sample(model, DDIM(steps=5, grid=wrong), (4, 2))
    even = [1.0 - 0.19 * i for i in range(6)]
    x = scoresde.sample(model, DDIM(steps=5, grid=lambda sde, n, start, end: even), (4, 2))
    assert torch.equal(x, scoresde.sample(model, DDIM(steps=5, grid=[*even[:-1], SDE.t_min]), (4, 2)))
    for wrong in (lambda t: None, lambda t: torch.ones(4), lambda t: "0.5", lambda t: -1.0, lambda t: float("nan")):
        with pytest.raises(InputError, match="^eta=.*: give a number from 0 on"):
            scoresde.sample(model, EulerMaruyama(steps=5, eta=wrong), (4, 2))


@pytest.mark.parametrize("shift", [3.0, -3.0, float("nan")])
def test_times_beyond_the_sde_are_refused(shift):
    with pytest.raises(InputError, match="times answers with .*: give times in"):
        DenoisingLoss(times=lambda sde, u, start: u + shift).sample_times(SDE, 8)


def test_a_wrong_answer_costs_no_model(tmp_path):
    make = lambda answer: scoresde.Preconditioned(Net(answer), SDE)
    x, options = torch.randn(50, 2), dict(steps=1, batch_size=8, folder=tmp_path)
    first = scoresde.train(make(lambda x, c: x), x, **options)
    with pytest.raises(InputError, match="the network Net for x"):
        scoresde.train(make(WRONG["narrow"]), x, fresh=True, **options)
    assert scoresde.load(tmp_path, denoiser=make(lambda x, c: x)).weights == first.weights


def test_a_model_made_in_inference_mode_is_refused():
    with torch.inference_mode():
        denoiser = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16), SDE)
        with pytest.raises(InputError, match="made under torch.inference_mode"):
            scoresde.train(denoiser, torch.randn(50, 2), steps=1, batch_size=8)

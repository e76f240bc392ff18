"""Laws of sliced score matching: the denoising loss in expectation, gradient and all, and never told the noise."""

import itertools

import pytest
import torch
from problems import close, each_sde, mixture, refuses

import scoresde
from scoresde.data import Affine, Data, Tensors, collate
from scoresde.denoiser import Denoiser
from scoresde.loss import DenoisingLoss
from scoresde.objectives import Sliced
from scoresde.sde import VP
from scoresde.training import Training


class Linear(Denoiser):
    """D = A x, of two numbers."""

    def __init__(self, sde):
        super().__init__(sde)
        self.a = torch.nn.Parameter(torch.tensor([[0.4, 0.3], [-0.2, 0.7]], dtype=torch.float64))

    def forward(self, x, t, cond=None):
        return x @ self.a.T


def two(x):
    return Data("two", Tensors(x), Tensors(x[:50]), Affine())


@each_sde
def test_its_expectation_and_gradient_are_those_of_denoising(sde):
    """Exactly, for a linear model: all signs of x_0, of the noise and of the projections have the moments of normal
    numbers that a quadratic loss sees.  E D-loss = tr(A M A^T) - 2 alpha tr(A C) + tr C, M = alpha^2 C + sigma^2 I."""
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)), dtype=torch.float64)
    root = torch.tensor([[1.0, 0.0], [0.6, 0.5]], dtype=torch.float64)
    x0, eps, u = signs[:, :2] @ root.T, signs[:, 2:4], signs[None, :, 4:]
    model, loss = Linear(sde), DenoisingLoss("edm")
    for c in (-1.0, 0.0, 1.0):
        t = sde.time(torch.tensor([-2 * c], dtype=torch.float64)).expand(len(signs))
        made = Sliced(model, loss, two(x0.float()))
        values = made((x0, t, eps, {}, u)).mean(), loss.at(model, x0, t, eps).mean()
        (alpha, sigma), cov = (float(a[0]) for a in sde.marginal(t)), root @ root.T
        noisy = alpha**2 * cov + sigma**2 * torch.eye(2).double()
        exact = torch.trace(model.a @ noisy @ model.a.T) - 2 * alpha * torch.trace(model.a @ cov) + torch.trace(cov)
        exact = float(loss.weight_at(sde, t[:1])) * exact / 2
        for value in values:
            close(value.detach(), exact.detach())
        close(*(torch.autograd.grad(value, model.a)[0] for value in values), rtol=1e-9)


def test_it_is_not_told_the_noise():
    """Of x_t alone: two pairs of data and noise that make one x_t have one loss."""
    sde = VP()
    made, t = Sliced(mixture(sde), DenoisingLoss(), two(torch.randn(60, 2))), torch.tensor([0.4], dtype=torch.float64)
    alpha, sigma = (float(a) for a in sde.marginal(t))
    x0, eps = torch.randn(2, 1, 2, dtype=torch.float64)
    other = x0 + 0.3, eps - 0.3 * alpha / sigma
    u = torch.ones(1, 1, 2)
    close(made((x0, t, eps, {}, u)), made((other[0], t, other[1], {}, u)), rtol=1e-9)


def test_training_finds_the_score_of_a_mixture():
    exact, sde = mixture(VP()), VP()
    data, loss = two(exact.sample(4000).float()), DenoisingLoss("simple")
    t = torch.tensor([0.2, 0.4, 0.7]).double().repeat_interleave(300)
    eps = torch.randn(900, 2, generator=torch.Generator().manual_seed(2)).double()
    x = sde.perturb(exact.sample(900, seed=5), t, eps)

    @torch.no_grad()
    def error(model):
        return float((model.score(x, t) - exact.score(x, t)).square().mean() / exact.score(x, t).square().mean())

    torch.manual_seed(0)
    denoiser = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=48, blocks=2), sde)
    before, training = error(denoiser), Training(steps=200, batch_size=256, lr=5e-3, warmup=10, ema=0.95)
    model = scoresde.fit(Sliced(denoiser, loss, data), data, training)
    assert before > 0.3 and error(model) < 0.1


@pytest.mark.parametrize("projections", ["rademacher", "gaussian"])
def test_projections_are_of_unit_covariance(projections):
    made = Sliced(mixture(VP()), DenoisingLoss(), two(torch.randn(60, 2)), slices=40, projections=projections)
    u = made.draw(collate(made.data.train, range(60), ()), 500, slice(0, 60))[-1]
    assert u.shape == (40, 60, 2) and bool((u.abs() == 1).all()) == (projections == "rademacher")
    close(torch.cov(u.flatten(0, 1).T), torch.eye(2), atol=0.1)


def test_what_is_refused():
    make = lambda **options: Sliced(mixture(VP()), DenoisingLoss(), two(torch.randn(60, 2)), **options)
    refuses("slices=0", call=lambda: make(slices=0))
    refuses("projections='sphere'", call=lambda: make(projections="sphere"))
    control = DenoisingLoss("simple", "log_snr", control=0.1)
    refuses("give control=None", call=lambda: Sliced(mixture(VP()), control, two(torch.randn(60, 2))))

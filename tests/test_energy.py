"""Laws of the energy: its answer is a gradient, the score is conservative, wherever a denoiser is used."""

import pytest
import torch
from problems import SDES, close, refuses
from torch.autograd.functional import jacobian

import scoresde
from scoresde.conditions import Label, Tokens
from scoresde.denoiser import Preconditioned
from scoresde.loss import DenoisingLoss
from scoresde.nets import MLP, DiT, Energy, UNet

NETS = {
    "mlp": lambda shape, **own: MLP(shape, width=16, blocks=1, fourier=2, **own),
    "unet": lambda shape, **own: UNet(shape, channels=8, blocks=1, heads=2, **own),
    "dit": lambda shape, **own: DiT(shape, width=16, blocks=1, heads=2, **own),
}
each_net = pytest.mark.parametrize("make", NETS.values(), ids=NETS)
each_form = pytest.mark.parametrize("form", ["dot", "distance"])


def awake(net):
    torch.manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net.eval().double()


@each_net
@each_form
def test_the_score_has_a_symmetric_jacobian(make, form):
    """Of every rule and SDE; that of the bare network has none."""
    shape = (1, 2, 4)
    net = awake(make(shape))
    x, t = torch.randn(8).double(), torch.tensor([0.4]).double()
    energy = Energy(net, form)
    for rule, sde in (("v", "vp"), ("eps", "ve"), ("x0", "linear"), ("edm", "edm")):
        model, bare = (Preconditioned(n, SDES[sde], rule) for n in (energy, net))
        found = jacobian(lambda z, m=model: m.score(z.reshape(1, *shape), t).flatten(), x)
        close(found, found.T, rtol=1e-9, atol=1e-11)
        free = jacobian(lambda z, m=bare: m.score(z.reshape(1, *shape), t).flatten(), x)
        assert (free - free.T).abs().max() > 1e-6


@each_form
def test_the_answer_is_the_gradient_of_the_energy(form):
    energy = Energy(awake(NETS["unet"]((1, 2, 2))), form)
    x, c, e = torch.randn(3, 1, 2, 2).double(), torch.randn(3), 1e-5
    found = energy(x, c)
    for i in range(4):
        d = e * torch.eye(4).double()[i].reshape(1, 1, 2, 2)
        close(
            (energy.energy(x + d, c) - energy.energy(x - d, c)) / (2 * e), found.flatten(1)[:, i], rtol=1e-5, atol=1e-7
        )


def test_it_answers_alike_wherever_gradients_are_on_or_off():
    kinds = {"label": Label(3), "tokens": Tokens(3, 5)}
    energy = Energy(awake(NETS["dit"]((1, 2, 4), conditions=kinds)))
    x, c, cond = torch.randn(3, 1, 2, 4).double(), torch.randn(3), {"label": torch.tensor([0, 2, -1])}
    found = energy(x, c, cond)
    assert found.requires_grad and energy.conditions == kinds
    with torch.no_grad():
        off = energy(x, c, cond)
    with torch.inference_mode():
        inside = energy(x.clone(), c.clone(), {"label": cond["label"].clone()})
    assert not off.requires_grad and not x.requires_grad
    close(off, found, rtol=1e-10, atol=1e-12)
    close(inside, found, rtol=1e-10, atol=1e-12)
    x.requires_grad_()
    assert torch.autograd.grad(energy(x, c, cond).square().sum(), x)[0].abs().max() > 0


@each_net
def test_every_parameter_learns(make):
    torch.manual_seed(0)
    shape = (1, 4, 4)
    energy = Energy(make(shape))
    assert not energy(torch.randn(2, *shape), torch.randn(2)).any()
    model, loss, x0 = Preconditioned(energy, scoresde.VP()), DenoisingLoss(), torch.randn(8, *shape)
    before = {name: p.clone() for name, p in energy.named_parameters()}
    optimizer = torch.optim.Adam(energy.parameters(), lr=1e-3)
    for _ in range(4):
        optimizer.zero_grad()
        loss(model, x0).mean().backward()
        optimizer.step()
    assert not [name for name, p in energy.named_parameters() if torch.equal(p, before[name])]


def test_training_likelihood_and_a_folder(tmp_path):
    data = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    model = Preconditioned(Energy(MLP((2,), width=16, blocks=1)), scoresde.VP())
    model = scoresde.train(model, data, steps=20, batch_size=16, device="cpu", progress=False, folder=tmp_path)
    x = scoresde.sample(model, scoresde.sampling.DDIM(steps=4), (5, 2))
    again = scoresde.load(tmp_path)
    assert isinstance(again.denoiser.net, Energy) and isinstance(again.denoiser.net.net, MLP)
    assert torch.equal(scoresde.sample(again, scoresde.sampling.DDIM(steps=4), (5, 2)), x)
    assert scoresde.log_likelihood(again, x.double(), rtol=1e-3, atol=1e-3).log_prob.isfinite().all()


def test_several_outputs_are_refused():
    refuses("outputs=2", "outputs=1", call=lambda: Energy(NETS["dit"]((1, 2, 4), outputs=2)))

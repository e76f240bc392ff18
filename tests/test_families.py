"""The families beside diffusion: their densities, bounds and losses against what is known, and the one command."""

import json
import math
import sys

import pytest
import torch
from commands import ROOT
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.nn import functional as F

import scoresde
from scoresde import InputError, data

sys.path.append(str(ROOT / "examples" / "families"))

import compare
import flow
import gan
import judge
import members
import vae

SHORT = {"steps": 3, "validate_every": 3, "log_every": 1}


@pytest.fixture(scope="module")
def digits():
    return data.digits()


def stirred(net, size=0.1):
    """The network with weights moved at random, those that begin at 0 too."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator).to(p))
    return net.eval()


# The flow


def test_flow_inverts_to_1e_5(digits):
    raw = data.stack(digits.train, range(64))
    x = digits.encode(raw, torch.rand(raw.shape))
    for dtype in (torch.float32, torch.float64):
        net = stirred(flow.Flow(digits.shape, steps=6, width=16), 0.05).to(dtype)
        with torch.no_grad():
            again = net.inverse(net(x.to(dtype))[0])
        assert float((again - x).abs().max()) < 1e-5


def test_flow_log_det_is_that_of_its_jacobian(digits):
    net = stirred(flow.Flow((1, 4, 4), steps=3, width=8)).double()
    x = 2 * torch.rand(5, 1, 4, 4, dtype=torch.float64) - 1
    _, log_det = net(x)
    for item, own in zip(x, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None])[0].flatten(), item).reshape(16, 16)
        assert own.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-9)


def test_flow_density_integrates_to_one():
    """Over all x that the logit takes, by points even in h = logit: dx = 2 y (1 - y) / (1 - 2 EDGE) dh."""
    net = stirred(flow.Flow((1, 2, 2), steps=2, width=4), 0.1).double()
    h = torch.linspace(-7, 7, 21, dtype=torch.float64)
    y = torch.sigmoid(torch.cartesian_prod(h, h, h, h))
    x = (2 * (y - flow.EDGE) / (1 - 2 * flow.EDGE) - 1).reshape(-1, 1, 2, 2)
    volume = (2 * y * (1 - y) / (1 - 2 * flow.EDGE) * (h[1] - h[0])).prod(1)
    with torch.no_grad():
        mass = sum(
            float((net.log_density(a).exp() * v).sum()) for a, v in zip(x.split(8192), volume.split(8192), strict=True)
        )
    assert mass == pytest.approx(1, abs=1e-3)


def test_flow_begins_with_unit_scales(digits):
    objective = flow.objective(digits, steps=2, width=8)
    objective.begin(torch.device("cpu"))
    objective.requires_grad_(False)
    x = digits.dequantize(data.stack(digits.train, range(512)))
    h = F.pixel_unshuffle(objective.product.first(x)[0], 2)
    h = objective.product.layers[0](h)[0]
    assert float(h.mean((0, 2, 3)).abs().max()) < 0.02 and float((h.std((0, 2, 3)) - 1).abs().max()) < 0.02


# The VAE


def test_vae_levels_have_a_probability_and_are_drawn_by_it(digits):
    net = stirred(vae.VAE(digits.shape, 17, latent=2, channels=8), 0.05)
    with torch.no_grad():
        log_p = net.log_levels(torch.randn(20, 2))
    assert log_p.shape == (20, 1, 8, 8, 17) and torch.allclose(log_p.exp().sum(-1), torch.ones(20, 1, 8, 8), atol=1e-5)
    net.log_levels = lambda z: log_p[:1].expand(len(z), *log_p.shape[1:])
    drawn = F.one_hot(net.generate(torch.arange(4000), 0).long(), 17).double().mean(0)
    error = (drawn - log_p[0].exp()).abs() / (log_p[0].exp() / 4000).sqrt().clamp_min(1e-3)
    assert float(error.max()) < 5


def test_divergence_is_torch_s():
    mean, log_std = torch.randn(2, 5, 3)
    known = kl_divergence(Normal(mean, log_std.exp()), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(vae.divergence(mean, log_std), known, atol=1e-5)


def test_bound_of_a_linear_gaussian_model():
    """x = W z + s eps has N(0, W W^T + s^2 I): its log-density is reached by the exact posterior, and by no other."""
    weight, s = torch.randn(6, 2, dtype=torch.float64), 0.5
    weight[:, 1] -= weight[:, 0] * (weight[:, 0] @ weight[:, 1]) / weight[:, 0].square().sum()  # a diagonal posterior
    marginal = MultivariateNormal(torch.zeros(6).double(), weight @ weight.T + s**2 * torch.eye(6))
    x = marginal.sample((200,))
    log_p = lambda z: Normal(z @ weight.T, s).log_prob(x[:, None]).sum(-1)
    precision = 1 + weight.square().sum(0) / s**2
    mean, log_std = x @ weight / s**2 / precision, (-0.5 * precision.log()).expand(200, 2)
    exact, eps = marginal.log_prob(x), torch.randn(200, 400, 2, dtype=torch.float64)
    assert torch.allclose(vae.importance_bound(mean, log_std, eps[:, :3], log_p), exact)
    wrong = lambda k: float(vae.importance_bound(mean + 0.2, log_std + 0.3, eps[:, :k], log_p).mean() - exact.mean())
    gaps = [wrong(k) for k in (1, 10, 400)]
    assert gaps[0] < gaps[1] < gaps[2] < 0.01 and gaps[0] < -0.1 and gaps[2] > -0.02


def test_vae_bound_is_below_its_probability(digits):
    net = vae.VAE(digits.shape, 17, latent=1, channels=8).eval()
    nn.init.zeros_(net.encoder[-1].weight)  # q does not follow v, and is no posterior
    nn.init.zeros_(net.encoder[-1].bias)
    nn.init.normal_(net.decoder[0].weight, 0, 0.05)
    raw = data.stack(digits.test, range(3))
    z = torch.linspace(-8, 8, 401)
    with torch.no_grad():
        prior = Normal(0.0, 1.0).log_prob(z) + math.log(16 / 400)
        there = [net.log_likelihood(v.expand(401, *v.shape), z[:, None]) for v in raw]
        exact = torch.stack([(values + prior).logsumexp(0) for values in there])
        few = torch.stack([net.log_prob(raw, 1, seed) for seed in range(100)])
        many = net.log_prob(raw, 1000)
    assert bool((few.mean(0) < exact).all()) and bool((few.mean(0) < many).all())
    assert torch.allclose(many, exact, atol=0.1)


# The GAN


def test_critic_pays_for_its_slope_at_real_items(digits):
    critic = gan.Critic(digits.shape)
    critic.forward = lambda x: 0.1 * x.flatten(1).sum(1)
    objective = gan.Adversarial(gan.Generator(digits.shape), critic, digits, gamma=3.0)
    x, z = digits.encode(data.stack(digits.train, range(4))), torch.randn(4, 32)
    made = objective.product(z)
    plain = F.softplus(critic(made)) + F.softplus(-critic(x))
    assert torch.allclose(objective((x, z), "critic"), plain + 1.5 * 0.01 * 64)
    assert torch.allclose(objective((x, z), "generator"), F.softplus(-critic(made)))


# The loop, and the command


@pytest.mark.parametrize("module", [vae, gan, flow], ids=lambda m: m.__name__)
def test_the_loop_trains_it_and_its_folder_gives_it_again(module, digits, tmp_path):
    training = scoresde.Training(**SHORT, **module.SETTINGS | {"batch_size": 16})
    few = {"steps": 2, "width": 8} if module is flow else {"channels": 8}
    make = lambda: scoresde.fit(module.objective(digits, **few), digits, training, tmp_path, device="cpu")
    model, again = make(), make()
    assert model.step == again.step == 3 and model.weights == again.weights
    x = model.generate(5, seed=1)
    assert x.shape == (5, 1, 8, 8) and x.dtype == torch.uint8 and int(x.max()) <= 16
    assert torch.equal(x, again.generate(5, seed=1)) and torch.equal(x[:3], model.generate(3, seed=1))
    with pytest.raises(InputError, match="another model"):
        scoresde.fit(module.objective(digits), digits, training, tmp_path, device="cpu")


def test_command_writes_a_table_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(judge, "STEPS", 5)
    monkeypatch.setitem(members.DRAWS, "vae", 4)
    words = ["--out", str(tmp_path), "--steps", "2", "--n", "60", "--jobs", "1", "--families", "vae", "gan"]
    compare.main([*words, "--seeds", "1"])
    table = (tmp_path / "table.md").read_text()
    assert table.startswith("|  | real digits | VAE | VAE, means of the pixels | GAN |\n")
    assert "it has no likelihood |\n" in table and (tmp_path / "samples.png").stat().st_size > 1000
    written = (tmp_path / "vae-0" / "figures.json").stat().st_mtime_ns
    capsys.readouterr()
    compare.main([*words[:-1], "--seeds", "2"])
    assert "1 of 2 trainings are there" in capsys.readouterr().out
    assert (tmp_path / "vae-0" / "figures.json").stat().st_mtime_ns == written
    figures = json.loads((tmp_path / "figures.json").read_text())
    bits = figures["families"]["VAE"]["bits"]
    assert bits["low"] < bits["mean"] < bits["high"] and len(figures["seeds"]["vae"]) == 2
    assert figures["seeds"]["vae"][0]["bits"] < figures["seeds"]["vae"][0]["bits_one_draw"]
    with pytest.raises(InputError, match="was made with n=60"):
        compare.main([*words[:4], "--n", "50", *words[6:]])


def test_command_refuses_what_cannot_be():
    for words in (["--seeds", "0"], ["--minutes", "-1"], ["--n", "2"], ["--jobs", "0"], ["--steps", "0"]):
        with pytest.raises(InputError, match=words[0]):
            compare.arguments(words)

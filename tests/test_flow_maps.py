"""Laws of the frame of few steps: its two faces are one function, and exact maps satisfy what methods train for."""

import pytest
import torch
from flow_maps import Affine, Solved, jump
from problems import close, each_sde, mixture

from scoresde.denoiser import FlowMap, Preconditioned
from scoresde.denoiser.levels import levels
from scoresde.nets import MLP
from scoresde.objectives.distill.maps.continuous import residual
from scoresde.sampling import DDIM, Adams, Jump, Renoise, sample
from scoresde.sde import expand

MEAN, STD = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64), torch.tensor([0.3, 0.9, 1.7], dtype=torch.float64)


def trained(sde, rule, seed=0):
    """A denoiser with a network of random weights, which stands for a trained one."""
    torch.manual_seed(seed)
    net = MLP((2,), width=16, blocks=1, outputs=getattr(rule, "outputs", 1))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return Preconditioned(net, sde, rule)


def angles(sde, n=16, seed=0):
    """Pairs of angles (n,) within those of the SDE, the landing the smaller."""
    low, high = sde.angle(torch.tensor([sde.t_min, sde.t_max], dtype=torch.float64)).tolist()
    u = torch.rand(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).sort(0).values
    phi_s, phi_t = low + (high - low) * (0.02 + 0.9 * u)
    return phi_t + 0.02 * (high - low), phi_s


@each_sde
@pytest.mark.parametrize("lands", ["data", "any"])
def test_landing_and_frame_are_one_function(sde, lands):
    """cos(phi_t) z - sin(phi_t) F(z, phi_t, phi_s) = D(n z, t -> s), of every rule."""
    for rule in ("v", "eps", "x0", "edm", levels(17)):
        model = FlowMap.of(trained(sde, rule), lands).double().requires_grad_(False)
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
        phi_t, phi_s = angles(sde)
        t, s = (sde.time(-2 * phi.tan().log()) for phi in (phi_t, phi_s))
        z = torch.randn(len(t), 2, dtype=torch.float64)
        found = expand(phi_t.cos(), z) * z - expand(phi_t.sin(), z) * model.frame(z, phi_t, phi_s)
        wanted = model.landing(expand(torch.hypot(*sde.marginal(t)), z) * z, t, s)
        close(found, wanted, rtol=1e-5, atol=1e-5)  # a landing is told its angles in single precision


@each_sde
def test_a_flow_map_begins_as_ddim_to_the_bit(sde):
    """Told where it lands and how strongly to be led, but not taught yet: its jumps are its teacher's steps of DDIM."""
    teacher = trained(sde, "v").eval()
    begun = FlowMap.of(teacher, "any", guidance=(1.0, 4.0)).eval()
    wanted = sample(teacher, DDIM(steps=8, grid="uniform_angle", last="none"), (5, 2), seed=3)
    assert torch.equal(sample(begun, Jump(steps=8), (5, 2), seed=3), wanted)
    assert torch.equal(sample(teacher, Jump(steps=8), (5, 2), seed=3), wanted)


def teaches(model, z, phi):
    """The velocity of a denoiser's flow in the frame, by way of its own SDE's times."""
    t = model.sde.time(-2 * phi.tan().log())
    return model.velocity(expand(torch.hypot(*model.sde.marginal(t)), z) * z, t)


@each_sde
def test_the_identity_of_scm_and_meanflow_holds_on_the_map_of_a_gaussian(sde):
    """cos(d) (v - F) = sin(d) (z + dF/dphi), to any landing, those of sCM among them."""
    exact = Affine(sde, MEAN, STD)
    phi, to = angles(sde, 32)
    z = torch.randn(32, 3, dtype=torch.float64)
    v = teaches(exact.mixture(), z, phi)
    for end in (to, torch.full_like(to, float(sde.angle(sde.t_min)))):
        assert float(residual(exact, z, phi, end, v, {})[1].abs().max()) < 1e-9
    wrong = Affine(sde, MEAN, 1.1 * STD)
    assert float(residual(wrong, z, phi, to, v, {})[1].abs().max()) > 0.01


@each_sde
def test_the_identity_of_scm_and_meanflow_holds_on_the_map_of_a_mixture(sde):
    model = mixture(sde)
    phi, to = angles(sde, 12)
    z = torch.randn(12, 2, dtype=torch.float64)
    f, r = residual(Solved(model), z, phi, to, teaches(model, z, phi), {})
    assert float(r.abs().max()) < 1e-6 and float(f.abs().max()) > 0.1


@each_sde
def test_exact_jumps_compose(sde):
    """t to u to s is t to s, and the jump of the mixture ends where its flow does."""
    model = mixture(sde)
    t, u, s = sde.t_max, float(sde.time(torch.tensor(0.3, dtype=torch.float64))), sde.t_min
    for exact in (Affine(sde, MEAN[:2], STD[:2]), Solved(model, 64)):
        x = sde.prior(torch.randn(6, 2, dtype=torch.float64))
        close(jump(exact, jump(exact, x, t, u), u, s), jump(exact, x, t, s), rtol=1e-6, atol=1e-6)
    ends = sample(model, Adams(steps=400, last="none"), (6, 2), dtype=torch.float64)
    close(sample(Solved(model, 64), Jump(steps=2), (6, 2), dtype=torch.float64), ends, rtol=1e-4, atol=1e-4)


@each_sde
@pytest.mark.parametrize("sampler", [Jump(steps=1), Jump(steps=3), Renoise(steps=3)], ids=repr)
def test_samples_of_exact_maps_have_the_exact_moments(sde, sampler):
    exact, n = Affine(sde, MEAN, STD), 20_000
    x = sample(exact, sampler, (n, 3), seed=1, dtype=torch.float64)
    alpha, sigma = (float(a) for a in sde.marginal(sde.t_min))
    mean, variance = alpha * MEAN, alpha**2 * STD**2 + sigma**2
    away = (x.mean(0) - mean) / (variance / n).sqrt(), (x.var(0) / variance - 1) / (2 / n) ** 0.5
    assert all(float(a.abs().max()) < 4.5 for a in away), away

"""The density of few-step samples: on exact flow maps it is the exact one, and what is not invertible is named."""

import math

import pytest
import torch
from flow_maps import Affine, ExactMap, Solved, jump
from problems import close, each_sde, mixture, refuses

from scoresde.conditions import Vector
from scoresde.denoiser import FlowMap
from scoresde.likelihood import densities_under, log_likelihood, map_likelihood
from scoresde.nets import MLP
from scoresde.sampling import DDIM, Jump, Renoise, noises, sample
from scoresde.sde import VP, expand

MEAN, STD = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64), torch.tensor([0.3, 0.9, 1.7], dtype=torch.float64)


@each_sde
@pytest.mark.parametrize("steps", [1, 3])
def test_of_a_gaussian_s_map_it_is_the_exact_density(sde, steps):
    """x = a + b x_T: log p(x) = log p_T((x - a) / b) - sum log b, to 1e-8."""
    exact = Affine(sde, MEAN, STD)
    exact.lands = "data" if steps == 1 else "any"
    x = exact.mixture().sample(8, sde.t_min, seed=1)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    a = jump(exact, zero, sde.t_max, sde.t_min)
    b = jump(exact, zero + 1, sde.t_max, sde.t_min) - a
    found = map_likelihood(exact, x, Jump(steps=steps))
    close(found.latent, (x - a) / b, atol=1e-7)
    close(found.log_prob, sde.prior_log_prob((x - a) / b) - b.log().sum(), rtol=0, atol=1e-8)
    assert bool((found.failed < 0).all()) and float(found.stderr.max()) == 0


@each_sde
def test_of_a_mixture_s_map_it_is_the_flow_s_density(sde):
    model = mixture(sde)
    x = model.sample(4, sde.t_min, seed=1)
    wanted = log_likelihood(model, x, rtol=1e-7, atol=1e-7)
    found = map_likelihood(Solved(model, 32), x, Jump(steps=2))
    close(found.log_prob, wanted.log_prob, rtol=0, atol=1e-4)
    close(found.prior + found.volume + found.divergence, found.log_prob)


def student(lands, size=0.02, conditions=None, dims=2):
    """A flow map of a random network, which bends a little."""
    torch.manual_seed(1)
    made = FlowMap.of(FlowMap(MLP((dims,), width=16, blocks=1, conditions=conditions), VP(), "v", "data"), lands)
    for p in made.requires_grad_(False).parameters():
        p.add_(size * torch.randn_like(p))
    return made.eval()


def test_random_vectors_tell_the_determinants_with_their_error():
    """Of 12 numbers: within its standard errors, which are small; to nothing where J is a number times 1."""
    model = student("any", 0.05, dims=12)
    x = sample(model, Jump(steps=2), (6, 12), seed=2, dtype=torch.float64)
    wanted = map_likelihood(model, x, Jump(steps=2))
    found = map_likelihood(model, x, Jump(steps=2), probes=8, lanczos=12, seed=1)
    assert float(((found.log_prob - wanted.log_prob) / found.stderr).abs().max()) < 4.5
    assert 0.1 < float(found.stderr.mean()) < 1.5
    even = Affine(VP(), torch.zeros(12, dtype=torch.float64), torch.full((12,), 0.5, dtype=torch.float64))
    close(*(map_likelihood(even, x, Jump(steps=2), probes=k).log_prob for k in (None, 2)), atol=1e-7)


@pytest.mark.parametrize("lands", ["any", (1.0, 0.5, 0.2, 1e-5)], ids=["any", "chain"])
def test_the_noise_of_a_sample_is_found_again(lands):
    model = student(lands)
    x = sample(model, Jump(steps=3), (20, 2), seed=3, dtype=torch.float64)
    found = map_likelihood(model, x, Jump(steps=3))
    close(found.latent, model.sde.prior(noises(model, (20, 2), seed=3).double()), atol=1e-5)
    assert bool((found.failed < 0).all())


def test_rows_have_their_conditions_whatever_their_batch():
    model = student("any", 0.02, {"place": Vector(2, drop=0.0)})
    place = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])
    x = torch.randn(3, 2, dtype=torch.float64)
    whole = map_likelihood(model, x, Jump(steps=2), cond={"place": place})
    parts = [map_likelihood(model, x[i : i + 1], Jump(steps=2), cond={"place": place[i : i + 1]}) for i in range(3)]
    close(whole.log_prob, torch.cat([p.log_prob for p in parts]), atol=1e-6)


class Folding(ExactMap):
    """A jump that folds the plane: z^2 in the first number, so that no noise makes a negative one."""

    def moved(self, z, phi_t, phi_s):
        same = expand(phi_t - phi_s, z) < 0.3
        return torch.where(same, z, torch.stack([z[:, 0] * z[:, 0].abs() ** 0.5 + z[:, 0] ** 2, z[:, 1]], 1))


def test_a_row_without_an_inverse_is_named_and_has_no_figure():
    sde = VP()
    x = torch.tensor([[-3.0, 0.0], [2.0, 1.0]], dtype=torch.float64)
    found = map_likelihood(Folding(sde), x, Jump(steps=1))
    assert found.failed.tolist() == [0, -1]
    assert bool(found.log_prob[0].isnan()) and bool(found.log_prob[1].isfinite())
    assert "1 of 2 rows without an inverse (1 at jump 1)" in repr(found)


def test_what_has_no_inverse_says_so():
    model, x = student("data"), torch.randn(2, 2)
    refuses("sampler=Renoise", "Jump(steps=...)", call=lambda: map_likelihood(model, x, Renoise(steps=2)))
    refuses("sampler=DDIM", call=lambda: map_likelihood(model, x, DDIM()))
    refuses("steps=3", "data alone", call=lambda: map_likelihood(model, x, Jump(steps=3)))
    refuses("1024", "probes=8", call=lambda: map_likelihood(model, torch.randn(2, 1100), Jump(steps=1)))


def test_a_teacher_s_density_tells_wrong_samples_from_right_ones():
    """Right ones have the data's mean, too wide ones less and more that is rare, too narrow ones more."""
    model, other = mixture(VP()), lambda k: [m := mixture(VP()), m.stds.mul_(k)][0]
    sets = {"data": model.sample(400, seed=1), "student": model.sample(400, seed=2)}
    sets |= {"wide": other(2.0).sample(400, seed=3), "narrow": other(0.3).sample(400, seed=4)}
    found = densities_under(model, sets, rtol=1e-3, atol=1e-3)
    data = found["data"]
    apart = found["student"].value - data.value
    assert abs(apart) < 4 * math.hypot(data.stderr, found["student"].stderr) and data.rare == 0.01
    assert found["wide"].high < data.low < data.high < found["narrow"].low
    assert found["wide"].rare_low > 0.05 and found["narrow"].rare == 0
    refuses("reference='real'", "data, student", call=lambda: densities_under(model, sets, "real"))

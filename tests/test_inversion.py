"""Laws of inversion: there and back is where one was, and the latent is that of the exact flow."""

import math
from dataclasses import dataclass

import pytest
import torch
from problems import SDES, Around, close, each_sde, each_song_sde, mixture, moments, refuses
from scipy import stats
from scipy.spatial.transform import Rotation, Slerp
from torch import nn

import scoresde
from scoresde.denoiser import Counted, Denoiser, Preconditioned
from scoresde.exact import GaussianMixture
from scoresde.likelihood import log_likelihood
from scoresde.nets import MLP
from scoresde.noise import normal
from scoresde.sampling import (
    DDIM,
    PC,
    ProbabilityFlow,
    Reversible,
    Trajectory,
    decode,
    encode,
    round_trip,
    sample,
    slerp,
)
from scoresde.sde import VE, VP, expand

each_rank = pytest.mark.parametrize("shape", [(3,), (2, 4), (1, 4, 4), (2, 3, 1, 2)], ids=str)


def problem(sde, shape=(2,), n=None):
    """A mixture and exact samples of its p_{t_min}, as many as its last dimension."""
    model = mixture(sde, shape)
    return model, model.sample(n or shape[-1], sde.t_min, seed=1)


class Rough(Denoiser):
    """No posterior mean of anything: its noise, or itself, jumps wherever one looks."""

    def __init__(self, sde, noise=True):
        super().__init__(sde)
        self.noise = noise

    def forward(self, x, t):
        alpha, sigma = (expand(a, x) for a in self.sde.marginal(t))
        y = x / torch.hypot(alpha, sigma)
        jumps = torch.sign(torch.sin(1e4 * y)) + torch.floor(7 * y.flip(-1)).clamp(-9, 9) / 5
        return (x - sigma * jumps) / alpha if self.noise else jumps


# -- the adaptive flow ------------------------------------------------------------------------------------------------


@each_sde
@each_rank
def test_there_and_back(sde, shape):
    model, x = problem(sde, shape)
    back = decode(model, encode(model, x))
    assert back.dtype == torch.float64
    close(back, x, rtol=0, atol=2e-3)
    trip = round_trip(model, x, rtol=1e-7, atol=1e-7)
    close(trip.x, x, rtol=0, atol=3e-5)
    close(trip.error, (trip.x - x).flatten(1).square().mean(1).sqrt())
    close(trip.latent, encode(model, x, rtol=1e-7, atol=1e-7))


@each_sde
def test_the_latent_is_that_of_the_likelihood(sde):
    model, x = problem(sde, (3,))
    exact = log_likelihood(model, x, rtol=1e-9, atol=1e-9).latent
    scale = float(sde.marginal(sde.t_max)[1])
    close(encode(model, x, 1e-9, 1e-9) / scale, exact / scale, rtol=0, atol=1e-6)
    t = float(sde.time(4.0))
    close(
        encode(model, x, 1e-9, 1e-9, t_min=t) / scale,
        log_likelihood(model, x, rtol=1e-9, atol=1e-9, t_min=t).latent / scale,
        rtol=0,
        atol=1e-6,
    )


@each_sde
def test_the_encoding_of_a_gaussian_is_linear(sde):
    """The flow maps alpha m + sqrt(alpha^2 s^2 + sigma^2) y with the same y at every time."""
    mean, std = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.05, 0.7, 3.0]).double()
    model = GaussianMixture(torch.ones(1).double(), mean[None], std[None], sde)
    y = torch.randn(5, 3, dtype=torch.float64)
    ends = []
    for t in (sde.t_min, sde.t_max):
        alpha, sigma = sde.marginal(t)
        ends.append(alpha * mean + (alpha**2 * std**2 + sigma**2).sqrt() * y)
    x, latent = ends
    scale = float(sde.marginal(sde.t_max)[1])
    close(encode(model, x, 1e-9, 1e-9) / scale, latent / scale, rtol=0, atol=1e-6)
    close(decode(model, latent, 1e-9, 1e-9), x, rtol=0, atol=1e-6)
    errors = []
    for steps in (100, 200):
        there = Reversible(steps).encode(model, x)[0]
        errors.append(float(((there - latent) / scale).square().mean().sqrt()))
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.3, errors


@each_song_sde
@pytest.mark.parametrize("how", ["flow", "reversible"])
def test_the_latents_of_the_data_are_distributed_as_p_T(sde, how):
    model, n = mixture(sde), 2000
    x = model.sample(n, sde.t_min, seed=3)
    latent = encode(model, x, 1e-4, 1e-4) if how == "flow" else Reversible().encode(model, x)[0]
    mean, covariance = moments(model, sde.t_max)
    y = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (latent - mean).T, upper=False).T
    for direction in torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, -0.6]]).double():
        assert stats.kstest((y @ direction).numpy(), "norm").pvalue > 1e-3


def test_conditions_go_with_their_rows():
    for sde in (SDES["vp"], SDES["edm"]):
        model, mean = Around(sde), torch.arange(4.0).double()[:, None].expand(4, 2)
        x = mean + 0.2
        for there in (encode, lambda m, v, **c: Reversible(10).encode(m, v, **c)[0]):
            whole = there(model, x, cond={"mean": mean})
            for i in range(4):
                close(there(model, x[i : i + 1], cond={"mean": mean[i : i + 1]}), whole[i : i + 1], rtol=0, atol=1e-9)
        given, other = {"mean": mean}, {"mean": mean + 1}
        close(decode(model, encode(model, x, cond=given), cond=given), x, rtol=0, atol=1e-3)
        assert (decode(model, encode(model, x, cond=given), cond=other) - x - 1).abs().max() < 0.01  # another's


def test_a_network_in_float32_and_its_evaluations():
    data = torch.randn(6, 3)
    counted = Counted(Preconditioned(MLP((3,), width=16), VP()))
    trip = round_trip(counted, data, 1e-4, 1e-4)
    assert trip.x.dtype == torch.float64 and float(trip.error.max()) < 1e-2
    assert int(trip.nfe.sum()) == counted.rows
    assert not trip.x.requires_grad


def test_the_front_door():
    assert scoresde.encode is encode and scoresde.decode is decode


# -- steps that undo each other ---------------------------------------------------------------------------------------


@each_sde
@each_rank
def test_the_way_back_is_exact_whatever_the_denoiser(sde, shape):
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for model, t_min in ((Rough(sde), None), (Rough(sde, False), float(sde.time(2.0))), (mixture(sde, shape), None)):
        n = float(torch.hypot(*sde.marginal(t_min or sde.t_min)))
        for sampler in (Reversible(t_min=t_min), Reversible(7, "log_snr", t_min=t_min)):
            pair = sampler.encode(model, x)
            back = sampler.decode(model, pair)
            close(back, x, rtol=0, atol=1e-12 * n)
            again = sampler.encode(model, back)
            assert all(torch.equal(a, b) for a, b in zip(pair, again, strict=True))  # to the bit
            assert torch.equal(sampler.decode(model, again), back)


def test_a_network_in_float32_goes_back_to_the_bit():
    net = MLP((1, 4, 4), width=32)
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    model = Preconditioned(net, VP())
    x = torch.rand(5, 1, 4, 4) * 2 - 1
    pair = Reversible().encode(model, x)
    assert torch.equal(Reversible().decode(model, pair).float(), x)
    assert not pair[0].requires_grad and pair[0].dtype == torch.float64


@each_sde
def test_reversible_is_of_order_two_both_ways(sde):
    model, x = problem(sde, (2,), 32)
    t = max(sde.t_min, float(sde.time(10.0)))
    scale = float(sde.marginal(sde.t_max)[1])
    latent = encode(model, x, 1e-8, 1e-8, t_min=t)
    there, back, alone = [], [], []
    for steps in (100, 200):
        sampler = Reversible(steps, t_min=t)
        pair = sampler.encode(model, x)
        there.append(float(((pair[0] - latent) / scale).square().mean().sqrt()))
        back.append(float((sampler.decode(model, latent) - x).square().mean().sqrt()))
        alone.append(float((sampler.decode(model, pair[0]) - x).square().mean().sqrt()))
    for errors in (there, back):
        assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.2 and errors[1] < 1e-4, (there, back)
    assert alone[1] < 1e-8, alone  # u_T differs from v(x_T) by a higher order: the second half can be left out


@each_sde
def test_an_edited_latent_decodes_as_the_flow_does(sde):
    model, x = problem(sde, (4,), 20)
    latent = encode(model, x, 1e-9, 1e-9)
    edited = decode(model, slerp(latent, latent.roll(1, 0), 0.3), 1e-9, 1e-9)
    spread = float((edited - x).square().mean().sqrt())
    sampler = Reversible()
    first, second = sampler.encode(model, x)
    both = (slerp(first, first.roll(1, 0), 0.3), 0.7 * second + 0.3 * second.roll(1, 0))
    for pair in (both, both[0], (both[0], second)):
        error = float((sampler.decode(model, pair) - edited).square().mean().sqrt())
        assert error < 0.02 * spread, (error, spread)


def test_reversible_costs_one_evaluation_a_step():
    counted = Counted(mixture(VP()))
    pair = Reversible(10).encode(counted, torch.zeros(3, 2).double())
    assert counted.calls == 11
    Reversible(10).decode(counted, pair)
    assert counted.calls == 21


def test_the_sampler_is_the_decoder_of_the_prior():
    model = mixture(VP())
    x = sample(model, Reversible(20, last="none"), (6, 2), seed=3, dtype=torch.float64)
    start = sample(model, Still(last="none"), (6, 2), seed=3, dtype=torch.float64)
    assert torch.equal(Reversible(20).decode(model, start), x)


@dataclass(frozen=True)
class Still(DDIM):
    """Stays at the prior."""

    def step(self, denoiser, x, t, s, state, noise):
        return x, None


# -- the sphere -------------------------------------------------------------------------------------------------------


def test_slerp_is_that_of_scipy():
    """A rotation vector about a fixed axis turns a into b by equal angles."""
    a, b = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    a, b = 2 * a / a.norm(), 2 * b / b.norm()
    axis, angle = torch.linalg.cross(a, b), float(torch.arccos(a @ b / 4))
    turns = Slerp([0, 1], Rotation.from_rotvec([[0.0] * 3, (axis / axis.norm() * angle).tolist()]))
    for w in (0.0, 0.2, 0.5, 1.0):
        close(slerp(a[None], b[None], w)[0], torch.from_numpy(turns(w).apply(a.numpy())))


@each_rank
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slerp_keeps_lengths_and_ends(shape, dtype):
    a, b = torch.randn(2, 7, *shape, dtype=dtype)
    tol = 1e-5 if dtype == torch.float32 else 1e-12
    close(slerp(a, b, 0.0), a, tol, tol)
    close(slerp(a, b, 1.0), b, tol, tol)
    close(slerp(a, b, 0.3), slerp(b, a, 0.7), tol, tol)
    w = torch.linspace(0, 1, 7, dtype=dtype)
    length = (1 - w) * a.flatten(1).norm(dim=1) + w * b.flatten(1).norm(dim=1)
    close(slerp(a, b, w).flatten(1).norm(dim=1), length, tol, tol)
    close(slerp(a, b, w)[3:4], slerp(a[3:4], b[3:4], 0.5), tol, tol)
    assert slerp(a, b, 0.5).dtype == dtype


def test_slerp_of_equal_and_opposite_and_no_vectors():
    a = torch.randn(4, 5, dtype=torch.float64)
    for w in (0.0, 0.25, 0.5, 1.0):
        close(slerp(a, a, w), a)
        close(slerp(a, 2 * a, w), (1 + w) * a)
        nearly = slerp(a, a + 1e-9, w)
        close(nearly, a + w * 1e-9, 0, 1e-15)
        turned = slerp(a, -a, w)
        close(turned.norm(dim=1), a.norm(dim=1))  # round the sphere, not through it
        close((turned * a).sum(1), math.cos(math.pi * w) * a.square().sum(1))
        close(slerp(torch.zeros_like(a), a, w).norm(dim=1), w * a.norm(dim=1))
        assert torch.isfinite(slerp(torch.zeros_like(a), torch.zeros_like(a), w)).all()
    close(slerp(torch.ones(2, 1), -torch.ones(2, 1), 1.0), -torch.ones(2, 1), 1e-6, 1e-6)  # a line has no sphere


# -- the record -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3, 5, 100])
@pytest.mark.parametrize("batch_size", [7, 3])
def test_a_trajectory_is_what_was_seen(every, batch_size):
    model, sampler, record, seen = mixture(VP()), PC(steps=10, last="none"), Trajectory(every), []

    def both(*args):
        seen.append(args)
        record(*args)

    x = sample(model, sampler, (7, 2), batch_size=batch_size, callback=both)
    kept = sorted({*range(every - 1, 10, every), 9})
    assert record.times == [sampler.times(VP())[i + 1] for i in kept]
    assert record.x.shape == record.x0.shape == (len(kept), 7, 2)
    for j, i in enumerate(kept):
        for value, part in ((record.x, 2), (record.x0, 3)):
            assert torch.equal(value[j], torch.cat([s[part] for s in seen if s[0] == i]))
    assert torch.equal(record.x[-1], x)


def test_a_trajectory_of_one_step_and_of_several_calls():
    model, record, chunks = mixture(VP()), Trajectory(), []
    for offset in (0, 2, 4):
        chunks.append(sample(model, ProbabilityFlow(last="none"), (2, 2), callback=record, offset=offset))
    assert record.times == [1.0, 1e-5] and torch.equal(record.x[1], torch.cat(chunks))
    sample(model, DDIM(steps=3), (2, 2), callback=record)
    refuses("different times", call=lambda: record.x)


@pytest.mark.parametrize("kind", [DDIM(steps=3), ProbabilityFlow()], ids=["steps", "adaptive"])
def test_a_trajectory_begins_with_the_noise_it_started_from(kind):
    model, record = mixture(VE(sigma_max=20.0)), Trajectory(every=2)
    sample(model, kind, (5, 2), seed=3, batch_size=2, callback=record, dtype=torch.float64, offset=7)
    start = VE(sigma_max=20.0).prior(normal(torch.zeros(5, 2, dtype=torch.float64), torch.arange(7, 12), 3, 0, 0))
    assert record.times[0] == 1.0 and torch.equal(record.x[0], start)
    assert torch.equal(record.x0[0], model(start, 1.0))


def test_a_chunk_that_starts_again_for_want_of_memory_begins_once():
    """A denoiser that holds 2 rows at a time, and fails at its first step: each row has one start."""

    class Small(type(mixture(VP()))):
        def forward(self, x, t):
            if len(x) > 2 and t < 1:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(x, t)

    model, starts = mixture(VP()), []
    model.__class__ = Small

    class Record:
        def start(self, t, x, x0):
            starts.append(len(x))

        def __call__(self, *args):
            pass

    with pytest.warns(UserWarning, match="ran out of memory"):
        sample(model, DDIM(steps=3), (4, 2), callback=Record())
    assert sum(starts) == 4


# -- what is refused --------------------------------------------------------------------------------------------------


def test_wrong_arguments():
    model, x = mixture(VP()), torch.zeros(3, 2)
    for there in (encode, decode, round_trip):
        refuses("t_min=2.0", "1e-05", call=lambda there=there: there(model, x, t_min=2.0))
        refuses("t_min=0.0", call=lambda there=there: there(model, x, t_min=0.0))
        refuses("int64", "Data.encode", call=lambda there=there: there(model, x.long()))
        refuses("(3,)", call=lambda there=there: there(model, x[:, 0]))
        refuses("rtol=0.0", "above 0", call=lambda there=there: there(model, x, rtol=0.0))
    refuses("int64", call=lambda: Reversible().encode(model, x.long()))
    refuses("(3, 2)", "(2, 2)", call=lambda: slerp(x, x[:2], 0.5))
    refuses("every=0", call=lambda: Trajectory(0))
    refuses("empty", call=lambda: Trajectory().x)

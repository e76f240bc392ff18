"""Laws of the one loop: what is returned, what a sample depends on, and what is refused."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from problems import SDES, SHAPES, Around, close, each_sde, mixture, refuses
from samplers import SAMPLERS as ENTRIES

from scoresde.denoiser import Counted, Denoiser
from scoresde.noise import Draws, normal
from scoresde.sampling import (
    ALD,
    DDIM,
    DEIS,
    PC,
    Adams,
    AdaptiveSDE,
    DPMpp2M,
    DPMpp2MSDE,
    EDMHeun,
    EulerMaruyama,
    ExponentialEuler,
    Gibbs,
    Jump,
    Langevin,
    ProbabilityFlow,
    ReverseDiffusion,
    ReverseSDE,
    Sampler,
    SASolver,
    sample,
)
from scoresde.sde import VP

SAMPLERS = {name: entry(8) for name, entry in ENTRIES.items()}
each_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def slowly(name):
    """Of the adaptive flow's methods only the default is quick enough for every run of the tests."""
    return pytest.param(SAMPLERS[name], marks=pytest.mark.slow if name.startswith("ode_") else (), id=name)


def change(sampler, **kwargs):
    return type(sampler)(**{**vars(sampler), **kwargs})


def run(model, sampler, shape, **kwargs):
    return sample(model, sampler, shape, **{"dtype": torch.float64, **kwargs})


@dataclass(frozen=True)
class Still(Sampler):
    """A user's own sampler, which stays where it is."""

    last: str = "none"

    def step(self, denoiser, x, t, s, state, noise):
        return x, (state or 0) + 1


# -- what is returned -------------------------------------------------------------------------------------------------


@each_sde
@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 4, 4, 4)], ids=str)
def test_every_sampler_takes_every_sde_and_shape(sde, shape):
    """Eight steps are few, but the answer is a posterior mean: it lies about the data."""
    model = mixture(sde, shape)
    reach = float((model.means.abs() + 12 * model.stds).max())
    for sampler in SAMPLERS.values():
        x = run(model, sampler, (shape[-1], *shape))
        assert x.shape == (shape[-1], *shape) and x.abs().max() < reach and x.flatten(1).unique(dim=0).shape[0] > 1


@each_sde
@each_sampler
def test_the_last_step(sde, sampler):
    """`tweedie` is D of what `none` returns, and `mean` is `none` less the noise of its last step."""
    model, shape = mixture(sde), (5, 2)
    if isinstance(sampler, Jump):  # whose last step is to the data
        refuses("last='tweedie'", "give one of none", call=lambda: change(sampler, last="tweedie"))
        return
    none, tweedie = (run(model, change(sampler, last=last), shape) for last in ("none", "tweedie"))
    close(tweedie, model(none, sde.t_min))
    if isinstance(sampler, ReverseSDE):
        refuses("last='mean'", "one of tweedie, none", call=lambda: change(sampler, last="mean"))
        return
    apart = none - run(model, change(sampler, last="mean"), shape)
    if getattr(sampler, "s_churn", 0):
        assert apart.abs().max() > 0  # its noise comes before its evaluations
    elif isinstance(sampler, AdaptiveSDE):  # each row's last step has its own length, and its noise its own scale
        assert apart.abs().min() > 0 and apart.abs().max() < 0.5
    elif ENTRIES[next(k for k, v in SAMPLERS.items() if v is sampler)].noise:
        correctors = sampler.corrector_steps * (sampler.corrector != "none") if isinstance(sampler, PC) else 0
        noise = normal(none, torch.arange(5), 0, sampler.steps, correctors)
        scale = (apart * noise).sum() / noise.square().sum()
        close(apart, scale * noise, rtol=1e-6, atol=1e-8)
        assert scale > 0
    else:
        assert not apart.any()


@each_sde
def test_the_start_is_the_prior(sde):
    model = mixture(sde, (1, 4, 4))
    x = run(model, Still(), (4, 1, 4, 4), seed=5, offset=3)
    close(x, sde.prior(normal(x, torch.arange(3, 7), 5, 0, 0)))
    close(run(model, Still(last="tweedie"), (4, 1, 4, 4), seed=5, offset=3), model(x, sde.t_min))
    close(run(model, Still(last="tweedie", t_min=0.2), (4, 1, 4, 4), seed=5, offset=3), model(x, 0.2))


@pytest.mark.parametrize("sampler", [slowly(name) for name in SAMPLERS])
def test_float32_is_near_float64(sampler):
    for name in ("vp", "ve", "linear"):
        double = mixture(SDES[name])
        single = mixture(SDES[name], dtype=torch.float32)
        x = sample(single, sampler, (8, 2))
        assert x.dtype == torch.float32
        close(x, run(double, sampler, (8, 2)), rtol=1e-2, atol=1e-2)


@each_sampler
def test_no_graph_is_kept(sampler):
    assert not run(mixture(VP()).requires_grad_(), sampler, (2, 2)).requires_grad


# -- what a sample depends on -----------------------------------------------------------------------------------------


def own_steps(sampler):
    """The sampler; of torchsde, whose batch shares one step and one Brownian path, fixed steps without noise."""
    return change(sampler, adaptive=False, eta=0.0) if isinstance(sampler, ReverseSDE) else sampler


@pytest.mark.parametrize("sampler", [slowly(name) for name in SAMPLERS])
def test_a_sample_does_not_depend_on_its_batch(sampler):
    sampler = own_steps(sampler)
    for name in ("vp", "ve", "quadratic"):
        model = mixture(SDES[name], (3,))
        whole = run(model, sampler, (21, 3), seed=4, batch_size=64)
        for batch_size in (10, 1):
            close(run(model, sampler, (21, 3), seed=4, batch_size=batch_size), whole, rtol=0, atol=1e-10)
        close(run(model, sampler, (9, 3), seed=4, offset=12), whole[12:], rtol=0, atol=1e-10)
        close(run(model, sampler, (21, 3), seed=4), whole, rtol=0, atol=1e-10)
        assert (run(model, sampler, (21, 3), seed=5) - whole).abs().amin(1).min() > 1e-6


@each_sampler
def test_conditions_go_with_their_samples(sampler):
    sampler = own_steps(sampler)
    for name in ("subvp", "edm"):
        model, means = Around(SDES[name]), torch.arange(10.0).double()[:, None] + torch.zeros(2).double()
        whole = run(model, sampler, (10, 2), batch_size=4, cond={"mean": means})
        for i in (0, 5, 9):
            close(
                run(model, sampler, (1, 2), offset=i, cond={"mean": means[i : i + 1]}),
                whole[i : i + 1],
                rtol=0,
                atol=1e-9,
            )
        assert (whole - means).abs().max() < 2
        shared = run(model, sampler, (10, 2), cond={"mean": [3.0, 3.0]})  # one row is for all
        close(shared[3], whole[3], rtol=0, atol=1e-9)


def test_conditions_need_a_row_for_each_sample():
    model = Around(VP())
    refuses(
        "condition mean",
        "3 rows",
        "4 samples",
        call=lambda: sample(model, DDIM(), (4, 2), cond={"mean": torch.zeros(3, 2)}),
    )
    refuses("condition mean", "()", call=lambda: sample(model, DDIM(), (4, 2), cond={"mean": torch.tensor(1.0)}))
    refuses("condition mean is missing", call=lambda: sample(model, DDIM(), (4, 2)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norms_are_the_corrector_s_in_any_shape(shape):
    """Algorithm 1 of the paper with the norms of its code, by hand: each sample then depends on its batch mates."""
    model, n, sde = mixture(VP(), shape), shape[-1] + 1, VP()
    pc = PC(steps=3, snr=0.3, batch_norms=True, corrector_steps=2, last="none")
    x, index = sde.prior(normal(torch.empty(n, *shape).double(), torch.arange(n), 0, 0, 0)), torch.arange(n)
    for i, (t, s) in enumerate(itertools.pairwise(pc.times(sde))):
        draws = Draws(0, index, i + 1)
        for _ in range(2):
            score, z = model.score(x, t), draws(x)
            norms = [a.flatten(1).norm(dim=1).mean() for a in (z, score)]
            e = 2 * (0.3 * norms[0] / norms[1] * sde.marginal(t)[0] / sde.marginal(s)[0]) ** 2
            x = x + e * score + (2 * e).sqrt() * z
        x = ReverseDiffusion().step(model, x, t, s, None, draws)[0]
    close(run(model, pc, (n, *shape)), x, rtol=1e-9)
    assert (run(model, pc, (n - 1, *shape)) - x[:-1]).abs().max() > 1e-6


# -- calls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, s in SAMPLERS.items() if not hasattr(s, "rtol")])
def test_evaluations_are_as_documented(name):
    sampler, entry = SAMPLERS[name], ENTRIES[name]
    start = 4 * (sampler.order - 1) if getattr(sampler, "start", "ramp") == "runge_kutta" else entry.start
    for last, more in (("none", 0), ("tweedie", 1))[: 1 if isinstance(sampler, Jump) else 2]:
        counted = Counted(mixture(VP()))
        run(counted, change(sampler, last=last), (7, 2), batch_size=3)
        assert counted.calls == 3 * (8 * entry.each + start + more)
        assert counted.rows == 7 * (8 * entry.each + start + more)


@each_sampler
def test_the_callback_sees_every_step(sampler):
    model, seen = mixture(VP()), []
    sampler = change(sampler, last="none", steps=3)
    x = run(model, sampler, (5, 2), batch_size=3, callback=lambda *args: seen.append(args))
    assert [(i, t) for i, t, _, _ in seen] == 2 * list(enumerate(sampler.times(VP())[1:]))
    assert torch.equal(torch.cat([seen[2][2], seen[5][2]]), x)
    if isinstance(sampler, DDIM | DPMpp2M):
        close(seen[1][3], model(seen[0][2], seen[0][1]))  # the latest estimate: that at the start of the step


def test_a_model_that_is_not_finite_is_an_error():
    class Broken(Denoiser):
        def forward(self, x, t):
            return torch.where(torch.arange(len(x)).reshape(-1, 1) == 1, torch.nan, x)

    for sampler in SAMPLERS.values():
        with pytest.raises(FloatingPointError):
            run(Broken(VP()), sampler, (3, 2))


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*{e.kind: None for e in ENTRIES.values()}, Still])
def test_wrong_arguments_of_every_sampler(kind):
    for steps in (0, -1, 2.5, "10"):
        refuses(f"steps={steps!r}", call=lambda steps=steps: kind(steps=steps))
    refuses("last='denoise'", "none" if kind is Jump else "tweedie, ", "none", call=lambda: kind(last="denoise"))
    refuses("grid='even'", call=lambda: run(mixture(VP()), kind(grid="even"), (2, 2)))


def test_wrong_arguments():
    model = mixture(VP())
    refuses("batch_size=0", call=lambda: sample(model, DDIM(), (2, 2), batch_size=0))
    refuses("shape=(0, 2)", "from 1", call=lambda: sample(model, DDIM(), (0, 2)))
    for eta in (-0.1, 1.1, float("nan")):
        refuses(f"eta={eta}", call=lambda eta=eta: DDIM(eta=eta))
    for kind in (EulerMaruyama, ExponentialEuler, DPMpp2M, SASolver):
        refuses("eta=-1.0", call=lambda kind=kind: kind(eta=-1.0))
    refuses("eta=-2.0 at t=1", call=lambda: sample(model, EulerMaruyama(eta=lambda t: -2.0), (2, 2)))
    refuses("predictor='euler'", "euler_maruyama", call=lambda: PC(predictor="euler"))
    refuses("corrector='mala'", "langevin, ald, gibbs, none", call=lambda: PC(corrector="mala"))
    refuses("snr=0", call=lambda: PC(snr=0))
    refuses("corrector_steps=-1", call=lambda: PC(corrector_steps=-1))
    refuses("correct='during'", "before, after", call=lambda: PC(correct="during"))
    refuses("between=(2, 1)", call=lambda: PC(between=(2, 1)))
    refuses("predictor=PC", call=lambda: PC(predictor=PC()))
    for kind in (Adams, DEIS, SASolver):
        refuses("takes no corrector", "one trajectory", call=lambda kind=kind: PC(predictor=kind()))
    PC(predictor=Adams(), corrector="none")
    for scale in (-1.0, float("inf"), float("nan")):
        for kind, name in ((DDIM, "temperature"), (PC, "temperature"), (EDMHeun, "s_noise"), (SASolver, "s_noise")):
            refuses(f"{name}={scale}", call=lambda kind=kind, name=name, scale=scale: kind(**{name: scale}))
    refuses("s_churn=-1", call=lambda: EDMHeun(s_churn=-1))
    for order in (0, 6, 2.5, "3"):
        refuses(f"order={order!r}", "1 to 5", call=lambda order=order: Adams(order=order))
    refuses("start='cold'", call=lambda: Adams(start="cold"))
    refuses("start='runge_kutta'", call=lambda: SASolver(start="runge_kutta"))
    refuses("rtol=0.0", "above 0", call=lambda: ProbabilityFlow(rtol=0.0))


# -- predictors and correctors ----------------------------------------------------------------------------------------


@each_sde
def test_the_order_of_predictor_and_corrector(sde):
    """`before` is corrector, predictor, corrector, ...; `after` is predictor, corrector, ...; `between` limits it."""
    model, log = mixture(sde), []

    @dataclass(frozen=True)
    class Watched(Sampler):
        def step(self, denoiser, x, t, s, state, noise):
            log.append(("predict", t, s))
            return x, None

    def corrector(denoiser, x, u, t, s, noise):
        log.append(("correct", u))
        return x

    times = sde.time(torch.tensor([-4.0, 0.0, 4.0], dtype=torch.float64)).tolist()
    for correct in ("before", "after"):
        log.clear()
        pc = PC(grid=times, predictor=Watched(), corrector=corrector, corrector_steps=2, correct=correct, last="none")
        run(model, pc, (2, 2))
        t0, t1, t2 = times
        if correct == "before":
            expected = [("correct", t0)] * 2 + [("predict", t0, t1)] + [("correct", t1)] * 2 + [("predict", t1, t2)]
        else:
            expected = [("predict", t0, t1)] + [("correct", t1)] * 2 + [("predict", t1, t2)] + [("correct", t2)] * 2
        assert log == expected
    log.clear()
    run(model, change(pc, between=(0.5, 2.0)), (2, 2))
    assert [entry for entry in log if entry[0] == "correct"] == [("correct", t1)] * 2


@pytest.mark.parametrize("corrector", [Langevin(), ALD(), Gibbs()], ids=["langevin", "ald", "gibbs"])
def test_correctors_by_name_and_by_object(corrector):
    model, name = mixture(VP()), type(corrector).__name__.lower()
    by_name, by_object = (run(model, PC(steps=5, corrector=c), (4, 2)) for c in (name, corrector))
    assert torch.equal(by_name, by_object)
    assert not torch.equal(by_name, run(model, PC(steps=5, corrector="none"), (4, 2)))


@each_sde
def test_temperature_scales_the_noise(sde):
    """Gaussian data of one level: a lower temperature narrows the samples, 0 leaves the way without noise."""
    model = Around(sde)
    for kind, name in ((DDIM, "temperature"), (ReverseDiffusion, "temperature"), (DPMpp2MSDE, "s_noise")):
        eta = {"eta": 1.0} if kind is DDIM else {}
        wide, cool, cold = (
            run(
                model,
                kind(steps=40, last="none", grid="uniform_angle", **{name: k}, **eta),
                (400, 2),
                cond={"mean": [0.0, 0.0]},
            ).std()
            for k in (1.0, 0.5, 0.0)
        )
        assert cold < cool < wide

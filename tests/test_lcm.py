"""Guidance as a condition, skips, adapters that make other models fast, and students of latents."""

import copy
import shutil

import numpy as np
import pytest
import torch
from commands import DIGITS, command
from flow_maps import Solved
from problems import refuses
from test_autoencoder import made

import scoresde
from scoresde import VE, VP, Linear, Preconditioned
from scoresde.conditions import Label, Landing, Strength
from scoresde.data import collate
from scoresde.denoiser import FlowMap, flow_velocity
from scoresde.exact import GaussianMixture
from scoresde.guidance import Guided
from scoresde.latent import latents
from scoresde.model import Model
from scoresde.model.kept.state import plain_state
from scoresde.model.trained.known import facts
from scoresde.nets import MLP, Gaussian
from scoresde.objectives import SCM, Autoencode, Consistency, MeanFlow
from scoresde.objectives.distill.base import Drawn
from scoresde.objectives.distill.look import led
from scoresde.objectives.distill.times import angles
from scoresde.sampling import Jump, Renoise
from scoresde.training import Training

SMALL = dict(steps=3, batch_size=8, lr=1e-2, warmup=0, ema=0.5, validate_every=100, log_every=50)


def digits():
    return scoresde.data.digits()


def stirred(module, seed=0, size=0.1):
    """A module whose weights are off where they began, as those of a trained one are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator))
    return module


def denoiser(shape=(1, 8, 8), conditions=None, sde=None, seed=0, width=16):
    torch.manual_seed(seed)
    return stirred(Preconditioned(MLP(shape, width=width, blocks=1, conditions=conditions), sde or VP(), "v"))


def trained(data, seed=0, **options):
    return Model(denoiser(tuple(data.shape), seed=seed, **options), facts(data), 3)


def labelled(guidance=(1.0, 4.0), **settings):
    """A consistency distillation whose student is told the label and w, its student stirred."""
    data = digits()
    teacher = trained(data, conditions={"label": Label(10)})
    student = stirred(FlowMap.of(teacher, "data", guidance=guidance), 1)
    return Consistency(student, data, teacher, **settings)


def drawn_of(objective, n=12):
    torch.manual_seed(3)
    batch = collate(objective.data.train, range(n), objective.takes)
    return objective.draw(batch, n, slice(None))


def test_the_teacher_is_led_by_the_scale_of_each_row():
    objective = labelled()
    x, t = torch.randn(7, 1, 8, 8), torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    w, label = torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]), torch.tensor([0, 1, -1, 3, 4, -1, 6])
    found = objective.asked(x, t, {"label": label, "guidance": w[:, None]})
    for i in range(7):
        row = slice(i, i + 1)
        wanted = Guided(objective.teacher, float(w[i]))(x[row], t[row], {"label": label[row]})
        torch.testing.assert_close(found[row], wanted, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found[2:3], objective.teacher(x[2:3], t[2:3], {}), atol=1e-6, rtol=1e-6)  # no label
    drawn = drawn_of(objective, 400)
    scales = drawn.cond["guidance"][:, 0]
    assert float(scales.min()) >= 1 and float(scales.max()) <= 4 and abs(float(scales.mean()) - 2.5) < 0.15


class Told(Solved):
    """The exact map of the flow that is led to each row's label by each row's scale w, or by `off` times that."""

    off = 1.0

    def frame(self, z, phi_t, phi_s, cond=None):
        teacher, known = led(self.model, {**cond, "guidance": self.off * cond["guidance"]})
        self.velocity = lambda y, phi: flow_velocity(teacher, y, phi, known)
        return super().frame(z, phi_t, phi_s)


@pytest.mark.parametrize("sde", [VP(), VE(), Linear()], ids=["vp", "ve", "linear"])
def test_scm_and_meanflow_are_at_rest_on_the_guided_map(sde):
    """Told the label and w, their losses are 0 on the exact map of the guided flow, and not on that of another w."""
    means = torch.tensor([[1.0, 0.2], [-0.6, 0.5]], dtype=torch.float64)
    teacher = GaussianMixture(torch.ones(2), means, 0.4, sde, labels=[0, 1])
    kinds = {"label": Label(2), "guidance": Strength.of(1.0, 4.0)}
    data, exact = scoresde.data.from_tensor(torch.randn(50, 2)), Told(teacher, 20)
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 12, 2, generator=generator, dtype=torch.float64)
    u, v = 0.1 + 0.8 * torch.rand(2, 12, generator=generator, dtype=torch.float64)
    cond = {"label": torch.arange(12) % 3 - 1, "guidance": torch.linspace(1, 4, 12, dtype=torch.float64)[:, None]}
    for method, settings, more in ((SCM, {}, {}), (MeanFlow, {"flow": 0.0}, {"landing": Landing()})):
        student = FlowMap(MLP((2,), width=8, blocks=1, conditions=kinds | more), sde, "v", method.lands[0])
        objective = method(student, data, teacher, warmup=0, **settings)
        objective.product = exact
        for exact.off, least, most in ((1.0, 0, 1e-7), (1.2, 1e-4, torch.inf)):
            assert least <= float(objective(Drawn(x0, eps, u, v, cond)).max()) <= most


@pytest.mark.parametrize("skip", [1, 5])
def test_a_step_crosses_skip_intervals(skip):
    objective, seen = labelled(first=20, last=20, grows=0, skip=skip), {}
    stepped = objective.stepped

    def watched(drawn, z, phi, to, order=1):
        seen.update(phi=phi, to=to, order=order)
        return stepped(drawn, z, phi, to, order)

    objective.stepped = watched
    drawn = drawn_of(objective)
    assert bool(objective(drawn).isfinite().all()) and seen["order"] == 2
    near = skip / 20
    low = near + (1 - near) * drawn.u - near
    torch.testing.assert_close(seen["to"], angles(low, objective.low, objective.high))
    torch.testing.assert_close(seen["phi"], angles(low + near, objective.low, objective.high))
    refuses("skip=20: 20 intervals", "at most 19", call=lambda: labelled(first=20, last=20, skip=20))


def test_a_scale_that_was_never_told_is_refused_in_a_line():
    model = labelled().product
    asked = lambda w: scoresde.sample(model, Jump(1), (2, 1, 8, 8), cond={"label": 3, "guidance": w})
    for wrong in (0.5, 4.5):
        refuses(f"guidance is {wrong}", "numbers from 1 to 4", call=lambda wrong=wrong: asked(wrong))
    refuses("takes no guidance from outside", call=lambda: Guided(model, 2.0))
    a, b = (
        scoresde.sample(model, Jump(1), (2, 1, 8, 8), cond={"label": 3} | given) for given in ({}, {"guidance": 1.0})
    )
    torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)  # nobody said: no guidance


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A base, the same fine-tuned, and a model of few steps that is an adapter on the base, each in its folder."""
    place, data = tmp_path_factory.mktemp("bases"), digits()
    net = denoiser()
    scoresde.train(net, data, folder=place / "base", progress=False, **SMALL)
    scoresde.train(data=data, start=place / "base", folder=place / "tuned", progress=False, **SMALL | {"seed": 1})
    base = scoresde.load(place / "base")
    objective = Consistency(FlowMap.of(base), data, base, first=4, last=4, grows=0)
    training = Training(**SMALL, lora=2)
    scoresde.fit(objective, data, training, place / "fast", progress=False)
    return place


def test_an_adapter_makes_another_model_of_its_base_one_of_few_steps(bases, tmp_path):
    base, tuned, fast = (scoresde.load(bases / name) for name in ("base", "tuned", "fast"))
    assert fast.lands == "data" and fast.adapter is not None and tuned.lands is None
    found = tuned.adapted(fast)
    state, before = plain_state(found.bare), plain_state(tuned.bare)
    assert state.keys() == before.keys() and found.lands == "data" and isinstance(found.bare, FlowMap)
    for name, value in before.items():
        layer = name.removesuffix(".weight")
        if name.endswith(".weight") and layer in fast.adapter.layers:
            value = value + fast.adapter.delta(layer).reshape(value.shape)
        assert torch.equal(state[name], value), name
    assert not torch.equal(state["net.enter.weight"], before["net.enter.weight"])
    assert torch.equal(plain_state(tuned.bare)["net.enter.weight"], before["net.enter.weight"])
    again = base.adapted(fast)
    x = fast.generate(4, Renoise(2), progress=False)
    assert torch.equal(again.generate(4, Renoise(2), progress=False), x)
    scoresde.model.save(tmp_path / "kept", found)
    kept = scoresde.load(tmp_path / "kept")
    assert kept.lands == "data" and kept.weights == found.weights
    with pytest.raises(scoresde.InputError, match="jumps to the data alone"):
        kept.generate(2, Jump(2), progress=False)
    plain = tuned.adapted(fast.adapter)  # the weights alone
    assert plain.lands is None and plain.weights == found.weights


def test_what_no_adapter_of_few_steps_fits_is_told_in_a_line(bases):
    fast, data = scoresde.load(bases / "fast"), digits()
    refuses("was not trained as an adapter", call=lambda: fast.adapted(scoresde.load(bases / "base")))
    other = trained(data, sde=VE())
    refuses("has sde=", "VP", "VE", "of its own base", call=lambda: other.adapted(fast))
    refuses("the adapter's layer", call=lambda: trained(data, width=24).adapted(fast))


def test_an_adapter_of_a_student_that_is_told_w_takes_its_conditions_along():
    data = digits()
    base, tuned = (trained(data, seed, conditions={"label": Label(10)}) for seed in (0, 1))
    student = FlowMap.of(base, "any", guidance=(1.0, 3.0))
    objective = Consistency(student, data, base, first=4, last=4, grows=0)
    fast = scoresde.fit(objective, data, Training(**SMALL, lora=2), progress=False)
    found = tuned.adapted(fast)
    assert found.lands == "any" and found.conditions["guidance"].high == 3
    own = FlowMap.of(tuned, "any", guidance=(1.0, 3.0))
    for name, value in fast.adapter.merged(plain_state(own)).items():
        assert torch.equal(plain_state(found.bare)[name], value), name


def test_the_command_puts_an_adapter_on_a_model(monkeypatch, capfd, tmp_path):
    place = tmp_path
    code, out, err = command(monkeypatch, capfd, place, *DIGITS, "task=train", "folder=mine", "rule=v")
    assert code == 0, out + err
    words = ["method.first=4", "method.last=4", "train.lora=2", "train.steps=3", "train.batch_size=8", "train.lr=0.01"]
    said = ["task=distill", "method=consistency", "teacher=mine", "folder=quick", *words]
    code, out, err = command(monkeypatch, capfd, place, *said)
    assert code == 0, out + err
    base, fast = scoresde.load(place / "mine"), scoresde.load(place / "quick")
    few = ["sampler.steps=2", "gif=false"]
    words = ["folder=mine", "task=sample", "n=3", "adapter=quick", *few]
    code, out, err = command(monkeypatch, capfd, place, *words)
    assert code == 0, out + err
    (samples,) = place.glob("mine/sample-*/samples.npy")
    wanted = base.adapted(fast).generate(3, Renoise(2), progress=False).numpy()
    assert np.array_equal(np.load(samples), wanted)
    code, out, err = command(monkeypatch, capfd, place, *words, "adapter=mine")
    assert code == 1 and err.count("\n") == 1 and "adapter=mine: " in err and "not trained as an adapter" in err


def test_a_student_of_latents_decodes_wherever_its_folder_is(tmp_path):
    data, place = digits(), tmp_path / "codec"
    few = latents(
        data, scoresde.fit(Autoencode(made(Gaussian(2)), data), data, Training(**SMALL), place, progress=False)
    )
    teacher = trained(few, conditions={"label": Label(10)})
    teacher.carry(few.codec)
    student = FlowMap.of(teacher, "data", guidance=(1.0, 2.0))
    objective = Consistency(student, few, teacher, first=4, last=4, grows=0)
    model = scoresde.fit(objective, few, Training(**SMALL), tmp_path / "fast", progress=False)
    given = {"label": 3, "guidance": 2.0}
    x = model.generate(2, Renoise(2), cond=given, progress=False)
    shutil.move(tmp_path / "fast", tmp_path / "moved")
    shutil.rmtree(place)
    again = scoresde.load(tmp_path / "moved")
    assert x.shape == (2, 1, 8, 8) and torch.equal(again.generate(2, Renoise(2), cond=given, progress=False), x)
    assert copy.deepcopy(again).codec is not None

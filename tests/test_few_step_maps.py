"""Trainings of few steps on flow maps in closed form: what they ask of a student, the exact map does."""

import dataclasses
import itertools

import pytest
import torch
from problems import Stop, close, each_sde, mixture, refuses, stop_at
from torch import nn

import scoresde
from scoresde.conditions import Label, Landing, Strength
from scoresde.data import Tensors
from scoresde.denoiser import FlowMap, Preconditioned, Source, turned
from scoresde.exact import GaussianMixture
from scoresde.guidance import Guided
from scoresde.objectives import Consistency, GuidedDistillation, Pairs, Progressive, Reflow, Shortcut, Trajectory, pairs
from scoresde.objectives.distill.base import Drawn
from scoresde.objectives.distill.maps.anywhere import frozen
from scoresde.objectives.distill.maps.progressive import chain, stages
from scoresde.objectives.distill.stored import arc
from scoresde.objectives.distill.times import at, both, ends
from scoresde.sampling import DDIM, PC, Adams, Jump, sample
from scoresde.sde import VE, VP, Linear

QUIET = {"progress": False, "device": "cpu"}
MEAN, STD = torch.tensor([0.7, -0.4], dtype=torch.float64), torch.tensor([0.3, 0.6], dtype=torch.float64)


def gaussian(sde, **more):
    return GaussianMixture(torch.ones(1), MEAN[None], STD[None], sde, **more)


class Exact(nn.Module):
    """F of the exact flow map of N(MEAN, STD^2), z_s = cos(phi_s) m + (v_s / v_t) (z_t - cos(phi_t) m), as a network.

    With `lands` a function it lands at the angle that this gives for where it begins; else where it is told.
    """

    def __init__(self, lands=None):
        super().__init__()
        self.lands, self.conditions = lands, {} if lands else {"landing": Landing()}

    def forward(self, z, c, cond=None):
        phi = c.double().exp().atan()
        told = None if self.lands else cond["landing"] * (torch.pi / 2)
        d = (phi - self.lands(phi) if self.lands else told[:, 1 + 9])[:, None]
        phi = phi[:, None]
        to = phi - d
        v, w = ((a.cos() ** 2 * STD**2 + a.sin() ** 2).sqrt() for a in (phi, to))
        q = (1 - STD**2) * (phi + to).sin() / (v * (v + w))
        mean = ((phi + to) / 2).sin() / (d / 2).cos() + phi.cos() * q
        return (q - (d / 2).tan()) * z - mean * MEAN


def moved(z, phi, to):
    """The exact map itself."""
    phi, to = phi[:, None], to[:, None]
    v, w = ((a.cos() ** 2 * STD**2 + a.sin() ** 2).sqrt() for a in (phi, to))
    return to.cos() * MEAN + w / v * (z - phi.cos() * MEAN)


def exact(sde, lands="any"):
    """The exact flow map."""
    if lands == "any":
        return FlowMap(Exact(), sde, "v", "any")
    angles = sde.angle(torch.tensor(lands, dtype=torch.float64))
    next_one = lambda phi: angles[(phi[:, None] - 1e-9 > angles).double().argmax(1)]
    return FlowMap(Exact(next_one), sde, "v", lands)


def data_of(sde, n=64, labels=False):
    x = gaussian(sde).sample(2 * n).float()
    data = scoresde.data.from_tensor(x)
    if not labels:
        return data
    kinds = {"label": Label(2)}
    rows = [Tensors(part, cond={"label": torch.arange(n) % 2}) for part in (x[:n], x[n:])]
    return dataclasses.replace(data, train=rows[0], test=rows[1], conditions=kinds)


def drawn(sde, n=32, seed=0, cond=None):
    g = torch.Generator().manual_seed(seed)
    number = lambda *shape: torch.rand(*shape, generator=g, dtype=torch.float64)
    eps = torch.randn(n, 2, generator=g, dtype=torch.float64)
    return Drawn(gaussian(sde).sample(n, seed=1), eps, (torch.arange(n) + number(n)) / n, number(n), cond or {})


def net(lands=None, width=16, **kinds):
    torch.manual_seed(0)
    kinds |= {"landing": Landing()} if lands == "any" else {}
    return scoresde.nets.MLP((2,), width=width, blocks=1, conditions=kinds or None)


def untrained(sde=None, **kinds):
    """A network's denoiser that answers at random."""
    made = net(**kinds)
    nn.init.normal_(made.leave[-1].weight, std=0.3)
    return Preconditioned(made, sde or VP(), "v")


@each_sde
def test_the_network_of_the_laws_is_the_exact_map(sde):
    low, high = ends(sde)
    phi = torch.linspace(low + 0.02, high, 9, dtype=torch.float64)
    z = torch.randn(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for share in (0.0, 0.5, 1.0):
        to = low + share * (phi - low)
        close(turned(z, exact(sde).frame(z, phi, to), phi - to), moved(z, phi, to), 1e-10, 1e-10)
    known = gaussian(sde).velocity(torch.hypot(*sde.marginal(at(sde, phi)))[:, None] * z, at(sde, phi))
    close(exact(sde).frame(z, phi, phi), known, 1e-7, 1e-7)


@each_sde
def test_two_turns_are_one(sde):
    z, f, g = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    d, e = torch.rand(2, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.7 + 0.01
    z_s = turned(turned(z, f, d), g, e)
    close(both(z, f, g, d, e), ((d + e).cos()[:, None] * z - z_s) / (d + e).sin()[:, None], 1e-10, 1e-10)


@each_sde
def test_progressive_targets_are_the_formula_of_the_paper(sde):
    """x~ = (z'' - (sigma''/sigma) z) / (alpha'' - (sigma''/sigma) alpha), after two steps of DDIM in x_t itself."""
    model = mixture(sde)
    times = chain(sde, 8)
    student = FlowMap(net(), sde, "v", times)
    held = Progressive(student, data_of(sde), model, first=16, last=8)
    g = torch.Generator().manual_seed(0)
    for t, s in itertools.pairwise(times):
        phi, to = (sde.angle(torch.full((6,), a, dtype=torch.float64)) for a in (t, s))
        middle = (phi + to) / 2
        z = torch.randn(6, 2, generator=g, dtype=torch.float64)
        f = held.target(z, phi, middle, to, {})
        found = phi.cos()[:, None] * z - phi.sin()[:, None] * f
        levels = [sde.marginal(at(sde, a)) for a in (phi, middle, to)]
        (a, b), (a1, b1), (a2, b2) = ([v[:, None] for v in level] for level in levels)
        x = torch.hypot(a, b) * z
        x0 = model(x, at(sde, phi))
        y = a1 * x0 + b1 / b * (x - a * x0)
        y0 = model(y, at(sde, middle))
        w = a2 * y0 + b2 / b1 * (y - a1 * y0)
        close(found, (w - b2 / b * x) / (a2 - b2 / b * a), 1e-10, 1e-10)


@each_sde
def test_a_stage_of_progressive_is_at_rest_where_both_chains_are_exact(sde):
    held = Progressive(exact(sde, chain(sde, 1)), data_of(sde), gaussian(sde), first=16, stage=10)
    held.count = 20
    assert held.jumps == 2
    held.product, held.before = exact(sde, chain(sde, 2)), exact(sde, chain(sde, 4))
    assert float(held(drawn(sde)).max()) < 1e-16
    held.before = exact(sde, chain(sde, 8))
    assert float(held(drawn(sde)).max()) > 1e-6


@each_sde
def test_shortcuts_and_trajectories_are_at_rest_on_the_exact_map(sde):
    for teacher in (gaussian(sde), None):
        held = Shortcut(exact(sde), data_of(sde), teacher, flow=0.0, levels=9)
        loss = held(drawn(sde))
        short = 2.0 ** (-9 * drawn(sde).v) < 2.0**-8
        assert float(loss[~short].max()) < 1e-16 and float(loss.max()) < 1e-4
    for made in (Shortcut, Trajectory):
        assert float(made(exact(sde), data_of(sde), gaussian(sde), flow=1.0)(drawn(sde)).max()) < 1e-12
        assert float(made(exact(sde), data_of(sde), flow=1.0)(drawn(sde)).mean()) > 1e-2  # data's own v is no mean
    losses = [
        float(Trajectory(exact(sde), data_of(sde), gaussian(sde), flow=0.0, reach=r, huber=0.0)(drawn(sde)).mean())
        for r in (0.05, 0.1)
    ]
    assert losses[0] < 1e-4 and losses[1] > 16 * losses[0]  # of Heun's step


def test_the_last_jump_of_a_trajectory_moves_no_weights():
    student = FlowMap(net("any"), VP(), "v", "any")
    with frozen(student):
        assert not any(p.requires_grad for p in student.parameters())
    held = Trajectory(student, data_of(VP()), gaussian(VP()), flow=0.0)
    few = drawn(VP())
    few = Drawn(*(v.float() if torch.is_tensor(v) and v.ndim == 2 else v for v in few))
    held(few).mean().backward()
    assert all(p.requires_grad for p in student.parameters())
    assert float(student.net.leave[-1].weight.grad.abs().max()) > 0


@each_sde
def test_pairs_end_where_the_flow_does_and_their_arc_goes_through_both(sde):
    model = gaussian(sde).float()
    z, x = pairs(model, (6, 2), seed=3)
    low, high = ends(sde)
    here, there = (torch.full((6,), a, dtype=torch.float64) for a in (high, low))
    n = [float(torch.hypot(*sde.marginal(t))) for t in (sde.t_min, sde.t_max)]
    start = sde.prior(z.double()) / n[1]
    close(x.double() / n[0], moved(start, here, there), 1e-3, 1e-3)
    assert torch.equal(x, sample(model, Adams(steps=32, last="none"), (6, 2), 3, progress=False))
    x0, eps = arc(z.double(), x.double(), sde, low, high)
    close(Pairs.noised(x0, eps, here), start, 1e-9, 1e-9)
    close(Pairs.noised(x0, eps, there), x.double() / n[0], 1e-9, 1e-9)


def exact_pairs(sde, n=32):
    """Rows of pairs of the exact map, with their arcs."""
    low, high = ends(sde)
    here, there = (torch.full((n,), a, dtype=torch.float64) for a in (high, low))
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, last = (float(torch.hypot(*sde.marginal(t))) for t in (sde.t_max, sde.t_min))
    x = last * moved(sde.prior(z) / first, here, there)
    return drawn(sde, n)._replace(**dict(zip(("x0", "eps"), arc(z, x, sde, low, high), strict=True)))


@each_sde
def test_knowledge_distillation_is_at_rest_on_the_exact_jump(sde):
    held = Pairs(exact(sde, (sde.t_max, sde.t_min)), data_of(sde), gaussian(sde), n=8)
    assert float(held(exact_pairs(sde)).max()) < 1e-16
    held.product = exact(sde, chain(sde, 2))
    assert float(held(exact_pairs(sde)).max()) > 1e-6


class Straight(nn.Module):
    """v of the arcs of exact pairs: which arc a point is on is known, as all of it is affine in the noise."""

    def __init__(self, sde):
        super().__init__()
        low, high = ends(sde)
        z = torch.stack([torch.zeros(2), torch.ones(2)]).double()
        phi, to = (torch.full((2,), a, dtype=torch.float64) for a in (high, low))
        first, last = (float(torch.hypot(*sde.marginal(t))) for t in (sde.t_max, sde.t_min))
        self.ends = arc(z, last * moved(sde.prior(z) / first, phi, to), sde, low, high)

    def forward(self, z, c):
        x0, eps = self.ends
        phi = c.double().exp().atan()[:, None]
        at_0, at_1 = (phi.cos() * a + phi.sin() * b for a, b in zip(x0, eps, strict=True))
        k = (z - at_0) / (at_1 - at_0)
        part = lambda both: both[0] + k * (both[1] - both[0])
        return phi.cos() * part(eps) - phi.sin() * part(x0)


@each_sde
def test_reflow_is_at_rest_on_arcs_and_then_one_step_is_exact(sde):
    model = Preconditioned(Straight(sde), sde, "v")
    held = Reflow(model, data_of(sde), gaussian(sde), n=8)
    assert float(held(exact_pairs(sde)).max()) < 1e-10
    assert model.source.paired
    exact_ends, one = (
        sample(m, s, (16, 2), dtype=torch.float64, progress=False)
        for m, s in ((gaussian(sde), Adams(steps=200, last="none")), (model, DDIM(steps=1, last="none")))
    )
    close(one, exact_ends, 1e-4, 1e-4)


class Led(nn.Module):
    """v of a mixture led by the scale that it is told."""

    def __init__(self, model):
        super().__init__()
        self.model, self.conditions = model, {"label": Label(2), "guidance": Strength.of(1.0, 4.0)}

    def forward(self, z, c, cond):
        phi, sde = c.double().exp().atan(), self.model.sde
        t = at(sde, phi)
        x = torch.hypot(*sde.marginal(t))[:, None] * z
        return Guided(self.model, cond["guidance"][:, 0]).velocity(x, t, {"label": cond["label"]})


def labelled(sde):
    means = torch.tensor([[1.0, 0.2], [-0.6, 0.5]], dtype=torch.float64)
    return GaussianMixture(torch.ones(2), means, 0.4, sde, labels=[0, 1])


@pytest.mark.parametrize("sde", [VP(), VE(), Linear()], ids=["vp", "ve", "linear"])
def test_guided_distillation_is_at_rest_on_the_guided_velocity(sde):
    model = labelled(sde)
    data = data_of(sde, labels=True)
    student = FlowMap(Led(model), sde, "v", None)
    cond = {"label": torch.arange(32) % 2, "guidance": torch.linspace(1, 4, 32, dtype=torch.float64)[:, None]}
    few = drawn(sde, cond=cond)
    assert float(GuidedDistillation(student, data, model)(few).max()) < 1e-12
    kinds = {"label": Label(2), "guidance": Strength.of(1.0, 4.0)}
    chained = FlowMap(net(**kinds), sde, "v", chain(sde, 1))
    phi, to = (torch.full((32,), a, dtype=torch.float64) for a in reversed(ends(sde)))
    z = few.eps
    stage_one, at_once = (
        Progressive(chained, data, t, first=2).target(z, phi, (phi + to) / 2, to, cond) for t in (student, model)
    )
    close(stage_one, at_once, 1e-8, 1e-8)  # its own scale, or the one that it is told


def test_a_guided_student_is_a_teacher_told_its_scale(tmp_path):
    data = data_of(VP(), labels=True)
    teacher = untrained(label=Label(2))
    student = GuidedDistillation.student(teacher, guidance=(1, 4))
    assert student.lands is None and set(student.conditions) == {"label", "guidance"}
    training = scoresde.Training(steps=3, batch_size=16)
    scoresde.fit(GuidedDistillation(student, data, teacher), data, training, tmp_path / "one", **QUIET)
    one = scoresde.load(tmp_path / "one")
    assert one.lands is None and not one.exact
    cond = {"label": 1, "guidance": 3.0}
    x = sample(one, DDIM(steps=3), (4, 2), cond=cond, progress=False)
    assert not torch.equal(x, sample(one, DDIM(steps=3), (4, 2), cond=cond | {"guidance": 1.0}, progress=False))
    two = Progressive(Progressive.student(one), data, one, first=2)
    found = scoresde.fit(two, data, training, tmp_path / "two", **QUIET)
    again = scoresde.load(tmp_path / "two")
    assert again.lands == (VP().t_max, VP().t_min) and set(again.conditions) == {"label", "guidance"}
    draw = lambda model: sample(model, Jump(steps=1), (4, 2), cond=cond, progress=False)
    assert torch.equal(draw(found), draw(again))
    refuses("steps=2", "learned 1", call=lambda: sample(again, Jump(steps=2), (4, 2), cond=cond, progress=False))


def resumed(make, folder, steps=12, stop=8):
    """Models of a training, of one that is cut off at a step and goes on, and what goes on."""
    training = scoresde.Training(steps=steps, batch_size=16, log_every=4, checkpoint_every=4, ema=0.9)
    whole = scoresde.fit(make(), data_of(VP()), training, **QUIET)
    with pytest.raises(Stop):
        scoresde.fit(make(), data_of(VP()), training, folder, report=stop_at(stop), **QUIET)
    last = make()
    return whole, scoresde.fit(last, data_of(VP()), training, folder, **QUIET), last


@pytest.mark.parametrize("stage", [3, 4])  # the cut within a stage, and at its end
def test_progressive_goes_on_to_the_bit_across_its_stages(stage, tmp_path):
    teacher = untrained()
    make = lambda: Progressive(Progressive.student(teacher), data_of(VP()), teacher, first=8, stage=stage)
    whole, again, last = resumed(make, tmp_path / "m")
    assert again.weights == whole.weights and last.jumps == 1 and last.before is not None
    assert scoresde.load(tmp_path / "m").lands == chain(VP(), 1)


def test_each_stage_begins_with_the_average_of_the_one_before():
    teacher = untrained()
    held = Progressive(Progressive.student(teacher), data_of(VP()), teacher, first=8, stage=3)
    average = Progressive.student(untrained())
    nn.init.constant_(average.net.leave[-1].bias, 0.25)
    assert [held.jumps] + [(held.after(k, average), held.jumps)[1] for k in range(1, 10)] == [4] * 3 + [2] * 3 + [1] * 4
    assert torch.equal(held.product.net.leave[-1].bias, average.net.leave[-1].bias)
    assert held.before is not average and torch.equal(held.before.net.leave[-1].bias, average.net.leave[-1].bias)
    held.begin(torch.device("cpu"))
    assert "distance_1" in held.check(average) and average.lands == chain(VP(), 1)


@pytest.mark.parametrize("method", [Pairs, Reflow])
def test_pairs_are_made_once_and_kept_whole(method, tmp_path):
    teacher, folder = untrained(), tmp_path / "m"
    make = lambda **more: method(method.student(teacher), data_of(VP()), teacher, n=40, steps=4, **more)
    whole, again, last = resumed(make, folder)
    assert again.weights == whole.weights
    kept = folder / "pairs.safetensors"
    begin = lambda held: (held.within(folder), held.begin(torch.device("cpu")))
    begin(other := make())
    assert torch.equal(other.rows["x"], last.rows["x"]) and len(other.rows["z"]) == 40
    changed = untrained()
    nn.init.constant_(changed.net.leave[-1].bias, 1.0)
    refuses(
        "pairs.safetensors",
        "remove it",
        call=lambda: begin(method(method.student(teacher), data_of(VP()), changed, n=40, steps=4)),
    )
    kept.write_bytes(kept.read_bytes()[:-7])
    refuses("cannot be read", "remove it", call=lambda: begin(make()))


def test_a_reflowed_model_gives_its_flow_alone(tmp_path):
    teacher = untrained()
    held = Reflow(Reflow.student(teacher), data_of(VP()), teacher, n=20, steps=4)
    scoresde.fit(held, held.data, scoresde.Training(steps=2, batch_size=8), tmp_path / "m", **QUIET)
    model = scoresde.load(tmp_path / "m")
    assert model.source.paired and model.exact and model.lands is None
    sample(model, DDIM(steps=2), (3, 2), progress=False)
    refuses("paired with the data", call=lambda: sample(model, PC(), (3, 2), progress=False))


def test_pairs_have_the_conditions_of_items_and_the_scale():
    data, teacher = data_of(VP(), labels=True), untrained(label=Label(2))
    held = Pairs(Pairs.student(teacher, guidance=(1, 4)), data, teacher, n=200, steps=2)
    held.begin(torch.device("cpu"))
    label, scale = held.rows["cond.label"], held.rows["cond.guidance"]
    assert {-1, 0, 1} == set(label.tolist()) and 1 <= float(scale.min()) < 1.2 < 3.8 < float(scale.max()) <= 4
    z, x = pairs(Guided(teacher, scale[:, 0]), (200, 2), Adams(steps=2, last="none"), cond={"label": label})
    close(held.rows["x"], x, 1e-5, 1e-5)
    assert torch.equal(held.rows["z"], z)


def test_what_a_method_cannot_train_is_told_in_a_line():
    data, teacher = data_of(VP()), untrained()
    make = lambda method, student=None, given=teacher, **more: method(
        student or method.student(teacher), data, given, **more
    )
    refuses("first=12", "last=1", "power of 2", call=lambda: stages(12, 1))
    refuses("first=8", "last=8", call=lambda: stages(8, 8))
    refuses("first=24 and last=5", "first=20", call=lambda: stages(24, 5))
    assert stages(24, 3) == 3
    refuses("last=2", "chain of 1", "Progressive.student", call=lambda: make(Progressive, last=2))
    refuses("power=1.5", call=lambda: make(Progressive, Progressive.student(teacher, last=2), last=2, power=1.5))
    short = make(Progressive, first=8, stage=20)
    call = lambda: scoresde.fit(short, data, scoresde.Training(steps=40), **QUIET)
    refuses("steps=40", "3 stages of stage=20", "41 steps", call=call)
    for method in (Progressive, Pairs, Reflow):
        refuses("teacher=None", method.__name__, call=lambda method=method: make(method, given=None))
    anywhere = Shortcut.student(teacher)
    refuses("lands='any'", "a chain of times", call=lambda: make(Progressive, anywhere))
    refuses("lands='any'", "lands=None", "Reflow.student", call=lambda: make(Reflow, anywhere))
    refuses("lands='data'", "Shortcut.student", call=lambda: make(Shortcut, Consistency.student(teacher)))
    refuses("student", "give a FlowMap", call=lambda: make(Consistency, teacher))
    refuses("model of few steps", call=lambda: make(Consistency, given=anywhere))
    refuses("no conditions to be led to", call=lambda: make(GuidedDistillation))
    other = untrained()
    other.source = Source(offset=0.1)
    refuses("offset noise", "plain noise", call=lambda: make(Consistency, given=other))
    refuses("offset noise", call=lambda: make(Pairs, given=other))
    other.source = Source(paired=True)
    refuses("paired", "method=knowledge", call=lambda: make(Shortcut, given=other))
    make(Pairs, given=other)  # each of its noises by itself is plain
    told, items = untrained(label=Label(2)), data_of(VP(), labels=True)
    call = lambda: GuidedDistillation(GuidedDistillation.student(told), items, told)
    refuses("no scale", "guidance=(1, 4)", call=call)
    refuses("flow=1.5", call=lambda: make(Shortcut, flow=1.5))

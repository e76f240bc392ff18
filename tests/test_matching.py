"""Few steps by distributions: what DMD follows, who learns its law, who tells it from data, and who moves."""

import math

import pytest
import torch
from boxes import differences
from commands import ROOT
from players import drawn_of, play, ring, small
from test_hardware import launch
from torch import nn

from scoresde import InputError, Preconditioned, fit
from scoresde.conditions import Label
from scoresde.data import Affine, Batch, Data, Tensors
from scoresde.denoiser import FlowMap
from scoresde.exact import GaussianMixture
from scoresde.model import checkpoint
from scoresde.model.folder import load
from scoresde.model.trained.classifier import NoisyClassifier
from scoresde.nets import MLP, Encoder, UNet
from scoresde.objectives import ADD, DMD, DMD2, Consistency
from scoresde.objectives.distill.matching import FeatureCritic, NetCritic
from scoresde.objectives.distill.matching.base import CRITIC, FAKE, STUDENT
from scoresde.objectives.distill.matching.parts import energy
from scoresde.sampling import Jump, sample
from scoresde.sde import VE, VP, Linear
from scoresde.training import Training

SDES = [VP(), VE(), Linear()]
NAMES = ["vp", "ve", "linear"]


def gaussian(mean, std, sde):
    return GaussianMixture(torch.ones(1), torch.tensor([mean]).double(), std, sde)


class Line(nn.Module):
    """x -> mean + std x, of any level."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = nn.Parameter(torch.tensor(mean)), nn.Parameter(torch.tensor(std))

    def forward(self, x, c):
        return self.mean + self.std * x


def made(kind=DMD, sde=None, teacher=None, student=None, **settings):
    """An objective on a mixture, small enough for its laws."""
    teacher = teacher or ring(sde or VP())
    data = drawn_of(teacher, 400)
    torch.manual_seed(0)
    student = student or FlowMap(small(*data.shape), teacher.sde)
    if kind is not ADD and "fake" not in settings:
        settings["fake"] = small(*data.shape)
    if kind is not DMD and "critic" not in settings:
        settings["critic"] = "own"
    if kind is DMD:
        settings.setdefault("pairs", 20)
    objective = kind(student, data, teacher, **settings)
    if kind is DMD:
        objective.begin(torch.device("cpu"))
    return objective


def draw(objective, n=64, seed=0, turn=STUDENT):
    torch.manual_seed(seed)
    x = objective.data.train.x[torch.arange(n) % len(objective.data.train.x)]
    return objective.draw(Batch(x, {}), n, slice(None), turn)


@pytest.mark.parametrize("sde", SDES, ids=NAMES)
def test_what_dmd_follows_is_the_gradient_of_kl(sde):
    mean, std, real_mean, real_std = [0.7, -0.1], 0.4, [-0.2, 0.3], 0.9
    student = FlowMap(Line(mean, std).double(), sde, "x0")
    own = std * phi_t(sde, math.sin)  # what is left of pure noise at t_max
    objective = made(teacher=gaussian(real_mean, real_std, sde), student=student, fake=gaussian(mean, own, sde))
    n = 20000
    drawn = draw(objective, n)
    drawn = drawn._replace(chain=drawn.chain.double(), other=drawn.other.double())
    for u in (0.2, 0.6):
        drawn = drawn._replace(u=torch.full((n,), u, dtype=torch.float64))
        x0 = objective.generated(drawn)
        fake, real, phi = objective.difference(x0, drawn)
        slope = (phi.cos() / phi.sin())[:, None] ** 2 * (fake - real)
        a, c = math.cos(float(phi[0])), math.sin(float(phi[0]))
        q, p = (a * own) ** 2 + c**2, (a * real_std) ** 2 + c**2
        by_mean = a**2 * (torch.tensor(mean) - torch.tensor(real_mean)) / p
        by_std = 2 * a**2 * own * (1 / p - 1 / q)  # of two coordinates
        for found, wanted in ((slope, by_mean), ((slope * drawn.chain[0]).sum(1, keepdim=True), by_std)):
            error = found.std(0) / math.sqrt(n)
            assert bool(((found.mean(0) - wanted).abs() < 5 * error + 1e-9).all()), (u, found.mean(0), wanted)


def phi_t(sde, function):
    return function(float(sde.angle(sde.t_max)))


@pytest.mark.parametrize("sde", SDES, ids=NAMES)
def test_where_the_laws_are_one_nothing_is_followed(sde):
    teacher = ring(sde)
    objective = made(DMD, teacher=teacher, fake=ring(sde))
    drawn = draw(objective)
    x0 = objective.generated(drawn)
    assert float(objective.followed(x0, drawn).detach().abs().max()) == 0
    objective.fake = gaussian([0.5, 0.5], 0.3, sde)
    x0 = x0.detach().requires_grad_()
    (slope,) = torch.autograd.grad(objective.followed(x0, drawn).sum(), x0)
    fake, real, _ = objective.difference(x0, drawn)
    wanted = (fake - real) / (x0 - real).abs().mean(1, keepdim=True) / 2
    torch.testing.assert_close(slope, wanted, rtol=1e-4, atol=1e-5)


def test_the_fake_denoiser_learns_the_posterior_mean_of_what_the_student_makes():
    sde, mean, std = VP(), [0.8, -0.5], 0.5
    objective = made(student=FlowMap(Line(mean, std), sde, "x0"), fake=MLP((2,), width=32, blocks=2))
    exact = gaussian(mean, std * phi_t(sde, math.sin), sde)
    mover = torch.optim.Adam(objective.trained(FAKE), 1e-2)
    for step in range(300):
        mover.param_groups[0]["lr"] = 1e-2 * (1 - step / 300)
        loss = objective(draw(objective, 256, step, FAKE), FAKE).mean()
        mover.zero_grad()
        loss.backward()
        mover.step()
    assert all(p.grad is None for p in objective.product.parameters())  # the student is only drawn from
    for t in (0.1, 0.4, 0.9):
        x = exact.sample(500, t, seed=3).float()
        wrong = (objective.fake(x, t) - exact(x, t)).square().mean().sqrt()
        assert float(wrong.detach()) < 0.06, (t, float(wrong.detach()))


def test_a_turn_that_moves_several_times_counts_right(tmp_path):
    noted = []

    class Watched(DMD2):
        def forward(self, drawn, turn):
            noted.append((turn, float(drawn.other[0, 0])))
            return super().forward(drawn, turn)

    play(tmp_path, 5, Watched, log_every=1, ema=0.5)
    assert [turn for turn, _ in noted] == [FAKE, FAKE, CRITIC, STUDENT] * 5
    assert len({number for _, number in noted}) == 20  # drawn anew at every move
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    moved = [state["optimizer"], *state["optimizers"]]
    assert [int(one["state"][0]["step"]) for one in moved] == [10, 5, 5]
    assert state["step"] == 5


def test_three_players_go_on_to_the_bit(tmp_path):
    class Stop(Exception):
        pass

    def stop(step, **figures):
        if step == 13:
            raise Stop

    play(tmp_path / "whole", 20, log_every=1)
    with pytest.raises(Stop):
        play(tmp_path / "parts", 20, report=stop, log_every=1)
    play(tmp_path / "parts", 20, log_every=1)
    assert not (differ := differences(tmp_path / "whole", tmp_path / "parts")), differ


def test_others_move_once_in_their_order():
    assert made(ADD).moves == ADD.turns == (CRITIC, STUDENT)
    assert made(DMD, fakes=3).moves == (FAKE, FAKE, FAKE, STUDENT)


def test_a_critic_moves_at_its_own_pace(tmp_path):
    objective = made(ADD, pace=50.0)
    nn.init.normal_(objective.product.net.leave[-1].weight, std=0.1)  # else nothing before the last layer moves
    start = {turn: [p.detach().clone() for p in objective.trained(turn)] for turn in objective.turns}
    training = Training(
        steps=1, batch_size=16, lr=1e-4, betas=(0.0, 0.99), weight_decay=0.0, warmup=0, validate_every=9
    )
    fit(objective, objective.data, training, progress=False, device="cpu")
    moved = {
        turn: max(
            float((p.detach() - q).abs().max()) for p, q in zip(objective.trained(turn), start[turn], strict=True)
        )
        for turn in objective.turns
    }
    assert moved[STUDENT] == pytest.approx(1e-4, rel=0.01)  # the first step of Adam is the rate
    assert moved[CRITIC] == pytest.approx(50e-4, rel=0.01)


@pytest.mark.parametrize("sde", SDES, ids=NAMES)
def test_simulated_inputs_are_those_of_sampling(sde):
    objective = made(DMD2, sde, steps=3)
    student = objective.product
    nn.init.normal_(student.net.leave[-1].weight, std=0.1)  # else it says nothing of its input
    drawn = draw(objective)
    times, n = [float(sde.time(-2 * p.tan().log())) for p in objective.begins], lambda t: math.hypot(*sde.marginal(t))
    x = sde.prior(drawn.chain[0]).float()
    for k, t in enumerate(times):
        x0 = student.landing(x, t, sde.t_min)
        rows = drawn.k == k
        assert rows.any()
        torch.testing.assert_close(objective.simulated(drawn)[rows], x[rows] / n(t), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(objective.generated(drawn)[rows], x0[rows], rtol=1e-3, atol=2e-3)
        if k + 1 < len(times):
            alpha, sigma = (float(v) for v in sde.marginal(times[k + 1]))
            x = alpha * x0 + sigma * drawn.chain[k + 1]


def test_inputs_of_add_are_noised_data_but_for_pure_noise():
    objective = made(ADD, steps=2)
    drawn = draw(objective)
    given, phi = objective.given(drawn), objective.begins
    first = drawn.k == 0
    torch.testing.assert_close(given[first], drawn.chain[0][first] * phi[0].sin().float())
    torch.testing.assert_close(given[~first], (phi[1].cos() * drawn.x0 + phi[1].sin() * drawn.chain[0])[~first].float())
    assert torch.equal(made(ADD, steps=2, inputs="simulated").given(drawn), objective.simulated(drawn))


def test_the_losses_of_a_contest():
    class Slope(nn.Module):
        """A critic that is 2 x - y."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([[2.0], [-1.0]]))

        def forward(self, x, c):
            return x @ self.weight

    plain, penalised = (
        made(ADD, critic=Slope(), r1=r1, noise=(0.0, 0.0), gan="hinge", distillation=1.0) for r1 in (0.0, 0.4)
    )
    drawn = draw(plain)
    phi = torch.full_like(drawn.v, plain.low)
    x, y = (plain.noised(v, drawn.other, phi) @ plain.critic.net.weight for v in (drawn.x0, plain.generated(drawn)))
    wanted = (1 - x).relu()[:, 0] + (1 + y).relu()[:, 0]
    torch.testing.assert_close(plain(drawn, CRITIC), wanted)
    torch.testing.assert_close(penalised(drawn, CRITIC), wanted + 0.2 * 5)
    soft = made(ADD, critic=Slope(), r1=0.0, noise=(0.0, 0.0), gan="softplus", distillation=0.0)
    torch.testing.assert_close(soft(drawn, STUDENT), nn.functional.softplus(-y)[:, 0])
    teacher = plain.teacher
    phi = plain.compared(drawn.u)
    z = plain.noised(plain.generated(drawn), drawn.other, phi)
    taught = plain.denoised(teacher, z, phi, {})
    pull = phi.cos() * (plain.generated(drawn) - taught).square().mean(1)
    torch.testing.assert_close(plain(drawn, STUDENT), (-y[:, 0] + pull).float(), rtol=1e-4, atol=1e-5)


def pictures(label=False):
    """A small teacher of pictures 8 x 8 that says something, and data of noise."""
    torch.manual_seed(1)
    conditions = {"label": Label(3)} if label else None
    net = UNet((1, 8, 8), channels=8, mults=(1, 2), blocks=1, conditions=conditions)
    for p in net.parameters():
        nn.init.normal_(p, std=0.1)
    return Preconditioned(net, VP(), "v").requires_grad_(False)


def test_heads_look_at_the_features_of_a_teacher_or_a_classifier():
    teacher = pictures(label=True)
    classifier = NoisyClassifier(Encoder((1, 8, 8), 3, channels=8), VP())
    for model in (teacher, classifier.requires_grad_(False)):
        critic = FeatureCritic(model, VP(), (1, 8, 8))
        z, phi = torch.randn(5, 1, 8, 8, requires_grad=True), torch.linspace(0.1, 1.2, 5, dtype=torch.float64)
        found = critic(z, phi, {"label": torch.tensor([0, 1, 2, -1, 0])})
        assert found.shape[0] == 5 and found.shape[1] > len(critic.heads) == 4
        (slope,) = torch.autograd.grad(found.sum(), z)
        assert bool((slope.flatten(1).abs().sum(1) > 0).all())
        assert all(name.startswith("heads.") for name in critic.state_dict())
        assert not any(part._forward_hooks for part in model.modules())
    critic = FeatureCritic(Preconditioned(MLP((2,), width=16, blocks=3), VP(), "v"), VP(), (2,), heads=2)
    assert critic(torch.randn(4, 2), torch.full((4,), 0.4), {}).shape == (4, 2)


@pytest.mark.parametrize("kind", [DMD, DMD2, ADD])
def test_a_student_of_pictures_trains_by_the_teachers_features(kind):
    teacher, x = pictures(), torch.randn(80, 1, 8, 8)
    data = Data("noise", Tensors(x[:60]), Tensors(x[60:]), Affine())
    settings = {"pairs": 20} if kind is DMD else {"steps": 2}
    objective = kind(kind.student(teacher), data, teacher, **settings)
    if kind is not ADD:
        z, t = torch.randn(3, 1, 8, 8), torch.tensor([0.1, 0.5, 0.9])
        torch.testing.assert_close(objective.fake(z, t), teacher(z, t))  # it begins as the teacher
    before = {name: p.clone() for name, p in teacher.state_dict().items()}
    model = fit(
        objective, data, Training(steps=2, batch_size=8, warmup=0, validate_every=2), progress=False, device="cpu"
    )
    assert all(torch.equal(before[name], p) for name, p in teacher.state_dict().items())
    assert not any(name.startswith("teacher") for name in objective.state())
    assert model.lands == (DMD.learns(teacher.sde) if kind is DMD else "data")
    if kind is DMD:
        with pytest.raises(InputError, match="steps=2: the model has learned 1 jumps"):
            sample(model, Jump(steps=2), (3, 1, 8, 8))


def test_a_student_may_begin_as_another(tmp_path):
    teacher = pictures()
    data = Data("noise", Tensors(torch.randn(20, 1, 8, 8)), Tensors(torch.randn(20, 1, 8, 8)), Affine())
    own = {"progress": False, "device": "cpu", "training": Training(steps=1, batch_size=4, warmup=0, validate_every=9)}
    fit(Consistency(FlowMap.of(teacher), data, teacher), data, folder=tmp_path / "first", **own)
    for kind in (DMD2, ADD):
        student = kind.student(teacher, begin=str(tmp_path / "first"), steps=2)
        first = load(tmp_path / "first")
        x = torch.randn(3, 1, 8, 8)
        assert torch.equal(student.eval()(x, 0.7), first(x, 0.7)) and not torch.equal(first(x, 0.7), teacher(x, 0.7))
        assert kind(student, data, teacher, steps=2, begin="first").arguments["begin"] == "first"
    with pytest.raises(InputError, match="nowhere"):
        ADD.student(teacher, begin="nowhere")


def test_energy_is_that_of_the_metrics():
    from scoresde.metrics import energy as measured

    x, y = torch.randn(50, 3), torch.randn(40, 3) + 0.5
    assert energy(x, y) == pytest.approx(measured(x, y).value, rel=1e-6)


def test_what_does_not_go_together_is_told_in_a_line():
    sde, teacher = VP(), ring(VP())
    data, student = drawn_of(teacher, 200), lambda: FlowMap(small(), sde)
    chain = lambda: FlowMap(small(), sde, "v", (1.0, 0.5, 0.1))
    for words, ask in (
        ("teacher=None: DMD does not learn from data alone: give", lambda: DMD(student(), data)),
        ("teacher=None: ADD does not", lambda: ADD(student(), data)),
        ("GaussianMixture: it has no network that the fake.*give fake=", lambda: DMD(student(), data, teacher)),
        ("GaussianMixture: it has no network whose features.*critic=own", lambda: ADD(student(), data, teacher)),
        (r"times=\[1.0, 1e-09\]: .*from t_max=1 on", lambda: made(ADD, times=(1.0, 1e-9))),
        (r"times=\[0.5\]: give decreasing", lambda: made(DMD2, times=(0.5,))),
        (r"times=\[1.0, 0.2, 0.6\]", lambda: made(DMD2, times=(1.0, 0.2, 0.6))),
        (r"noise=\[0.8, 0.2\]: give two shares", lambda: made(ADD, noise=(0.8, 0.2))),
        ("steps=0", lambda: made(DMD2, steps=0)),
        ("critic", lambda: made(ADD, critic="nobody")),
        ("DMD trains one jump", lambda: made(DMD, student=chain())),
        (
            r"has lands=\(1.0, 0.5, 0.1\): ADD trains one of lands='data'",
            lambda: made(ADD, student=FlowMap(small(), sde, "v", (1.0, 0.5, 0.1))),
        ),
    ):
        with pytest.raises(InputError, match=words) as refused:
            ask()
        assert "\n" not in str(refused.value)
    assert isinstance(made(ADD, critic=Encoder((2,), 1, channels=16)).critic, NetCritic)
    assert made(ADD, times=(1.0, 0.4)).begins.tolist() == pytest.approx(sde.angle(torch.tensor([1.0, 0.4])).tolist())


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    done = launch(ROOT / "tests" / "players.py", f"folder={tmp_path / 'two'}", "train.steps=12")
    assert done.returncode == 0, done.stderr
    play(tmp_path / "one", 12)
    one, two = (checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("one", "two"))
    for part in ("model", "ema", "loss"):
        for name, value in one[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=0, atol=1e-4)

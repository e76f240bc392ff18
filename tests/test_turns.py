"""Several turns in a step, a critic's and a generator's: each moves its own, and nothing of either is lost."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from adversarial import MEAN, STD, Adversarial, Line, gaussian, play
from boxes import differences
from commands import ROOT
from test_hardware import launch
from torch import nn

import scoresde
from scoresde.data import Affine, Data, Tensors
from scoresde.model import checkpoint

PARTS = ("model", "ema", "loss")


class Watched(Adversarial):
    """It notes, when each turn begins, the weights, the gradients that are there, and what is drawn."""

    def __init__(self, data, **parts):
        super().__init__(data, **parts)
        self.spare, self.noted = nn.Parameter(torch.ones(())), []

    def forward(self, drawn, turn):
        weights = {name: p.detach().clone() for name, p in self.named_parameters()}
        left = [name for name, p in self.named_parameters() if p.grad is not None]
        self.noted.append((turn, weights, left, drawn))
        return super().forward(drawn, turn) * self.spare


def test_it_learns_a_mean_and_a_scale():
    made = play(steps=600)
    assert float((made.generator.mean - MEAN).abs().max()) < 0.1
    assert float((made.generator.std.abs() - STD).abs().max()) < 0.15


def test_each_turn_moves_its_own_and_leaves_no_gradient(tmp_path):
    objective, rows = [], []
    kind = lambda data: objective.append(Watched(data)) or objective[0]
    play(tmp_path, 6, kind, report=lambda step, **f: rows.append(f), weight_decay=0.5, log_every=1)
    noted = objective[0].noted
    assert [turn for turn, *_ in noted] == ["critic", "generator"] * 6
    assert not any(left for _, _, left, _ in noted)
    for (turn, before, _, _), (_, after, _, _) in zip(noted, noted[1:], strict=False):
        own = "critic." if turn == "critic" else "product."
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == {name for name in before if name.startswith(own)}
    drawn = [tuple(z[:, 0].tolist()) for _, _, _, (_, z, _) in noted]
    assert len(set(drawn)) == 12  # anew in each turn
    assert {"loss", "gradient", "loss_critic", "gradient_critic"} <= rows[0].keys()
    assert (
        checkpoint.load(tmp_path / "checkpoint.pt")["loss"].keys()
        == dict(objective[0].critic.named_parameters(prefix="critic")).keys()
    )


def test_what_is_frozen_is_used_as_it_is_evaluated(tmp_path):
    class Taught(Adversarial):
        def __init__(self, data):
            super().__init__(data)
            self.teacher = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).requires_grad_(False)
            self.modes = []

        def forward(self, drawn, turn):
            self.modes.append((self.critic.training, self.product.training, self.teacher[1].training))
            return super().forward(drawn, turn) + self.teacher(drawn[0]).sum(1)

    taught = []
    play(tmp_path, 2, lambda data: taught.append(Taught(data)) or taught[0])
    assert taught[0].modes == [(True, True, False)] * 4
    assert not [name for name in checkpoint.load(tmp_path / "checkpoint.pt")["loss"] if name.startswith("teacher")]


class Quadratic(nn.Module):
    """f(x) = a x + q x^2 in float64."""

    def __init__(self):
        super().__init__()
        self.a, self.q = (nn.Parameter(torch.tensor([v], dtype=torch.float64)) for v in (0.4, -0.3))

    def forward(self, x):
        return self.a * x + self.q * x**2


class Adam:
    """AdamW on a list of numbers, by hand."""

    def __init__(self, values, betas, weight_decay, clip):
        self.values, self.betas, self.decay, self.clip = list(values), betas, weight_decay, clip
        self.first, self.second, self.steps = [0.0] * len(values), [0.0] * len(values), 0

    def step(self, slopes, rate):
        norm, self.steps = math.sqrt(sum(g**2 for g in slopes)), self.steps + 1
        for i, g in enumerate(slopes):
            g = g * min(1, self.clip / norm)
            self.first[i] = self.betas[0] * self.first[i] + (1 - self.betas[0]) * g
            self.second[i] = self.betas[1] * self.second[i] + (1 - self.betas[1]) * g**2
            one, two = (1 - b**self.steps for b in self.betas)
            moved = self.first[i] / one / (math.sqrt(self.second[i] / two) + 1e-8)
            self.values[i] = (1 - rate * self.decay) * self.values[i] - rate * moved
        return norm


@pytest.mark.parametrize("clip", [0.2, 100.0])
@pytest.mark.parametrize("accelerate", [True, False])
def test_steps_by_hand(clip, accelerate, monkeypatch):
    if not accelerate:
        monkeypatch.setitem(sys.modules, "accelerate", None)
    x = torch.linspace(-1, 2, 40)[:, None]
    data, rows = Data("line", Tensors(x), Tensors(x), Affine()), []
    objective = Watched(data, generator=Line(1).double(), critic=Quadratic())
    own = dict(lr=0.05, betas=(0.6, 0.8), weight_decay=0.4, warmup=2, clip=clip, ema=0.0, steps=5)
    play(None, data=data, kind=lambda _: objective, report=lambda step, **f: rows.append(f), **own | {"log_every": 1})
    hand = [Adam(start, own["betas"], own["weight_decay"], clip) for start in ([0.4, -0.3], [0.0, 1.0])]
    for step in range(5):
        rate = own["lr"] * min(1, (step + 1) / 3) * (1 + math.cos(math.pi * step / 5)) / 2
        (a, q), (mean, std) = hand[0].values, hand[1].values
        x, z, u = (v.double().numpy() for v in objective.noted[2 * step][3])
        made = mean + std * z
        v = u * x + (1 - u) * made
        slope = a + 2 * q * v
        loss = np.mean(a * made + q * made**2 - a * x - q * x**2 + slope**2)
        norm = hand[0].step([np.mean(made - x + 2 * slope), np.mean(made**2 - x**2 + 4 * slope * v)], rate)
        assert [rows[step][f"{k}_critic"] for k in ("loss", "gradient")] == pytest.approx([loss, norm], rel=1e-5)
        _, z, _ = (v.double().numpy() for v in objective.noted[2 * step + 1][3])
        (a, q), made = hand[0].values, mean + std * z  # the critic has moved
        slope = -(a + 2 * q * made)
        norm = hand[1].step([slope.mean(), (slope * z).mean()], rate)
        loss = -np.mean(a * made + q * made**2)
        assert [rows[step][k] for k in ("loss", "gradient")] == pytest.approx([loss, norm], rel=1e-5)
    found = [p.item() for p in (*objective.critic.parameters(), *objective.product.parameters())]
    assert found == pytest.approx([*hand[0].values, *hand[1].values], abs=1e-7)


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [7, 13])
def test_resume_is_exact(tmp_path, at):
    def stop(step, **figures):
        if step == at:
            raise Stop

    play(tmp_path / "whole", 20, log_every=1)
    with pytest.raises(Stop):
        play(tmp_path / "parts", 20, report=stop, log_every=1)
    assert checkpoint.load(tmp_path / "parts" / "checkpoint.pt")["step"] == at // 5 * 5
    made = play(tmp_path / "parts", 20, log_every=1)
    state = checkpoint.load(tmp_path / "whole" / "checkpoint.pt")
    assert state["loss"] and len(state["optimizers"]) == 1  # the critic's: they are compared as all that is in it
    assert not (differ := differences(tmp_path / "whole", tmp_path / "parts")), differ
    again = play(tmp_path / "parts", 20, report=stop)  # it is finished
    assert again.weights == made.weights and again.step == 20


@pytest.mark.parametrize("turn", Adversarial.turns)
def test_a_loss_that_is_not_finite_is_told_by_its_turn(tmp_path, turn):
    class Spoilt(Adversarial):
        made_so_far = 0

        def forward(self, drawn, now):
            self.made_so_far += now == turn
            return super().forward(drawn, now) * (math.nan if self.made_so_far == 8 else 1)

    with pytest.raises(FloatingPointError, match=rf"^the {turn} loss or its gradient is not finite at step 8; .*kept"):
        play(tmp_path / "spoilt", 20, Spoilt)
    play(tmp_path / "five", 5)
    assert checkpoint.load(tmp_path / "spoilt" / "checkpoint.pt")["step"] == 5
    play(tmp_path / "spoilt", 20)
    play(tmp_path / "whole", 20)
    assert not differences(tmp_path / "spoilt", tmp_path / "whole")


def test_a_checkpoint_that_lacks_a_turn_is_refused(tmp_path):
    play(tmp_path, 10)
    path = tmp_path / "checkpoint.pt"
    state = checkpoint.load(path)
    wrong = [{k: v for k, v in state.items() if k != "optimizers"}]
    wrong += [state | {"optimizers": part} for part in ([], ["x"], "x", state["optimizers"] * 2)]
    wrong += [state | {"loss": part} for part in ({}, "x", {k: v[:1] for k, v in state["loss"].items()})]
    for other in wrong:
        torch.save(other, path)
        with pytest.raises(scoresde.InputError, match=str(path)) as refused:
            play(tmp_path, 20)
        assert "\n" not in str(refused.value)


def test_another_kind_of_model_in_the_folder_is_refused(tmp_path):
    play(tmp_path, 5)
    with pytest.raises(scoresde.InputError, match="kind is 'generator' there and 'denoiser' here"):
        scoresde.train(
            scoresde.Preconditioned(scoresde.nets.MLP((2,), width=8), scoresde.VP()),
            gaussian(),
            folder=tmp_path,
            steps=5,
        )
    with pytest.raises(scoresde.InputError, match="of a 'generator': it is not read here"):
        scoresde.load(tmp_path)


def test_two_processes_are_one(tmp_path):
    done = launch(ROOT / "tests" / "adversarial.py", f"folder={tmp_path / 'two'}", "train.steps=12")
    assert done.returncode == 0, done.stderr
    play(tmp_path / "one", 12)
    one, two = (checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("one", "two"))
    for part in PARTS:
        for name, value in one[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=0, atol=1e-5)
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for a, b in zip(*rows, strict=True):
        for name in ("loss", "loss_critic", "gradient", "gradient_critic"):
            assert a[name] == pytest.approx(b[name], abs=1e-5)

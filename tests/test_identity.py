"""A folder knows what made its model, results know the weights that made them: in Python and on the command line."""

import json
import math

import numpy as np
import pytest
import torch
from commands import FEW, POINTS, command, short_search
from torch import nn

import scoresde
from scoresde import InputError
from scoresde.loss import DenoisingLoss
from scoresde.training.average import EMA

TRAINING = dict(steps=2, batch_size=8, lr=1e-3, seed=0)


@pytest.fixture
def cli(tmp_path, monkeypatch, capfd):
    short_search(monkeypatch)
    return lambda *overrides: command(monkeypatch, capfd, tmp_path, *overrides)


def denoiser(sde=None, rule="v", width=16):
    torch.manual_seed(0)
    return scoresde.Preconditioned(scoresde.nets.MLP((2,), width=width, blocks=1), sde or scoresde.VP(), rule)


def points(seed=0):
    return torch.randn(64, 2, generator=torch.Generator().manual_seed(seed))


OTHERS = {
    "data": dict(data=points(1)),
    "one number of the data": dict(data=torch.cat([points()[:-1], points()[-1:] + 1e-3])),
    "sde": dict(denoiser=denoiser(scoresde.VE())),
    "a number of the sde": dict(denoiser=denoiser(scoresde.VP(beta_max=19.0))),
    "rule": dict(denoiser=denoiser(rule="eps")),
    "network": dict(denoiser=denoiser(width=24)),
    "loss": dict(loss=DenoisingLoss(weight="simple")),
    "lr": dict(lr=2e-3),
    "seed": dict(seed=1),
    "batch_size": dict(batch_size=16),
    "fewer steps": dict(steps=1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_training_in_the_same_folder_is_refused(name, tmp_path):
    first = scoresde.train(denoiser(), points(), folder=tmp_path, **TRAINING)
    other = TRAINING | OTHERS[name]
    with pytest.raises(InputError) as refused:
        scoresde.train(other.pop("denoiser", denoiser()), other.pop("data", points()), folder=tmp_path, **other)
    said = str(refused.value)
    assert "there and" in said and "here" in said and "\n" not in said, said
    assert scoresde.load(tmp_path).weights == first.weights
    again = scoresde.train(denoiser(), points(), folder=tmp_path, **TRAINING)
    assert again.weights == first.weights


def test_more_steps_go_on_and_fresh_begins_anew(tmp_path):
    first = scoresde.train(denoiser(), points(), folder=tmp_path, **TRAINING)
    more = scoresde.train(denoiser(), points(), folder=tmp_path, **TRAINING | {"steps": 4})
    assert (first.step, more.step) == (2, 4) and more.weights != first.weights
    other = scoresde.train(denoiser(scoresde.VE()), points(), folder=tmp_path, fresh=True, **TRAINING)
    assert other.step == 2 and isinstance(scoresde.load(tmp_path).sde, scoresde.VE)


@pytest.mark.parametrize("fresh", ["no", "off", "maybe", 1, None])
def test_only_true_destroys(fresh, tmp_path):
    first = scoresde.train(denoiser(), points(), folder=tmp_path, **TRAINING)
    with pytest.raises(InputError, match="fresh="):
        scoresde.train(denoiser(), points(1), folder=tmp_path, fresh=fresh, **TRAINING)
    assert scoresde.load(tmp_path).weights == first.weights


@pytest.mark.parametrize("words", ["no", "off", "maybe", "1", "null"])
def test_only_true_destroys_on_the_command_line(words, cli, tmp_path):
    assert cli(*POINTS, "task=train", "folder=m")[0] == 0
    before = (tmp_path / "m/model.safetensors").read_bytes()
    code, _, err = cli(*POINTS, "task=train", "folder=m", f"fresh={words}", "sde=ve")
    assert code == 1 and "fresh=" in err and err.count("\n") == 1
    assert (tmp_path / "m/model.safetensors").read_bytes() == before


def test_data_that_changed_under_its_name_is_another_model(cli, tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, points().numpy())
    tiny = [a for a in POINTS if a != "data=toy"] + ["data=array", f"data.root={path}", "folder=m"]
    assert cli(*tiny, "task=train")[0] == 0
    np.save(path, points(1).numpy())
    for task in ("train", "likelihood"):
        code, _, err = cli(*tiny, f"task={task}")
        assert code == 1 and "data" in err and "holds another model" in err, err
    np.save(path, points().numpy())
    assert cli(*tiny, "task=train")[0] == 0


def test_results_are_those_of_the_weights(cli, tmp_path):
    """After fresh=true with another SDE and the same step no likelihood, grid or tuned sampler of the old model."""
    few = [*POINTS, "folder=m"]
    assert cli(*few, "task=train")[0] == 0 and cli(*few, "task=likelihood")[0] == 0
    assert cli(*few, "task=tune", "task.budgets=[4]", "task.n=8")[0] == 0
    assert cli(*few, "task=sample", *FEW, "sampler=ddim", "sampler.grid=fitted")[0] == 0
    kept = {name: (tmp_path / "m" / name).read_bytes() for name in ("tuned.json", "grid.json")}
    (first,) = (tmp_path / "m").glob("likelihood-*/likelihood.npz")
    old = np.load(first)
    changed = [*few, "sde=ve", "train.seed=3"]
    assert cli(*changed, "task=train", "fresh=true")[0] == 0
    code, _, err = cli(*changed, "task=sample", "sampler=tuned", "sampler.budget=4")
    assert code == 1 and "task=tune" in err
    for name, content in kept.items():  # even if they are put back
        (tmp_path / "m" / name).write_bytes(content)
    code, _, err = cli(*changed, "task=sample", "sampler=tuned", "sampler.budget=4")
    assert code == 1 and "task=tune" in err
    assert cli(*changed, "task=sample", *FEW, "sampler=ddim", "sampler.grid=fitted")[0] == 0
    assert (tmp_path / "m/grid.json").read_bytes() != kept["grid.json"]
    assert cli(*changed, "task=likelihood")[0] == 0
    (path,) = set((tmp_path / "m").glob("likelihood-*/likelihood.npz")) - {first}  # beside those of the weights before
    new = np.load(path)
    assert all(abs(a - b) > 1e-6 for a, b in zip(old["log_prob"], new["log_prob"], strict=True))


def test_a_folder_is_enough(cli, tmp_path):
    """A folder of `task=train` with other groups than the defaults is named, and nothing else."""
    assert cli(*POINTS, "sde=ve", "task=train", "folder=m")[0] == 0
    for task in ("sample", "likelihood", "tune", "interpolate"):
        more = {"likelihood": ["likelihood.n=4"], "tune": ["task.budgets=[4]", "task.n=8"]}.get(task, [])
        code, _, err = cli("folder=m", f"task={task}", "n=4", *FEW, *more)
        assert code == 0, (task, err)
    assert cli("folder=m", "n=4", "sampler=ode", "task=sample")[0] == 0


def test_a_model_of_python_is_sampled_by_the_command_and_the_other_way(cli, tmp_path):
    model = scoresde.train(denoiser(), points(), folder=tmp_path / "p", **TRAINING)
    assert cli("folder=p", "task=sample", "n=4", *FEW)[0] == 0
    assert np.load(next((tmp_path / "p").glob("sample-*/samples.npy"))).shape == (4, 2)
    assert cli(*POINTS, "task=train", "folder=c")[0] == 0
    loaded = scoresde.load(tmp_path / "c")
    assert loaded.shape == (2,) and loaded.encode(torch.zeros(1, 2)).shape == (1, 2)
    names = lambda folder: {p.name for p in (tmp_path / folder).iterdir() if not p.name.startswith(".")}
    made = {"model.json", "model.safetensors", "checkpoint.pt", "metrics.jsonl", "summary.json"}
    assert made <= names("p") and made <= names("c")
    assert {k: v for k, v in json.loads((tmp_path / "p/model.json").read_text()).items() if k == "format"} == {
        "format": json.loads((tmp_path / "c/model.json").read_text())["format"]
    }
    assert model.weights == scoresde.load(tmp_path / "p").weights


def test_what_train_returns_is_what_load_returns(tmp_path):
    made = scoresde.train(denoiser(), points(), folder=tmp_path, **TRAINING)
    again = scoresde.load(tmp_path)
    assert type(made) is type(again) and made.shape == again.shape == (2,) and made.weights == again.weights
    x = torch.randn(3, 2)
    assert torch.equal(made(x, 0.5), again(x, 0.5)) and torch.equal(made.decode(made.encode(x)), x)
    further = scoresde.train(again, points(2), steps=2, batch_size=8)
    assert further.weights != again.weights and not any(p.requires_grad for p in again.parameters())


def test_averages_of_half_precision_weights_do_not_stay_behind():
    """bfloat16 keeps 8 bits: an average in it would never move by 1 - 0.9999 of a difference."""
    model = nn.Linear(1, 1, bias=False).bfloat16()
    ema, right = EMA(model, 0.999), float(model.weight)
    with torch.no_grad():
        model.weight.fill_(2.0)
    for step in range(1, 4001):
        ema.update(model, step)
        decay = min(0.999, (1 + step) / (10 + step))
        right = decay * right + (1 - decay) * 2.0
    assert math.isclose(right, 2.0, rel_tol=0.05)
    found = next(iter(ema.state().values()))
    assert found.dtype == torch.float32 and float(found) == pytest.approx(right, rel=1e-4)


class Weighted(nn.Module):
    """A network of one's own, with whatever layers."""

    def __init__(self, make):
        super().__init__()
        self.layer = make()

    def forward(self, x, c):
        return self.layer(torch.cat([x, c[:, None].to(x)], 1))


LAYERS = {
    "weight_norm": lambda: nn.utils.weight_norm(nn.Linear(3, 2)),
    "parametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)),
    "lazy": lambda: nn.LazyLinear(2),
    "batch_norm": lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LAYERS)
def test_any_layers_are_trained_kept_and_loaded(name, tmp_path):
    make = lambda: scoresde.Preconditioned(Weighted(LAYERS[name]), scoresde.VP())
    made = scoresde.train(make(), points(), folder=tmp_path, **TRAINING)
    again = scoresde.load(tmp_path, denoiser=make())
    x = torch.randn(4, 2)
    assert torch.equal(made(x, 0.3), again(x, 0.3)) and made.weights == again.weights


def test_a_compiled_network_is_loaded_plain(tmp_path):
    model = denoiser()
    model.net = torch.compile(model.net, backend="eager")
    made = scoresde.train(model, points(), folder=tmp_path, **TRAINING)
    x = torch.randn(4, 2)
    again = scoresde.load(tmp_path)
    assert (made(x, 0.3) - again(x, 0.3)).abs().max() < 1e-6


def test_a_folder_of_the_first_version_is_loaded_and_told(cli, tmp_path):
    """It had no model.safetensors, and said of its data how it is made."""
    made = scoresde.train(denoiser(), points(), folder=tmp_path / "m", **TRAINING)
    path = tmp_path / "m" / "model.json"
    known = json.loads(path.read_text()) | {"data": {"_target_": "scoresde.data.toy", "kind": "ring"}, "code": {}}
    path.write_text(json.dumps({k: v for k, v in known.items() if k != "format"}))
    (tmp_path / "m" / "model.safetensors").unlink()
    assert scoresde.load(tmp_path / "m").weights == made.weights
    code, _, err = cli("folder=m", "task=sample", "n=4")
    assert code == 1 and "made by scoresde 0.1.0" in err and "fresh=true" in err and err.count("\n") == 1


OWN = """
import torch
class Cells(torch.utils.data.Dataset):
    def __init__(self, n=100):
        self.x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    def __len__(self):
        return len(self.x)
    def __getitem__(self, i):
        return self.x[i]
"""


def test_a_target_of_ones_own_has_its_own_settings(cli, tmp_path):
    (tmp_path / "mine_cells.py").write_text(OWN)
    words = ["data._target_=mine_cells.Cells", f"paths=[{tmp_path}]", "net=mlp", "task=train", "train.steps=2"]
    code, out, err = cli(*words, "folder=a")
    assert code == 0 and " 90 examples" in out, err
    code, out, err = cli(*words, "+data.n=200", "folder=b")
    assert code == 0 and " 180 examples" in out, err
    code, _, err = cli(*words, "data.n=200", "folder=c")
    assert code == 1 and "+data.n=" in err and err.count("\n") == 1
    code, _, err = cli(*words, "+data.m=200", "folder=c")
    assert code == 1 and "data.m is unknown to mine_cells.Cells" in err


def test_a_search_knows_which_way_its_figure_is_better():
    from scoresde.sweeps.search import Search

    for objective, goal in {"likelihood.nats": "maximize", "likelihood.bits_per_dim": "minimize"}.items():
        assert Search(objective=objective).goal == goal
        other = {"maximize": "minimize", "minimize": "maximize"}[goal]
        with pytest.raises(InputError, match=f"{objective} is to be {goal}d"):
            Search(objective=objective, direction=other)
    for name in ("precision", "recall", "density", "coverage"):
        assert Search(objective=f"evaluate.{name}").goal == "maximize"
    for name in ("frechet", "kid", "mmd", "sliced", "energy"):
        assert Search(objective=f"evaluate.{name}").goal == "minimize"
    with pytest.raises(InputError, match="better high or low is not known"):
        Search(objective="evaluate.new")

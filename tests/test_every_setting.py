"""Every setting of the command line with wrong types, wrong ranges and null: one line with the key, nothing left."""

import copy
import math

import pytest
from commands import ROOT, command
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from scoresde import InputError
from scoresde.config import build
from scoresde.config.commands.options import checked
from scoresde.run import Run, Task

CONF = ROOT / "conf"
GROUPS = ("sde", "net", "data", "loss", "objective", "train", "sampler", "likelihood", "task")
NAMES = sorted((p.parent.name, p.stem) for p in CONF.glob("*/*.yaml") if p.parent.name in (*GROUPS, "method"))
# Networks that are others with other values: their settings are looked at there.
PRESETS = {"adm", "ddpm", "ddpmpp", "iddpm", "imagen", "ncsnpp"}
NAMES = [(group, name) for group, name in NAMES if group != "net" or name not in PRESETS]
TOP = (
    "n",
    "batch_size",
    "compile",
    "cuda_graphs",
    "autocast",
    "seed",
    "gif",
    "png",
    "fresh",
    "trust",
    "teacher",
    "out",
    "folder",
    "device",
)
TOP += ("ema", "wandb", "project", "tracker", "artifacts", "paths", "rule", "cond", "drop", "told", "given")
TOP += ("teacher", "adapter")

# What is wrong for every setting with a default of this type, whatever its range.
WRONG = {
    bool: ["maybe", "no", 1, 0, None, [True], {"a": 1}],
    int: ["abc", "1", 1.5, True, -1, 10**30, math.nan, math.inf, [1], {"a": 1}],
    float: ["abc", "1e-3", True, math.nan, -math.inf, [1.0], {"a": 1}],
    str: [5, 1.5, [1], {"a": 1}],
    list: [5, {"a": 1}, [{"a": 1}], None],
    dict: [5, "x", [1], None],
    type(None): [{"a": 1}, [{"a": 1}]],
}


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def leaves(node, place):
    """(dotted key, value) of all settings in a node, but for targets."""
    for key, value in node.items():
        where = f"{place}.{key}"
        if OmegaConf.is_dict(value):
            yield from leaves(value, where)
        elif key != "_target_":
            yield where, value if not OmegaConf.is_list(value) else list(value)


def refused(config, key):
    """The words of the error that a config is refused with, before any work."""
    try:
        checked(config)
        build.make(config.task, "task", Task)
        Run(config, {})
    except InputError as error:
        words = str(error)
        assert key in words and "\n" not in words and len(words) < 600, (key, words)
        return words
    return ""


def tried(config, key, value):
    made = copy.deepcopy(config)
    with open_dict(made):
        OmegaConf.update(made, key, value, merge=False)
    return refused(made, key)


@pytest.mark.parametrize(("group", "name"), NAMES, ids=lambda v: v)
def test_every_setting_of_a_group(group, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = composed(f"{group}={name}", "tracker=none")
    for key in OmegaConf.missing_keys(config.data):  # a folder
        OmegaConf.update(config, key, str(tmp_path / "none"))
    if name == "tuned":
        assert "task=tune" in refused(config, "sampler.budget")
    else:
        assert refused(config, "") == ""
    found = 0
    for key, value in leaves(config[group], group):
        if key == "data.other":
            continue
        for bad in WRONG[type(value)]:
            if key.endswith(("data.shapes", "task.strength")) and bad == [1]:  # one of them, or a list of some
                continue
            assert tried(config, key, bad), f"{key}={bad!r} is taken (its default is {value!r})"
            found += 1
    assert found or not list(leaves(config[group], group))
    assert not list(tmp_path.iterdir())


def test_every_setting_of_no_group(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = composed("tracker=none")
    assert set(TOP) | set(GROUPS) == set(config) and refused(config, "") == ""
    for key in TOP:
        value = OmegaConf.to_container(config)[key]
        for bad in WRONG[type(value)]:
            if not (key == "rule" and isinstance(bad, dict)):
                assert tried(config, key, bad), f"{key}={bad!r} is taken"
        if isinstance(value, int | str) and key not in ("autocast", "folder"):
            assert tried(config, key, None), f"{key}=null is taken"
    for group in GROUPS:
        for bad in (None, 5, "x", [1]):
            assert tried(config, group, bad), f"{group}={bad!r} is taken"
    for key in ("out", "folder", "project"):
        assert tried(config, key, "")
    assert not list(tmp_path.iterdir())


# On the command line itself: one of each kind; the others are refused by the same functions.
LINES = [
    ("seed=abc", "seed='abc'"),
    ("seed=1.5", "seed=1.5"),
    ("folder=7", "folder=7"),
    ("out=null", "out=null"),
    ("paths=5", "paths=5"),
    ("rule=null", "rule=null"),
    ("fresh=no", "fresh='no': give true or false"),
    ("train.warmup=-1", "train.warmup=-1"),
    ("train.betas=[2,3]", "train.betas=[2, 3]"),
    ("train.workers=-1", "train.workers=-1"),
    ("sampler.t_min=abc", "sampler.t_min='abc'"),
    ("sampler.grid=[a]", "sampler.grid=['a']"),
    ("sampler.steps=1000000000", "sampler.steps=1000000000"),
    ("likelihood.t_min=abc", "likelihood.t_min='abc'"),
    ("task=search task.trials=0", "task.trials=0"),
    ("task=search task.space=null", "task.space=null"),
    ("task=search task.objective=sample.colour", "task.direction=null"),
    ("task=search task.objective=likelihood.nats task.direction=minimize", "maximize"),
    ("task=compare runs=5", "runs=5"),
    ("task=null", "task=null: choose one of autoencoder"),
    ("sde=null", "sde=null: choose one of cosine"),
    ("net=5", "net=5: choose one of adm"),
    ("~sde", "sde is not set"),
    ("sde=vp,ve", "--multirun"),
    ("net._target_=os.system", "net.command is not set: os.system needs it"),
    ("net._target_=scoresde.VP", "makes a VP: give a Module"),
    ("sde._target_=null", "sde._target_=null"),
    ("net.mults=[1,2", "net.mults='[1,2'"),
    ("loss.times.std=0", "loss.times.std=0: give a number above 0"),
    ("net.width=0 data=toy", "net.width=0"),
    ("data=array data.root=/no/a=b[c]#d/é.npy", "/no/a=b[c]#d/é.npy does not exist"),
    ("sampler.eta=nan sampler=ddim", "sampler.eta=nan"),
    ("a.b=1", "a.b is not a setting"),
    # Of what samples are given and guided by, before the training.
    ("cond=[label] given.label=11", "condition label has a class 11: give whole numbers 0..9"),
    ("given.label=1", "given.label=1: 'label' is unknown; the model takes no conditions"),
    ("guidance=clip", "guidance.clip=null: give the folder of a model"),
    ("guidance=clip guidance.clip=none", "guidance.clip=none is not a model folder: it has no model.json"),
    ("cond=[label] told.label.encoder=bert", "told.label.encoder=bert: label is no text of digits"),
    ("task=train data=embedded data.clip=none", "data.clip=none is not a model folder"),
]


@pytest.mark.parametrize(("words", "said"), LINES, ids=[w for w, _ in LINES])
def test_a_wrong_setting_is_one_line_and_leaves_nothing(words, said, monkeypatch, capfd, tmp_path):
    code, out, err = command(monkeypatch, capfd, tmp_path, *words.split())
    assert code == 1 and err.startswith("error: ") and err.count("\n") == 1 and said in err, err
    assert not list(tmp_path.iterdir())

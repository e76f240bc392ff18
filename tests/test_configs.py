"""Every config composes and makes its object, and says what the code says."""

import dataclasses
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from commands import ROOT
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import OmegaConf

import scoresde
from scoresde.config import build, objective, settle
from scoresde.spaces import Bins

CONF = ROOT / "conf"
# Files of sweep/ are wandb's: tests/test_sweep.py composes the commands they make.
NAMES = sorted((p.parent.name, p.stem) for p in CONF.glob("*/*.yaml") if p.parent.name != "sweep")


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.mark.parametrize(("group", "name"), NAMES, ids=lambda v: v)
def test_composes_and_makes(group, name, tmp_path):
    config = composed(f"{group}={name}")
    if group == "experiment":
        for part in ("sde", "loss", "train"):
            build.make(config[part], part)
        config = settle.settled(config, SimpleNamespace(space=Bins(256), counts=torch.arange(1.0, 257)))
        outputs = 32 if name == "mnist_likelihood" else 1
        channels = sum(4**r for r in range(config.data.get("resolutions", 1)))  # of a pyramid
        net = build.build_denoiser(config, (channels, 28, 28)).net
        assert net(torch.zeros(1, channels, 28, 28), torch.zeros(1)).shape[1] == outputs * channels
        return
    node = config[group]
    if name == "tuned":
        with pytest.raises(scoresde.InputError, match=r"task=tune task.budgets=\[10\]"):
            build.make(node, group, folder=tmp_path)
    elif group in ("sde", "loss", "train", "sampler", "likelihood"):
        build.make(node, group, folder=tmp_path)
    elif group == "objective":
        objective.vet(config)
    elif group == "net":
        with torch.device("meta"):  # those of the field are large
            build.make(node, group, shape={"mlp": (2,), "nested": (5, 8, 8)}.get(name, (1, 8, 8)))
    elif group == "data" and not OmegaConf.missing_keys(node):
        assert build.build_data(config).shape
    else:
        assert callable(get_object(node["_target_"]))


@pytest.mark.parametrize(
    ("group", "name"), [n for n in NAMES if n[0] in ("sde", "sampler", "train") and n[1] != "tuned"], ids=lambda v: v
)
def test_a_config_lists_every_setting_with_the_defaults_of_the_code(group, name):
    node = OmegaConf.to_container(composed(f"{group}={name}")[group])
    made = build.make(composed(f"{group}={name}")[group], group, folder="m")
    fields = {f.name: f.default for f in dataclasses.fields(made)}
    assert set(node) - {"_target_"} == set(fields)
    # What a command wants and a function call does not: fewer, larger steps; the shipped recipe.
    differ = {k for k, v in fields.items() if node[k] != (list(v) if isinstance(v, tuple) else v)}
    other = {
        "ode": {"rtol", "atol"},
        "default": {"steps", "lr", "validate_every"},
        "ancestral": {"eta", "steps"},  # these two are other classes by their settings
        "euler": {"order", "correct"},
        "shifted": {"sde"},  # a node
        "scaled": {"sde"},
    }
    assert differ <= other.get(name, set())


@pytest.fixture(scope="module")
def sdes():
    return [build.make(composed(f"sde={name}").sde, "sde") for group, name in NAMES if group == "sde"]


@pytest.mark.parametrize("sampler", [n for g, n in NAMES if g == "sampler" and n != "tuned"])
def test_every_sampler_has_its_times_for_every_sde(sampler, sdes):
    """As many as it says, from the SDE's end to its beginning, by the grid that its config names."""
    made, later = (
        build.make(composed(f"sampler={sampler}", *w).sampler, "sampler", folder="m")
        for w in ([], ["sampler.t_min=0.5"])
    )
    for sde in sdes:
        times = made.times(sde)
        assert len(times) == made.steps + 1 and (times[0], times[-1]) == (sde.t_max, sde.t_min)
        named = scoresde.grids.GRIDS[made.grid](sde, made.steps, sde.t_max, sde.t_min)
        assert torch.allclose(torch.tensor(times, dtype=torch.float64), named, rtol=1e-9)
        assert later.times(sde)[-1] == 0.5


def test_the_folder_depends_on_what_makes_the_model_and_nothing_else():
    folder = build.model_folder(composed())
    for same in ("sampler=ode", "n=3", "seed=5", "wandb=online", "train.log_every=3", "task=sample", "batch_size=7"):
        assert build.model_folder(composed(same)) == folder
    for other in ("sde=ve", "sde.beta_max=10", "net.channels=48", "data.seed=1", "train.steps=9", "rule=eps"):
        assert build.model_folder(composed(other)) != folder
    assert folder.parent == Path("runs") and folder.name.startswith("vp-digits-")


def test_own_target_with_a_wrong_argument_is_named():
    config = OmegaConf.create({"_target_": "scoresde.VP", "beta_mx": 3})
    with pytest.raises(scoresde.InputError, match="sde.beta_mx is unknown to scoresde.VP; did you mean beta_max"):
        build.make(config, "sde")
    with pytest.raises(scoresde.InputError, match="cannot be imported"):
        build.make(OmegaConf.create({"_target_": "scoresde.VPP"}), "sde")


def test_the_page_of_settings_is_what_the_code_asks_for():
    """As `python docs/make.py settings` writes it."""
    spec = importlib.util.spec_from_file_location("settings_page", ROOT / "docs" / "machinery" / "settings_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = ROOT / "docs" / "reference" / "settings.md"
    assert module.page() == page.read_text(), "run python docs/make.py settings"

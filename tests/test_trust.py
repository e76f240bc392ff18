"""A folder from a stranger runs no code of theirs, says nothing of this machine, and is refused in a line at once."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from commands import ROOT, TINY, command

import scoresde

LINE = {"sde": "scoresde.VP", "net": "scoresde.nets.MLP"}
EVIL = "scoresde_evil_module"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model folder of one's own, with the config that the command writes."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    torch.manual_seed(0)
    denoiser = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16, blocks=1), scoresde.VP())
    scoresde.train(denoiser, torch.randn(100, 2), folder=folder, steps=2, batch_size=16)
    (folder / "config.yaml").write_text("sde:\n  _target_: scoresde.VP\npaths: []\nfolder: null\n")
    return folder


@pytest.fixture
def stranger(trained, tmp_path, monkeypatch):
    """A copy of it, a module that would tell if it were run, and a secret in the environment."""
    shutil.copytree(trained, tmp_path / "model")
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / f"{EVIL}.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\nfrom scoresde.nets import MLP as Net\ndef rule(**k): pass\n"
    )
    monkeypatch.setenv("SECRET", "hunter2")
    return tmp_path / "model"


def describe(folder, **changes):
    """Changes of model.json: dotted keys."""
    path = folder / "model.json"
    known = json.loads(path.read_text())
    for key, value in changes.items():
        *parents, last = key.split("__")
        node = known
        for parent in parents:
            node = node[parent]
        node[last] = value
    path.write_text(json.dumps(known))


def config(folder, text):
    (folder / "config.yaml").write_text(text)


def bomb(levels=12):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


STRANGE = {
    "a rule that loads from the network": lambda f: describe(
        f, rule={"_target_": "torch.hub.load_state_dict_from_url", "url": "http://127.0.0.1:9/x"}
    ),
    "a rule that unpickles": lambda f: describe(f, rule={"_target_": "torch.load", "f": "x.pt", "weights_only": False}),
    "numpy with pickles": lambda f: describe(f, net={"_target_": "numpy.load", "file": "x.npy", "allow_pickle": True}),
    "a shell": lambda f: describe(f, net={"_target_": "os.system", "command": "touch ran"}),
    "eval": lambda f: describe(f, sde={"_target_": "builtins.eval", "source": "1"}),
    "torch by way of us": lambda f: describe(f, net={"_target_": "scoresde.nets.unets.unet.torch.load", "f": "x"}),
    "a function of ours that is no network": lambda f: describe(
        f, net={"_target_": "scoresde.model.checkpoint.load", "path": "x"}
    ),
    "a network nested in a network": lambda f: describe(f, net__width={"_target_": f"{EVIL}.rule"}),
    "a target in the loss": lambda f: describe(f, loss__weight={"_target_": f"{EVIL}.rule"}),
    "a target in the data": lambda f: describe(f, data__settings={"_target_": f"{EVIL}.Data"}),
    "a module of theirs": lambda f: describe(f, net={"_target_": f"{EVIL}.Net"}, paths=[str(f.parent / "evil")]),
    "folders of code alone": lambda f: describe(f, paths=[str(f.parent / "evil")]),
    "a name that begins like ours": lambda f: describe(f, sde={"_target_": "scoresde_evil.VP"}),
    "a config with a shell": lambda f: config(f, "net:\n  _target_: os.system\n  command: touch ran\n"),
    "a config with folders": lambda f: config(f, f"paths:\n- {f.parent / 'evil'}\n"),
    "a config with folders in a line": lambda f: config(f, f"paths: [{f.parent / 'evil'}]\n"),
    "a config that asks the environment": lambda f: config(f, "name: ${oc.env:SECRET}\n"),
    "a config that decodes": lambda f: config(f, "name: ${oc.decode:${oc.env:SECRET}}\n"),
    "a config with Python in it": lambda f: config(f, "name: !!python/object/apply:os.system ['touch ran']\n"),
    "a bomb": lambda f: config(f, bomb()),
    "a merge with itself": lambda f: config(f, "a: &a\n  b: 1\nc:\n  <<: *a\n"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strangers_folder_is_refused_at_once_and_nothing_runs(stranger, kind, monkeypatch, capfd):
    assert scoresde.load(stranger).step == 2
    STRANGE[kind](stranger)
    monkeypatch.chdir(stranger.parent)
    began = time.monotonic()
    with pytest.raises(scoresde.InputError) as caught:
        scoresde.load(stranger)
    words, said = str(caught.value), capfd.readouterr()
    assert time.monotonic() - began < 1
    assert "\n" not in words and str(stranger) in words and "hunter2" not in words + said.out + said.err
    assert not (stranger.parent / "ran").exists() and EVIL not in sys.modules
    assert str(stranger.parent / "evil") not in sys.path


def test_a_folder_that_is_trusted_runs_what_it_names(stranger):
    describe(stranger, net__octaves=[], paths=[str(stranger.parent / "evil")])
    known = json.loads((stranger / "model.json").read_text())
    describe(stranger, net=known["net"] | {"_target_": f"{EVIL}.Net"})
    try:
        assert scoresde.load(stranger, trust=True).step == 2 and (stranger.parent / "ran").exists()
    finally:
        sys.path.remove(str(stranger.parent / "evil"))
        del sys.modules[EVIL]


def test_ones_own_denoiser_takes_the_weights_of_any_folder(stranger):
    describe(stranger, net={"_target_": "nowhere.Net"}, paths=["/nowhere"])
    denoiser = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16, blocks=1), scoresde.VP())
    assert scoresde.load(stranger, denoiser=denoiser).step == 2
    other = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=24, blocks=1), scoresde.VP())
    with pytest.raises(scoresde.InputError, match="another network"):
        scoresde.load(stranger, denoiser=other)


@pytest.mark.parametrize("kind", [k for k in STRANGE if not k.startswith(("a config", "a bomb", "a merge"))])
def test_the_command_refuses_it_too(stranger, kind, monkeypatch, capfd):
    STRANGE[kind](stranger)
    code, out, err = command(monkeypatch, capfd, stranger.parent, "task=sample", "sampler=ddim", "n=2", "folder=model")
    if kind in ("folders of code alone", "a target in the data"):  # of which sampling needs none
        assert code == 0, err
    else:
        assert code == 1 and err.count("\n") == 1 and "trust" in err, err
    assert not (stranger.parent / "ran").exists() and "hunter2" not in out + err


def test_tuned_samplers_of_a_folder_are_of_this_package(stranger, monkeypatch, capfd):
    known = {"weights": scoresde.load(stranger).weights, "samplers": {"10": {"sampler": {"_target_": f"{EVIL}.rule"}}}}
    (stranger / "tuned.json").write_text(json.dumps(known))
    options = ("task=sample", "sampler=tuned", "sampler.budget=10", "n=2", "folder=model")
    code, _, err = command(monkeypatch, capfd, stranger.parent, *options)
    assert code == 1 and err.count("\n") == 1 and "trust" in err and not (stranger.parent / "ran").exists()


def test_a_model_is_loaded_without_hydra_and_all_else(trained):
    """In an environment of torch, numpy, scipy and safetensors alone."""
    gone = ("hydra", "omegaconf", "yaml", "rich", "wandb", "matplotlib", "accelerate", "sklearn", "PIL", "torchsde")
    code = f"""
import sys
for name in {gone}: sys.modules[name] = None
import torch, scoresde
model = scoresde.load({str(trained)!r})
x = scoresde.sample(model, scoresde.sampling.DDIM(steps=3), (4, 2))
more = scoresde.train(model, torch.randn(50, 2), steps=2, batch_size=8, folder="more")
nats = scoresde.log_likelihood(more, x).log_prob
print(model.decode(x).shape, scoresde.load("more").weights == more.weights, nats.shape)
"""
    folder = trained.parent
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment)
    assert done.stdout.split("\n")[0] == "torch.Size([4, 2]) True torch.Size([4])", done.stderr


def test_a_newer_format_and_a_damaged_description_are_told(stranger):
    describe(stranger, format=99)
    with pytest.raises(scoresde.InputError, match="newer scoresde"):
        scoresde.load(stranger)
    for text in ("", "[]", "{}", "\xff", '{"sde": 3, "net": {}, "rule": "v"}', '{"sde": {}, "net": {}, "rule": null}'):
        (stranger / "model.json").write_bytes(text.encode("latin1"))
        with pytest.raises(scoresde.InputError, match="model.json") as caught:
            scoresde.load(stranger)
        assert "\n" not in str(caught.value)


def test_links_are_not_followed(stranger, tmp_path):
    (stranger / "model.safetensors").rename(tmp_path / "elsewhere")
    (stranger / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(scoresde.InputError, match="link"):
        scoresde.load(stranger)


def test_own_code_on_the_command_line_needs_no_more_words(monkeypatch, capfd, tmp_path):
    """What the command itself composes is the user's own; the folder alone has to be trusted."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mynets.py").write_text(
        "from scoresde.nets import MLP\nclass Mine(MLP):\n    def __init__(self, shape, width: int = 16):\n"
        "        super().__init__(shape, width, 1)\n"
    )
    tiny = [o for o in TINY if not o.startswith("net.")]
    own = ["paths=[own]", "data=toy", "data.n=100", "data.test=20", "folder=f"]
    own += ["net._target_=mynets.Mine", "net.width=24"]
    own += ["~net.blocks", "~net.fourier", "~net.fourier_scale", "~net.dropout", "~net.octaves"]
    run = lambda *words: command(monkeypatch, capfd, tmp_path, *words)
    assert run(*tiny, *own, "task=train")[0] == 0
    code, _, err = run(*tiny, *own, "task=sample", "sampler=ddim", "sampler.steps=3")
    assert code == 0, err
    code, _, err = run("task=sample", "sampler=ddim", "n=3", "folder=f")
    assert code == 1 and "mynets.Mine" in err and "trust" in err and err.count("\n") == 1
    code, _, err = run("task=sample", "sampler=ddim", "n=3", "folder=f", "trust=true")
    assert code == 0, err

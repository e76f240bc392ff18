"""The README's Python runs."""

import re
import shlex

import pytest
import torch
from commands import ROOT, TINY, command

import scoresde

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_mixture_and_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mixture, training, _, _ = BLOCKS
    names = {}
    exec(mixture, names)
    assert names["x"].shape == (1000, 2)
    assert len([line for line in mixture.splitlines() if line]) <= 5
    assert names["x"].abs().mean(0)[0] == pytest.approx(2.0, abs=0.1)
    exec(training, names)  # its x is the raw data, a Gaussian
    samples, held_out = names["samples"], names["data"].decode(names["held_out"])
    assert samples.shape == (500, 2) and names["nats"].shape == (50,)
    mixing = torch.tensor([[2.0, 0.0], [1.5, 0.5]])
    whitened = samples @ torch.linalg.inv(mixing)  # standard normal, as far as 300 steps go
    assert whitened.mean(0).abs().max() < 0.3 and (torch.cov(whitened.T) - torch.eye(2)).abs().max() < 0.6
    law = torch.distributions.MultivariateNormal(torch.zeros(2), mixing.T @ mixing)
    assert float(names["nats"].mean()) == pytest.approx(float(law.log_prob(held_out).mean()), abs=0.6)


def test_a_trained_folder(tmp_path, monkeypatch, capfd):
    code, _, err = command(monkeypatch, capfd, tmp_path, *TINY, "task=train", "folder=here")
    assert code == 0, err
    names = {}
    here = repr(str(tmp_path / "here"))
    exec(BLOCKS[2].replace("FOLDER", here), names)
    images = names["images"]
    assert images.shape == (16, 1, 8, 8) and images.dtype == torch.uint8
    exec(BLOCKS[3].replace("FOLDER", here), names)
    assert names["between"].shape == (1, 1, 8, 8) and (names["again"] - names["x"]).abs().max() < 1e-9
    assert (scoresde.sampling.decode(names["denoiser"], names["z"]) - names["x"]).abs().max() < 0.05
    assert (names["denoiser"].decode(names["x"]) == images).all()


def test_every_command_in_the_readme_composes():
    from hydra import compose, initialize_config_dir

    from scoresde.command.main import quoted

    lines = re.findall(r"^    python run.py (.*?)(?:#.*)?$", (ROOT / "README.md").read_text(), re.M)
    assert len(lines) > 8
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for line in lines:
            if "--config-dir" not in line and "--help" not in line:
                # Launchers are packages of their own: tests/test_launchers.py runs them.
                words = [w for w in shlex.split(line) if not w.startswith(("--", "hydra"))]
                words = [quoted(w) for w in words]
                compose("config", [re.sub(r"=([a-z_0-9]+),.*", r"=\1", w) if "[" not in w else w for w in words])

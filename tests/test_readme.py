"""What the README and the first pages show runs, and gives what they say."""

import pages
import pytest
import torch
from commands import TINY, command

import scoresde


def test_mixture_and_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (training,), (mixture, _) = pages.blocks("README.md"), pages.blocks("docs/start/index.md")
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
    exec(pages.blocks("docs/start/index.md")[1].replace("FOLDER", here), names)
    images = names["images"]
    assert images.shape == (16, 1, 8, 8) and images.dtype == torch.uint8
    pages.run("docs/howto/samplers.md", names, FOLDER=here)
    assert names["between"].shape == (1, 1, 8, 8) and (names["again"] - names["x"]).abs().max() < 1e-9
    assert (scoresde.sampling.decode(names["denoiser"], names["z"]) - names["x"]).abs().max() < 0.05
    assert (names["denoiser"].decode(names["x"]) == images).all()


def test_the_readme_is_short_and_names_the_test_command():
    lines = pages.text("README.md").splitlines()
    assert len(lines) <= 130 and "    make test " in pages.text("README.md")

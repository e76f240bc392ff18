"""Pictures made noisy in part and denoised again (SDEdit), and SDXL's recipes in small."""

import json
import math

import numpy as np
import pytest
import torch
from commands import FEW, TINY, command
from PIL import Image
from problems import mixture, refuses
from samplers import SAMPLERS

import scoresde
from scoresde import sample
from scoresde.data import collate, digits, stack
from scoresde.denoiser import Counted, Preconditioned
from scoresde.exact import GaussianMixture
from scoresde.model.trained.denoiser import Model
from scoresde.model.trained.known import facts
from scoresde.report.again import value
from scoresde.sampling import DDIM, RK4, DPMpp2M, FittedLinear, edit
from scoresde.sampling.edit import time_of
from scoresde.sde import VE, VP, Linear

OPTIONS = {"dtype": torch.float64, "progress": False}


@pytest.mark.parametrize("name", SAMPLERS)
def test_strength_0_is_the_picture_and_1_the_models_own_sample(name):
    model, sampler = mixture(VP(), (2,)), SAMPLERS[name](6)
    x0 = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(edit(model, sampler, x0, 0.0, 5), x0)
    assert torch.equal(edit(model, sampler, x0, 1.0, 5, **OPTIONS), sample(model, sampler, (3, 2), 5, **OPTIONS))
    one, other = (edit(model, sampler, x, 0.5, 5, **OPTIONS) for x in (x0, x0 + 1))
    assert one.isfinite().all() and not torch.equal(one, other)
    assert torch.equal(edit(model, sampler, x0, 0.5, 5, batch_size=1, **OPTIONS)[2], one[2]) or name == "sde"


@pytest.mark.parametrize("sde", [VP(), VE(sigma_max=20.0), Linear()])
@pytest.mark.parametrize("strength", [0.25, 0.6])
def test_edits_of_a_gaussian_have_the_moments_of_the_formula(sde, strength):
    """Of N(m, s^2) and a picture y the flow gives m + k (alpha (y - m) + sigma eps), with k = s / sqrt(v) and
    v = alpha^2 s^2 + sigma^2; with noise in the steps it is a draw of the posterior of x_t."""
    n, m, s, y = 20_000, 0.4, 0.7, 1.5
    model = GaussianMixture([1.0], [[m]], [[s]], sde)
    x0 = torch.full((n, 1), y, dtype=torch.float64)
    alpha, sigma = (float(v) for v in sde.marginal(torch.tensor(time_of(sde, strength, sde.t_min)).double()))
    variance = alpha**2 * s**2 + sigma**2
    k = s / math.sqrt(variance)
    flow = edit(model, RK4(60), x0, strength, **OPTIONS)
    drawn = edit(model, DDIM(200, eta=1.0), x0, strength, **OPTIONS)
    gain = alpha * s**2 / variance
    right = [
        (flow, m + k * alpha * (y - m), k * sigma, 1e-3),
        (drawn, m + gain * alpha * (y - m), math.hypot(gain * sigma, s * sigma / math.sqrt(variance)), 0.02),
    ]
    for x, mean, std, bias in right:
        assert abs(float(x.mean()) - mean) < 4.5 * std / math.sqrt(n) + bias * std
        assert abs(float(x.std()) / std - 1) < 4.5 / math.sqrt(2 * n) + bias


def test_a_lesser_strength_costs_less():
    model, x0 = mixture(VP(), (2,)), torch.zeros(1, 2)
    calls = []
    for strength in (0.0, 0.3, 0.6, 1.0):
        counted = Counted(model)
        edit(counted, DDIM(steps=50), x0, strength, progress=False)
        calls.append(counted.calls)
    assert calls == [0, 24, 37, 51]  # the times of the grid from there on, and the last denoising


def test_a_model_edits_raw_pictures():
    data = digits()
    torch.manual_seed(0)
    net = scoresde.nets.MLP(data.shape, width=8, blocks=1)
    model = Model(Preconditioned(net, VP()), facts(data), 1)
    raw = stack(data.test, range(4))
    assert torch.equal(model.edit(raw, 0.0), raw)
    assert torch.equal(model.edit(raw, 1.0, seed=3), model.generate(4, seed=3))
    near, far = (model.edit(raw, strength, DPMpp2M(10), seed=3, progress=False) for strength in (0.05, 0.9))
    error = lambda x: float((x.double() - raw).square().mean())
    assert near.dtype == raw.dtype and error(near) < error(far)


def test_wrong_edits():
    model, x0 = mixture(VP(), (2,)), torch.zeros(3, 2)
    refuses("strength=1.5", "from 0 to 1", call=lambda: edit(model, DDIM(), x0, 1.5))
    refuses("not finite", call=lambda: edit(model, DDIM(), x0 / 0, 0.5))
    refuses("(3, 2)", "(4, 2)", call=lambda: sample(model, DDIM(), (4, 2), begin=(x0, 0.5)))
    refuses("time 2", "up to 1", call=lambda: sample(model, DDIM(), (3, 2), begin=(x0, 2.0)))
    fitted = FittedLinear(2, grid=[1.0, 0.5, 0.01], mean=[0.0, 0.0], weights=[[1.0], [1.0, 1.0]])
    refuses("FittedLinear", "from noise", call=lambda: edit(model, fitted, x0, 0.4))


def test_the_command_edits_held_out_pictures_and_those_of_a_folder(tmp_path, monkeypatch, capfd):
    def run(*words, fails=False):
        code, out, err = command(monkeypatch, capfd, tmp_path, "folder=m", *FEW, *words)
        assert (code == 0) is not fails, out + err
        return err if fails else max(tmp_path.glob("m/edit-*"), key=lambda path: path.stat().st_mtime_ns, default=None)

    words = ["net=mlp", "net.width=16", "net.blocks=1", *(word for word in TINY if word[:4] != "net.")]
    run("data=digits", *words, "task=train")
    place = run("task=edit", "task.strength=[0,0.5,1]", "n=4", "seed=2")
    found, truth = torch.from_numpy(np.load(place / "samples.npy")), stack(digits().test, range(4))
    known = json.loads((place / "summary.json").read_text())
    assert found.shape == (4, 3, 1, 8, 8) and torch.equal(found[:, 0], truth) and (place / "edit.png").exists()
    assert known["strength"] == [0, 0.5, 1] and known["psnr_0.5"]["value"] > known["psnr_1"]["value"]
    own = scoresde.load(tmp_path / "m").generate(4, DPMpp2M(3), seed=2)
    (tmp_path / "m" / "samples").mkdir()
    run("task=sample", "n=4", "seed=2", "sampler=dpmpp_2m")
    assert torch.equal(torch.from_numpy(np.load(next(tmp_path.glob("m/sample-*/samples.npy")))), own)
    place = run("task=edit", "task.strength=1", "n=4", "seed=2", "sampler=dpmpp_2m")
    assert np.array_equal(np.load(place / "samples.npy")[:, 0], own)
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        Image.fromarray((truth[i, 0].numpy() / 16 * 255).round().astype(np.uint8)).save(tmp_path / f"pictures/{i}.png")
    place = run("task=edit", "data=images", "data.root=pictures", "task.strength=0")
    assert np.array_equal(np.load(place / "samples.npy")[:, 0], truth[:3]) and len([*place.glob("samples/*.png")]) == 3
    assert "task.strength=2" in run("task=edit", "task.strength=2", fails=True)
    assert "strength=[]" in run("task=edit", "task.strength=[]", fails=True)
    assert "data=images" in run("task=edit", "data=toy", fails=True)


def test_the_recipe_of_sdxl_in_small(tmp_path, monkeypatch, capfd):
    pytest.importorskip("tokenizers")

    def run(*words):
        code, out, err = command(monkeypatch, capfd, tmp_path, *words, *FEW)
        assert code == 0, out + err
        return out

    words = [*TINY, "data.n=60", "data.test=40", "tracker=none", "net.mults=[1,1]"]
    base = ["experiment=sdxl_scenes", *words, "folder=base"]
    run("experiment=sdxl_scenes_refiner", *words, f"train.start={value(base)}", "folder=refiner")
    refined = ["folder=base", "guidance=refiner", "guidance.refiner=refiner"]
    run("folder=base", "task=sample", "n=3", "given.crop=[0,0]")
    run(*refined, "task=sample", "n=3", "given.crop=[0,0]")
    run(*refined[:2], "guidance.refiner=base", "task=sample", "n=3", "given.crop=[0,0]")
    drawn = {}
    for place in tmp_path.glob("base/sample-*"):
        kept = (place / "config.yaml").read_text()
        drawn["self" if "refiner: base" in kept else "refined" if "refiner:" in kept else "plain"] = place
    plain, own, refined_ = (np.load(drawn[name] / "samples.npy") for name in ("plain", "self", "refined"))
    assert np.array_equal(plain, own) and not np.array_equal(plain, refined_)
    assert (np.load(drawn["plain"] / "given.npz")["crop"] == 0).all()
    out = run(*refined, "task=evaluate", "n=40", "given.size=[64,64]", "task.metrics=[frechet]", "task.extractor=pca")
    assert "whole" in out and "centred" in out
    out = run(
        "folder=base", "task=evaluate", "n=40", "given.crop=[nan,nan]", "task.metrics=[frechet]", "task.extractor=pca"
    )
    assert "centred" in out
    run(*refined, "task=likelihood", "likelihood.n=2", "likelihood.probes=1")
    whole = scoresde.load(tmp_path / "refiner")
    assert "crop" in whole.conditions and collate(scoresde.data.scenes(micro=True, n=4).train, [0], ["crop"])

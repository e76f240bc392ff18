"""Latents as data: their law, folders that carry their autoencoder, the commands, and what is refused in a line."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from commands import FEW, TINY, command
from problems import refuses
from test_autoencoder import made

import scoresde
from scoresde.data import collate, from_tensor, stack
from scoresde.demo import Desk, Subject
from scoresde.demo.ways import denoising, walk
from scoresde.demo.wishes import SAMPLERS, Walk, Wish
from scoresde.latent import latents
from scoresde.model import Autoencoder, TrainedAutoencoder
from scoresde.model.trained.known import facts
from scoresde.nets import Gaussian
from scoresde.noise import Stream, normal
from scoresde.sampling import DPMpp2M


def coder(data, **settings):
    return TrainedAutoencoder(made(Gaussian(2), tuple(data.shape), **settings), facts(data), 3)


def test_latents_are_of_the_posterior_and_have_variance_one_in_the_models_space(tmp_path):
    digits = scoresde.data.digits()
    model = coder(digits)
    found = latents(digits, model, tmp_path, seed=4)
    assert found.shape == (2, 4, 4) and found.conditions == digits.conditions and found.outer is digits
    x = found.encode(stack(found.train, range(len(found.train)))).double()
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(2).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(2).double(), atol=1e-4, rtol=0)
    index, n = torch.tensor([5, 0]), len(digits.train)
    raw = stack(digits.test, index)
    eps = normal(torch.empty(2, 2, 4, 4), n + index, 4, *Stream.LATENT())
    torch.testing.assert_close(stack(found.test, index), model.compress(model.encode(raw), eps))
    batch = collate(found.test, index, ["label"])
    assert torch.equal(batch.cond["label"], collate(digits.test, index, ["label"]).cond["label"])
    assert torch.equal(found.decode(found.encode(batch.x)), model.restored(found.space.decode(found.encode(batch.x))))
    mean = latents(digits, model, posterior="mean")
    torch.testing.assert_close(stack(mean.test, index), model.compress(model.encode(raw)))
    (kept,) = tmp_path.glob("latents-*.npz")
    with np.load(kept) as file:
        assert np.array_equal(file["test"][5], found.test[5]["x"].numpy())
    kept.write_bytes(b"no")  # what is damaged is made again
    assert torch.equal(stack(latents(digits, model, tmp_path, seed=4).test, index), batch.x)


def test_latents_that_are_not_kept_are_those_that_are(tmp_path):
    digits = scoresde.data.digits()
    model = coder(digits)
    whole, made_later = (latents(digits, model, kept=kept) for kept in (True, False))
    index = torch.tensor([3, 0, 700])
    for part in ("train", "test"):
        mine, theirs = (collate(getattr(data, part), index % 200, ["label"]) for data in (whole, made_later))
        torch.testing.assert_close(mine.x, theirs.x)
        assert torch.equal(mine.cond["label"], theirs.cond["label"])
    torch.testing.assert_close(made_later.space.scale, whole.space.scale)
    assert not hasattr(made_later.train, "x") and made_later.train[5]["x"].shape == (2, 4, 4)
    net = scoresde.nets.MLP(made_later.shape, width=8, blocks=1)
    trained = [
        scoresde.train(copy.deepcopy(scoresde.Preconditioned(net, scoresde.VP())), data, steps=3, batch_size=8)
        for data in (whole, made_later)
    ]
    for a, b in zip(*(m.parameters() for m in trained), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    refuses("kept=False: there is nothing to keep", call=lambda: latents(digits, model, tmp_path, kept=False))
    refuses("are latents of them: leave it out", call=lambda: scoresde.data.viewed(whole, scoresde.data.views.Grey()))


def test_latents_of_other_items_and_broken_ones_are_refused():
    digits = scoresde.data.digits()
    other = coder(from_tensor(torch.randn(10, 1, 8, 8)))
    refuses(
        "autoencoder: it is of items (1, 8, 8), and digits has (1, 8, 8) with 17 levels",
        call=lambda: latents(digits, other),
    )
    refuses("or a TrainedAutoencoder", call=lambda: latents(digits, torch.nn.Linear(2, 2)))
    flat = coder(digits)
    with torch.no_grad():
        for p in flat.bare.net.encoder[-1].parameters():
            p.zero_()
    refuses("channels [0, 1] of the latents are constant", call=lambda: latents(digits, flat, posterior="mean"))
    refuses("the latents say nothing of items", call=lambda: latents(digits, flat))  # which are drawn, and not constant
    with torch.no_grad():
        flat.bare.net.encoder[-1].bias[1] = 0.5
    assert latents(digits, flat).notes[-1] == "channels [0] of the latents say nothing, the posterior collapsed there"
    with torch.no_grad():
        flat.bare.net.encoder[-1].bias.fill_(torch.nan)
    refuses("items are not finite", call=lambda: latents(digits, flat))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder with an autoencoder `ae` and a model `m` of its latents, which knows labels."""
    folder = tmp_path_factory.mktemp("latents")
    with pytest.MonkeyPatch.context() as patch:
        few = ["task.channels=8", "task.mults=[1,2]", "task.latent=2", "task.critic=0.5", "task.start=1"]
        words = ["task=autoencoder", "task.folder=ae", "train.steps=3", "train.batch_size=16", *few]
        assert command(patch, QUIET, folder, *words)[0] == 0
        words = [*TINY, "data=latents", "data@data.data=digits", "data.autoencoder=ae", "cond=[label]", "folder=m"]
        assert command(patch, QUIET, folder, *words, "task=train")[0] == 0
    return folder


class Quiet:
    def readouterr(self):
        return "", ""


QUIET = Quiet()


def test_the_commands_give_pictures_of_latents(folders, monkeypatch, capfd):
    digits = scoresde.data.digits()
    assert (folders / "ae" / "reconstructions.png").exists()
    words = ["folder=m", "n=6", *FEW, "given.label=3"]
    assert command(monkeypatch, capfd, folders, *words, "task=sample", "png=true")[0] == 0
    (place,) = folders.glob("m/sample-*")
    raw = np.load(place / "samples.npy")
    assert raw.shape == (6, 1, 8, 8) and raw.dtype == np.uint8 and (place / "trajectory.gif").exists()
    few = ["n=40", "task.metrics=[frechet]", "task.extractor=pca", "task.width=4"]
    assert command(monkeypatch, capfd, folders, "folder=m", *FEW, *few, "task=evaluate")[0] == 0
    (found,) = folders.glob("m/evaluate-*/summary.json")
    assert json.loads(found.read_text())["reference"] == f"{len(digits.test)} digits test"


def test_the_page_shows_what_the_autoencoder_makes_of_latents(folders):
    desk = Desk(Subject(scoresde.load(folders / "m"), folders / "m", lambda: pytest.fail("it needs no data")))
    assert "1 x 8 x 8 by way of 2 x 4 x 4, 17 levels, 10 classes" in desk.title
    *_, (sheet, strip, _) = desk.sample(n=4, steps=2, sampler="ddim", label=3)
    assert sheet.shape[2] == strip.shape[2] == 3
    (*_, last) = denoising(desk.subject, Wish(n=4, steps=2, sampler="ddim", label=3))
    asked = desk.subject.model.generate(4, SAMPLERS["ddim"](2), cond={"label": 3})
    assert torch.equal(last.samples, asked) and last.x.shape == (4, 2, 4, 4)
    raw = walk(desk.subject, Walk(points=3))
    assert raw.shape == (3, 1, 8, 8) and desk.interpolate(points=3)[0].ndim == 3
    refuses("no data beside them", call=lambda: desk.interpolate(points=3, between="items"))
    refuses("is that of latents: say task=likelihood", call=lambda: desk.likelihood(number=0))


def test_a_folder_moved_elsewhere_without_its_autoencoders_own_still_samples(folders, tmp_path, monkeypatch, capfd):
    shutil.copytree(folders / "m", tmp_path / "m")
    before = scoresde.load(folders / "m").generate(3, DPMpp2M(3), cond={"label": 1})
    gone = (folders / "ae").rename(folders / "away")
    try:
        code, out, err = command(monkeypatch, capfd, tmp_path, "folder=m", "n=4", *FEW, "given.label=1", "task=sample")
        assert code == 0, (out, err)
        model = scoresde.load(tmp_path / "m")
        assert torch.equal(model.generate(3, DPMpp2M(3), cond={"label": 1}), before)
        assert model.codec.weights == scoresde.load(gone).weights and model.outer.levels == 17
        scoresde.model.save(tmp_path / "again", model)
        assert torch.equal(scoresde.load(tmp_path / "again").generate(3, DPMpp2M(3), cond={"label": 1}), before)
        shutil.rmtree(tmp_path / "m" / "codec")
        refuses("which is not there: put it back", call=lambda: scoresde.load(tmp_path / "m"))
    finally:
        gone.rename(folders / "ae")


def test_another_autoencoder_in_the_codecs_place_is_refused(folders, tmp_path):
    shutil.copytree(folders / "m", tmp_path / "m")
    digits = scoresde.data.digits()
    net = made(Gaussian(2))
    assert isinstance(net, Autoencoder)
    TrainedAutoencoder(net, facts(digits), 3).save(tmp_path / "m" / "codec")
    refuses("has other weights than those", call=lambda: scoresde.load(tmp_path / "m"))


def test_what_is_no_codec_of_these_items_is_one_line_of_the_command(folders, monkeypatch, capfd):
    words = [*TINY, "data=latents", "data@data.data=digits", "cond=[]", "folder=new", "task=train"]

    def said(*more):
        code, _, err = command(monkeypatch, capfd, folders, *words, *more)
        assert code == 1 and err.startswith("error: ") and err.count("\n") == 1, err
        return err

    assert "data.autoencoder=none is not a model folder" in said("data.autoencoder=none")
    assert "holds a Model: give the folder of a TrainedAutoencoder" in said("data.autoencoder=m")
    scenes = ["data@data.data=scenes", "data.data.size=16", "data.data.n=40", "data.data.test=9"]
    assert "error: data.autoencoder: it is of items (1, 8, 8) with 17 levels, and scenes16 has" in said(
        *scenes, "data.autoencoder=ae"
    )
    assert "digits latents has no levels; choose rule=v" in said("data.autoencoder=ae", "rule=levels")
    assert "are latents of them: leave it out" in said("data.autoencoder=ae", "view=hole")
    assert "data.kept=false: there is nothing to keep" in said(
        "data.autoencoder=ae", "data.kept=false", "data.folder=k"
    )
    shutil.copytree(folders / "ae", folders / "newer")
    about = json.loads((folders / "newer" / "model.json").read_text()) | {"format": 99}
    (folders / "newer" / "model.json").write_text(json.dumps(about))
    assert "has format 99, of a newer scoresde" in said("data.autoencoder=newer")
    assert "holds an autoencoder and no denoiser" in command(monkeypatch, capfd, folders, "folder=ae", "task=sample")[2]
    assert "is told no picture" in command(monkeypatch, capfd, folders, "folder=m", "task=translate")[2]
    assert not (folders / "new").exists()


def test_until_a_training_that_began_anew_has_ended_the_codec_is_that_of_its_autoencoders_folder(
    folders, tmp_path, monkeypatch
):
    shutil.copytree(folders / "m", tmp_path / "m")
    TrainedAutoencoder(made(Gaussian(2)), facts(scoresde.data.digits()), 3).save(tmp_path / "m" / "codec")
    monkeypatch.chdir(folders)  # where `ae` is
    assert scoresde.load(tmp_path / "m").codec.weights == scoresde.load("ae").weights

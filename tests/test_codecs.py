"""Codecs that others trained, latents decoded in parts and in tiles, and what an autoencoder costs in bits."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import FEW, TINY, command
from problems import refuses
from test_autoencoder import SHAPE, made
from torch import nn

import scoresde
from scoresde.data import from_tensor, stack
from scoresde.latent import latents, pretrained
from scoresde.model import TrainedAutoencoder
from scoresde.model.trained.known import facts
from scoresde.model.trained.tiles import Tiles
from scoresde.nets import Codebook, Codec, Gaussian, Plain, TinyCodec
from scoresde.objectives import Autoencode
from scoresde.sampling.hardware import OutOfMemory

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
QUIET = type("Quiet", (), {"readouterr": lambda self: ("", "")})()


def pictures(size=16, n=24, channels=3):
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (n, channels, size, size), generator=generator, dtype=torch.uint8)
    return from_tensor(raw, levels=256)


def published(folder, pool=True, **other):
    """A folder with the two files of a small network."""
    torch.manual_seed(0)
    net = TinyCodec((3, 16, 16), latent=4, channels=8, pool=pool)
    states = {name: getattr(net, name).state_dict() | other.get(name, {}) for name in ("encoder", "decoder")}
    folder.mkdir(exist_ok=True)
    for name, state in states.items():
        state = {k: v.half() if v is not None else v for k, v in state.items() if v is not None}
        torch.save(state, folder / f"tiny_{name}.pth")
    return net


def test_weights_of_others_are_a_codec_like_any_other(tmp_path):
    net, data = published(tmp_path / "w"), pictures()
    found = pretrained(data, tmp_path / "w", tmp_path / "ae")
    assert found.latent_shape == (4, 2, 2) and found.codes is None and found.levels == 256
    raw = stack(data.test, range(2))
    x = data.encode(raw)
    for own, theirs in zip(found.bare.net.parameters(), net.parameters(), strict=True):
        assert torch.equal(own, theirs.half().float())
    own = found.bare.net
    assert torch.equal(own.down(x), own.encoder((x + 1) / 2))
    assert torch.equal(found.expand(own.down(x)), 2 * own.decoder(own.down(x)) - 1)
    again = scoresde.load(tmp_path / "ae")
    assert again.weights == found.weights and torch.equal(again.reconstruct(raw), found.reconstruct(raw))
    space = latents(data, tmp_path / "ae")
    assert space.shape == (4, 2, 2)
    torch.testing.assert_close(stack(space.test, range(2)), found.compress(x))
    files = [tmp_path / "w" / f"tiny_{name}.pth" for name in ("encoder", "decoder")]
    assert pretrained(data, files).weights == found.weights


def test_weights_that_are_none_of_its_are_refused_in_a_line(tmp_path):
    data, folder = pictures(), tmp_path / "w"
    published(folder)
    call = lambda data=data, weights=folder: lambda: pretrained(data, weights)
    refuses("is no folder: give a folder with one file each", call=call(weights=tmp_path / "none"))
    refuses("give two files", call=call(weights=[folder / "a"] * 3))
    refuses("is no file", call=call(weights=[folder / "a", folder / "b"]))
    refuses("is of pictures of 3 channels, and tensor has (1, 16, 16)", call=call(pictures(channels=1)))
    refuses("both a multiple of 8", call=call(pictures(size=12)))
    refuses("are of pictures with levels", call=call(from_tensor(torch.rand(9, 3, 16, 16))))
    encoder, decoder = folder / "tiny_encoder.pth", folder / "tiny_decoder.pth"
    refuses("holds no weights of the decoder of the tiny autoencoders", call=call(weights=[encoder, encoder]))
    shutil.copy(encoder, folder / "other_encoder.pth")
    refuses("has 2 of an encoder, 1 of a decoder", call=call())
    (folder / "other_encoder.pth").write_bytes(b"no")
    refuses("is not a file of weights alone", call=call(weights=[folder / "other_encoder.pth", decoder]))
    (folder / "other_encoder.pth").unlink()
    published(folder, decoder={"8.conv.0.weight": torch.zeros(8, 8, 1, 1)})
    refuses("its 8.conv.0.weight is (8, 8, 1, 1), not (8, 8, 3, 3)", call=call())
    published(folder, encoder={"0.bias": None})
    refuses("it lacks 0.bias", call=call())
    published(folder, encoder={"15.weight": torch.zeros(1)})
    refuses("it has 15.weight beside them", call=call())
    published(folder, encoder={"0.bias": torch.full((8,), torch.nan)})
    refuses("the weights 0.bias are not finite", call=call())
    torch.save([torch.zeros(1)], encoder)
    refuses("holds a list", call=call())


def test_the_tiny_autoencoder_gives_emoji_back():
    image, files = pytest.importorskip("PIL.Image"), sorted((SHARED / "emoji" / "test").glob("*.png"))[::112]
    if not (SHARED / "weights" / "taef2").exists() or not files:
        pytest.skip("its weights are not here")
    read = lambda path: torch.from_numpy(np.array(image.open(path).convert("RGB"))).movedim(-1, 0)
    raw = torch.stack([read(path) for path in files])
    found = pretrained(from_tensor(raw, levels=256), SHARED / "weights" / "taef2")
    assert found.latent_shape == (32, 8, 8)
    error = (found.reconstruct(raw).double() - raw).square().flatten(1).mean(1)
    each = 10 * (255**2 / error).log10()
    assert 25 < each.mean() < 33 and each.min() > 18, each


def test_tiles_give_what_the_whole_gives_where_the_decoder_sees_no_further():
    torch.manual_seed(0)
    up = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Upsample(scale_factor=2), nn.Conv2d(3, 1, 3, padding=1))
    z, shape = torch.randn(2, 2, 23, 9), (1, 46, 18)
    with torch.no_grad():
        whole = up(z)
        torch.testing.assert_close(Tiles(12, 8).decoded(up, z, shape), whole, atol=1e-6, rtol=1e-5)
        assert (Tiles(12, 4).decoded(up, z, shape) - whole).abs().max() > 1e-4  # it sees two latents, a tile shares one
        assert torch.equal(Tiles(23).decoded(up, z, shape), whole)
        line = nn.Upsample(scale_factor=4)
        series = torch.randn(2, 2, 11)
        for size, overlap in ((5, None), (4, 0), (4, 3), (1, 0)):
            found = Tiles(size, overlap).decoded(line, series, (2, 44))
            torch.testing.assert_close(found, line(series), atol=1e-6, rtol=1e-5)
    refuses("overlap=4: give less than the size, 4", call=lambda: Tiles(4, 4))
    refuses("the decoder of a tile of its latents", call=lambda: Tiles(4).decoded(lambda part: z, z, shape))
    digits = scoresde.data.digits()
    model = TrainedAutoencoder(made(Gaussian(2)), facts(digits), 3)
    z = torch.randn(3, 2, 4, 4)
    whole, model.tiles = model.restored(z), Tiles(3, 1)
    there = model.restored(z)
    assert there.shape == whole.shape and there.dtype == whole.dtype and not torch.equal(there, whole)
    model.tiles = Tiles(4)
    assert torch.equal(model.restored(z), whole)


def test_latents_are_decoded_by_halves_where_memory_runs_out():
    digits = scoresde.data.digits()
    model, z = TrainedAutoencoder(made(Gaussian(2)), facts(digits), 3), torch.randn(11, 2, 4, 4)
    whole, up, sizes = model.restored(z), model.bare.net.up, []

    def short(part, most):
        sizes.append(len(part))
        if len(part) > most:
            raise OutOfMemory("out of memory")
        return up(part)

    model.bare.net.up = lambda part: short(part, 3)
    with pytest.warns(UserWarning, match="ran out of memory: 2 fits"):
        assert torch.equal(model.restored(z), whole)
    assert sizes[:3] == [11, 5, 2] and max(sizes[3:]) == 2 and model.at_once == 2
    sizes.clear()
    assert torch.equal(model.restored(z[:4]), whole[:4]) and sizes == [2, 2]
    model.bare.net.up = lambda part: short(part, 0)
    with pytest.raises(MemoryError, match="decode it in .smaller. tiles"):
        model.restored(z)
    assert model.restored(z[:0]).shape == (0, *SHAPE)


@pytest.mark.parametrize("kind", ["gaussian", "codebook"])
def test_bits_are_a_bound_by_their_terms(kind):
    """Of a decoder that does not look at z its reconstruction is that of a Gaussian, whatever the latents cost."""
    raw = torch.randint(0, 17, (40, *SHAPE), generator=torch.Generator().manual_seed(0))
    data = from_tensor(raw, levels=17)
    coder = made(Gaussian(2) if kind == "gaussian" else Codebook(2, 8), likelihood=True)
    with torch.no_grad():
        for p in coder.net.decoder[-1].parameters():
            p.zero_()
    bits = coder.bits(raw, data.space)
    flat = -data.space.log_mass(raw, torch.zeros(40, *SHAPE), coder.log_std.exp().expand(40, *SHAPE))
    torch.testing.assert_close(bits[:, 0], (flat / 64 / math.log(2)).double().detach(), rtol=1e-5, atol=1e-6)
    if kind == "gaussian":
        kl = coder.bottleneck.divergence(coder.net.down(data.encode(raw))).flatten(1).sum(1)
        torch.testing.assert_close(bits[:, 1], (kl / 64 / math.log(2)).double().detach(), rtol=1e-5, atol=1e-6)
    else:
        torch.testing.assert_close(bits[:, 1], torch.full((40,), 16 * 3 / 64).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(coder.bits(raw[:3], data.space), bits[:3], rtol=1e-5, atol=1e-6)
    objective = Autoencode(coder, data, "levels")
    objective.begin(torch.device("cpu"))
    found = objective.check(coder)
    held = coder.bits(objective.held, data.space).sum(1).mean()
    assert found["bits_per_dim"] == pytest.approx(float(held)) and ("kl" in found) == (kind == "gaussian")
    plain = scoresde.Autoencoder(Codec(SHAPE, 2, 2, channels=8, mults=(1, 2)), Plain(2), True)
    refuses("have no distribution", call=lambda: plain.bits(raw, data.space))
    objective = Autoencode(plain, data, "l2")
    objective.begin(torch.device("cpu"))
    assert set(objective.check(plain)) == {"validation", "psnr"}


def test_the_commands(tmp_path, monkeypatch, capfd):
    image = pytest.importorskip("PIL.Image")
    for split, n in (("train", 44), ("test", 24)):
        (tmp_path / "images" / split).mkdir(parents=True)
        raw = stack(pictures(n=99).train, range(n)).movedim(1, -1).numpy()
        for i, picture in enumerate(raw):
            image.fromarray(picture).save(tmp_path / "images" / split / f"{i}.png")
    published(tmp_path / "w")
    run = lambda *words: command(monkeypatch, capfd, tmp_path, *words)
    data = ["data=images", "data.root=images", "data.size=16"]
    words = ["task=autoencoder", *data, "task.folder=ae"]
    code, out, err = run(*words, "task.pretrained=w", "task.extractor=pca", "task.items=24")
    assert code == 0 and "4 x 2 x 2" in out and "frechet" in out, (out, err)
    assert run(*words, "task.pretrained=w", "task.codes=4")[2].startswith("error: task.codes=4: what others trained")
    assert run(*words, "task.pretrained=no")[2].startswith("error: task.pretrained=no is no folder")
    names = [word.replace("data.", "data.data.").replace("data=", "data@data.data=") for word in data]
    code, out, err = run(*TINY, "data=latents", *names, "data.autoencoder=ae", "task=train", "folder=m")
    assert code == 0, err
    sample = ["folder=m", "n=4", *FEW, "task=sample"]
    code, out, err = run(*sample, "task.tile=1")
    assert code == 0, err
    assert run("folder=ae", "task=sample")[0] == 1
    assert "error: task.overlap=1: give less than" in run(*sample, "task.tile=1", "task.overlap=1")[2]
    published_net = run(*words, "task.lpips=no", "task.folder=x", "train.steps=2")
    assert published_net[2].startswith("error: no is no file"), published_net[2]
    assert "leave the classifier out" in run(*words, "task.lpips=no", "task.classifier=c")[2]
    few = ["train.steps=2", "train.batch_size=8", "task.channels=8", "task.mults=[1,2]", "task.loss=levels"]
    code, out, err = run("task=autoencoder", "data=digits", *few, "task.codes=8", "task.folder=c")
    assert code == 0 and "16 of 3 bits, 0.75 bits" in out and "given the latents, 0.7500 for them" in out, (out, err)

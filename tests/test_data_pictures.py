"""Laws of images: what a person sees in a viewer is what is trained on; one line says what was taken and left out."""

import importlib
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from data_problems import whole
from PIL import Image, ImageCms, features
from problems import refuses

from scoresde import data as D
from scoresde.data.readers.pictures import pixels

PICTURE = np.random.RandomState(0).randint(256, size=(6, 4, 3)).astype(np.uint8)  # 4 wide, 6 high


def seen(path, **options):
    """The one image of a file, (H, W) or (H, W, 3), as numpy; a copy of the file makes the second item."""
    data = D.images(path.parent, test=1, **options)
    x = data.train[0].permute(1, 2, 0).numpy()
    return x[..., 0] if x.shape[-1] == 1 else x


@pytest.fixture
def put(tmp_path):
    """Saves an image as a pair of files in a folder of its own, and gives the path of one."""

    def saved(name, image, **options):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        image.save(folder / name, **options)
        (folder / f"again{os.path.splitext(name)[1]}").write_bytes((folder / name).read_bytes())
        return folder / name

    return saved


# -- one image --------------------------------------------------------------------------------------------------------

# How the stored picture has to be turned for each value of EXIF's orientation: (numpy, on (H, W, 3))
TURNS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


def exif(turn):
    found = Image.Exif()
    found[0x0112] = turn
    return found


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.tif", {}), ("a.webp", {"lossless": True})])
def test_exif_turns_the_picture(put, name, options, turn):
    path = put(name, PICTURE, exif=exif(turn), **options)
    assert (seen(path) == TURNS[turn](PICTURE)).all()
    assert seen(path, size=4).shape == (4, 4, 3)


@pytest.mark.parametrize("turn", [1, 3, 6])
def test_exif_turns_a_photograph(put, turn):
    smooth = np.repeat(np.linspace(0, 255, 16)[:, None], 8, 1)[..., None].repeat(3, -1).astype(np.uint8)
    path = put("a.jpg", smooth, exif=exif(turn), quality=95)
    assert np.abs(seen(path).astype(int) - TURNS[turn](smooth)).max() < 12


def test_exif_at_the_end_of_a_png_and_broken_exif(put):
    path = put("a.png", PICTURE)
    whole_file = path.read_bytes()
    body = b"eXIf" + exif(6).tobytes()[6:]
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    end = whole_file.rindex(b"IEND") - 4
    for name in ("a.png", "again.png"):
        (path.parent / name).write_bytes(whole_file[:end] + chunk + whole_file[end:])
    refuses("6x4 and not 4x6", "size=", call=lambda: seen(path))
    assert seen(path, size=4).shape == (4, 4, 3)
    square = put("b.png", PICTURE[:4])
    whole_file = square.read_bytes()
    end = whole_file.rindex(b"IEND") - 4
    for name in ("b.png", "again.png"):
        (square.parent / name).write_bytes(whole_file[:end] + chunk + whole_file[end:])
    assert (seen(square) == TURNS[6](PICTURE[:4])).all()
    broken = put("c.jpg", PICTURE, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert seen(broken).shape == (6, 4, 3)


ALPHA = np.random.RandomState(1).randint(256, size=(6, 4)).astype(np.uint8)
ALPHA[0], ALPHA[1] = 0, 255


def over(x, alpha, paper):
    alpha = alpha.reshape(alpha.shape + (1,) * (x.ndim - alpha.ndim)) / 255
    return x * alpha + paper * (1 - alpha)


@pytest.mark.parametrize(("background", "paper"), [("white", 255), ("black", 0)])
def test_alpha_is_over_the_background(put, background, paper):
    rgba = np.concatenate([PICTURE, ALPHA[..., None]], -1)
    for name in ("a.png", "a.webp", "a.tif"):
        path = put(name, rgba, **({"lossless": True, "exact": True} if name == "a.webp" else {}))
        assert np.abs(seen(path, background=background) - over(PICTURE, ALPHA, paper)).max() <= 1
        assert (seen(path, background="drop") == PICTURE).all()
        assert f"over {background}" in D.images(path.parent, test=1, background=background).notes[0]
    grey = np.stack([PICTURE[..., 0], ALPHA], -1)
    path = put("a.png", grey)
    assert np.abs(seen(path, background=background) - over(PICTURE[..., 0], ALPHA, paper)).max() <= 1
    assert (seen(path, background="drop") == PICTURE[..., 0]).all()


def test_transparent_palettes_and_colours(put):
    index = np.arange(24, dtype=np.uint8).reshape(6, 4) % 3
    for name, options in (("a.png", {"transparency": bytes([0, 255, 128])}), ("a.gif", {"transparency": 0})):
        image = Image.fromarray(index, "P")
        image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        x = seen(put(name, image, **options))
        assert (x[index == 0] == 255).all() and (x[index == 1] == [40, 50, 60]).all()
        last = x[index == 2][0]
        assert (
            np.abs(last - (over(np.array([70, 80, 90]), np.array(128), 255) if name == "a.png" else [70, 80, 90])).max()
            <= 1
        )
    solid = PICTURE.copy()
    solid[2, 3] = [1, 2, 3]
    assert (seen(put("b.png", solid, transparency=(1, 2, 3)))[2, 3] == 255).all()
    grey = PICTURE[..., 0].copy()
    grey[2, 3], grey[0, 0] = 77, 78
    x = seen(put("c.png", grey, transparency=77))
    assert x[2, 3] == 255 and x[0, 0] == 78 and x.ndim == 2
    deep = np.full((3, 3), 258 * 100, np.uint16)
    deep[1, 1] = 5
    x = seen(put("d.png", deep, transparency=5))
    assert x[1, 1] == 255 and x[0, 0] == 100


def test_bits_and_kinds(put):
    deep = (np.arange(24).reshape(6, 4) * 2800).astype(np.uint16)
    for name in ("a.png", "a.tif", "a.pgm", *(["a.jp2"] if features.check("jpg_2000") else [])):
        assert (seen(put(name, deep)) == deep >> 8).all(), name
    bits = np.eye(4) > 0
    assert (seen(put("b.png", Image.fromarray(bits))) == 255 * bits).all()
    assert (seen(put("c.bmp", PICTURE[..., 0])) == PICTURE[..., 0]).all()
    assert (seen(put("d.ppm", PICTURE)) == PICTURE).all() and (seen(put("d.tga", PICTURE)) == PICTURE).all()
    float32 = put("e.tif", np.zeros((3, 3), np.float32))
    refuses("32-bit pixels (mode F)", "read arrays", call=lambda: seen(float32))


def test_colours_follow_their_profile(put):
    cmyk = Image.fromarray(np.full((8, 8, 4), 60, np.uint8), "CMYK")
    assert (seen(put("a.tif", cmyk)) == np.array(cmyk.convert("RGB"))).all()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (seen(put("b.png", PICTURE, icc_profile=srgb)) == PICTURE).all()
    assert (seen(put("c.png", PICTURE, icc_profile=b"no profile")) == PICTURE).all()
    # A screen whose red is sRGB's green, and the other way round.
    odd = srgb.replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ").replace(b"?XYZ", b"gXYZ")
    odd = odd.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    for name in ("d.png", "e.tif", "f.jpg"):
        x = seen(put(name, np.full((8, 8, 3), [200, 30, 90], np.uint8), icc_profile=odd)).astype(int)
        assert np.abs(x - [30, 200, 90]).max() <= 3, x[0, 0]
    clear = np.concatenate([np.full((8, 8, 3), [200, 30, 90]), np.full((8, 8, 1), 128)], -1).astype(np.uint8)
    x = seen(put("g.png", clear, icc_profile=odd)).astype(int)
    assert np.abs(x - [142, 227, 172]).max() <= 3, x[0, 0]


def test_of_an_animation_the_first_frame(put):
    frames = [Image.fromarray(np.roll(PICTURE, i, 1)) for i in range(3)]
    for name, options in (("a.gif", {}), ("a.webp", {"lossless": True}), ("a.png", {}), ("a.tif", {})):
        path = put(name, frames[0], save_all=True, append_images=frames[1:], **options)
        x = seen(path)
        assert np.abs(x.astype(int) - PICTURE).max() <= (40 if name == "a.gif" else 0), name
        assert "2 animations by the first frame" in D.images(path.parent, test=1).notes[0], name


# -- a folder ---------------------------------------------------------------------------------------------------------


def fill(folder, *names, shape=(4, 4)):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(shape, 10 * i + 5, np.uint8)).save(path, "PNG")


def names_of(data):
    return sorted([*data.train.names, *data.test.names])


def test_names_are_those_of_the_items(tmp_path, monkeypatch):
    for i in range(9):
        fill(tmp_path, f"{'sub/' * (i % 2)}{i}.png")
        Image.fromarray(np.full((2, 2), i, np.uint8)).save(tmp_path / f"{'sub/' * (i % 2)}{i}.png")
    for limit in (2**30, 0):
        monkeypatch.setattr(importlib.import_module("scoresde.data.readers.pictures.images"), "IN_MEMORY", limit)
        data = D.images(tmp_path, test=3)
        assert names_of(data) == sorted([f"{i}.png" for i in range(0, 9, 2)] + [f"sub/{i}.png" for i in range(1, 9, 2)])
        for split in (data.train, data.test):
            assert all(int(split[i].max()) == int(split.names[i][-5]) for i in range(len(split)))


def test_hidden_and_cache_folders_are_passed(tmp_path):
    fill(tmp_path, "a.png", "b/c.png", ".ipynb_checkpoints/a-checkpoint.png", ".thumbnails/large/a.png", ".d.png")
    fill(tmp_path, "__MACOSX/a.png", "b/.cache/e/f.png", "@eaDir/a.png", "._a.png")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    data = D.images(tmp_path, test=1)
    assert names_of(data) == ["a.png", "b/c.png"]
    assert data.notes == ("2 images in 2 folders; left out: 3 hidden files, 5 hidden or cache folders",)
    hidden = tmp_path / ".mine"
    fill(hidden, "a.png", "b.png")
    assert len(D.images(hidden, test=1).train) == 1  # a folder that was asked for by its name


def test_links_are_followed_once(tmp_path):
    fill(tmp_path / "away", "x.png", "deep/y.png")
    fill(tmp_path / "here", "a.png", "sub/b.png")
    os.symlink(tmp_path / "away", tmp_path / "here" / "link")
    os.symlink(tmp_path / "here" / "sub", tmp_path / "here" / "0")  # sorts before the folder that it leads to
    os.symlink("..", tmp_path / "here" / "sub" / "up")
    os.symlink(tmp_path, tmp_path / "here" / "above")
    os.symlink(tmp_path / "away" / "x.png", tmp_path / "here" / "file.png")
    os.symlink(tmp_path / "nowhere", tmp_path / "here" / "lost.png")
    os.symlink(tmp_path / "here", tmp_path / "away" / "back")
    data = D.images(tmp_path / "here", test=1)
    assert names_of(data) == ["a.png", "file.png", "link/deep/y.png", "link/x.png", "sub/b.png"]
    assert "1 broken link" in data.notes[0]
    os.symlink(tmp_path / "here", tmp_path / "all")
    assert names_of(D.images(tmp_path / "all", test=1)) == names_of(data)


def test_every_image_whatever_its_suffix(tmp_path):
    kinds = {
        "a.jfif": "JPEG",
        "b.jpe": "JPEG",
        "c.jp2": "JPEG2000",
        "d.avif": "AVIF",
        "e": "PNG",
        "f.img": "WEBP",
        "g.jpg_large": "JPEG",
    }
    if not features.check("avif"):
        del kinds["d.avif"]
    for name, kind in kinds.items():
        Image.fromarray(PICTURE).save(tmp_path / name, kind)
    (tmp_path / "notes.txt").write_text("P5 2 2 255 no image")
    (tmp_path / "more.txt").write_text("")
    (tmp_path / "README").write_text("no image")
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0 ftypisom")
    (tmp_path / "data.xyz").write_bytes(bytes(100))
    (tmp_path / "raw.nef").write_bytes(b"II*\0")
    data = D.images(tmp_path, test=1)
    assert names_of(data) == sorted(kinds)
    left = "1 .mp4, 1 .nef (raw of a camera), 2 .txt, 1 .xyz, 1 file without a suffix"
    assert data.notes == (f"{len(kinds)} images in 1 folder; left out: {left}",)


def test_heic_is_read_or_counted(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    heic = pixels.pillow().registered_extensions().get(".heic")
    if heic is None:
        (tmp_path / "c.heic").write_bytes(b"\0\0\0 ftypheic")
        assert "1 .heic (needs pip install pillow-heif)" in D.images(tmp_path, test=1).notes[0]
    else:
        Image.fromarray(np.full((4, 4, 3), 9, np.uint8)).save(tmp_path / "c.heic", quality=100)
        assert "c.heic" in names_of(D.images(tmp_path, test=1))


def test_broken_files_are_named_or_left_out(tmp_path, monkeypatch):
    fill(tmp_path, "a.png", "b.png", "c.png", shape=(40, 40))
    Image.fromarray(np.random.RandomState(0).randint(256, size=(40, 40, 3)).astype(np.uint8)).save(tmp_path / "d.jpg")
    whole_file = (tmp_path / "d.jpg").read_bytes()
    for content, word in ((b"", "it is empty"), (b"hello", "cannot identify"), (whole_file[:-600], "truncated")):
        (tmp_path / "d.jpg").write_bytes(content)
        refuses("d.jpg cannot be decoded", word, "remove or replace", call=lambda: D.images(tmp_path))
        data = D.images(tmp_path, broken="skip", test=1)
        assert names_of(data) == ["a.png", "b.png", "c.png"]
        assert "left out: 1 broken (cannot be decoded" in data.notes[0] and "d.jpg" in data.notes[0]
        assert word in data.notes[0] and data.shape == (1, 40, 40)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    (tmp_path / "d.jpg").unlink()
    refuses("a.png has more than 1400 pixels", "attack", call=lambda: D.images(tmp_path))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # pillow would warn, and only that
    assert len(D.images(tmp_path, test=1).train) == 2
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(b"")
    refuses("no image files", "3 broken", call=lambda: D.images(tmp_path, broken="skip"))


def test_settings_of_images(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    for options, words in (
        ({"background": "pink"}, "background='pink': give one of white, black, drop"),
        ({"broken": True}, "broken=True: give one of error, skip"),
        ({"size": 0}, "size=0: give a whole number from 1 to"),
        ({"size": 1.5}, "size=1.5"),
        ({"channels": 4}, "channels=4: give one of 1, 3, or None"),
        ({"test": 2}, "test=2: give a count in 1..1"),
        ({"seed": "x"}, "seed='x'"),
    ):
        refuses(words, call=lambda options=options: D.images(tmp_path, **options))
    assert isinstance(D.images(tmp_path, test=1).train, D.Tensors)
    assert torch.equal(whole(D.images(str(tmp_path), test=1).train), whole(D.images(tmp_path, test=1).train))

"""Pictures of data of any shape: they are there, of the right size, and never of values that are not finite."""

import numpy as np
import pytest
import torch
from PIL import Image

from scoresde.experiment import animation, pictures

SHAPES = [(1, 8, 8), (3, 8, 8), (2, 8, 8), (1, 4, 8, 8), (1, 16), (2, 16), (1,), (2,), (5,)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_is_drawn(tmp_path, shape):
    x = torch.randn(9, *shape)
    pictures.samples(tmp_path / "samples.png", x, None, x if len(shape) == 1 else None)
    pictures.trajectory(tmp_path / "way.png", [1.0, 0.5], [x, x], [x, x], lambda y: y, None)
    for name in ("samples.png", "way.png"):
        assert np.asarray(Image.open(tmp_path / name)).std() > 0


def test_small_images_are_enlarged_without_blur_and_with_gaps():
    raw = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    tile = pictures.tile([pictures.as_bytes(raw, 16)])
    factor = pictures.TILE // 4
    gap = factor // 2
    assert tile.shape == (4 * factor + 2 * gap, 4 * factor + 2 * gap, 3)
    inner = tile[gap:-gap, gap:-gap, 0]
    assert np.array_equal(inner[::factor, ::factor].flatten(), np.arange(16) * 17)
    assert np.array_equal(inner, inner[::factor, ::factor].repeat(factor, 0).repeat(factor, 1))


def test_what_is_not_finite_is_not_drawn(tmp_path):
    with pytest.raises(FloatingPointError, match="not finite"):
        pictures.samples(tmp_path / "x.png", torch.full((2, 1, 4, 4), float("nan")), None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_walks_and_moves(tmp_path, shape):
    """A walk of 5 points for each of 3 pairs; an animation of 4 frames and its times."""
    ends, ways = torch.randn(2, 3, *shape), torch.randn(3, 5, *shape)
    pictures.walks(tmp_path / "walks.png", ends[0], ways, ends[1], None, ends[0] if len(shape) == 1 else None)
    assert np.asarray(Image.open(tmp_path / "walks.png")).std() > 0
    x = torch.randn(4, 3, *shape)
    animation.animation(tmp_path / "way.gif", [1.0, 0.5, 0.2, 0.1], x, x, lambda y: y, None)
    movie = Image.open(tmp_path / "way.gif")
    assert movie.n_frames == 4 and movie.info["loop"] == 0


def test_a_walk_of_images_has_the_real_ends_at_its_sides(tmp_path):
    first, last = torch.full((2, 1, 4, 4), 0, dtype=torch.uint8), torch.full((2, 1, 4, 4), 16, dtype=torch.uint8)
    ways = torch.full((2, 3, 1, 4, 4), 8, dtype=torch.uint8)
    pictures.walks(tmp_path / "walks.png", first, ways, last, 17)
    row = np.asarray(Image.open(tmp_path / "walks.png"))[pictures.TILE // 2, :, 0]
    inner = [int(v) for v in row[np.r_[True, np.diff(row) != 0]] if v != 96]
    assert inner == [0, 255, 128, 128, 128, 255, 255]  # first | three points | last, the bars white


def test_an_animation_shows_each_state_and_stays_small(tmp_path):
    grey = torch.arange(12, dtype=torch.float32).reshape(12, 1, 1, 1, 1).expand(12, 2, 1, 4, 4)
    noise = torch.randn(12, 2, 1, 4, 4)
    animation.animation(tmp_path / "way.gif", list(range(12)), noise, grey, lambda y: y, 12)
    movie, shown = Image.open(tmp_path / "way.gif"), []
    for i in range(movie.n_frames):
        movie.seek(i)
        shown.append(np.asarray(movie.convert("L"))[-pictures.TILE // 2, pictures.TILE // 2])
    assert shown == [round(255 * i / 11) for i in range(12)]
    big = torch.randn(40, 6, 3, 64, 64)
    animation.animation(tmp_path / "big.gif", list(range(40)), big, big, lambda y: y, None)
    movie = Image.open(tmp_path / "big.gif")
    assert (tmp_path / "big.gif").stat().st_size < animation.GIF_BYTES or movie.n_frames <= 8

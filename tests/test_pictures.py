"""Pictures of data of any shape: they are there, of the right size, and never of values that are not finite."""

import numpy as np
import pytest
import torch
from PIL import Image

from scoresde.experiment import pictures

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

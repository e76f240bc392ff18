"""Pictures of data of any shape show what they were given, and never values that are not finite."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from scoresde.experiment import animation, pictures

SHAPES = [(1, 8, 8), (3, 8, 8), (2, 8, 8), (1, 4, 8, 8), (1, 16), (2, 16), (1,), (2,), (5,)]


@pytest.fixture
def figures(monkeypatch):
    """The figures of matplotlib that were saved, to look at what is in their axes."""
    kept, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (kept.append(self), save(self, *a, **k))[1])
    return kept


def shown(axis):
    """The points, the lines and the bars of an axis, each as an array of what was drawn."""
    points = [np.asarray(c.get_offsets()) for c in axis.collections]
    return points, [line.get_xydata() for line in axis.lines], [bar.get_height() for bar in axis.patches]


def tiles(path, rows, columns):
    """The enlarged images of a picture of tiles, (rows, columns, side, side, 3), without the gaps between."""
    picture = np.asarray(Image.open(path))
    factor = pictures.TILE // 8
    gap = factor // 2
    assert picture.shape == (rows * (64 + gap) + gap, columns * (64 + gap) + gap, 3)
    picture = picture[gap:, gap:].reshape(rows, 64 + gap, columns, 64 + gap, 3)[:, :64, :, :64]
    assert (picture == picture[:, ::factor, :, ::factor].repeat(factor, 1).repeat(factor, 3)).all()
    return picture[:, ::factor, :, ::factor].swapaxes(1, 2)


def drawn(x, axis):
    """Whether what is drawn in the axis is the batch x: points, lines of series, or the histogram of numbers."""
    points, lines, bars = shown(axis)
    if x.ndim == 3:
        return np.allclose(np.stack([line[:, 1] for line in lines]), x[:8].flatten(1))
    if x.shape[1] == 1:
        return np.allclose(bars, np.histogram(x.numpy(), 60, density=True)[0])
    return np.allclose(points[-1], x[:, :2])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_is_drawn(tmp_path, figures, shape):
    """Samples, and the states of a trajectory above the estimates: what is in the picture is what was given."""
    x, y, real = torch.randn(3, 9, *shape)
    pictures.samples(tmp_path / "samples.png", x, None, real if len(shape) == 1 else None)
    pictures.trajectory(tmp_path / "way.png", [1.0, 0.5], [x, y], [y, real], lambda z: 2 * z, None)
    assert (tmp_path / "samples.png").exists() and (tmp_path / "way.png").exists()
    if len(shape) > 2:
        grey = pictures.as_bytes(x, None)
        assert (tiles(tmp_path / "samples.png", 3, 3).reshape(9, 8, 8, 3) == grey).all()
        way = tiles(tmp_path / "way.png", 18, 2)
        for column, (state, estimate) in enumerate(((x, y), (y, real))):
            assert (way[::2, column] == pictures.as_bytes(state, None)).all()
            assert (way[1::2, column] == pictures.as_bytes(2 * estimate, None)).all()
        return
    samples, way = figures
    assert drawn(x, samples.axes[0])
    if len(shape) == 1 and shape[0] > 1:
        assert np.allclose(shown(samples.axes[0])[0][0], real[:, :2])
    assert all(drawn(z, axis) for z, axis in zip((x, y, y, real), way.axes, strict=True))


def test_grey_and_colour_values():
    """Levels over their range; other values within three deviations; the first of two channels, all of three."""
    raw = torch.arange(12, dtype=torch.uint8).reshape(2, 1, 2, 3)
    assert (pictures.as_bytes(raw, 12) == np.round(255 / 11 * raw.numpy()).transpose(0, 2, 3, 1)).all()
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    expected = np.round(255 * np.clip((x - x.mean()).numpy() / (6 * x.std().item()) + 0.5, 0, 1)).transpose(0, 2, 3, 1)
    assert (pictures.as_bytes(x, None) == expected).all()
    assert (pictures.as_bytes(x[:, :2], None) == pictures.as_bytes(x[:, :1], None)).all()


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


@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s) < 3], ids=str)
def test_walks_of_points_and_series(tmp_path, figures, shape):
    """A walk of 5 points for each of 3 pairs: its line, and marks at the real ends."""
    ends, ways, real = torch.randn(2, 3, *shape), torch.randn(3, 5, *shape), torch.randn(7, *shape)
    pictures.walks(tmp_path / "walks.png", ends[0], ways, ends[1], None, real if len(shape) == 1 else None)
    (figure,) = figures
    if len(shape) == 2:
        for axis, way in zip(figure.axes, ways, strict=True):
            assert np.allclose([line[:, 1] for line in shown(axis)[1]], way[:, 0])
        return
    points, lines, _ = shown(figure.axes[0])
    across = np.linspace(0, 1, 5)[None, :, None].repeat(3, 0)
    expected = np.concatenate([across, ways], 2) if shape == (1,) else ways[..., :2].numpy()
    assert np.allclose(lines[::3], expected)
    marks = np.stack([lines[1::3], lines[2::3]])[:, :, 0]
    assert np.allclose(marks[..., -1], ends[..., 0 if shape == (1,) else 1])
    assert shape == (1,) or (np.allclose(marks[..., 0], ends[..., 0]) and np.allclose(points[0], real[:, :2]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_moves(tmp_path, shape):
    """An animation has its frames, each of its own, the last held for two seconds."""
    x = torch.randn(4, 3, *shape)
    animation.animation(tmp_path / "way.gif", [1.0, 0.5, 0.2, 0.1], x, x, lambda y: y, None)
    movie, frames = Image.open(tmp_path / "way.gif"), []
    for i in range(movie.n_frames):
        movie.seek(i)
        frames.append((movie.info["duration"], np.asarray(movie.convert("RGB")).tobytes()))
    assert [d for d, _ in frames] == [1000, 1000, 1000, 2000] and len({f for _, f in frames}) == 4
    assert movie.info["loop"] == 0


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

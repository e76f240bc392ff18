"""Pictures of data of any shape: what they show, word for word, and never values that are not finite."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from scoresde import pictures
from scoresde.pictures import animation
from scoresde.pictures.kinds import kind_of
from scoresde.pictures.pixels import LINE
from scoresde.pictures.plots import pairs, tick_labels
from scoresde.sweeps.figures import Figure as Value

SHAPES = [(1, 8, 8), (3, 8, 8), (2, 8, 8), (1, 4, 8, 8), (2, 3, 4, 8, 8), (1, 16), (2, 16), (7, 16), (1,), (2,), (5,)]
SHAPES += [(50,), (3, 1, 1), (1, 1, 9), (1, 3000)]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are written, by matplotlib."""
    made, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (made.append(self), save(self, *a, **k))[1])
    return made


@pytest.fixture
def words(monkeypatch):
    """What is written on pictures of pixels, in order."""
    said, draw = [], ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, at, text, *a, **k: (said.append(text), draw(self, at, text, *a, **k))[1],
    )
    return said


def lines(figure):
    """The y of every line of a figure's visible panels."""
    return [np.asarray(line.get_ydata()) for axis in figure.axes if axis.get_visible() for line in axis.lines]


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_visible() and axis.get_title()]


# -- which way a shape is drawn ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "name", "parts", "area", "note"),
    [
        ((), "number", 1, (), ""),
        ((1,), "number", 1, (), ""),
        ((1, 1, 1), "number", 1, (), ""),
        ((2,), "plane", 2, (), ""),
        ((2, 1), "plane", 2, (), ""),
        ((3,), "table", 3, (), ""),
        ((6,), "table", 6, (), ""),
        ((13,), "table", 13, (), "columns 1 to 6 of 13"),
        ((1, 16), "series", 1, (16,), ""),
        ((5, 16), "series", 5, (16,), "channels 1 to 4 of 5"),
        ((2, 1, 9), "series", 2, (9,), ""),
        ((1, 8, 9), "image", 1, (8, 9), ""),
        ((2, 8, 9), "image", 2, (8, 9), "channels 1 and 2"),
        ((3, 8, 9), "image", 3, (8, 9), ""),
        ((4, 8, 9), "image", 4, (8, 9), "channels 1 to 4"),
        ((8, 8, 9), "image", 8, (8, 9), "channels 1 to 4 of 8"),
        ((1, 16, 8, 9), "image", 1, (8, 9), "slice 8 of 16"),
        ((3, 5, 6, 8, 9), "image", 3, (8, 9), "slice 3 of 5, 3 of 6"),
    ],
    ids=str,
)
def test_one_place_says_how_a_shape_is_drawn(shape, name, parts, area, note):
    kind = kind_of(shape)
    assert (kind.name, kind.parts, kind.area, kind.note) == (name, parts, area, note)
    x = torch.arange(2 * math.prod(shape)).reshape(2, *shape)
    assert kind.view(x).shape == (2, parts, *area)
    if kind.slices:
        assert torch.equal(kind.view(x), x[(slice(None),) * 2 + tuple(i - 1 for i, _ in kind.slices)])


@pytest.mark.parametrize(("n", "shape"), [*((1, s) for s in SHAPES), *((3, s) for s in SHAPES[::2])], ids=str)
def test_any_shape_and_number_is_drawn(tmp_path, shape, n):
    """Every picture of every shape, of one example too, is there and opens."""
    x, levels = torch.randn(n, *shape), None
    real = torch.randn(4, *shape)
    pictures.samples(tmp_path / "samples.png", x, levels, real)
    pictures.trajectory(tmp_path / "way.png", [1.0, 0.5], [x, x], [x, x], lambda y: y, levels)
    few = min(n, 3)
    pictures.extremes(
        tmp_path / "extremes.png", x[:few], x[-few:], levels, (x.flatten()[:few],) * 2, "nats", None, real
    )
    ends, ways = torch.randn(2, few, *shape), torch.randn(few, 5, *shape)
    pictures.walks(tmp_path / "walks.png", ends[0], ways, ends[1], levels, real)
    for name in ("samples", "way", "extremes", "walks"):
        assert min(Image.open(tmp_path / f"{name}.png").size) > 20, name


@pytest.mark.parametrize("shape", SHAPES[::2], ids=str)
def test_what_does_not_vary_is_drawn(tmp_path, shape, recwarn):
    x = torch.full((5, *shape), 1.7e9)
    pictures.samples(tmp_path / "samples.png", x, None, x)
    pictures.extremes(tmp_path / "extremes.png", x, x, None, (torch.zeros(5),) * 2, "nats", None, x)
    pictures.trajectory(tmp_path / "way.png", [1.0, 0.0], [x, x], [x, x], lambda y: y, None)
    assert not recwarn.list and len(list(tmp_path.glob("*.png"))) == 3


# -- samples ----------------------------------------------------------------------------------------------------------


def test_channels_of_a_series_are_lines_of_their_own(tmp_path, figures):
    x = torch.randn(3, 2, 64)
    pictures.samples(tmp_path / "x.png", x, None, x[:2] + 1)
    (figure,) = figures
    drawn = lines(figure)
    assert all(len(y) == 64 for y in drawn)
    expected = [*x.flatten(0, 1), *(x[:2] + 1).flatten(0, 1)]
    assert len(drawn) == len(expected)
    assert all(any(np.allclose(y, e) for y in drawn) for e in expected)
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert {axis.lines[0].get_color() for axis in panels} == {"C0", "C1", "0.5"}  # a channel each, and the data's
    assert titles(figure) == ["sample 1", "sample 2", "sample 3", "data", "data"]
    assert {axis.get_ylabel() for axis in panels} == {"channel 1", "channel 2", ""}
    for k in (0, 1):  # a channel is drawn to one scale
        limits = {
            axis.get_ylim()
            for axis in panels
            if any(np.allclose(axis.lines[0].get_ydata(), e[k]) for e in [*x, *(x[:2] + 1)])
        }
        assert len(limits) == 1


def test_a_very_long_series_keeps_its_extremes(tmp_path, figures):
    x = torch.zeros(1, 1, 100_003)
    x[0, 0, 77_777], x[0, 0, 100_002] = 5.0, -7.0
    pictures.samples(tmp_path / "x.png", x, None)
    (y,) = lines(figures[0])
    assert len(y) < 5000 and y.max() == 5.0 and y.min() == -7.0


def test_a_table_is_drawn_by_its_columns_over_the_data(tmp_path, figures):
    x, real = torch.randn(50, 7) * torch.tensor([100.0, 0.01, 1, 1, 1, 1, 1]), torch.randn(70, 7)
    pictures.samples(tmp_path / "x.png", x, None, real, names=list("abcdefg"))
    (figure,) = figures
    grid = np.array(figure.axes).reshape(6, 6)
    assert [[axis.get_visible() for axis in row] for row in grid] == [[j <= i for j in range(6)] for i in range(6)]
    for i in range(6):
        assert grid[5, i].get_xlabel() == "abcdef"[i]
        for j in range(i):
            data, samples = (np.asarray(c.get_offsets()) for c in grid[i, j].collections)
            assert np.allclose(data, real[:, [j, i]]) and np.allclose(samples, x[:, [j, i]], atol=1e-6)
            assert grid[i, j].get_aspect() == "auto"
    assert figure.get_suptitle() == "columns 1 to 6 of 7"
    assert [t.get_text() for t in grid[0, 0].get_legend().get_texts()] == ["data", "samples"]


def test_names_are_no_formulas(tmp_path, figures, recwarn):
    """Names with dollar signs, in letters that the font lacks, and long ones."""
    names = ["price $ per $unit", "\u6e29\u5ea6", "x" * 99]
    x = torch.randn(9, 3)
    pictures.samples(tmp_path / "a.png", x, None, x, names=names)
    pictures.extremes(tmp_path / "b.png", x, x, None, names=names)
    pictures.trajectory(tmp_path / "c.png", [1.0], [x], [x], lambda y: y, None, names)
    animation.animation(tmp_path / "d.gif", [1.0], x[None], x[None], lambda y: y, None, names)
    pictures.histogram(tmp_path / "e.png", {"$a_b^$": x[:, 0]}, "nats")
    pictures.intervals(tmp_path / "f.png", ["$x$ $"], {"$": [Value(1.0)]}, {})
    assert len([*tmp_path.iterdir()]) == 6 and not recwarn.list
    assert figures[0].axes[-3].get_xlabel() == "price \\$ per \\$unit"


@pytest.mark.parametrize(("scale", "aspect"), [(1.0, 1.0), (100.0, "auto")])
def test_points_have_one_scale_where_their_columns_are_alike(tmp_path, figures, scale, aspect):
    x = torch.randn(200, 2) * torch.tensor([scale, 1.0])
    pictures.samples(tmp_path / "x.png", x, None, x)
    axis = figures[0].axes[0]
    assert axis.get_aspect() == aspect and (axis.get_xlabel(), axis.get_ylabel()) == ("column 1", "column 2")


def test_small_images_are_enlarged_without_blur_and_with_gaps():
    raw = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    tile = pictures.tile([pictures.as_bytes(raw, 16)])
    factor = pictures.TILE // 4
    gap = factor // 2
    assert tile.shape == (4 * factor + 2 * gap, 4 * factor + 2 * gap, 3)
    inner = tile[gap:-gap, gap:-gap, 0]
    assert np.array_equal(inner[::factor, ::factor].flatten(), np.arange(16) * 17)
    assert np.array_equal(inner, inner[::factor, ::factor].repeat(factor, 0).repeat(factor, 1))


def test_a_volume_says_which_slice(tmp_path, words):
    x = torch.zeros(1, 1, 16, 8, 8, dtype=torch.uint8)
    x[:, :, 7] = 16
    pictures.samples(tmp_path / "x.png", x, 17)
    assert words == ["slice 8 of 16"]
    assert np.asarray(Image.open(tmp_path / "x.png"))[LINE + pictures.TILE // 2, pictures.TILE // 2, 0] == 255


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_channels_that_are_no_colours_lie_beside_each_other(channels):
    x = torch.zeros(1, channels, 4, 4, dtype=torch.uint8)
    for k in range(channels):
        x[0, k] = k + 1
    shown = pictures.as_bytes(x, 16)[0, 0, :, 0].tolist()
    expected = [96]
    for k in range(min(channels, 4)):
        expected += [17 * (k + 1)] * 4 + [96]
    assert shown == expected


def test_colours_are_colours():
    x = torch.tensor([0, 8, 16], dtype=torch.uint8).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert pictures.as_bytes(x, 17)[0, 0, 0].tolist() == [0, 128, 255]


def test_large_images_are_drawn_by_means_of_their_blocks(tmp_path):
    x = torch.zeros(1, 1, 4096, 8192, dtype=torch.uint8)
    x[..., ::2] = 200
    pictures.samples(tmp_path / "x.png", x, 256)
    picture = np.asarray(Image.open(tmp_path / "x.png"))
    assert max(picture.shape) <= 4200 and picture[1000, 1000, 0] == 100


def test_a_sheet_says_that_it_has_the_first_images(tmp_path, words):
    pictures.samples(tmp_path / "x.png", torch.zeros(300, 1, 8, 8, dtype=torch.uint8), 17)
    assert words == ["the first 256 of 300"]
    pictures.samples(tmp_path / "x.png", torch.zeros(20, 1, 8, 8, dtype=torch.uint8), 17, columns=20)
    assert len(words) == 1 and Image.open(tmp_path / "x.png").size == (20 * 68 + 4, 72)


# -- values that are not finite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 9), (5,), (2,), (1,)], ids=str)
def test_what_is_not_finite_is_not_drawn(tmp_path, shape):
    with pytest.raises(FloatingPointError, match="not finite"):
        pictures.samples(tmp_path / "x.png", torch.full((2, *shape), float("nan")), None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 9), (5,), (2,), (1,)], ids=str)
def test_what_is_left_out_is_said(tmp_path, shape, figures, words):
    x = torch.randn(9, *shape)
    x[2], x[5].view(-1)[0] = math.nan, math.inf
    pictures.samples(tmp_path / "x.png", x, None)
    (said,) = words or [figure.get_suptitle() for figure in figures]
    assert said.endswith("2 of 9 are not finite and left out")


def test_a_histogram_counts_what_is_not_finite(tmp_path, figures):
    pictures.histogram(tmp_path / "x.png", {"test": torch.tensor([1.0, 3.0, math.nan])}, "nats")
    (legend,) = (t.get_text() for t in figures[0].axes[0].get_legend().get_texts())
    assert legend == "test: 2.000, 1 of 3 not finite"


# -- extremes ---------------------------------------------------------------------------------------------------------

VALUES = torch.tensor([1.25, 1.5]), torch.tensor([9.0, 8.0])


def test_extreme_images_have_titles_and_values(tmp_path, words):
    most, least = torch.full((2, 1, 4, 4), 16, dtype=torch.uint8), torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    pictures.extremes(tmp_path / "x.png", most, least, 17, VALUES, "bits/dim")
    assert words == ["most likely, bits/dim", "1.250", "1.500", "least likely, bits/dim", "9.000", "8.000"]
    picture = np.asarray(Image.open(tmp_path / "x.png"))
    assert picture[LINE + 32, 32, 0] == 255 and picture[-LINE - 40, 32, 0] == 0


def test_extreme_rows_of_a_table_are_lines_through_its_columns(tmp_path, figures):
    real = 50.0 + torch.randn(200, 5) * torch.tensor([1.0, 100.0, 1, 1, 1])
    mean, std = real.double().mean(0), real.double().std(0, correction=0)
    pictures.extremes(tmp_path / "x.png", real[:2], real[2:4], None, VALUES, "nats", list("abcde"), real)
    (figure,) = figures
    assert titles(figure) == ["most likely: 1.250 to 1.500 nats", "least likely: 9.000 to 8.000 nats"]
    for axis, rows in zip(figure.axes, (real[:2], real[2:4]), strict=True):
        for line, row in zip(axis.lines[:2], rows, strict=True):
            assert np.allclose(line.get_ydata(), (row - mean) / std)
    assert [t.get_text() for t in figure.axes[1].get_xticklabels()] == list("abcde")
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    pictures.extremes(tmp_path / "x.png", torch.zeros(2, 3), torch.zeros(2, 3), None)
    assert all(np.array_equal(y, np.zeros(len(y))) for y in lines(figures[1]))  # no 0 / 0
    many = torch.randn(2, 30_000)
    pictures.extremes(tmp_path / "x.png", many, many, None, None, "", None, many)
    assert max(map(len, lines(figures[2]))) < 5000


def test_extreme_series_and_points_are_told_apart(tmp_path, figures):
    pictures.extremes(tmp_path / "x.png", torch.zeros(2, 2, 9), torch.ones(2, 2, 9), None, VALUES, "nats")
    assert titles(figures[0])[::2] == ["most likely: 1.250 nats", "least likely: 9.000 nats"]
    assert len(lines(figures[0])) == 8
    real = torch.randn(30, 2)
    pictures.extremes(tmp_path / "x.png", real[:2], real[2:4], None, VALUES, "nats", None, real)
    axis = figures[1].axes[0]
    for line, rows in zip(axis.lines, (real[:2], real[2:4]), strict=True):
        assert np.allclose(line.get_xydata(), rows)
    told = [t.get_text() for t in axis.get_legend().get_texts()]
    assert told == ["data", "most likely: 1.250 to 1.500 nats", "least likely: 9.000 to 8.000 nats"]


# -- ways -------------------------------------------------------------------------------------------------------------


def test_a_trajectory_of_a_table_names_its_columns_and_times(tmp_path, figures):
    states = [torch.randn(9, 4) for _ in range(3)]
    pictures.trajectory(tmp_path / "x.png", [1.0, 0.25, 0.0], states, states, lambda y: y, None, list("abcd"))
    (figure,) = figures
    assert titles(figure) == ["t 1", "t 0.25", "t 0"]
    grid = np.array(figure.axes).reshape(4, 3)
    assert [axis.get_ylabel() for axis in grid[:, 0]] == ["x_t\nb", "x_t\nd", "D(x_t, t)\nb", "D(x_t, t)\nd"]
    assert [axis.get_xlabel() for axis in grid[:, 0]] == list("acac")
    for j, x in enumerate(states):
        assert np.allclose(grid[1, j].collections[0].get_offsets(), x[:, [2, 3]])


def test_a_trajectory_of_a_series_shows_each_channel_of_one(tmp_path, figures):
    states, ends = ([torch.randn(3, 2, 16) for _ in range(2)] for _ in range(2))
    pictures.trajectory(tmp_path / "x.png", [1.0, 0.0], states, ends, lambda y: y, None)
    expected = [x[0, k] for part in (states, ends) for k in (0, 1) for x in part]
    assert all(np.allclose(a, b) for a, b in zip(lines(figures[0]), expected, strict=True))


def test_a_trajectory_of_images_has_a_head_for_each_time(tmp_path, words):
    x = torch.randn(1, 1, 8, 8)
    pictures.trajectory(tmp_path / "x.png", [1.0, 0.5, 0.001], [x] * 3, [x] * 3, lambda y: y, None)
    assert words == ["above x_t, below it D(x_t, t)", "t 1", "t 0.5", "t 0.001"]


def test_a_trajectory_names_its_noise_levels(tmp_path, figures, words):
    levels = [152.3, 1.004, 0.0]
    for shape in ((1, 8, 8), (2,), (2, 16)):
        x = torch.randn(3, *shape)
        pictures.trajectory(tmp_path / "x.png", [1.0, 0.5, 0.0], [x] * 3, [x] * 3, lambda y: y, None, None, levels)
    assert words[0] == "above x_t, below it D(x_t, t), noise: sigma / alpha"
    assert words[1:] == ["t 1", "t 0.5", "t 0", "noise 150", "noise 1", "noise 0"]
    for figure in figures:
        assert titles(figure) == ["t 1\nnoise 150", "t 0.5\nnoise 1", "t 0\nnoise 0"]
        assert figure.get_suptitle().endswith("noise: sigma / alpha")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [(3, [(0, 1), (1, 2)]), (4, [(0, 1), (2, 3)]), (5, [(0, 1), (2, 3), (3, 4)]), (9, [(0, 1), (2, 3), (4, 5)])],
)
def test_pairs_of_columns_leave_none_out(columns, expected):
    assert pairs(kind_of((columns,))) == expected


def test_a_walk_of_images_has_the_real_ends_at_its_sides(tmp_path, words):
    first, last = torch.full((2, 1, 4, 4), 0, dtype=torch.uint8), torch.full((2, 1, 4, 4), 16, dtype=torch.uint8)
    ways = torch.full((2, 3, 1, 4, 4), 8, dtype=torch.uint8)
    pictures.walks(tmp_path / "walks.png", first, ways, last, 17)
    row = np.asarray(Image.open(tmp_path / "walks.png"))[LINE + pictures.TILE // 2, :, 0]
    inner = [int(v) for v in row[np.r_[True, np.diff(row) != 0]] if v != 96]
    assert inner == [0, 255, 128, 128, 128, 255, 255]  # first | three points | last, the bars white
    assert words == ["data", "decoded between", "data"]


def test_a_walk_of_series_shows_every_channel(tmp_path, figures):
    ends, ways = torch.randn(2, 2, 3, 16), torch.randn(2, 5, 3, 16)
    pictures.walks(tmp_path / "walks.png", ends[0], ways, ends[1], None)
    grid = np.array(figures[0].axes).reshape(3, 2)
    for k in range(3):
        for p in range(2):
            drawn = [np.asarray(line.get_ydata()) for line in grid[k, p].lines]
            assert np.allclose(np.stack(drawn), torch.cat([ways[p, :, k], ends[:, p, k]]))
    assert [axis.get_ylabel() for axis in grid[:, 0]] == ["channel 1", "channel 2", "channel 3"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_moves(tmp_path, shape):
    """An animation of 4 frames and its times."""
    x = torch.randn(4, 3, *shape)
    animation.animation(tmp_path / "way.gif", [1.0, 0.5, 0.2, 0.1], x, x, lambda y: y, None)
    movie = Image.open(tmp_path / "way.gif")
    assert movie.n_frames == 4 and movie.info["loop"] == 0


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


# -- figures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([1.844, 1.845, 1.846], ["1.844", "1.845", "1.846"]),
        ([1.7e9, 1.7e9 + 20], ["1700000000", "1700000020"]),
        ([0, 2.5e-7, 5e-7], ["0", "2.5e-7", "5e-7"]),
        ([0, 2.5, 5], ["0.0", "2.5", "5.0"]),
        ([-0.2, -1.3e-17, 0.2], ["-0.2", "0.0", "0.2"]),
        ([7.0], ["7"]),
        ([], []),
    ],
)
def test_ticks_say_their_numbers(ticks, labels):
    assert tick_labels(ticks) == labels


def test_a_comparison_has_no_offsets_and_says_what_failed(tmp_path, figures):
    near = [Value(1.84512, 1.8450, 1.8452), None, None, Value(1.84513, 1.84503, 1.84523)]
    states = ["done", "failed", "running", "done"]
    pictures.intervals(tmp_path / "x.png", ["a", "b", "c", "d"], {"bits": near, "other": near}, {}, states)
    (figure,) = figures
    for axis in figure.axes:
        assert [(t.get_text(), t.get_position()[1]) for t in axis.texts] == [("failed", 1), ("running", 2)]
        labels = [t.get_text() for t in axis.get_xticklabels()]
        assert len(set(labels)) == len(labels) and all(1.84 < float(label) < 1.86 for label in labels)
        assert axis.xaxis.get_offset_text().get_text() == ""


def test_losses_are_told_by_noise_level(tmp_path, figures):
    rows = [{"step": 1, "loss": 1.0}, {"step": 2, "validation": 0.5, "validation_by_level": [0.2, 0.9]}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pictures.losses(tmp_path / "x.png", tmp_path / "m.jsonl", [0.001, 0.37, 150.0])
    axis = figures[0].axes[1]
    (stairs,) = axis.patches
    assert stairs.get_data().values.tolist() == [0.2, 0.9]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["0.001", "0.37", "150"]
    assert axis.get_xlabel() == "noise level sigma / alpha"


# -- packages that are missing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 16), (5,), (1,)], ids=str)
def test_what_a_missing_package_draws_is_left_out(tmp_path, shape, monkeypatch):
    """Without matplotlib images are drawn, without pillow they are not: no error either way."""
    x = torch.randn(3, *shape)

    def draw():
        pictures.samples(tmp_path / "a.png", x, None, x)
        pictures.extremes(tmp_path / "b.png", x, x, None, (torch.zeros(3),) * 2, "nats")
        pictures.trajectory(tmp_path / "c.png", [1.0], [x], [x], lambda y: y, None)
        pictures.walks(tmp_path / "d.png", x, x[:, None], x, None)
        animation.animation(tmp_path / "e.gif", [1.0], x[None], x[None], lambda y: y, None)
        return len([*tmp_path.iterdir()])

    image = len(shape) == 3
    monkeypatch.setitem(sys.modules, "PIL" if image else "matplotlib", None)
    assert draw() == 0
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "matplotlib" if image else "wandb", None)
    assert draw() == 5

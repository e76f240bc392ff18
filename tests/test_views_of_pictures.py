"""Views of image-to-image models (Palette), functions of the item and of (seed, index); figures of pictures."""

import io
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from problems import refuses

import scoresde
from scoresde.conditions import Picture
from scoresde.data import Border, Box, Data, Grey, Hole, Jpeg, Lower, Mixed, Tensors, collate, put_back, viewed
from scoresde.data.views import redrawn
from scoresde.objectives import Denoising
from scoresde.sde import VP
from scoresde.spaces import Affine, Bins

COLOUR, PLAIN = (3, 12, 10), (1, 12, 10)
VIEWS = {
    "grey": Grey(),
    "hole": Hole(),
    "rectangle": Hole("rectangle"),
    "free": Hole("free"),
    "border": Border(),
    "jpeg": Jpeg(),
    "mixed": Mixed([Grey(), Hole(), Border(), Jpeg()]),
}
each_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)


def pictures(n=400, shape=COLOUR):
    raw = torch.randint(256, (n, *shape), generator=torch.Generator().manual_seed(0))
    return Bins(256).encode(raw), torch.arange(n)


@each_view
def test_a_view_is_a_function_of_seed_and_index_whatever_is_asked_for_beside_it(view):
    x, index = pictures(60)
    whole = view(x, index, 5)
    assert whole.shape[1:] == view.of(COLOUR)
    alone = torch.cat([view(x[i : i + 1], index[i : i + 1], 5) for i in range(60)])
    torch.testing.assert_close(alone, whole, rtol=0, atol=0, equal_nan=True)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(view(x[order], index[order], 5), whole[order], rtol=0, atol=0, equal_nan=True)
    if not isinstance(view, Grey):  # which draws nothing
        same = torch.ones(2, *COLOUR) * torch.linspace(-1, 1, 10)
        first, second = view(same.repeat(30, 1, 1, 1), index, 5).split([59, 1])
        assert not all(torch.equal(row.nan_to_num(9), second[0].nan_to_num(9)) for row in first)
        assert not torch.equal(view(x, index, 6).nan_to_num(9), whole.nan_to_num(9))


def test_a_box_is_where_it_is_said_to_be_in_every_picture():
    x, index = pictures(5)
    box = Box(low=[0.25, 0.1], high=(0.75, 1.0))  # of 12 x 10: rows 3 to 8, columns 1 to 9
    assert box.of(COLOUR) == COLOUR
    seen, inside = box(x, index, 3), torch.zeros(COLOUR, dtype=torch.bool)
    inside[:, 3:9, 1:] = True
    assert torch.equal(seen.isnan(), inside.expand_as(seen)) and torch.equal(seen[:, ~inside], x[:, ~inside])
    volume = Box((0, 0.5, 0), (1, 1, 1))
    assert volume(torch.ones(1, 1, 2, 4, 3), index[:1], 0).isnan()[0, 0].sum((0, 2)).tolist() == [0, 0, 6, 6]
    refuses("low=[0.5, 0], high=[0.5, 1]: give a begin below an end", call=lambda: Box((0.5, 0), (0.5, 1)))
    refuses("low=[0.0]", "each axis", call=lambda: Box((0.0,), (0.5, 1)))
    refuses("pictures of shape (1, 2, 4, 3) have 3 axes", call=lambda: Box().of((1, 2, 4, 3)))
    refuses("the box has no pixel of (12, 10)", call=lambda: Box((0, 0), (0.01, 1)).of(COLOUR))
    refuses("the box has every pixel of (12, 10)", call=lambda: Box((0, 0), (1, 1)).of(COLOUR))


@pytest.mark.parametrize("view", [Hole(), Hole("rectangle"), Hole("free", width=(0.01, 0.01)), Border()], ids=str)
@pytest.mark.parametrize("shape", [COLOUR, PLAIN, (2, 9), (1, 2, 2), (1, 5, 4, 6)], ids=str)
def test_a_pixel_is_missing_in_all_channels_or_known_to_the_bit(view, shape):
    x, index = pictures(300, shape)
    seen = view(x, index, 0)
    gone = seen.isnan()
    assert bool((gone == gone[:, :1]).all()) and torch.equal(seen[~gone], x[~gone])
    share = gone.flatten(1).float().mean(1)
    assert share.min() > 0 and share.max() < 1


def test_rectangles_and_borders_are_of_the_sides_that_they_say():
    x, index = pictures(2000, (1, 20, 10))
    gone = Hole("rectangle", side=(0.3, 0.6))(x, index, 0).isnan()[:, 0]
    sides = gone.any(2).sum(1), gone.any(1).sum(1)
    assert torch.equal(gone.sum((1, 2)), sides[0] * sides[1])  # filled
    for found, n in zip(sides, (20, 10), strict=True):
        assert (found.min(), found.max()) == (0.3 * n, 0.6 * n)
    ends = gone.any(2).float().argmax(1), 20 - gone.any(2).flip(1).float().argmax(1)
    assert ends[0].min() == 0 and ends[1].max() == 20  # anywhere
    free = Hole("free")(x, index, 0).isnan()[:, 0]
    assert not torch.equal(free.sum((1, 2)), free.any(2).sum(1) * free.any(1).sum(1))
    side = Border(where="side")(x, index, 0).isnan()[:, 0]
    kinds = {
        tuple(row.flatten().tolist()): int(k)
        for row, k in zip(*torch.unique(side, dim=0, return_counts=True), strict=True)
    }
    assert len(kinds) == 4 and all(sum(row) == 100 for row in kinds)
    assert all(abs(k - 500) < 5 * math.sqrt(2000 * 3 / 16) for k in kinds.values())
    (frame,) = torch.unique(Border(where="frame")(x, index, 0).isnan()[:, 0], dim=0)
    assert torch.equal(~frame, torch.nn.functional.pad(torch.ones(14, 7), (1, 2, 3, 3)).bool())  # 0.49 of the pixels
    halves = [len(torch.unique(v, dim=0)) for v in (Border()(x, index, 0).isnan(),)]
    assert halves == [5]


def test_luminance_is_pillows():
    x, index = pictures(20)
    found = Bins(256).decode(Grey()(x, index, 0))
    raw = Bins(256).decode(x).numpy()
    wanted = np.stack([np.asarray(Image.fromarray(one.transpose(1, 2, 0)).convert("L")) for one in raw])
    assert bool((found == found[:, :1]).all()) and np.abs(found[:, 0].numpy().astype(int) - wanted).max() <= 1
    assert torch.equal(Grey(repeat=False)(x, index, 0), Grey()(x, index, 0)[:, :1])
    few = Bins(6).decode(Grey(greys=6)(x, index, 0))
    assert torch.equal(few, Bins(6).decode(Grey()(x, index, 0))) and len(few.unique()) > 3


@pytest.mark.parametrize("shape", [COLOUR, PLAIN], ids=str)
def test_a_jpeg_is_pillows(shape):
    x, index = pictures(40, shape)
    raw = Bins(256).decode(x).numpy()

    def after(one, quality):
        file = io.BytesIO()
        Image.fromarray(one.transpose(1, 2, 0).squeeze()).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file)).reshape(*shape[1:], shape[0]).transpose(2, 0, 1)

    found = Bins(256).decode(Jpeg((17, 17))(x, index, 0)).numpy()
    assert np.array_equal(found, np.stack([after(one, 17) for one in raw]))
    # Each item has a quality of its own, from the least to the most.
    many, index = x[:1].expand(300, *shape), torch.arange(300)
    found = Bins(256).decode(Jpeg((5, 9))(many, index, 0)).numpy()
    wanted = {after(raw[0], quality).tobytes() for quality in range(5, 10)}
    assert {one.tobytes() for one in found} == wanted and len(wanted) > 3


def test_a_mixture_has_all_of_its_views_at_equal_shares():
    x, index = pictures(4000, (3, 4, 4))
    view = VIEWS["mixed"]
    seen, which = view(x, index, 0), view.which(index, 0)
    for k, one in enumerate(view.views):
        rows = which == k
        assert abs(int(rows.sum()) - 1000) < 4 * math.sqrt(4000 * 3 / 16)
        torch.testing.assert_close(seen[rows], one(x[rows], index[rows], 0), rtol=0, atol=0, equal_nan=True)


def test_what_is_known_is_put_back_exactly_and_nothing_else_is():
    x, index = pictures(200)
    view = VIEWS["mixed"]
    seen, drawn = view(x, index, 0), torch.randn_like(x)
    found, which, gone = put_back(drawn, seen), view.which(index, 0), seen.isnan()
    holes = (which == 1) | (which == 2)
    assert torch.equal(found[~holes], drawn[~holes])
    assert torch.equal(found[holes][~gone[holes]], x[holes][~gone[holes]])
    assert torch.equal(found[gone], drawn[gone])
    everything = torch.full_like(x, math.nan)
    assert torch.equal(put_back(drawn, everything), drawn)
    refuses("(200, 1, 12, 10)", "(200, 3, 12, 10)", call=lambda: put_back(drawn, seen[:, :1]))


def test_wrong_views_of_pictures_are_refused(monkeypatch):
    grey = Data("g", Tensors(torch.zeros(4, *PLAIN).byte()), Tensors(torch.zeros(2, *PLAIN).byte()), Bins(256))
    refuses("Grey", "(1, 12, 10)", "3 channels", call=lambda: viewed(grey, Grey()))
    refuses("views", "Hole is (1, 12, 10) and Lower is (1, 6, 5)", call=lambda: viewed(grey, Mixed([Hole(), Lower()])))
    refuses("views=[]", call=lambda: Mixed([]))
    refuses("views has a Mixed", call=lambda: Mixed([Mixed([Hole()])]))
    refuses("quality=[30, 5]", "least first", call=lambda: Jpeg((30, 5)))
    refuses("quality=(0, 5)", call=lambda: Jpeg((0, 5)))
    refuses("side=[0.5, 0.2]", call=lambda: Hole(side=[0.5, 0.2]))
    refuses("share=1.0", call=lambda: Border(1.0))
    for view in (Hole(), Border()):
        refuses(type(view).__name__, "(1, 1)", call=lambda view=view: view.of((1, 1)))
    refuses("Jpeg", "(2, 4, 4)", call=lambda: Jpeg().of((2, 4, 4)))
    loose = Data("loose", Tensors(torch.zeros(4, *PLAIN)), Tensors(torch.zeros(2, *PLAIN)), Affine())
    refuses("no levels", "loose", call=lambda: viewed(loose, Mixed([Hole(), Jpeg()])))
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    refuses("pip install pillow", call=Jpeg)


def test_figures_of_pictures_are_those_of_their_formulas():
    x, y = torch.rand(2, 30, 3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    from_scratch = [10 * math.log10(4 / float(((a - b) ** 2).mean())) for a, b in zip(x, y, strict=True)]
    found = scoresde.metrics.psnr(x, y, 2.0)
    assert found.value == pytest.approx(np.mean(from_scratch), rel=1e-12)
    assert found.stderr == pytest.approx(np.std(from_scratch, ddof=1) / math.sqrt(30), rel=1e-9)
    assert scoresde.metrics.psnr(x, x).value == pytest.approx(100)
    spread = torch.randn(2000, 6, 4, generator=torch.Generator().manual_seed(0)) * 3
    assert scoresde.metrics.diversity(spread).value == pytest.approx(3 * 0.9515, abs=0.05)  # c4 of 6 numbers
    refuses("30 rows and y 29", call=lambda: scoresde.metrics.psnr(x, y[1:]))
    refuses("(30, 1, 5)", call=lambda: scoresde.metrics.diversity(torch.zeros(30, 1, 5)))


def test_training_sees_an_item_anew_at_every_step_and_alike_where_it_is_asked_to():
    x = torch.randint(256, (40, *PLAIN), generator=torch.Generator().manual_seed(0))
    base = Data("some", Tensors(x[:30]), Tensors(x[30:]), Bins(256))
    batch = collate(viewed(base, Hole()).train, range(16), ["seen"])

    def drawn(data, part=slice(0, 16)):
        torch.manual_seed(3)
        return redrawn(data.train, batch.x[part], batch.rows(part).cond, 16, part)["seen"]

    fresh = drawn(viewed(base, Hole()))
    gone = fresh.isnan()
    assert not torch.equal(gone, batch.cond["seen"].isnan())
    assert torch.equal(fresh[~gone], Bins(256).encode(batch.x)[~gone])
    halves = torch.cat([drawn(viewed(base, Hole()), part) for part in (slice(0, 5), slice(5, 16))])
    assert torch.equal(halves.isnan(), gone)  # of several processes as of one
    for data in (viewed(base, Hole(), redraw=False), viewed(base, Lower(2)), base):
        before = torch.get_rng_state()
        same = redrawn(data.train, batch.x, batch.cond, 16, slice(0, 16))["seen"]
        assert same is batch.cond["seen"] and torch.equal(torch.get_rng_state(), before)
    model = scoresde.Preconditioned(scoresde.nets.MLP(PLAIN, 8, 1, conditions={"seen": Picture(PLAIN, 0.0)}), VP())
    objective = Denoising(model, scoresde.loss.DenoisingLoss(), viewed(base, Hole()))
    torch.manual_seed(0)
    seen = objective.draw(batch, 16, slice(0, 16))[3]["seen"]
    assert not torch.equal(seen.isnan(), batch.cond["seen"].isnan())

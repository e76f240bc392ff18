"""Laws of what is guessed and checked: shapes, missing values, a user's own datasets, the look before a training."""

import re

import numpy as np
import pytest
import torch
from data_problems import Pairs, check_levels, whole
from problems import refuses
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

import scoresde
from scoresde import data as D
from scoresde.data import look

RNG = np.random.RandomState(0)
FLOATS = lambda *shape: RNG.randn(*shape).astype(np.float32)
BYTES = lambda *shape: RNG.randint(256, size=shape).astype(np.uint8)

# -- where the channels are -------------------------------------------------------------------------------------------

SHAPES = [  # an array, options, the shape of an item, words of the note (None: there is none)
    (BYTES(9, 28, 28), {}, (1, 28, 28), "channels=first"),
    (BYTES(9, 28, 20).astype(int), {"levels": 256}, (1, 28, 20), "images of one channel, (1, 28, 20)"),
    (BYTES(9, 28, 28), {"channels": "first"}, (28, 28), None),
    (BYTES(9, 28, 28), {"channels": "none"}, (1, 28, 28), None),
    (BYTES(9, 3, 64), {}, (3, 64), None),
    (BYTES(9, 1, 64), {}, (1, 64), None),
    (FLOATS(9, 28, 28), {}, (28, 28), "28 channels (channels=none says otherwise)"),
    (FLOATS(9, 8, 100), {}, (8, 100), None),
    (FLOATS(9, 100, 3), {}, (100, 3), "100 channels (channels=last says otherwise)"),
    (FLOATS(9, 100, 3), {"channels": "last"}, (3, 100), None),
    (FLOATS(9, 16, 16, 3), {}, (3, 16, 16), "channels last, and become (3, 16, 16) (channels=first says otherwise)"),
    (BYTES(9, 16, 12, 1), {"levels": 256}, (1, 16, 12), "channels last"),
    (BYTES(9, 16, 16, 4), {}, (4, 16, 16), "channels last"),
    (FLOATS(9, 16, 16, 3), {"channels": "first"}, (16, 16, 3), None),
    (FLOATS(9, 3, 16, 16), {}, (3, 16, 16), None),
    (FLOATS(9, 64, 4, 4), {}, (64, 4, 4), "64 channels"),
    (FLOATS(9, 3, 5, 3), {}, (3, 5, 3), None),
    (FLOATS(9, 8, 8, 8, 2), {}, (2, 8, 8, 8), "channels last"),
    (BYTES(9, 8, 8, 8), {}, (8, 8, 8), "channels=none"),
    (FLOATS(9, 8, 8, 8), {"channels": "none"}, (1, 8, 8, 8), None),
    (FLOATS(9, 7), {}, (7,), None),
    (FLOATS(9, 7), {"channels": "none"}, (1, 7), None),
    (FLOATS(9), {"channels": "none"}, (1,), None),
]


@pytest.mark.parametrize("case", SHAPES, ids=lambda c: f"{c[0].dtype}{c[0].shape[1:]}{[*c[1].values()]}")
@pytest.mark.parametrize("kind", ["array", "tensor", "file", "lazy"])
def test_channels_are_guessed_aloud(tmp_path, monkeypatch, case, kind):
    x, options, shape, words = case
    if kind in ("file", "lazy"):
        np.save(tmp_path / "x.npy", x)
        monkeypatch.setattr("scoresde.data.rows.IN_MEMORY", 0 if kind == "lazy" else 2**31)
        data = D.array(tmp_path / "x.npy", **options)
    else:
        data = D.from_tensor(torch.from_numpy(x) if kind == "tensor" else x, **options)
    assert data.shape == shape and isinstance(data.train, D.Tensors) == (kind != "lazy")
    assert (data.notes == ()) if words is None else (len(data.notes) == 1 and words in data.notes[0])
    moved = (
        np.moveaxis(x, -1, 1) if options.get("channels") == "last" or "channels last" in f"{words}{data.notes}" else x
    )
    order = np.random.RandomState(0).permutation(9)
    assert (whole(data.train).numpy().reshape(8, -1) == moved[order[:-1]].reshape(8, -1)).all()


def test_the_setting_of_channels():
    refuses(
        "channels='lst'",
        "auto, first, last, none",
        "did you mean last?",
        call=lambda: D.from_tensor(FLOATS(4, 4), channels="lst"),
    )


# -- missing values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int32, np.uint8])
def test_masked_arrays_are_refused_or_lose_their_rows(kind):
    x = (RNG.rand(20, 3) * 50).astype(kind)
    x[4, 1] = 99  # a sentinel, which is no data
    masked = np.ma.masked_equal(x, 99)
    options = {} if kind is not np.uint8 else {"levels": 60}
    refuses("1 values are NaN, masked", "row 4", "missing=drop", call=lambda: D.from_tensor(masked, **options))
    data = D.from_tensor(masked, missing="drop", test=1, **options)
    assert len(data.train) == 18 and max(whole(data.train).max(), whole(data.test).max()) < 99
    assert data.notes == ("1 of 20 rows have missing values and are left out",)
    assert len(D.from_tensor(np.ma.masked_array(x[:4]), **options).train) == 3  # a mask that hides nothing
    refuses("every row", call=lambda: D.from_tensor(np.ma.masked_array(x, True), missing="drop", **options))


def test_nan_rows(tmp_path):
    x = RNG.randn(20, 2, 8)
    x[3, 1, 5], x[17, 0, 0] = np.nan, np.nan
    np.save(tmp_path / "x.npy", x)
    refuses("2 values", "row 3", call=lambda: D.array(tmp_path / "x.npy"))
    data = D.array(tmp_path / "x.npy", missing="drop", test=2)
    assert len(data.train) == 16 and whole(data.train).isfinite().all()
    assert torch.equal(whole(data.test), whole(D.from_tensor(np.delete(x, [3, 17], 0), test=2).test))
    x[0, 0, 0] = np.inf
    refuses("1 values", "row 0", "infinite", call=lambda: D.from_tensor(x, missing="drop"))


# -- a user's own dataset ---------------------------------------------------------------------------------------------


class Rows:
    """A dataset as Hugging Face's are: a length and items by number, no torch Dataset; a column by its name."""

    def __init__(self, **columns):
        self.columns = columns

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i):
        return self.columns[i] if isinstance(i, str) else {k: v[i] for k, v in self.columns.items()}


class Targets(Pairs):
    """A dataset as torchvision's are."""

    def __init__(self, x, y):
        super().__init__(list(zip(x, y, strict=True)), lambda pair: pair)
        self.targets = y


def test_datasets_by_length_and_number():
    x, y = torch.randn(40, 3), torch.arange(40) % 4
    data = D.as_data(Rows(pixels=x, label=y.tolist()))
    assert data.shape == (3,) and len(data.train) == 36 and data.name == "rows"
    assert data.notes == ("of each item, only pixels is trained on, and not label; its class is kept as its label",)
    assert torch.equal(data.labels[0], y[data.train.items.indices]) and torch.equal(
        whole(data.train), x[data.train.items.indices]
    )
    assert (
        torch.equal(whole(D.as_data(Rows(x=x)).train), x[data.train.items.indices]) and D.as_data(Rows(x=x)).notes == ()
    )
    assert D.custom(Rows(a=x, b=x[:, :2]), key="b").shape == (2,)
    refuses("2 of them tensors", "key=NAME", call=lambda: D.custom(Rows(a=x, b=x)))
    refuses("key=c", "a, b", call=lambda: D.custom(Rows(a=x, b=x), key="c"))
    refuses("key=c", "leave key out", call=lambda: D.custom(Pairs(x), key="c"))
    refuses("dict of train, test", call=lambda: D.custom({"train": Rows(x=x), "test": Rows(x=x)}))
    refuses("with_format", call=lambda: D.custom(Rows(a=x.tolist())))
    both = D.custom(Rows(x=x, label=y), Rows(x=x[:9], label=y[:9]))
    assert len(both.test) == 9 and "not label; its class" in both.notes[0] and torch.equal(both.labels[1], y[:9])
    both = D.custom(TensorDataset(x, y), TensorDataset(x[:20], y[:20]))
    assert torch.equal(both.labels[0], y) and torch.equal(both.labels[1], y[:20])


@pytest.mark.parametrize("kind", ["TensorDataset", "targets", "Subset", "Entries"])
def test_classes_beside_the_items_are_kept(kind):
    x, y = torch.randn(40, 3), torch.arange(40) % 4
    made = {
        "TensorDataset": lambda: TensorDataset(x, y),
        "targets": lambda: Targets(x, y.tolist()),
        "Subset": lambda: Subset(Targets(x, y), range(5, 40)),
        "Entries": lambda: Rows(img=x, labels=y.numpy()),
    }[kind]()
    data = D.custom(made, test=5)
    assert "kept as its label" in data.notes[0]
    for items, labels in zip((data.train, data.test), data.labels, strict=True):
        assert labels.dtype == torch.int64
        for i in range(len(items)):
            row = D.item(items[i])
            assert int(labels[i]) == int(y[(x == row).all(1).nonzero()[0]])


@pytest.mark.parametrize(
    "made",
    [
        lambda x: Pairs(x),  # only its items tell
        lambda x: TensorDataset(x, torch.randn(len(x))),
        lambda x: TensorDataset(x, torch.arange(len(x)) % 3 - 1),
        lambda x: TensorDataset(x, torch.arange(len(x))),  # numbers of the items, no classes
        lambda x: Targets(x, [0.5] * len(x)),
        lambda x: ConcatDataset([TensorDataset(x, torch.ones(len(x)))]),
    ],
)
def test_what_is_beside_the_items_is_told(made):
    data = D.custom(made(torch.randn(20, 2)))
    assert data.labels is None and data.notes == ("of each item, one of 2 things, only the first is trained on",)


def test_targets_that_the_items_do_not_have_are_no_labels():
    x = torch.randn(20, 2)
    wrong = Targets(x, [1] * 20)
    wrong.targets = list(range(20))
    assert D.custom(wrong).labels is None


def test_train_takes_what_as_data_takes():
    net = scoresde.nets.MLP((3,), width=8)
    model = scoresde.Preconditioned(net, scoresde.VP())
    x = torch.randn(40, 3)
    for given in (x, x.numpy(), Pairs(x), Rows(pixels=x), D.from_tensor(x)):
        scoresde.train(model, given, steps=2, batch_size=4)
    refuses("list", "a dataset", call=lambda: scoresde.train(model, [x], steps=1))


def test_hugging_face():
    datasets = pytest.importorskip("datasets")
    x = RNG.randn(30, 2).astype(np.float32)
    rows = datasets.Dataset.from_dict({"x2": x.tolist(), "label": [0, 1] * 15}).with_format("torch")
    data = D.as_data(rows)
    assert data.shape == (2,) and data.labels[0].tolist() == [i % 2 for i in data.train.items.indices]
    refuses("with_format", call=lambda: D.as_data(rows.with_format(None)))
    refuses("train, test", call=lambda: D.custom(rows.train_test_split(5)))


# -- the look before a training ---------------------------------------------------------------------------------------

X = torch.from_numpy(RNG.randn(200, 3)).float()
IMAGES = torch.from_numpy(BYTES(50, 1, 8, 8))

FINE = {
    "toy": lambda: D.toy(n=100, test=10),
    "digits": D.digits,
    "a tensor": lambda: D.from_tensor(50 + 9 * X),
    "unit variance": lambda: D.as_data(X),
    "an offset, taken off": lambda: D.custom(Pairs(1e7 + X.double()), shift=-1e7),
    "bytes with levels": lambda: D.custom(Pairs(IMAGES), levels=256),
    "bytes, scaled": lambda: D.custom(Pairs(IMAGES.float() + 0.5), scale=1 / 128, shift=-1.0),
    "in -1..1": lambda: D.custom(Pairs(2 * torch.rand(50, 1, 8, 8) - 1)),
}
NOTED = {
    "in 0..1": (lambda: D.custom(Pairs(torch.rand(50, 1, 8, 8))), "deviation 0.2", "scale=3.4", "shift=-1.7"),
    "bytes over 255": (lambda: D.custom(Pairs(IMAGES / 255)), "levels=256", "scale=2 shift=-1"),
    "standardised bytes": (lambda: D.from_tensor(IMAGES), "whole numbers", "levels=256"),
    "two values": (lambda: D.custom(Pairs(3 * (X > 0.5).int())), "whole numbers", "levels=4"),
    "booleans": (lambda: D.custom(Pairs((X > 0.5).float())), "whole numbers", "levels=2"),
    "deviation 9": (lambda: D.custom(Pairs(9 * X)), "deviation 8.9", "scale=0.11"),
    "an offset": (lambda: D.custom(Pairs(X + 7)), "mean 7", "shift=-7"),
    "columns apart": (lambda: D.custom(Pairs(X * torch.tensor([1, 2, 0.01]))), "deviations differ", "(column 2)"),
}
BAD = {
    "bytes": (lambda: D.custom(Pairs(IMAGES)), "0..255", "levels=256", "scale=0.0135"),
    "whole floats": (lambda: D.custom(Pairs(IMAGES.float())), "levels=256"),
    "17 levels": (lambda: D.as_data(TensorDataset(torch.from_numpy(RNG.randint(17, size=(50, 64))))), "levels=17"),
    "deviation 6000": (lambda: D.custom(Pairs(6190 * X)), "deviation 6", "scale=0.00016"),
    "deviation 1e-5": (lambda: D.as_data(1e-5 * X), "deviation 9", "scale="),
    "constant": (lambda: D.custom(Pairs(torch.ones(50, 2))), "are all 1", "nothing to learn"),
    "an offset": (lambda: D.custom(Pairs(1e7 + X.double())), "column or channel 0", "spread of 1", "1e+07", "shift"),
    "an offset of one": (
        lambda: D.custom(Pairs(torch.stack([1.7e9 + 20 * X[:, :2].double(), X[:, :2].double()], 1))),
        "channel 0",
        "1.7e+09",
    ),
}


@pytest.mark.parametrize("made", FINE.values(), ids=FINE)
def test_data_that_trains_well_is_fine(made):
    assert D.check_data(made()) == []


@pytest.mark.parametrize("case", NOTED.values(), ids=NOTED)
def test_data_that_trains_less_well_is_noted(case):
    notes = D.check_data(case[0]())
    assert len(notes) == 1 and all(w in notes[0] for w in case[1:]), notes


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_data_that_does_not_train_is_refused(case):
    data = case[0]()
    refuses(data.name, *case[1:], call=lambda: D.check_data(data))


def test_what_a_refusal_proposes_is_fine():
    for x in (6190 * X - 30, 1e-5 * X + 0.001):
        with pytest.raises(scoresde.InputError) as caught:
            D.check_data(D.custom(Pairs(x)))
        scale, shift = (float(v) for v in re.search(r"scale=(\S+) shift=([^,]+),", str(caught.value)).groups())
        assert D.check_data(D.custom(Pairs(x), scale=scale, shift=shift)) == []
    with pytest.raises(scoresde.InputError, match="levels=256"):
        D.check_data(D.custom(Pairs(IMAGES)))
    check_levels(D.custom(Pairs(IMAGES), levels=256))


def test_bad_items_are_named():
    class Late(Dataset):
        def __init__(self, value, part=slice(None)):
            self.x = X.clone()
            self.x[77] = value

        def __len__(self):
            return 200

        def __getitem__(self, i):
            return self.x[i]

    for value in (float("nan"), float("inf")):
        refuses("late: train item 77", "NaN", call=lambda v=value: D.check_data(D.custom(Late(v), Pairs(X))))
    levels = (X * 2).long().clamp(0, 3)
    changed = levels.clone()
    changed[5, 1] = 4
    refuses(
        "levels=4: pairs: test item 5",
        "0..4",
        call=lambda: D.check_data(D.custom(Pairs(levels), Pairs(changed), levels=4)),
    )
    shapes = Pairs([*X[:20], torch.zeros(2)])
    refuses("(3,)", "(2,)", call=lambda: D.check_data(D.custom(shapes, Pairs(X))))


# -- the fingerprint --------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_the_values(tmp_path, monkeypatch):
    x = RNG.randn(300, 4)
    made = lambda x=x, **options: D.from_tensor(x, **options).fingerprint
    known = made()
    assert re.fullmatch("[0-9a-f]{16}", known)
    changed = x.copy()
    changed[17, 2] = np.nextafter(np.float32(changed[17, 2]), 9)
    others = [made(changed), made(seed=1), made(test=0.2), made(standardize="global"), made(x[:, ::-1]), made(2 * x)]
    others += [made(x.astype(int), levels=None, standardize=None), made(x.astype(int) + 5, levels=20), made(x[:-1])]
    assert len({known, *others}) == len(others) + 1
    plain = lambda v: made(torch.from_numpy(v).float(), standardize=None)
    changed = x.astype(np.float32)
    changed[17, 2] = np.nextafter(changed[17, 2], np.float32(9))
    assert plain(changed) != plain(x) == plain(x.copy())  # a bit of one value
    same = [made(torch.from_numpy(x)), made(np.asfortranarray(x)), made(x.astype(">f8")), made(name="else")]
    for name in ("a.npy", "b/copy.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, x)
        same.append(D.array(tmp_path / name).fingerprint)
    monkeypatch.setattr("scoresde.data.rows.IN_MEMORY", 0)
    lazy = D.array(tmp_path / "a.npy")
    assert not isinstance(lazy.train, D.Tensors)
    assert {*same, lazy.fingerprint} == {known}


def test_the_fingerprint_of_the_digits_never_changes():
    assert D.digits().fingerprint == "b858a39880655487"


def test_of_many_items_some_enter(monkeypatch):
    x = torch.randn(5000, 2)
    seen = []

    class Slow(Pairs):
        def __getitem__(self, i):
            seen.append(i)
            return super().__getitem__(i)

    known = D.custom(Slow(x), Slow(x)).fingerprint
    assert len(seen) < 2 * look.SOME + 20
    changed = x.clone()
    changed[0] += 1
    assert D.custom(Pairs(changed, lambda v: (v, 0)), Pairs(x)).fingerprint != known
    assert D.custom(TensorDataset(x), TensorDataset(x)).fingerprint != known  # all of them
    memory = x.clone()
    memory[2501, 1] += 1
    a, b = (D.custom(TensorDataset(v), TensorDataset(v)).fingerprint for v in (x, memory))
    assert a != b


def test_items_that_are_drawn_anew_do_not_enter():
    class Drawn(Pairs):
        def __getitem__(self, i):
            return torch.randn(2)

    assert D.custom(Drawn(range(50))).fingerprint == D.custom(Drawn(range(50))).fingerprint
    assert D.custom(Drawn(range(50))).fingerprint != D.custom(Drawn(range(60))).fingerprint

"""Laws of what items come with: which values are conditions, of what kind; rows stay with their items."""

import importlib
import json

import numpy as np
import pytest
import torch
from commands import ROOT
from data_problems import Pairs, whole
from PIL import Image
from problems import refuses
from torch.utils.data import Subset, TensorDataset

import scoresde
from scoresde import data as D
from scoresde.conditions import Label, Picture, Tokens, Vector
from scoresde.data import items, offered, rows
from scoresde.making import make

N = 40
GLYPHS = ROOT.parent / "shared" / "data" / "glyphs" / "glyphs32.npz"
EMOJI = ROOT.parent / "shared" / "data" / "emoji"


def ids(n=N):
    """Vectors whose first entry tells the row."""
    return np.stack([np.arange(n), np.random.RandomState(0).randn(n)], 1)


def columns(data, name):
    """The rows of both splits by their first entry, and the condition there."""
    raw = torch.cat([whole(data.train), whole(data.test)])[:, 0].round().long()
    return raw, torch.cat([items.column(data.train, name), items.column(data.test, name)])


def follows(data, name, by):
    """Whether a condition is that of its own row, in whole columns, single items and batches."""
    raw, value = columns(data, name)
    want = by[raw]
    same = torch.allclose(value.double(), want.double().reshape(value.shape), rtol=1e-6, atol=1e-6, equal_nan=True)
    for split in (data.train, data.test):
        batch = D.collate(split, [1, 0], [name])
        one = split[1]
        same &= torch.equal(batch.x[0], one["x"]) and torch.equal(
            batch.cond[name][0].nan_to_num(), one[name].nan_to_num()
        )
    return same


def save(path, n=N, **arrays):
    arrays = {"x": ids(n), **arrays}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        words = lambda v: [w.decode() if isinstance(w, bytes) else w for w in v.tolist()]
        keep = lambda v: words(v) if v.dtype.kind in "US" else torch.from_numpy(v)
        torch.save({k: keep(v) for k, v in arrays.items()}, path)
    return path


# -- arrays -----------------------------------------------------------------------------------------------------------

ROW = np.arange(N)
KINDS = {
    "classes": (ROW % 5, Label(5)),
    "missing classes": (np.where(ROW % 8 == 0, -1, ROW % 5), Label(5)),
    "bytes": ((ROW % 5).astype(np.uint8), Label(5)),
    "truth": (ROW % 2 == 0, Label(2)),
    "words": (np.array(["b", "a", "c", "a"] * 10), Label(3, ("a", "b", "c"))),
    "byte words": (np.array([b"b", b"a", b"", b"\xc3\xb6"] * 10), Label(3, ("a", "b", "ö"))),
    "many whole numbers": (ROW * 1000, Vector),
    "negative whole numbers": (ROW % 5 - 2, Vector),
    "as many as rows": (ROW, Vector),
    "a number": (ROW / 7, Vector),
    "whole numbers with a point": ((ROW % 5).astype(float), Vector),
    "numbers": (np.stack([ROW / 7, ROW * 0.0, -1.0 * ROW], 1), Vector),
    "whole numbers side by side": (np.stack([ROW, ROW % 3], 1), Vector),
    "pictures": (np.sin(np.arange(N * 12.0)).reshape(N, 2, 3, 2), Picture((2, 3, 2))),
    "series": (np.sin(np.arange(N * 6.0)).reshape(N, 2, 3).astype(np.float16), Picture((2, 3))),
}


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
@pytest.mark.parametrize("case", KINDS)
def test_kinds_by_their_values(tmp_path, case, suffix):
    value, kind = KINDS[case]
    data = D.array(save(tmp_path / f"a{suffix}", c=value))
    (found,) = data.conditions.values()
    assert len(data.train) == 36 and data.shape == (2,) and data.notes[-1].startswith("items come with c (")
    if kind is Vector:
        by = torch.from_numpy(np.asarray(value, float)).reshape(N, -1)
        raw = whole(data.train)[:, 0].round().long()
        mean, std = by[raw].mean(0), by[raw].std(0, correction=0)
        assert isinstance(found, Vector) and torch.allclose(torch.tensor(found.mean).double(), mean.double(), rtol=1e-6)
        assert torch.allclose(torch.tensor(found.std).double(), torch.where(std < 1e-9, 1.0, std), rtol=1e-6)
    elif value.dtype.kind in "US":
        assert found == kind
        words = [w.decode() if isinstance(w, bytes) else w for w in value.tolist()]
        by = torch.tensor([found.names.index(w) if w else -1 for w in words])
    else:
        assert found == kind
        by = torch.from_numpy(value.astype(float))
    assert follows(data, "c", by)
    dtype = columns(data, "c")[1].dtype
    assert dtype == (torch.int64 if isinstance(found, Label) else torch.float32)
    assert D.check_data(data) == D.check_data(D.from_tensor(ids()))


def test_what_does_not_fit_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("scoresde.data.readers.arrays.stored"), "IN_MEMORY", 2000)
    odd = {
        "short": ROW[:5],
        "one": np.array(3.0),
        "complex": ROW * 1j,
        "inf": np.where(ROW == 3, np.inf, 0),
        "big": np.zeros((N, 100)),
        "bytes": np.zeros((N, 2, 2, 2), np.uint8),
        "none": np.full(N, np.nan),
        "same": np.array(["a"] * N),
        "words": np.array([f"{i}" for i in ROW]),
        "y": ROW % 2,
    }
    data = D.array(save(tmp_path / "a.npz", **odd))
    assert list(data.conditions) == ["y"]
    said, text, left = data.notes
    assert (
        said == "items come with y (2 classes)"
        and text == "there is text, for models that ask for it (cond=[words]): words"
    )
    for words in (
        "short (5 rows)",
        "one (a single value)",
        "complex128",
        "infinite",
        "big (0.0 GiB)",
        "uint8",
        "none (no",
    ):
        assert words.replace("uint8", "int64") in left, words
    assert "same" in left and "\n" not in left
    for name in odd:
        if name not in ("y", "words"):
            refuses("cond=['", name, "cannot be", call=lambda name=name: D.array(tmp_path / "a.npz", cond=[name]))
    np.savez(tmp_path / "o.npz", x=ids(), o=np.array([{}] * N))
    assert D.array(tmp_path / "o.npz").notes == ("no conditions are made of o (pickled objects)",)
    torch.save({"x": torch.rand(N, 2), "epoch": 3, "words": ["a", "b"] * 20, "few": [1, 2]}, tmp_path / "a.pt")
    data = D.array(tmp_path / "a.pt")
    assert data.conditions == {"words": Label(2, ("a", "b"))} and "epoch (a int), few (a list)" in data.notes[-1]
    np.savez(tmp_path / "x.npz", images=ids(), x=ROW % 2)
    data = D.array(tmp_path / "x.npz", key="images")
    assert not data.conditions and "the item's own" in data.notes[-1]


def test_only_what_is_wanted_is_read(tmp_path, monkeypatch):
    path = save(tmp_path / "a.npz", y=ROW % 3, z=np.random.rand(N, 2))
    read = []
    got = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda held, key: read.append(key) or got(held, key))
    assert list(D.array(path, cond=["z"]).conditions) == ["z"] and read == ["x", "z"]
    data = D.array(path, cond=[])
    assert data.conditions == {} and data.notes == () and isinstance(data.train[0], torch.Tensor)
    assert set(D.array(path, key="z").conditions) == {"y"}


def test_large_classes_only_where_each_occurs(monkeypatch):
    monkeypatch.setattr(offered, "FEW", 4)
    kind = lambda y: D.from_tensor(ids(), cond={"y": y}).conditions["y"]
    assert kind(ROW % 7) == Label(7) and isinstance(kind(2 * (ROW % 5)), Vector) and kind(2 * (ROW % 2)) == Label(3)


def test_kinds_that_are_given(tmp_path):
    tokens = np.where(np.arange(6) < 1 + ROW[:, None] % 6, ROW[:, None] % 9, -1)
    path = save(
        tmp_path / "a.npz", caption=tokens, y=ROW % 3, w=np.array(["a", "b", ""] * 13 + ["a"]), f=1.0 * (ROW % 3)
    )
    assert isinstance(D.array(path).conditions["caption"], Vector)
    kinds = {"caption": Tokens(8, 100), "y": None, "w": Label(3, ("b", "a", "c")), "f": Label(7)}
    data = D.array(path, cond=kinds)
    assert data.conditions == kinds | {"y": Label(3)}
    assert follows(data, "caption", torch.from_numpy(np.pad(tokens, ((0, 0), (0, 2)), constant_values=-1)))
    assert follows(data, "w", torch.tensor([1, 0, -1] * 13 + [1])) and follows(data, "f", torch.from_numpy(ROW % 3))
    said = "caption (up to 8 tokens of 100), y (3 classes), w (3 classes, 13 of 40 missing), f (7 classes)"
    assert data.notes == (f"items come with {said}",)
    for kind, words in (
        (Tokens(8, 4), "token 8"),
        (Tokens(3, 100), "up to 3"),
        (Label(3), "is torch.int64"),
        (Vector(2), "(2,)"),
    ):
        refuses("cond=caption", words, call=lambda kind=kind: D.array(path, cond={"caption": kind}))
    refuses("cond=w", "names", call=lambda: D.array(path, cond={"w": Label(3)}))
    refuses("cond=w", "'b'", call=lambda: D.array(path, cond={"w": Label(2, ("a", "c"))}))
    refuses("cond=", "names to kinds", call=lambda: D.array(path, cond={"w": "label"}))
    refuses("cond=['capton']", "did you mean caption", call=lambda: D.array(path, cond=["capton"]))
    np.save(tmp_path / "a.npy", ids())
    refuses("cond=['y']", "a.npy", "nothing beside", call=lambda: D.array(tmp_path / "a.npy", cond=["y"]))


def test_kinds_in_a_config(tmp_path):
    path = save(tmp_path / "a.npz", caption=np.tile(ROW[:, None] % 9, 3), y=ROW % 3)
    kind = {"_target_": "scoresde.conditions.Tokens", "length": 4, "vocabulary": 9}
    node = {"_target_": "scoresde.data.array", "root": str(path), "cond": {"caption": kind, "y": None}}
    assert make(node, "data", trust=False).conditions == {"caption": Tokens(4, 9), "y": Label(3)}
    assert list(make(node | {"cond": ["y"]}, "data", trust=False).conditions) == ["y"]
    strange = {"_target_": "scoresde.nets.MLP", "shape": [2]}
    refuses("data.cond.caption", "trust", call=lambda: make(node | {"cond": {"caption": strange}}, "data", trust=False))
    refuses("data.cond=", "names", call=lambda: make(node | {"cond": 3}, "data"))
    refuses("data.cond.caption.lenth", call=lambda: make(node | {"cond": {"caption": kind | {"lenth": 3}}}, "data"))
    refuses("data.cond=['q']", call=lambda: make(node | {"cond": ["q"]}, "data"))


def test_rows_follow_where_rows_are_left_out(tmp_path):
    x = ids()
    x[[3, 17, 18], 1] = np.nan
    v = np.where(ROW[:, None] % 4 == 0, np.nan, np.stack([ROW, ROW**2], 1)).astype(float)
    path = save(tmp_path / "a.npz", x=x, y=ROW % 4, v=v)
    for seed in range(3):
        data = D.array(path, missing="drop", test=10, seed=seed)
        assert len(data.train) == 27 and follows(data, "y", torch.from_numpy(ROW % 4))
        assert follows(data, "v", torch.from_numpy(v))
        raw = whole(data.train)[:, 0].round().long().numpy()
        assert np.allclose(data.conditions["v"].mean, np.nanmean(v[raw], 0), rtol=1e-6)
        assert np.allclose(data.conditions["v"].std, np.nanstd(v[raw], 0), rtol=1e-6)
        assert not {3, 17, 18} & {*columns(data, "y")[0].tolist()}
        assert D.check_data(data) == []


def test_rows_follow_in_large_files(monkeypatch, tmp_path):
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    np.save(tmp_path / "a.npy", ids())
    data = D.from_tensor(np.load(tmp_path / "a.npy", mmap_mode="r"), cond={"y": ROW % 3})
    assert isinstance(data.train, rows.Mapped) and follows(data, "y", torch.from_numpy(ROW % 3))


def test_units_of_vectors():
    """Values keep 1e-6 of their spread, and the scale is that of training rows alone."""
    wide = 1.7e9 + 20 * torch.randn(N, 1, dtype=torch.float64)
    data = D.from_tensor(
        ids(),
        cond={
            "time": wide,
            "tiny": 1e-30 * torch.randn(N),
            "same": torch.full((N, 9), 0.1, dtype=torch.float64) ** torch.arange(9),
        },
    )
    assert items.column(data.train, "time").dtype == torch.float64
    assert items.column(data.train, "tiny").dtype == torch.float32 and data.conditions["same"].std == (1.0,) * 9
    for name in ("time", "tiny"):
        kind, value = data.conditions[name], items.column(data.train, name).double()
        seen = (value - kind.mean[0]) / kind.std[0]
        assert seen.mean().abs() < 1e-5 and abs(float(seen.std(correction=0)) - 1) < 1e-5
    gaps = torch.randn(N, 2)
    gaps[:, 1] = np.nan
    kind = D.from_tensor(ids(), cond={"v": gaps}).conditions["v"]
    assert (kind.mean[1], kind.std[1]) == (0, 1)
    loud = D.from_tensor(ids(), cond={"p": torch.rand(N, 1, 2, 2) * 255})
    assert "about -1 to 1" in loud.notes[-1]


def test_from_tensor():
    x, y = torch.from_numpy(ids()), torch.arange(N) % 4
    data = D.from_tensor(
        x, cond={"y": y, "z": (y, Label(9)), "w": ["a", "b"] * 20, "m": np.ma.masked_equal(ROW % 4, 3)}
    )
    assert data.conditions == {"y": Label(4), "z": Label(9), "w": Label(2, ("a", "b")), "m": Label(3)}
    assert all(follows(data, name, y) for name in "yz") and data.labels is None
    assert follows(data, "m", torch.where(y == 3, -1, y))
    refuses("cond=['y']", "39 rows for 40", call=lambda: D.from_tensor(x, cond={"y": y[1:]}))
    refuses("cond=['x']", "own", call=lambda: D.from_tensor(x, cond={"x": y}))
    refuses("cond=y", "class 3", call=lambda: D.from_tensor(x, cond={"y": (y, Label(3))}))
    refuses("cond=['y']", "a dict", call=lambda: D.from_tensor(x, cond={"y": {}}))
    refuses("cond=['y']", "lengths", call=lambda: D.from_tensor(x, cond={"y": [[1], [1, 2]] * 20}))


def test_labels_are_whole_or_none():
    y = torch.arange(N) % 4
    data = D.from_tensor(ids(), cond={"label": y})
    assert torch.equal(torch.cat(data.labels), y[columns(data, "label")[0]])
    assert D.from_tensor(ids(), cond={"label": torch.where(y == 0, -1, y)}).labels is None


# -- tables -----------------------------------------------------------------------------------------------------------

TISSUE = ["lung", "liver", "", "heart, left"] * 10


def table(path, sep=","):
    rows = [["id", "noise", "tissue", "batch", "age"]]
    rows += [
        [str(int(x[0])), str(x[1]), f'"{TISSUE[i]}"' * bool(TISSUE[i]), str(i % 3), str(i / 4) if i % 5 else ""]
        for i, x in enumerate(ids())
    ]
    path.write_text("\n".join(map(sep.join, rows)))
    return path


@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_columns_of_text_tables(tmp_path, sep):
    path = table(tmp_path / "a.csv", sep)
    data = D.array(path, cond=["tissue", "batch", "age"])
    age = torch.tensor([i / 4 if i % 5 else np.nan for i in range(N)])
    names = ("heart, left", "liver", "lung")
    assert data.columns == ("id", "noise") and data.shape == (2,) and len(data.train) == 36
    assert list(data.conditions) == ["tissue", "batch", "age"] and data.conditions["tissue"] == Label(3, names)
    assert data.conditions["batch"] == Label(3) and isinstance(data.conditions["age"], Vector)
    assert follows(data, "tissue", torch.tensor([names.index(t) if t else -1 for t in TISSUE]))
    assert follows(data, "batch", torch.arange(N) % 3) and follows(data, "age", age)
    assert data.notes == (
        "items come with tissue (3 classes, 10 of 40 missing), batch (3 classes), age (1 number, 8 of 40 missing)",
    )
    data = D.array(path, columns=["noise", "id"], cond={"batch": Label(5)})
    assert data.columns == ("noise", "id") and data.conditions == {"batch": Label(5)}


def test_tables_refuse(tmp_path):
    path = table(tmp_path / "a.csv")
    refuses("cond=['tisue']", "did you mean tissue", call=lambda: D.array(path, cond=["tisue"]))
    refuses("cond=['id']", "columns=['id', 'noise']", call=lambda: D.array(path, columns=["id", "noise"], cond=["id"]))
    everything = ["id", "noise", "tissue", "batch", "age"]
    refuses("cond=", "leave one", call=lambda: D.array(path, cond=everything))
    refuses("columns=", "tissue", call=lambda: D.array(path))
    refuses("age", "missing", call=lambda: D.array(path, cond=["tissue"]))


def test_tables_without_names_and_with_few_rows_left(tmp_path):
    (tmp_path / "a.csv").write_text("\n".join(f"{i},{v:.6f},{'ab'[i % 2]}" for i, (_, v) in enumerate(ids())))
    data = D.array(tmp_path / "a.csv", cond=[3])
    assert data.columns is None and data.conditions == {"3": Label(2, ("a", "b"))}
    assert follows(data, "3", torch.arange(N) % 2)


def test_columns_of_tables_in_memory():
    x = ids()
    held = {
        "id": x[:, 0],
        "noise": x[:, 1],
        "word": ["a", None, "b", None] * 10,
        "batch": ROW % 3,
        "signed": ROW % 3 - 1,
    }
    data = D.from_table(held, cond=["word", "batch", "signed"])
    assert data.columns == ("id", "noise") and data.conditions["word"] == Label(2, ("a", "b"))
    assert data.conditions["batch"] == Label(3) and isinstance(data.conditions["signed"], Vector)
    kinds = [("id", "f8"), ("noise", "f8"), ("word", "U5"), ("age", "f4")]
    made = np.array([(a, b, "lung" if a % 3 else "", a % 2) for a, b in x], dtype=kinds)
    data = D.from_table(made, cond={"word": Label(2, ("heart", "lung")), "age": None})
    assert follows(data, "word", torch.from_numpy(np.where(ROW % 3, 1, -1))) and data.conditions["age"] == Label(2)


# -- images -----------------------------------------------------------------------------------------------------------


def fill(root, *names):
    """Images whose value is their place among the names."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 2), 5 * i, np.uint8)).save(root / name)


def of_names(data, name):
    """The condition of each image, by its name."""
    found = {}
    for split in (data.train, data.test):
        value = items.column(split, name)
        assert all(torch.equal(split[i][name].nan_to_num(), value[i].nan_to_num()) for i in range(len(split)))
        found |= dict(zip(split.names, value.reshape(len(split), -1)[:, 0].tolist(), strict=True))
    return found


def metadata(path, rows, names):
    if path.suffix == ".csv":
        lines = [",".join(names)] + [",".join('"' + str(v) + '"' if v is not None else "" for v in row) for row in rows]
    else:
        lines = [json.dumps({k: v for k, v in zip(names, row, strict=True) if v is not None}) for row in rows]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(params=[2**30, 0], ids=["in memory", "on disk"])
def limit(request, monkeypatch):
    monkeypatch.setattr(importlib.import_module("scoresde.data.readers.pictures.images"), "IN_MEMORY", request.param)


def test_folders_are_labels(tmp_path, limit):
    names = [f"{'dog/deep/' if i % 3 else 'cat/'}{i}.png" for i in range(12)]
    fill(tmp_path, *names)
    data = D.images(tmp_path, test=4)
    assert data.conditions == {"label": Label(2, ("cat", "dog"))}
    assert of_names(data, "label") == {name: int(name.startswith("dog")) for name in names}
    assert data.notes[1:] == ("items come with label (2 classes)",) and D.check_data(data) == []
    batch = D.collate(data.train, range(8), ["label"])
    where = [int(name.rpartition("/")[2][:-4]) for name in data.train.names]
    assert (batch.x[:, 0, 0, 0] == 5 * torch.tensor(where)).all() and torch.equal(batch.cond["label"], data.labels[0])
    assert D.images(tmp_path, cond=[]).conditions == {} and len(data.fingerprint) == 16
    assert data.fingerprint == D.images(tmp_path, test=4, cond=[]).fingerprint
    fill(tmp_path, "loose.png")
    assert D.images(tmp_path).conditions == {}
    assert D.images(tmp_path / "dog").conditions == {}


ROWS = [
    [f"{i}.png", f"a caption {i}", ["oil", "ink", None][i % 3], i % 2, 0.5 * i if i % 4 else None, i - 6]
    for i in range(12)
]
KEYS = ["file_name", "text", "style", "flag", "weight", "signed"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata(tmp_path, limit, kind):
    fill(tmp_path, *[row[0] for row in ROWS])
    (tmp_path / "notes.txt").write_text("-")
    metadata(tmp_path / f"metadata.{kind}", [ROWS[0], *ROWS[:0:-1]], KEYS)
    data = D.images(tmp_path, test=4)
    assert data.conditions["style"] == Label(2, ("ink", "oil")) and data.conditions["flag"] == Label(2)
    assert set(data.conditions) == {"style", "flag", "weight", "signed"}
    codes = {"ink": 0, "oil": 1, None: -1}
    assert of_names(data, "style") == {row[0]: codes[row[2]] for row in ROWS}
    assert of_names(data, "flag") == {row[0]: row[3] for row in ROWS}
    assert of_names(data, "signed") == {row[0]: row[5] for row in ROWS}
    weight = of_names(data, "weight")
    assert all(np.isnan(weight[r[0]]) if r[4] is None else weight[r[0]] == r[4] for r in ROWS)
    own = [r[5] for r in ROWS if r[0] in data.train.names]
    assert data.conditions["signed"].mean[0] == pytest.approx(np.mean(own))
    assert data.conditions["signed"].std[0] == pytest.approx(np.std(own))
    assert data.notes == (
        "12 images in 1 folder; left out: 1 .txt",
        data.notes[1],
        "there is text, for models that ask for it (cond=[text]): text",
    )
    assert data.notes[1].startswith("items come with style (2 classes, 4 of 12 missing), flag (2 classes), ")
    assert "weight (1 number, 3 of 12 missing)" in data.notes[1] and "signed (1 number)" in data.notes[1]
    assert list(D.images(tmp_path, cond=["flag"]).conditions) == ["flag"]
    assert D.images(tmp_path, cond={"flag": Label(5)}).conditions == {"flag": Label(5)}
    refuses("cond=['stile']", "did you mean style", call=lambda: D.images(tmp_path, cond=["stile"]))


def test_rows_and_files_that_lack_each_other(tmp_path, limit):
    fill(tmp_path, *[f"sub/{i}.png" for i in range(8)], "broken.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "sub" / "1.png").read_bytes()[:30])
    rows = [["broken.png", 1, 1.0], ["gone.png", 1, 1.0]]
    rows += [[f"sub/{i}.png", i % 2, i + 0.5] for i in (5, 1, 3, 2, 4)]
    metadata(tmp_path / "metadata.csv", rows, ["file_name", "y", "v"])
    data = D.images(tmp_path, broken="skip", test=3)
    known = {f"sub/{i}.png": i % 2 if i in (1, 2, 3, 4, 5) else -1 for i in range(8)}
    assert data.conditions["y"] == Label(2) and of_names(data, "y") == known
    value = of_names(data, "v")
    assert all(np.isnan(value[n]) if known[n] < 0 else value[n] == int(n[4]) + 0.5 for n in known)
    assert data.notes[1:3] == (
        "3 of 8 images have no row in the metadata",
        "2 of 7 rows of the metadata name no image that was taken",
    )
    assert "y (2 classes, 3 of 8 missing)" in data.notes[3] and D.check_data(data) == []


def test_metadata_beside_folders(tmp_path):
    names = [f"{'ab'[i % 2]}/{i}.png" for i in range(8)]
    fill(tmp_path, *names)
    metadata(tmp_path / "metadata.jsonl", [[n, i % 3, [1, 2]] for i, n in enumerate(names)], ["file_name", "z", "box"])
    data = D.images(tmp_path, test=2)
    assert list(data.conditions) == ["label", "z"] and data.notes[-1] == "no conditions are made of box (a list)"
    metadata(tmp_path / "metadata.jsonl", [[n, i // 4] for i, n in enumerate(names)], ["file_name", "label"])
    data = D.images(tmp_path, test=2)
    assert of_names(data, "label") == {n: i // 4 for i, n in enumerate(names)} and "not of the folders" in data.notes[1]


@pytest.mark.parametrize("other", ["test", "validation"])
def test_folders_are_splits(tmp_path, limit, other):
    for part, n in (("train", 9), (other, 5)):
        fill(tmp_path, *[f"{part}/{'ab'[i % 2]}/{i}.png" for i in range(n)])
        rows = [[f"{'ab'[i % 2]}/{i}.png", i % 3, 0.5 + i] for i in range(n - 1)]
        metadata(tmp_path / part / "metadata.csv", rows, ["file_name", "y", "v"])
    data = D.images(tmp_path)
    assert (len(data.train), len(data.test)) == (9, 5) and all(name.startswith("train/") for name in data.train.names)
    assert data.conditions["label"] == Label(2, ("a", "b")) and data.conditions["v"].mean[0] == pytest.approx(4)
    assert of_names(data, "label") == {n: int("/b/" in n) for n in (*data.train.names, *data.test.names)}
    y = of_names(data, "y")
    assert y["train/a/8.png"] == y[f"{other}/a/4.png"] == -1 and y["train/b/5.png"] == 2
    assert data.notes[1] == f"the folders train and {other} are the splits, 9 and 5 images"
    metadata(tmp_path / "metadata.csv", [[n, i % 2] for i, n in enumerate(y)], ["file_name", "both"])
    refuses("train/metadata.csv names a/0.png again, after", call=lambda: D.images(tmp_path))
    for part in ("train", other):
        (tmp_path / part / "metadata.csv").unlink()
    assert of_names(D.images(tmp_path), "both") == {n: i % 2 for i, n in enumerate(y)}
    fill(tmp_path, "val/a/1.png")
    data = D.images(tmp_path, test=3)
    assert len(data.test) == 3 and "are read as one set" in data.notes[1] and "label" not in data.conditions
    fill(tmp_path, "top.png")
    assert "one set" not in " ".join(D.images(tmp_path, test=3).notes)


def test_metadata_refuses(tmp_path):
    fill(tmp_path, *[f"{i}.png" for i in range(6)])
    path = tmp_path / "metadata.csv"
    metadata(path, [["0.png", 1], ["0.png", 2]], ["file_name", "y"])
    refuses(path, "0.png again", "cond=[]", call=lambda: D.images(tmp_path))
    assert D.images(tmp_path, cond=[]).conditions == {}
    metadata(path, [[None, 1]], ["file_name", "y"])
    refuses(path, "without file_name", call=lambda: D.images(tmp_path))
    path.write_bytes(b"file_name,y\n0.png,\xff\n")
    refuses(path, "cannot be read", call=lambda: D.images(tmp_path))
    metadata(path, [["0.png", 1]], ["image", "y"])
    data = D.images(tmp_path)
    assert data.notes == (
        "6 images in 1 folder; left out: 1 .csv",
        "metadata.csv has no column file_name, and is not read",
    )
    (tmp_path / "metadata.jsonl").write_text("{}\n[]\n")
    refuses("keep one", call=lambda: D.images(tmp_path))
    path.unlink()
    refuses("metadata.jsonl cannot be read", call=lambda: D.images(tmp_path))
    (tmp_path / "metadata.jsonl").unlink()
    refuses("cond=['label']", "no metadata.csv", call=lambda: D.images(tmp_path, cond=["label"]))
    metadata(path, [[f"{i}.png", i % 2] for i in range(6)], ["file_name", "x"])
    assert "x (that name is the item's own)" in D.images(tmp_path).notes[-1]


# -- looks at conditions ----------------------------------------------------------------------------------------------


def test_the_check_looks_at_conditions():
    x, y = torch.randn(N, 2), torch.arange(N) % 4
    wrap = lambda kind, i, v: {"x": x[i], "y": v}
    for value, kind, words in (
        (lambda i: y[i] if i != 7 else torch.tensor(9), Label(4), "class 9"),
        (lambda i: torch.tensor([i * 1.0]) if i != 7 else torch.tensor([torch.inf]), Vector(1), "infinite"),
    ):
        data = D.custom(
            Pairs(range(N), lambda i, value=value: wrap(None, i, value(i))), conditions={"y": kind}, test=0.5
        )
        refuses("condition y", words, call=lambda data=data: D.check_data(data))
        refuses(": t", call=lambda data=data: D.check_data(data))
    assert D.check_data(D.custom(Pairs(range(N), lambda i: wrap(None, i, y[i])), conditions={"y": Label(4)})) == []


def test_the_fingerprint_does_not_know_conditions(tmp_path):
    x, y = torch.from_numpy(ids()), torch.arange(N) % 4
    plain = D.from_tensor(x)
    assert plain.fingerprint == D.from_tensor(x, cond={"y": y}).fingerprint
    path = save(tmp_path / "a.npz", y=y.numpy())
    assert D.array(path).fingerprint == plain.fingerprint == D.array(path, cond=[]).fingerprint
    assert (
        D.array(table(tmp_path / "a.csv"), columns=["noise"]).fingerprint
        == D.array(tmp_path / "a.csv", columns=["noise"], cond=["tissue"]).fingerprint
    )
    many = torch.randn(6000, 2)
    beside = D.custom(TensorDataset(many, torch.arange(6000) % 3))  # all of which enter, with labels or without
    assert (
        beside.fingerprint
        == D.Data(
            "", *(Subset(TensorDataset(many), s.items.indices) for s in (beside.train, beside.test)), D.Affine()
        ).fingerprint
    )


def test_prints_of_conditions():
    y, v = torch.arange(N) % 4, torch.randn(N, 2)
    v[3] = torch.nan
    prints = lambda **cond: D.condition_prints(D.from_tensor(ids(), cond=cond), list(cond))
    first = prints(y=y, v=v)
    assert list(first) == ["y", "v"] and all(len(p) == 16 and int(p, 16) >= 0 for p in first.values())
    assert prints(y=y, v=v.double()) == first == prints(v=v.numpy(), y=y.to(torch.uint8))
    for place in range(N):  # of either split
        other = y.clone()
        other[place] = (other[place] + 1) % 4
        assert prints(y=other)["y"] != first["y"]
    assert prints(v=torch.where(torch.arange(N)[:, None] == 5, 0, v))["v"] != first["v"]
    data = D.from_tensor(ids(), cond={"y": y})
    assert D.condition_prints(data, []) == {}
    refuses("no condition z", "y", call=lambda: D.condition_prints(data, ["z"]))
    refuses("no condition z", "nothing", call=lambda: D.condition_prints(D.from_tensor(ids()), ["z"]))
    held = D.custom(Pairs(range(N), lambda i: {"x": torch.randn(2), "y": y[i]}), conditions={"y": Label(4)})
    assert len(D.condition_prints(held, ["y"])["y"]) == 16


# -- data that may be here --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not GLYPHS.exists(), reason="no glyphs here")
def test_glyphs():
    data = D.array(GLYPHS, key="train_images", levels=256)
    assert data.conditions == {"train_labels": Label(62), "train_fonts": Label(476)} and data.shape == (1, 32, 32)
    with np.load(GLYPHS) as file:
        at = {
            image.tobytes(): (label, font)
            for image, label, font in zip(
                file["train_images"][:400], file["train_labels"], file["train_fonts"], strict=False
            )
        }
    seen = [entry for entry in data.train if entry["x"].numpy().tobytes() in at][:200]
    assert len(seen) == 200
    assert all(at[e["x"].numpy().tobytes()] == (e["train_labels"], e["train_fonts"]) for e in seen)


@pytest.mark.skipif(not EMOJI.is_dir(), reason="no emoji here")
def test_emoji():
    data = D.images(EMOJI, cond=["style", "group", "subgroup"])
    assert (len(data.train), len(data.test), data.shape) == (10691, 1347, (3, 64, 64))
    assert {k: v.classes for k, v in data.conditions.items()} == {"style": 8, "group": 9, "subgroup": 98}
    kind = data.conditions["style"]
    for split in (data.train, data.test):
        for name, style in zip(split.names, items.column(split, "style").tolist(), strict=True):
            assert name.split("/")[1].rpartition("_")[0] == kind.names[style]
    assert D.check_data(data) == [] and isinstance(scoresde.data.Data, type)

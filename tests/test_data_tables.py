"""Laws of tables: numbers in text and in columns with names, whoever wrote them."""

import codecs

import numpy as np
import pytest
import torch
from data_problems import whole
from problems import refuses

from scoresde import data as D

X = np.round(np.random.RandomState(0).randn(30, 3) * [30, 0.61, 1.9] + [170, 0, 5], 4)
NAMES = ("height", "dose, mg", "größe")


def lines(delimiter=",", names=NAMES, x=X, end="\n", quote=True):
    quoted = [f'"{n}"' if quote else n for n in names] if names else None
    rows = ([delimiter.join(quoted)] if names else []) + [delimiter.join(map(str, row)) for row in x]
    return end.join(rows) + end


def rows_of(data):
    """The rows of both splits, sorted."""
    x = torch.cat([whole(data.train), whole(data.test)]).double().numpy()
    return x[np.lexsort(x.T[::-1])]


def same(data, x=X):
    return np.allclose(rows_of(data), x[np.lexsort(x.T[::-1])], rtol=1e-6)


TEXTS = {
    "commas": lines(",").encode(),
    "semicolons": lines(";").encode(),
    "tabs": lines("\t").encode(),
    "spaces": lines(" ", ("a", "b", "c")).encode(),
    "Windows": lines(",", end="\r\n").encode("cp1252"),
    "a byte order mark": codecs.BOM_UTF8 + lines(";").encode(),
    "UTF-16 with tabs": lines("\t").encode("utf-16"),
    "a spreadsheet's first line": b"sep=;\r\n" + lines(";").encode(),
    "blank lines": b"\n\n" + lines(",").replace("\n", "\n\n").encode(),
    "numbers in quotes": lines(",", x=[[f'"{v}"' for v in row] for row in X]).encode(),
    "spaces around": lines(", ").encode(),
    "no line at the end": lines(",").rstrip().encode(),
    "a delimiter at each end": "".join(f"{line},\n" for line in lines(",").splitlines()).encode(),
    "numpy's savetxt": b"# a,b,c\n" + lines(",", None).encode(),
    "numbers of rows": "".join(
        f"{i - 1 if i else ''},{line}\n" for i, line in enumerate(lines().splitlines())
    ).encode(),
    "years as names": lines(",", ("x", "2020", "2021"), quote=False).encode(),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_with_names(tmp_path, text):
    (tmp_path / "cells.csv").write_bytes(text)
    data = D.array(tmp_path / "cells.csv")
    assert data.name == "cells" and data.shape == (3,) and len(data.train) == 27 and same(data)
    assert data.columns in (NAMES, ("a", "b", "c"), ("x", "2020", "2021"))
    assert torch.allclose(data.encode(whole(data.train)).std(0, correction=0), torch.ones(3), atol=1e-4)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " ", "  "])
def test_text_without_names(tmp_path, delimiter):
    (tmp_path / "cells.csv").write_text(lines(delimiter, None))
    data = D.array(tmp_path / "cells.csv")
    assert data.columns is None and same(data)
    assert same(D.array(tmp_path / "cells.csv", columns=[3, 1]), X[:, [2, 0]])
    refuses("columns=[4]", "no 4", call=lambda: D.array(tmp_path / "cells.csv", columns=[4]))


def test_one_column(tmp_path):
    for text in ("x\n", "", "body mass\n"):
        (tmp_path / "x.tsv").write_text(text + "\n".join(map(str, X[:, 0])))
        data = D.array(tmp_path / "x.tsv")
        assert same(data, X[:, :1]) and data.columns == ((text.strip(),) if text else None)


def test_columns_are_chosen_in_order(tmp_path):
    (tmp_path / "a.csv").write_text(lines())
    data = D.array(tmp_path / "a.csv", columns=["größe", "height"])
    assert data.columns == ("größe", "height") and same(data, X[:, [2, 0]])
    refuses(
        "columns=['hight']",
        "did you mean height?",
        "dose, mg",
        call=lambda: D.array(tmp_path / "a.csv", columns=["hight"]),
    )
    for wrong in ([], ["height", "height"]):
        refuses("once", call=lambda wrong=wrong: D.array(tmp_path / "a.csv", columns=wrong))
    refuses("columns=3", "list of names", call=lambda: D.array(tmp_path / "a.csv", columns=3))
    refuses("key='x'", "columns", call=lambda: D.array(tmp_path / "a.csv", key="x"))
    np.save(tmp_path / "a.npy", X)
    refuses("columns=['a']", "no named columns", call=lambda: D.array(tmp_path / "a.npy", columns=["a"]))


def test_left_out_columns_are_told(tmp_path):
    for name, words in (("numbers of rows", "counts the rows"), ("a delimiter at each end", "empty column")):
        (tmp_path / "a.csv").write_bytes(TEXTS[name])
        assert any(words in note for note in D.array(tmp_path / "a.csv").notes)


@pytest.mark.parametrize("gap", ["", "NA", "nan", "NULL", "n/a", "?", "-", " "])
def test_missing_numbers(tmp_path, gap):
    table = X.astype(str)
    table[4, 1], table[9, 0] = gap, gap
    (tmp_path / "a.csv").write_text(lines(x=table))
    words = ("2 numbers are missing", "row 4 (line 6 of the file)", "column dose, mg", "missing=drop")
    refuses(*words, call=lambda: D.array(tmp_path / "a.csv"))
    data = D.array(tmp_path / "a.csv", missing="drop")
    assert same(data, np.delete(X, [4, 9], 0)) and data.notes == ("2 of 30 rows have missing values and are left out",)
    assert same(D.array(tmp_path / "a.csv", columns=["größe"]), X[:, 2:])


REFUSED = {
    "text": ("sex,age,size\nmale,3,1\nfemale,4,2\n", "sex holds text ('male' in line 2)", "columns=[age, size]"),
    "only text": ("a,b\nx,y\nz,w\n", "a holds text", "must hold numbers"),
    "a date": ("day,x\n2026-01-02,1\n2026-01-03,2\n", "day holds text", "columns=[x]"),
    "a decimal comma": ("a;b\n1,5;2,5\n2,5;3,5\n", "'1,5' has a decimal comma", "line 2"),
    "thousands": ("a,b\n1_000,2\n3,4\n", "'1_000'", "line 2"),
    "text far below": ("a,b\n" + "1,2\n" * 500 + "1,low\n", "b holds text ('low' in line 502)", "columns=[a]"),
    "a typing error in the first line": ("1.5,2.x\n2.5,3.0\n", "2 holds text ('2.x' in line 1)"),
    "a short line": ("a,b\n1,2\n3\n", "line 3 has 1 cells", "2"),
    "a title above": ("Measured in May\na,b\n1,2\n3,4\n", "line 2 has 2 cells"),
    "infinity": ("a,b\n1,2\ninf,3\n1,4\n", "infinite", "row 1, column a"),
    "two of a name": ("a,a\n1,2\n3,4\n", "2 columns of the name 'a'"),
    "nothing": ("", "no line of numbers"),
    "names only": ("a,b\n", "no line of numbers"),
    "one row": ("a,b\n1,2\n", "n=1"),
    "steps of float64": (
        "t\n" + "".join(f"{1_700_000_000_000_000_000 + 37 * i}\n" for i in range(40)),
        "spread of",
        "1.7e+18",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_text_that_is_refused(tmp_path, case):
    (tmp_path / "a.csv").write_text(case[0])
    refuses(*case[1:], call=lambda: D.array(tmp_path / "a.csv"))


def test_levels_in_text(tmp_path):
    x = np.arange(60).reshape(20, 3) % 5
    (tmp_path / "a.csv").write_text(lines(names=("a", "b", "c"), x=x))
    data = D.array(tmp_path / "a.csv", levels=5)
    assert data.levels == 5 and whole(data.train).dtype == torch.uint8 and same(data, x) and data.columns
    (tmp_path / "a.csv").write_text(lines(names=("a", "b", "c"), x=x + 0.5))
    refuses("levels=5", "must be integers", call=lambda: D.array(tmp_path / "a.csv", levels=5))


# -- tables in memory -------------------------------------------------------------------------------------------------


def test_structured_arrays_and_dicts(tmp_path):
    held = np.zeros(30, dtype=[("height", "f8"), ("n", "i2"), ("name", "U5"), ("pair", "f4", 2)])
    held["height"], held["n"] = 1e7 + X[:, 0], np.arange(30)
    data = D.from_table(held, columns=["n", "height"])
    assert data.columns == ("n", "height") and data.name == "table"
    assert same(data, np.stack([np.arange(30), held["height"]], 1))
    refuses("name holds", "pair holds arrays of shape (2,)", "columns=[height, n]", call=lambda: D.from_table(held))
    np.save(tmp_path / "a.npy", held)
    assert D.array(tmp_path / "a.npy", columns=["height"]).columns == ("height",)
    refuses("from_table", call=lambda: D.from_tensor(held))
    assert same(D.from_table({"a": X[:, 0], "b": list(X[:, 1])}), X[:, :2])
    refuses("columns of [2, 3] rows", call=lambda: D.from_table({"a": [1, 2], "b": [1, 2, 3]}))
    refuses("ndarray", "from_tensor", call=lambda: D.from_table(X))
    masked = np.ma.masked_array(X[:, 0], mask=np.arange(30) == 3)
    refuses("row 3, column a", call=lambda: D.from_table({"a": masked}))
    assert same(D.from_table({"a": masked}, missing="drop"), np.delete(X[:, :1], 3, 0))
    assert D.from_table({"a": np.arange(20) % 4}, levels=4).levels == 4


def test_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=NAMES, index=range(100, 130))
    data = D.from_table(frame)
    assert data.columns == NAMES and same(data)
    refuses("DataFrame", "from_table", call=lambda: D.from_tensor(frame))
    frame["n"] = pd.array([1, None] * 15, dtype="Int64")
    frame["sex"], frame["day"] = "male", pd.Timestamp("2026-01-02")
    refuses("sex holds 'male'", "day holds", "columns=[height, 'dose, mg', größe, n]", call=lambda: D.from_table(frame))
    refuses("15 values", "row 1, column n", call=lambda: D.from_table(frame, columns=["n"]))
    assert len(D.from_table(frame, columns=["n", "height"], missing="drop", test=1).train) == 14


def test_polars():
    pl = pytest.importorskip("polars")
    assert same(D.from_table(pl.DataFrame({n: X[:, i] for i, n in enumerate(NAMES)})))


def test_parquet(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {n: X[:, i] for i, n in enumerate(NAMES)} | {"a.b": np.arange(30)}
    table = pa.table(columns | {"cell": ["a"] * 30, "__index_level_0__": np.arange(30)})
    pq.write_table(table, tmp_path / "cells.parquet")
    words = ("cells.parquet", "cell holds 'a'", "columns=[height, 'dose, mg', größe, a.b]")
    refuses(*words, call=lambda: D.array(tmp_path / "cells.parquet"))
    data = D.array(tmp_path / "cells.parquet", columns=["height", "a.b"])
    assert (
        data.columns == ("height", "a.b") and same(data, np.stack([X[:, 0], np.arange(30)], 1)) and data.name == "cells"
    )
    pq.write_table(table.drop(["cell"]), tmp_path / "b.parquet")
    data = D.array(tmp_path / "b.parquet")
    assert data.columns == (*NAMES, "a.b") and "__index_level_0__" in data.notes[0]
    assert same(D.from_table(table, columns=list(NAMES)))
    odd = {
        "i": pa.array([v for i in range(15) for v in (i, None)]),
        "d": pa.array([1, 2] * 15).cast(pa.decimal128(30, 2)),
        "f": [True, None] * 15,
    }
    odd["k"] = pa.array([3.5, 4.5] * 15).dictionary_encode()
    pq.write_table(pa.table(odd), tmp_path / "odd.parquet")
    refuses("row 1, column i", call=lambda: D.array(tmp_path / "odd.parquet", columns=["i", "d"]))
    data = D.array(tmp_path / "odd.parquet", columns=["i", "d", "f"], missing="drop")
    assert len(data.train) + len(data.test) == 15
    assert set(rows_of(D.array(tmp_path / "odd.parquet", columns=["k"]))[:, 0]) == {3.5, 4.5}
    pq.write_table(pa.table({"f": X[:, 0].astype(np.float32), "g": X[:, 1].astype(np.float32)}), tmp_path / "f.parquet")
    assert whole(D.array(tmp_path / "f.parquet").train).dtype == torch.float32
    (tmp_path / "bad.parquet").write_bytes((tmp_path / "f.parquet").read_bytes()[:-9])
    refuses("bad.parquet cannot be read", call=lambda: D.array(tmp_path / "bad.parquet"))


def test_parquet_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    import sys

    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    refuses("a.parquet", "pip install pyarrow", call=lambda: D.array(tmp_path / "a.parquet"))

"""Whole files, rows, and the one reader of small files: links, halves, wrong kinds, and what is no JSON."""

import errno
import json
import math
import os
from pathlib import Path

import pytest

import scoresde
from scoresde.machine import files, locks
from scoresde.tracking.track import Metrics, read_rows

NEEDS = {"step": int, "angles": files.list_of(float), "of": files.dict_of(str), "name": str, "done": bool}
WHOLE = {"step": 3, "angles": [1, 0.5], "of": {"a": "b"}, "name": "x", "done": True, "more": None}
DAMAGED = {
    "empty": b"",
    "spaces": b" \n ",
    "half": json.dumps(WHOLE).encode()[:30],
    "object": b"{}",
    "list": b"[]",
    "null": b"null",
    "number": b"3",
    "text": b'"step"',
    "not UTF-8": b'{"step": 3, "name": "\xe9\xff"}',
    "zeros": bytes(200),
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 500 + b"1" + b"}" * 500,
    "large": b'{"a": "' + b"x" * files.LARGEST + b'"}',
    **{
        f"{key}={value!r}": json.dumps(WHOLE | {key: value}).encode()
        for key, value in [
            ("step", "3"),
            ("step", True),
            ("step", None),
            ("step", 3.5),
            ("angles", 3),
            ("angles", ["1"]),
            ("angles", [1, None]),
            ("angles", [math.nan]),
            ("angles", [int("9" * 400)]),
            ("angles", {}),
            ("of", []),
            ("of", {"a": 1}),
            ("name", ["x"]),
            ("done", "yes"),
            ("done", 1),
        ]
    },
    **{f"no {key}": json.dumps({k: v for k, v in WHOLE.items() if k != key}).encode() for key in NEEDS},
}


def test_a_full_disk_is_told_whatever_the_writer_makes_of_it(tmp_path):
    """As torch does, whose writer fails again as it closes a file that is not whole."""

    def save(file):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 145280 vs 145168")

    with pytest.raises(OSError, match="No space left") as caught:
        files.write(tmp_path / "it", save)
    assert caught.value.filename == str(tmp_path / "it") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_small_file_is_one_line_or_its_default(tmp_path, name):
    path, said = tmp_path / "grid.json", []
    path.write_bytes(DAMAGED[name])
    with pytest.raises(scoresde.InputError) as caught:
        files.read_json(path, NEEDS, remedy="remove it")
    words = str(caught.value)
    assert words.startswith(f"{path} is damaged (") and words.endswith("): remove it") and "\n" not in words
    assert files.read_json(path, NEEDS, default=None, say=said.append) is None
    assert said == [words.replace(": remove it", ": it is passed over")]


def test_a_whole_small_file_is_read_and_a_missing_one_is_told(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(scoresde.InputError, match=r"a\.json does not exist"):
        files.read_json(path)
    assert files.read_json(path, default={}, say=pytest.fail) == {}
    for data in (json.dumps(WHOLE).encode(), b"\xef\xbb\xbf" + json.dumps(WHOLE).encode()):  # as Windows' editors do
        path.write_bytes(data)
        assert files.read_json(path, NEEDS) == WHOLE


def _link(path: Path) -> None:
    (path.parent / "target").write_text(json.dumps(WHOLE) + "\n")
    path.symlink_to(path.parent / "target")


@pytest.mark.parametrize("make", [_link, os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_opened(tmp_path, make):
    path = tmp_path / "a.json"
    make(path)
    for read in (files.read_json, files.read_rows):
        with pytest.raises(scoresde.InputError, match=r"a\.json is (a link|not a file)"):
            read(path)
    assert files.read_json(path, default=1) == 1
    with pytest.raises((scoresde.InputError, IsADirectoryError)):
        files.append(path, "{}")
    if make is _link:
        files.write_json(path, {})  # takes the link's place
        assert json.loads((tmp_path / "target").read_text()) == WHOLE and not path.is_symlink()


def test_rows_that_are_none_are_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert files.read_rows(path) == []
    good = [{"step": i, "loss": 0.5} for i in range(3)]
    bad = [*DAMAGED.values(), b'{"step": 2, "lo', b'{"loss": 1}', b'{"step": "4"}', b"\x00\x00{}"]
    text = [json.dumps(row).encode() for row in good]
    path.write_bytes(b"\n".join([text[0], *bad, text[1], text[2]]) + b"\n" + text[0][:9])
    rows = files.read_rows(path, {"step": int, "loss": float})
    assert rows == good


def test_a_row_after_half_a_row_has_its_own_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    files.append(path, '{"a": 1}')
    with open(path, "a") as file:
        file.write('{"a": 2, "b')  # a kill
    for i in (3, 4):
        files.append(path, files.to_json({"a": i}))
    assert [row["a"] for row in files.read_rows(path, {"a": int})] == [1, 3, 4]


def test_what_is_written_is_json_for_every_reader(tmp_path):
    value = {"a": [math.nan, (math.inf, 1.5)], "b": {"c": -math.inf, "d": True, "e": None}, "f": "é"}
    files.write_json(tmp_path / "a.json", value)

    def strict(path):
        return json.loads(path.read_text(), parse_constant=pytest.fail)

    assert strict(tmp_path / "a.json") == {"a": [None, [None, 1.5]], "b": {"c": None, "d": True, "e": None}, "f": "é"}
    assert list(strict(tmp_path / "a.json")) == ["a", "b", "f"]


def test_figures_that_are_not_finite_are_null_in_rows_and_nan_again_when_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    Metrics(path).log(1, loss=math.nan, by_level=[1.0, math.inf], name="x")
    row = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert row == {"step": 1, "loss": None, "by_level": [1.0, None], "name": "x"}
    again = Metrics(path, keep=1)
    assert math.isnan(again.last()["loss"]) and json.loads(path.read_text(), parse_constant=pytest.fail) == row
    path.write_text('{"step": 1, "loss": NaN}\n{"step": 2, "loss": {}, "by_level": ["x"], "name": [[1], 2]}\n')
    assert [set(r) for r in read_rows(path)] == [{"step", "loss"}, {"step"}]  # NaN: of earlier versions


def test_nothing_is_written_through_links_in_a_folder(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "rows.jsonl").write_text("mine\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "m").symlink_to(tmp_path / "mine")  # the folder itself may be one: that is its owner's choice
    (tmp_path / "m" / "sample-a").symlink_to(outside)
    (tmp_path / "m" / "rows.jsonl").symlink_to(outside / "rows.jsonl")
    with locks.alone(tmp_path / "m"):
        files.write_json(tmp_path / "m" / "sample-b" / "summary.json", {})
        for path in (tmp_path / "m" / "sample-a" / "summary.json", tmp_path / "m" / "sample-a" / "parts" / "0.npz"):
            with pytest.raises(scoresde.InputError, match="sample-a is a link, and nothing is written through it"):
                files.write_json(path, {})
        with pytest.raises(scoresde.InputError, match=r"rows\.jsonl is a link"):
            files.append(tmp_path / "m" / "rows.jsonl", "{}")
    assert [p.name for p in outside.iterdir()] == ["rows.jsonl"]
    assert (outside / "rows.jsonl").read_text() == "mine\n"


def test_a_sweep_takes_what_was_left_but_not_what_another_is_writing(tmp_path):
    left = [tmp_path / "a" / ".x.4711.passing", tmp_path / "a" / "sample-b" / ".y.passing"]
    kept = [
        tmp_path / "a" / "b" / ".x.passing",
        tmp_path / "a" / "b" / "c" / ".y.passing",
        tmp_path / "o" / ".z.passing",
    ]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "o")
    with locks.alone(tmp_path / "a" / "b"), locks.alone(tmp_path / "a"):
        files.sweep(tmp_path / "a")
    assert all(p.exists() for p in kept) and not any(p.exists() for p in left)
    files.sweep(tmp_path / "nowhere")

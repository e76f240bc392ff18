"""Whatever happened to a model's folder, a command ends well or with one line: damaged side files, links, odd names."""

import contextlib
import csv
import json
import shutil

import numpy as np
import pytest
import torch
from adversarial import play
from commands import command, held
from sweeps import SMALL, lines

import scoresde
from scoresde.model import checkpoint
from scoresde.model.folder import step_of, weights_of
from scoresde.objectives import validation as train
from scoresde.sweeps import compare
from scoresde.sweeps.figures import Figure, Row
from scoresde.tracking.report import plain

FITTED = ["sampler=ddim", "sampler.steps=4", "sampler.grid=fitted"]
DAMAGE = {
    "empty": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "object": lambda whole: b"{}",
    "list": lambda whole: b"[]",
    "latin": lambda whole: whole.replace(b'"', b'"\xe9', 3),
    "zeros": lambda whole: bytes(len(whole)),
    "null": lambda whole: _all(whole, None),
    "text": lambda whole: _all(whole, "x"),
    "lists": lambda whole: _all(whole, [1]),
}


def _all(whole: bytes, value) -> bytes:
    """The object, or the first row, with this value for every key."""
    return json.dumps(dict.fromkeys(json.loads(whole.splitlines()[0]), value)).encode()


def _text(path) -> bytes:
    """A JSON file on one line; rows as they are."""
    return path.read_bytes() if path.suffix == ".jsonl" else json.dumps(json.loads(path.read_text())).encode()


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path):
    return lambda *words: command(monkeypatch, capfd, tmp_path, *SMALL, *words)


@pytest.fixture
def one_line(cli):
    """A command that ends well, or with one line."""

    def run(*words, code=0, says=""):
        found, out, err = cli(*words)
        assert found == code and says in " ".join((out + err).split()), (words, out, err)
        assert err.count("\n") == bool(code) and err.startswith("error: ") == bool(code), (words, err)
        return out

    return run


def test_any_bit_flipped_in_a_model_is_seen_or_harmless(tmp_path):
    play(tmp_path, 6)  # the smallest there is
    path = tmp_path / "model.safetensors"
    whole, known = path.read_bytes(), weights_of(tmp_path)
    for bit in range(8 * whole.index(b"space.")):  # what is before the tensors: its step, and hashes
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with contextlib.suppress(scoresde.InputError):
            assert (step_of(tmp_path), weights_of(tmp_path)) == (6, known)


def test_damaged_side_files_of_a_model(one_line, tmp_path):
    folder, words = tmp_path / "m", [*FITTED, "task=full", "folder=m"]
    one_line(*words)
    (sample,) = folder.glob("sample-*")
    whole = np.load(sample / "samples.npy")
    measure = [*FITTED, "folder=m", "task=evaluate", "task.samples=given/samples.npy", "task.groups=3"]
    measure += ["task.metrics=[frechet,copies]"]
    files = {path: _text(path) for path in (folder / n for n in ("grid.json", "summary.json", "metrics.jsonl"))}
    for name, damage in DAMAGE.items():
        for path, text in files.items():
            path.write_bytes(damage(text))
        out = " ".join(one_line(*words).split())
        assert out.count("is damaged") == 1 and "m/grid.json is damaged" in out, out
        assert json.loads((folder / "summary.json").read_text())["finished"] is True, name
        assert np.array_equal(np.load(sample / "samples.npy"), whole), name
        shutil.rmtree(tmp_path / "given", ignore_errors=True)
        shutil.copytree(sample, tmp_path / "given")
        (tmp_path / "given" / "summary.json").write_bytes(damage(_text(sample / "summary.json")))
        one_line(*measure)


def test_a_training_goes_on_over_damaged_rows(one_line, tmp_path, monkeypatch):
    words = ["task=train", "folder=m", "train.steps=6"]
    one_line(*words)
    rows = (tmp_path / "m" / "metrics.jsonl").read_bytes()
    weights, save = checkpoint.load(tmp_path / "m" / "checkpoint.pt"), checkpoint.save
    for name, damage in DAMAGE.items():
        shutil.rmtree(tmp_path / "m")
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save", lambda path, state, last: save(path, state, last) or _stop(state))
            with pytest.raises(Stopped):
                one_line(*words)
        (tmp_path / "m" / "metrics.jsonl").write_bytes(damage(rows) + b"\n" + rows.splitlines()[0][:9])
        one_line(*words)
        found = checkpoint.load(tmp_path / "m" / "checkpoint.pt")
        assert all(torch.equal(found["ema"][k], v) for k, v in weights["ema"].items()), name
        assert [r["step"] for r in lines(tmp_path / "m" / "metrics.jsonl")][-4:] == [3, 4, 5, 6]


class Stopped(BaseException):
    pass


def _stop(state):
    if state["step"] == 2:
        raise Stopped


def test_damaged_files_of_a_sweep(one_line, tmp_path):
    words = ["--multirun", "seed=0,1", "sampler=ddim", "sampler.steps=2", "task=sample,likelihood"]
    one_line("task=train", "sampler=ddim", "sampler.steps=2")
    one_line(*words)
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    files = [sweep / "0" / "status.json", sweep / "0" / "summary.json", sweep / "1" / "metrics.jsonl"]
    files += [next((tmp_path / "runs").glob("vp-*/likelihood-*/metrics.jsonl"))]
    known = {path: _text(path) for path in files}
    for name in ("half", "list", "null", "text"):
        for path, whole in known.items():
            path.write_bytes(DAMAGE[name](whole))
        one_line("task=compare", f"runs={sweep}", "task.figures=null")
        assert one_line(*words).count("is done already") == 3, name
        assert json.loads((sweep / "0" / "status.json").read_text())["state"] == "done"


def test_compare_reads_anything_and_runs_nothing(one_line, tmp_path):
    formulas = [
        "=HYPERLINK(1)",
        "+1+cmd",
        "-1+1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        " =1",
        "\uff1d1",
        "\x1b]0;x\x07=1",
        "$x$^",
        "a[/b]",
    ]
    for i, text in enumerate([*formulas, "-0.5", "+3", "1e5"]):
        folder = tmp_path / "sweep" / str(i)
        folder.mkdir(parents=True)
        status = {"job": i, "state": "done", "overrides": [f"sde={text}", f"=k{i % 2}=1", "seed=:smile:"]}
        (folder / "status.json").write_text(json.dumps(status))
        (folder / "summary.json").write_text(json.dumps({"sample": {"evaluations": -i, "=cmd": 1, "big": 10**400}}))
    out = one_line("task=compare", "runs=sweep")
    assert "\x1b" not in out and "\x07" not in out and "a[/b]" in out and "$x$^" in out
    with open(tmp_path / "sweep" / "compare.csv", newline="") as file:
        head, *table = csv.reader(file)
    cells = [dict(zip(head, row, strict=True)) for row in table]
    assert [c["sde"] for c in cells][-3:] == ["-0.5", "+3", "1e5"]
    for cell in (cell for row in (head, *table) for cell in row):
        assert cell.isprintable()
        if cell.startswith(("=", "+", "-", "@", "\uff1d")):
            float(cell)  # a number, then
    assert [float(c["sample.evaluations"]) for c in cells] == [-float(i) for i in range(len(cells))]
    assert (tmp_path / "sweep" / "compare.png").stat().st_size > 5000
    shutil.move(tmp_path / "sweep", tmp_path / "a[b]")
    one_line("task=compare", "runs='a[b]'")


def test_text_for_a_terminal():
    assert plain("a\x1b[31mb\x07\x9b2J\u202ec\td\r\ne é 名 \udce9") == "a[31mb2Jc d \ne é 名 "
    with pytest.raises(SystemExit):
        from scoresde.command.main import fail

        fail("no \x1b]0;title\x07 here")


NAMES = ["a[/b]", "[bold red]x", "[link=x]y", ":smile:", "a$b$c", "caf\u00e9 \u540d", "x\ty"]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_have_any_name(one_line, tmp_path, name):
    out = one_line("task=full", "sampler=ddim", "sampler.steps=2", f"folder='{name}'", "n=8")
    assert (tmp_path / name / "summary.json").exists() and plain(f"{name}/sample-ddim") in "".join(out.split("\n"))


def test_a_lock_that_is_a_link_empties_nothing(one_line, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "precious").write_text("everything")
    (tmp_path / "m" / ".lock").symlink_to(tmp_path / "precious")
    one_line("task=train", "folder=m", code=1, says="m/.lock is a link")
    assert (tmp_path / "precious").read_text() == "everything"


def test_results_are_not_written_through_links(one_line, cli, tmp_path):
    words = ["sampler=ddim", "sampler.steps=2", "folder=m", "n=8"]
    one_line("task=full", *words)
    outside = tmp_path / "outside"
    for task in ("sample", "likelihood"):
        (folder,) = (tmp_path / "m").glob(f"{task}-*")
        outside.mkdir()
        shutil.rmtree(folder)
        folder.symlink_to(outside)
        one_line(f"task={task}", *words, code=1, says=f"{folder.relative_to(tmp_path)} is a link")
        assert not list(outside.iterdir())
        folder.unlink()
        outside.rmdir()
    for name in (
        "metrics.jsonl",
        "summary.json",
        "checkpoint.pt",
        "config.yaml",
        "loss.png",
        "model.json",
        "model.safetensors",
        "moments.safetensors",
    ):
        target, path = tmp_path / name, tmp_path / "m" / name
        shutil.move(path, target)
        whole = target.read_bytes()
        path.symlink_to(target)
        code, _, err = cli("task=train", *words, "fresh=true")
        assert code in (0, 1) and err.count("\n") == code and target.read_bytes() == whole, (name, err)
        path.unlink(missing_ok=True)
        one_line("task=train", *words, "fresh=true")


def test_python_takes_the_same_lock(tmp_path):
    model = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16, blocks=1), scoresde.VP())
    fit = lambda: scoresde.train(model, torch.randn(50, 2), steps=2, batch_size=8, device="cpu", folder=tmp_path / "m")
    with held(tmp_path / "m"), pytest.raises(scoresde.InputError, match="another command is at work in"):
        fit()
    assert not list((tmp_path / "m").iterdir())
    fit()
    names = {p.name for p in (tmp_path / "m").iterdir()}
    assert "checkpoint.pt" in names and ".lock" not in names


def test_python_writes_nothing_into_a_folder_that_was_replaced(tmp_path):
    folder = tmp_path / "m"
    model = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16, blocks=1), scoresde.VP())

    def report(step, **figures):
        if step == 2:
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / "config.yaml").write_text("another's")

    options = {"steps": 6, "batch_size": 8, "checkpoint_every": 2, "log_every": 1, "device": "cpu"}
    with pytest.raises(scoresde.InputError, match="was removed, moved or replaced"):
        scoresde.train(model, torch.randn(50, 2), folder=folder, report=report, **options)
    assert [p.name for p in folder.iterdir()] == ["config.yaml"]


def test_a_command_leaves_what_is_being_trained_beneath_it_alone(one_line, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    passing = [tmp_path / "a" / ".x.1.passing", tmp_path / "a" / "b" / ".x.1.passing"]
    for path in passing:
        path.touch()
    with held(tmp_path / "a" / "b"):
        one_line("task=train", "folder=a")
        assert [p.exists() for p in passing] == [False, True]
        one_line("task=train", "folder=a", "data.n=150", code=1, says="holds another model")
    one_line("task=train", "folder=a/b")
    assert not passing[1].exists()


def test_a_refused_command_takes_no_folder_away(one_line, tmp_path):
    (tmp_path / "c").mkdir()
    with held(tmp_path / "c" / "m"):
        (tmp_path / "c" / "m" / "theirs").touch()
        one_line("task=train", "folder=c/m", code=1, says="another command is at work in c/m")
        assert (tmp_path / "c" / "m" / "theirs").exists()
    one_line("task=sample", "folder=d", code=1, says="has no trained model")
    assert not (tmp_path / "d").exists()


def test_numbers_that_are_none_are_null_in_every_file(one_line, tmp_path, monkeypatch):
    validation = train.Validation.__call__
    monkeypatch.setattr(train.Validation, "__call__", lambda self, d: (float("nan"), [float("inf"), 1.0]))
    one_line("task=train", "folder=m")
    strict = lambda path: [json.loads(t, parse_constant=pytest.fail) for t in path.read_text().splitlines()]
    assert [r["validation"] for r in strict(tmp_path / "m" / "metrics.jsonl") if "validation" in r] == [None, None]
    assert json.loads((tmp_path / "m" / "summary.json").read_text(), parse_constant=pytest.fail)["validation"] is None
    monkeypatch.setattr(train.Validation, "__call__", validation)
    (tmp_path / "m" / "summary.json").unlink()
    out = one_line("task=train", "folder=m")
    assert "validation loss nan" in out


def test_rows_of_several_runs_have_their_figures(tmp_path):
    found = [Row({"sde": "=1"}, {"a.b": Figure(-1.0, -2.0, 0.0)}), Row({"sde": "-2.5"}, {})]
    compare._write_csv(tmp_path / "compare.csv", found)
    assert (tmp_path / "compare.csv").read_text().splitlines() == [
        "sde,a.b,a.b_low,a.b_high",
        "'=1,-1.0,-2.0,0.0",
        "-2.5,,,",
    ]


def test_a_command_killed_at_its_very_end_is_made_whole_by_the_next(one_line, tmp_path):
    one_line("task=train", "folder=m")
    names = {p.name for p in (tmp_path / "m").iterdir()}
    for name in ("loss.png", "config.yaml"):
        (tmp_path / "m" / name).unlink()
    assert "is trained already" in one_line("task=train", "folder=m")
    assert {p.name for p in (tmp_path / "m").iterdir()} == names

"""Students on the command line: their likelihood, their samples corrected by their teacher, a teacher that is gone."""

import json
import shutil

import numpy as np
import pytest
from commands import POINTS, Quiet, command

import scoresde
from scoresde.model.teacher import teacher_of

SHORT = ["device=cpu", "gif=false", "n=8"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a teacher and its student, both hardly trained."""
    folder = tmp_path_factory.mktemp("students")
    words = [word for word in POINTS if not word.startswith(("n=", "likelihood"))]
    with pytest.MonkeyPatch.context() as patch:
        assert command(patch, Quiet(), folder, *words, "task=train", "folder=teacher")[0] == 0
        training = [word for word in words if word.startswith("train")]
        student = ["task=distill", "teacher=teacher", "method=shortcut", "folder=student", *training, *SHORT]
        assert command(patch, Quiet(), folder, *student)[0] == 0
    return folder


@pytest.fixture
def cli(home, monkeypatch, capfd):
    """A command there: its exit code and all that it said."""

    def run(*words):
        code, out, err = command(monkeypatch, capfd, home, *words, *SHORT)
        return code, out + err

    return run


def summary(home, kind):
    """That of the one folder of a kind."""
    (path,) = home.glob(f"student/{kind}*/summary.json")
    return json.loads(path.read_text()), path.parent


def test_a_student_is_scored_through_its_jumps(home, cli):
    code, said = cli("folder=student", "task=likelihood", "likelihood.n=6", "sampler=jump", "sampler.steps=2")
    assert code == 0 and "through 2 jumps" in said, said
    found, folder = summary(home, "likelihood-test")
    columns = np.load(folder / "likelihood.npz")
    assert len(columns["failed"]) == 6 and np.isfinite(columns["log_prob"][columns["failed"] < 0]).all()
    assert np.isfinite(found["nats"])
    code, said = cli("folder=student", "task=likelihood", "likelihood.n=6", "likelihood.t_min=0.01")
    assert code and "its own t_min" in said


def test_a_student_s_samples_are_scored_by_its_teacher(home, cli):
    code, said = cli("folder=student", "task=likelihood", "likelihood.n=6", "likelihood.by=teacher")
    assert code == 0 and "log p of student" in said, said
    found, folder = summary(home, "likelihood-teacher")
    assert set(np.load(folder / "densities.npz")) == {"student", "teacher", "data"}
    assert found["student_low"] <= found["student_value"] <= found["student_high"]
    code, said = cli("folder=teacher", "task=likelihood", "likelihood.by=teacher")
    assert code and "no model of few steps" in said


def test_a_student_s_samples_are_corrected_by_its_teacher(home, cli):
    code, said = cli("folder=student", "task=sample", "sampler=corrected", "sampler.steps=2", "sampler.refine=3")
    assert code == 0 and "5 evaluations" in said, said
    assert summary(home, "sample-corrected")[0]["evaluations"] == 5


def test_a_teacher_that_is_gone_or_another_is_told_in_a_line(home, tmp_path):
    for name in ("student", "teacher"):
        shutil.copytree(home / name, tmp_path / name)
    assert teacher_of(tmp_path / "student").weights == scoresde.load(home / "teacher").weights
    known = json.loads((tmp_path / "student" / "model.json").read_text())
    for told, words in (
        ({"weights": "0" * 12}, "other weights"),
        ({"folder": str(tmp_path / "no")}, "teacher="),
        (None, "names no"),
    ):
        now = known | {"teacher": None if told is None else known["teacher"] | told}
        (tmp_path / "student" / "model.json").write_text(json.dumps(now))
        with pytest.raises(scoresde.InputError, match=words):
            teacher_of(tmp_path / "student")
    assert teacher_of(tmp_path / "student", tmp_path / "teacher").step

"""A search: one at a time, whole after any kill, and the same trials as if nothing had happened."""

import os
import signal
import sqlite3

import pytest
from commands import command, held

from scoresde.config.commands.jobs import Job, statuses
from scoresde.sweeps import search

optuna = pytest.importorskip("optuna")
WORDS = ["task=search", "task.startup=2", "task.trials=5"]
WORDS += ["task.space=['sampler.snr=interval(0.05,0.3)','sampler.eta=0.0,1.0','n=int(interval(2,60))']"]


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path):
    def run(*words, folder="here"):
        (tmp_path / folder).mkdir(exist_ok=True)
        return command(monkeypatch, capfd, tmp_path / folder, *WORDS, *words)

    return run


def quick(stop=lambda trial, place: None):
    """In place of a trial: a figure of what was drawn.  `stop` is called before each draw, and after the last."""

    def trial(trial, places, words, config, home, *more):
        with Job(home / str(trial.number), trial.number, home.name, (), "config") as job:
            total = 0.0
            for i, place in enumerate(places):
                stop(trial.number, i)
                total += float(place.suggest(trial))
            stop(trial.number, len(places))
            job.end({})
        return (total - 20) ** 2

    return trial


def trials(tmp_path, folder):
    (home,) = (tmp_path / folder / "runs" / "search").iterdir()
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{home / 'search.db'}")
    return home, study.trials


def drawn(found):
    return [(t.params, t.value) for t in found if t.state.name == "COMPLETE"]


def _killed(cli, monkeypatch, at, number=signal.SIGKILL):
    """The same command in a process that dies at `at`, a trial and a draw."""
    if not (child := os.fork()):
        try:
            monkeypatch.setattr(search, "_try", quick(lambda *now: now == at and os.kill(os.getpid(), number)))
            os._exit(cli(folder="cut")[0])
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_killed_search_draws_what_it_would_have_drawn(cli, monkeypatch, tmp_path):
    monkeypatch.setattr(search, "_try", quick())
    assert cli()[0] == 0
    _, whole = trials(tmp_path, "here")
    for at in ((0, 0), (1, 3), (3, 1), (5, 3)):  # before, after and between the draws of a trial
        assert _killed(cli, monkeypatch, at) == -signal.SIGKILL
    assert _killed(cli, monkeypatch, (8, 2), signal.SIGTERM) == 143
    home, cut = trials(tmp_path, "cut")
    assert not any(t.state.name == "RUNNING" for t in cut)  # what was asked to end closed its own
    assert _killed(cli, monkeypatch, (9, 2)) == -signal.SIGKILL
    code, out, err = cli(folder="cut")
    assert code == 0, err
    _, found = trials(tmp_path, "cut")
    assert len(drawn(whole)) == 5 and drawn(found) == drawn(whole)
    assert not any(t.state.name == "RUNNING" for t in found) and len(found) == 11
    states = [s["state"] for s in statuses(home)]
    assert states.count("done") == 5 and states.count("failed") == 6
    assert not list(home.rglob(".*.passing")) and not (home / ".lock").exists()


def test_a_failed_trial_counts_whenever_it_failed(cli, monkeypatch, tmp_path):
    def fail(trial, place):
        if trial in (1, 2) and place == 2:
            raise RuntimeError("made to fail")

    monkeypatch.setattr(search, "_try", quick(fail))
    assert cli()[0] == 0
    assert cli("task.trials=3", folder="cut")[0] == 0
    code, out, _ = cli(folder="cut")
    assert code == 0 and "5 trials were made before" in out
    assert drawn(trials(tmp_path, "cut")[1]) == drawn(trials(tmp_path, "here")[1])


def test_two_searches_for_the_same_are_one(cli, monkeypatch, tmp_path):
    monkeypatch.setattr(search, "_try", quick())
    assert cli("task.trials=1")[0] == 0
    home, _ = trials(tmp_path, "here")
    with held(home):
        code, _, err = cli()
    assert code == 1 and err.startswith("error: another command is at work in ") and err.count("\n") == 1
    assert cli()[0] == 0


def _other_tables(path):
    path.unlink()
    with sqlite3.connect(path) as file:
        file.execute("create table studies (a text)")


def _link(path):
    path.rename(path.with_name("aside"))
    path.symlink_to(path.with_name("aside"))


def _odd_trial(path):
    with sqlite3.connect(path) as file:
        file.execute("update trial_params set distribution_json = '{'")


DAMAGE = {
    "half": lambda path: path.write_bytes(path.read_bytes()[:3000]),
    "text": lambda path: path.write_text("not a study " * 100),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "tables": _other_tables,
    "link": _link,
    "trial": _odd_trial,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_study_is_one_line(cli, monkeypatch, tmp_path, name):
    monkeypatch.setattr(search, "_try", quick())
    assert cli("task.trials=1")[0] == 0
    home, _ = trials(tmp_path, "here")
    DAMAGE[name](home / "search.db")
    code, _, err = cli()
    assert code == 1 and err.startswith("error: ") and "search.db" in err and err.count("\n") == 1, err
    assert (home / "search.db").exists()

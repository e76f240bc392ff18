"""Sweeps: each job tells how it went, one that fails stops no other, and what is done is not done again."""

import json
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import ROOT, command, held
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from sweeps import SMALL, lines, start, wandb_run

import scoresde
from scoresde.config import build
from scoresde.config.commands.jobs import fingerprint, read, statuses, sweep_name
from scoresde.sweeps import search
from scoresde.sweeps.compare import shown
from scoresde.sweeps.figures import Figure, Row, average, figures, rows
from scoresde.tasks import sample as sampling
from scoresde.tasks.likelihood import task as scoring

GRID = ["--multirun", "sde=vp,ve,subvp", "sampler=pc,ode,ddim", "seed=0,1", *SMALL]


def status(folder):
    return {int(p.parent.name): json.loads(p.read_text()) for p in folder.glob("runs/sweeps/*/*/status.json")}


@pytest.mark.slow
def test_a_sweep_of_18_jobs_killed_in_the_middle_with_one_that_fails(tmp_path):
    began = time.time()
    first = start(tmp_path, *GRID, fail="ve ddim 1")
    while sum(s["state"] == "done" for s in status(tmp_path).values()) < 6:
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    print(f"killed after {time.time() - began:.0f} s")
    before = status(tmp_path)
    done = {k for k, s in before.items() if s["state"] == "done"}
    assert 6 <= len(done) < 18

    again = start(tmp_path, *GRID, fail="ve ddim 1")
    out, err = again.communicate()
    print(f"ended after {time.time() - began:.0f} s")
    after = status(tmp_path)
    assert again.returncode == 1 and "17 of 18 jobs done, 1 failed" in out
    assert sorted(after) == list(range(18)) and all(after[k] == before[k] for k in done)
    assert out.count("is done already") == len(done)
    (bad,) = (k for k, s in after.items() if s["state"] == "failed")
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    assert after[bad]["error"] == "made to fail" and after[bad]["overrides"][:3] == ["sde=ve", "sampler=ddim", "seed=1"]
    assert "RuntimeError: made to fail" in (sweep / str(bad) / "traceback.txt").read_text()
    assert f"{bad}/traceback.txt" in err

    # Three models, each trained once: their rows are steps 1 to 4, in one job's rows.
    models = [p for p in (tmp_path / "runs").iterdir() if p.name != "sweeps"]
    assert len(models) == 3
    trained = [r["train/step"] for n in range(18) for r in lines(sweep / str(n) / "metrics.jsonl") if "train/step" in r]
    assert len(set(trained)) == 4 and len(trained) <= 3 * 4 + 2  # a killed training may repeat what it had not saved
    for n in range(18):
        runs = [wandb_run(p) for p in sorted((sweep / str(n)).glob("wandb/offline-run-*/*.wandb"))]
        assert len({r["run"].run_id for r in runs}) == 1 and runs[-1]["exit"] == int(n == bad)
        assert runs[-1]["run"].run_group == sweep.name and runs[-1]["run"].job_type == "full"
        if len(runs) == 1:
            kept = [{k: None if v != v else v for k, v in row.items()} for _, row in runs[0]["rows"]]
            assert kept == lines(sweep / str(n) / "metrics.jsonl")  # which has null for what is not a number

    # Said once more without the fault: the one that failed is run, and all is well.
    last = start(tmp_path, *GRID)
    out, err = last.communicate()
    assert last.returncode == 0 and out.count("is done already") == 17, err
    assert "18 of 18 jobs done" in out and not (sweep / str(bad) / "traceback.txt").exists()

    table = start(tmp_path, "task=compare", f"runs={sweep}")
    out, err = table.communicate()
    assert table.returncode == 0, err
    assert len((sweep / "compare.csv").read_text().splitlines()) == 19 and (sweep / "compare.png").stat().st_size > 5000


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path):
    return lambda *words, **options: command(monkeypatch, capfd, tmp_path, *words, **options)


def test_one_job_fails_and_the_others_end_and_only_it_is_run_again(cli, tmp_path, monkeypatch):
    words = ["--multirun", "sampler=ddim,euler", "sampler.steps=3", *SMALL]
    whole = sampling.draw
    monkeypatch.setattr(
        sampling, "draw", lambda run, *how: 1 / 0 if run.choices["sampler"] == "ddim" else whole(run, *how)
    )
    code, out, err = cli(*words)
    assert code == 1, err
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    assert code == 1 and "1 of 2 jobs done, 1 failed" in out and f"{sweep.relative_to(tmp_path)}/0/traceback.txt" in err
    bad, good = statuses(sweep)
    assert (bad["state"], bad["error"], good["state"]) == ("failed", "division by zero", "done")
    assert "ZeroDivisionError" in (sweep / "0" / "traceback.txt").read_text() and "sampler=ddim" in bad["overrides"]
    assert all(bad[k] for k in ("started", "ended", "folder", "config")) and bad["seconds"] >= 0
    assert set(good["results"]) == {"train", "sample", "likelihood"}
    # The job's own rows are those of its results; the model was trained by the job before.
    firsts = [next(iter(row)) for row in lines(sweep / "1" / "metrics.jsonl")]
    assert firsts == ["sample/step", "likelihood/step"]
    assert [r["train/step"] for r in lines(sweep / "0" / "metrics.jsonl")] == [1, 2, 3, 4]

    monkeypatch.setattr(sampling, "draw", whole)
    code, out, err = cli(*words)
    assert code == 0 and out.count("is done already") == 1 and "2 of 2 jobs done" in out, err
    # A result that is gone is made again; so is a job whose config has changed.
    (Path(statuses(sweep)[1]["results"]["sample"]) / "summary.json").unlink()
    code, out, err = cli(*words)
    assert code == 0 and out.count("is done already") == 1, err


def test_a_sweep_is_named_by_its_words_and_not_by_how_it_is_run():
    words = ["--multirun", "sde=vp,ve", "train.lr=1e-3,1e-2", "n=5", "net.mults=[1,2]"]
    name = sweep_name(words)
    assert name.startswith("sde-lr-") and name == sweep_name([*words, "hydra/launcher=joblib", "wandb=online"])
    assert name != sweep_name([*words[:-1], "net.mults=[1,3]"])


def composed(*words):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", list(words))


def test_a_job_is_known_by_what_it_makes():
    first = fingerprint(composed())
    assert first == fingerprint(composed("wandb=online", "tracker=tensorboard", "batch_size=3"))
    for other in ("n=7", "seed=1", "sampler=ode", "train.steps=9", "likelihood.n=3", "task=train"):
        assert first != fingerprint(composed(other))


def commands_of(path: Path) -> list[list[str]]:
    """Command lines that an agent of a wandb sweep can start, with all values; of a continuous parameter its two ends.

    Put together by wandb's own function for the agent.
    """
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    sweep = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    axes = []
    for key, node in sweep["parameters"].items():
        values = node.get("values") or [node[k] for k in ("value", "min", "max") if k in node]
        axes.append([(key, {"value": v}) for v in values])
    found = []
    for point in _stars(axes):
        given = create_sweep_command_args({"args": dict(point)})["args_no_hyphens"]
        line = [[*given] if word == "${args_no_hyphens}" else [word] for word in sweep["command"]]
        found.append([w for part in line for w in part if w not in ("${env}", "${interpreter}")])
    return found


def _stars(axes):
    """The points of a grid that differ from its first one, or from its last, in one axis: all values of all axes."""
    ends = [tuple(axis[k] for axis in axes) for k in (0, -1)]
    found = [(*end[:i], value, *end[i + 1 :]) for end in ends for i, axis in enumerate(axes) for value in axis]
    return [point for k, point in enumerate(found) if point not in found[:k]]


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "sweep").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_command_of_a_shipped_wandb_sweep_composes(path):
    known, lines = set(), commands_of(path)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for program, *words in lines:
            config = compose("config", words)
            known.add(fingerprint(config))
            assert program == "${program}" and config.wandb == "online"
            for part in ("sde", "sampler", "train", "loss"):
                build.make(config[part], part)
    assert len(known) == len(lines)  # no two of them are the same


def test_figures_of_summaries_have_their_intervals():
    summary = {"nats": -3.0, "nats_stderr": 0.5, "frechet": 2.0, "frechet_low": 1.5, "frechet_high": 2.6, "n": 5}
    summary |= {"kid": {"value": 0.1, "low": 0.0, "high": 0.2}, "auc": 0.5, "auc_interval": [0.4, 0.6], "name": "x"}
    found = figures({"evaluate": summary})
    assert found["evaluate.nats"] == Figure(-3.0, pytest.approx(-3.98, abs=1e-3), pytest.approx(-2.02, abs=1e-3))
    half = figures({"evaluate": summary}, 0.5)["evaluate.nats"]  # the quartile of the normal distribution is 0.6745
    assert half == Figure(-3.0, pytest.approx(-3.33725, abs=1e-4), pytest.approx(-2.66275, abs=1e-4))
    assert found["evaluate.frechet"] == Figure(2.0, 1.5, 2.6) and found["evaluate.kid"] == Figure(0.1, 0.0, 0.2)
    assert found["evaluate.auc"] == Figure(0.5, 0.4, 0.6) and found["evaluate.n"] == Figure(5)
    assert set(found) == {f"evaluate.{k}" for k in ("nats", "frechet", "kid", "auc", "n")}
    assert shown(found["evaluate.nats"]) == "-3.00 [-3.98, -2.02]" and shown(None) == ""


def test_rows_that_differ_in_the_seed_alone_become_their_mean():
    found = [Row({"sde": "vp", "seed": str(i)}, {"a.b": Figure(v)}) for i, v in enumerate((1.0, 2.0, 3.0))]
    (merged,) = average(found, "seed", 0.95)
    # Student's t with 2 degrees of freedom is 4.3027 at 97.5 %; s = 1.
    assert merged.keys == {"sde": "vp", "n of seed": "3"}
    low, high = (pytest.approx(2 + sign * 4.3027 / 3**0.5, abs=1e-4) for sign in (-1, 1))
    assert merged.figures["a.b"] == Figure(2.0, low, high)
    with pytest.raises(scoresde.InputError, match="they have sde, seed"):
        average(found, "sede", 0.95)


def test_compare_reads_models_and_globs_without_one(cli, tmp_path):
    for name, nats in (("vp-a", -1.0), ("ve-b", -2.0)):
        for task, figure in (("train", {"validation": 0.5}), ("likelihood", {"nats": nats, "nats_stderr": 0.1})):
            path = tmp_path / "old" / name / ("" if task == "train" else "likelihood-test-1")
            path.mkdir(parents=True, exist_ok=True)
            (path / "summary.json").write_text(json.dumps({"task": task, **figure}))
    assert len(rows(tmp_path / "old" / "vp-a")) == 2
    code, out, err = cli("task=compare", "runs=old/*", "task.to=here")
    assert code == 0 and "-1.00 [-1.20, -0.80]" in out, err
    table = (tmp_path / "here" / "compare.csv").read_text().splitlines()
    names = ["train.validation", "likelihood.nats", "likelihood.nats_low", "likelihood.nats_high"]
    assert len(table) == 5 and set(table[0].split(",")) == {"model", "result", *names}
    assert (tmp_path / "here" / "compare.png").stat().st_size > 5000 and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "runs is not set"),
        (["runs=nowhere"], "there is no such folder"),
        (["runs=[.]"], "no summary.json"),
    ],
)
def test_compare_says_what_is_wrong(cli, words, said):
    code, _, err = cli("task=compare", *words)
    assert code == 1 and said in err and err.count("\n") == 1


def test_the_same_sweep_in_another_terminal_waits_for_each_job(cli, tmp_path):
    words = ["--multirun", "seed=0,1", "task=sample", "sampler=ddim", "sampler.steps=2", *SMALL]
    assert cli("task=train", *SMALL)[0] == 0 and cli(*words)[0] == 0
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    (sweep / "1" / "status.json").unlink()
    whole = (sweep / "0" / "status.json").read_text()
    (sweep / "0" / "status.json").write_text(whole.replace('"done"', '"running"'))

    def end():
        time.sleep(5)
        (sweep / "0" / "status.json").write_text(whole)
        event.set()

    with held(sweep / "0") as event:
        threading.Thread(target=end).start()
        code, out, err = cli(*words)
    assert code == 0 and out.count(f"waiting for the command that is at work in {sweep}/0") == 1, err
    assert out.count("is done already") == 1 and (sweep / "0" / "status.json").read_text() == whole
    assert "job 0" in out.partition("is done already")[0] and read(sweep / "1" / "status.json")["state"] == "done"


@pytest.mark.slow
def test_search_goes_on_where_it_was_cut_off(cli, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    words = ["task=search", "task.objective=sample.evaluations", "task.startup=1", "sampler=ddim", *SMALL]
    words += ["task.space=['sampler.steps=int(interval(2,6))','sampler.eta=0.0,1.0']"]
    whole = scoring.score

    def stop(run):
        whole(run)
        if run.job.number == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(scoring, "score", stop)
    code, out, err = cli(*words, "task.trials=3")
    assert code == 130, err
    monkeypatch.setattr(scoring, "score", whole)
    code, out, err = cli(*words, "task.trials=4")
    (home,) = (tmp_path / "runs" / "search").iterdir()
    states = [s["state"] for s in statuses(home)]
    assert code == 0 and states.count("done") == 4 and "failed" in states, (out, err)
    best = json.loads((home / "best.json").read_text())
    done = [read(home / str(s["job"]) / "summary.json") for s in statuses(home) if s["state"] == "done"]
    assert best["value"] == min(s["sample"]["evaluations"] for s in done)
    cut, again = (s["overrides"] for s in statuses(home)[1:3])
    assert cut == again  # what was cut off is tried first
    for space, said in (("[]", "is empty"), ("['n=3']", "is one value"), ("['n=interval(']", "cannot be read")):
        code, _, err = cli("task=search", f"task.space={space}")
        assert code == 1 and said in err, err


@pytest.mark.parametrize(("direction", "best"), [("minimize", 1), ("maximize", 2)])
def test_the_best_trial_is_that_of_the_direction(tmp_path, capsys, direction, best):
    trials = [SimpleNamespace(number=i, value=v, params={"n": i}) for i, v in enumerate((3.0, 1.0, 5.0, None))]
    task = SimpleNamespace(objective="a.b", goal=direction)
    search._report(SimpleNamespace(trials=trials), tmp_path, ["sde=ve"], task)
    found = json.loads((tmp_path / "best.json").read_text())
    told = {"objective": "a.b", "value": trials[best].value, "trial": best, "overrides": ["sde=ve", f"n={best}"]}
    assert found == told and f"a.b, {direction}, of 3 trials" in capsys.readouterr().out


def test_search_without_optuna_is_one_line(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = cli("task=search")
    assert code == 1 and "pip install optuna" in err and err.count("\n") == 1


def test_an_unknown_launcher_is_one_line(cli, monkeypatch):
    code, _, err = cli("--multirun", "hydra/launcher=joblb", "n=1,2")
    assert code == 1 and "hydra/launcher=joblb is unknown" in err and err.count("\n") == 1, err

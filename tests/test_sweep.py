"""Sweeps: each job tells how it went, one that fails stops no other, and what is done is not done again."""

import json
import os
import signal
import time

import pytest
from sweeps import SMALL, lines, start, wandb_run

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
            assert [row for _, row in runs[0]["rows"]] == lines(sweep / str(n) / "metrics.jsonl")

    # Said once more without the fault: the one that failed is run, and all is well.
    last = start(tmp_path, *GRID)
    out, err = last.communicate()
    assert last.returncode == 0 and out.count("is done already") == 17, err
    assert "18 of 18 jobs done" in out and not (sweep / str(bad) / "traceback.txt").exists()

    table = start(tmp_path, "task=compare", f"runs={sweep}")
    out, err = table.communicate()
    assert table.returncode == 0, err
    assert len((sweep / "compare.csv").read_text().splitlines()) == 19 and (sweep / "compare.png").stat().st_size > 5000

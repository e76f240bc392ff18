"""Several jobs at once, on one machine and on a cluster: the same sweep, and a model is trained once."""

import os
import re
import subprocess

import pytest
from sweeps import SMALL, lines, start

pytestmark = pytest.mark.slow

# A cluster of one machine: sbatch runs the array's tasks one after another, srun its command.
SBATCH = r"""#!/bin/bash
script="${@: -1}"
cp "$script" "$KEEP/batch.sh"
last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*/\1/p' "$script")
echo "Submitted batch job 12"
(for i in $(seq 0 $last); do
    SLURM_JOB_ID=$((13 + i)) SLURM_ARRAY_JOB_ID=12 SLURM_ARRAY_TASK_ID=$i SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1 \
        SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NODELIST=here bash "$script"
done) > "$KEEP/log" 2>&1 < /dev/null &
"""
SRUN = r"""#!/bin/bash
while [[ "$1" != *python* ]]; do shift; done
exec "$@"
"""
CLUSTER = {"sbatch": SBATCH, "srun": SRUN, "sacct": "#!/bin/bash\n", "scancel": "#!/bin/bash\n"}
CLUSTER["scontrol"] = "#!/bin/bash\necho here\n"
WORDS = ["--multirun", "sampler.steps=3", "wandb=disabled", *(w for w in SMALL if w[:2] != "n=")]


def trained(sweep, jobs):
    """How many steps of training each job has logged."""
    return [sum("train/step" in r for r in lines(sweep / str(n) / "metrics.jsonl")) for n in range(jobs)]


@pytest.mark.parametrize(("launcher", "module"), [("joblib", "joblib"), ("submitit_local", "submitit")])
def test_jobs_at_once_share_a_model_and_train_it_once(tmp_path, launcher, module):
    pytest.importorskip(f"hydra_plugins.hydra_{module}_launcher")
    own = [f"hydra/launcher={launcher}", *(["hydra.launcher.n_jobs=2"] if module == "joblib" else [])]
    words = [*WORDS, "sampler=ddim", "n=20,5,0", "train.steps=200"]
    done = start(tmp_path, *words, *own)
    out, err = done.communicate()
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    assert done.returncode == 1 and "2 of 3 jobs done, 1 failed" in out, (out, err)
    assert sorted(trained(sweep, 2)) == [0, 200] and "n=0: give a whole number" in err
    # Said alone, without the launcher, it is the same sweep, and goes on.
    again = start(tmp_path, *words)
    out, err = again.communicate()
    assert again.returncode == 1 and out.count("is done already") == 2, (out, err)


def test_a_sweep_on_slurm(tmp_path, monkeypatch):
    """hydra/launcher=slurm as on a cluster, but for SLURM itself: its batch script is read, and run."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    (tmp_path / "bin").mkdir()
    for name, text in CLUSTER.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("KEEP", str(tmp_path))
    own = ["hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.setup=['export A=b']"]
    done = start(tmp_path, *WORDS, *own, "sampler=ddim,euler")
    out, err = done.communicate(timeout=300)
    text = (tmp_path / "batch.sh").read_text()
    for line in ("partition=gpu", "time=240", "gpus-per-node=1", "cpus-per-task=4", "mem=16GB", "array=0-1%2"):
        assert f"#SBATCH --{line}" in text, text
    assert re.search(r"#SBATCH --signal=\S*USR2@120", text) and text.index("export A=b") < text.index("\nsrun")
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    assert done.returncode == 0 and "2 of 2 jobs done" in out, (out, err, (tmp_path / "log").read_text())
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    assert trained(sweep, 2) == [4, 0]

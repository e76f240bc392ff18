"""The wheel: it carries the configs, and its command works from any folder."""

import os
import signal
import subprocess
import sys
import zipfile

import pytest
from commands import ROOT

COMMAND = "import sys; sys.argv[0] = 'scoresde'; from scoresde_run import main; main()"  # as pip's script does
# A torch that takes its time, and takes an interruption for an import that failed.
SLOW = """
import time
print("importing", flush=True)
try:
    time.sleep(30)
except BaseException as error:
    raise ImportError("torch is not whole") from error
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's files."""
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = builder.build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        file.extractall(folder / "site")
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"scoresde/{path.relative_to(ROOT)}" in names
    (entries,) = (folder / "site").glob("*.dist-info/entry_points.txt")
    assert "scoresde = scoresde_run:main" in entries.read_text() and "scoresde_run.py" in names
    return folder / "site"


def scoresde(installed, folder, *words):
    paths = {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, *words],
        cwd=folder,
        env=os.environ | paths,
        capture_output=True,
        text=True,
    )


def test_the_installed_command_finds_its_configs_and_the_users(installed, tmp_path):
    (tmp_path / "mine" / "sde").mkdir(parents=True)
    (tmp_path / "mine" / "sde" / "soft.yaml").write_text("_target_: scoresde.VP\nbeta_max: 15.0\n")
    done = scoresde(installed, tmp_path, "--config-dir", "mine", "sde=soft", "batch_size=7", "--cfg", "job")
    assert done.returncode == 0 and "beta_max: 15.0" in done.stdout and "\nbatch_size: 7\n" in done.stdout, done.stderr
    done = scoresde(installed, tmp_path, "sde=sft", "--config-dir", "mine")
    assert done.returncode == 1 and "soft" in done.stderr and done.stderr.count("\n") == 1


def test_help_names_what_there_is(installed, tmp_path):
    text = scoresde(installed, tmp_path, "--help").stdout
    examples = [line for line in text.splitlines() if line.startswith("scoresde ") and "=" in line]
    assert len(examples) >= 5 and "run.py" not in text
    tasks = text.partition("Tasks (task=NAME):")[2].partition("\n\n")[0]
    for path in (ROOT / "conf" / "task").glob("*.yaml"):
        assert f"\n  {path.stem} " in tasks
    for group in (p.name for p in (ROOT / "conf").iterdir() if p.is_dir() and p.name != "hydra"):
        assert f"\n{group}: " in text


def test_the_installed_command_completes(installed, tmp_path):
    query = {"COMP_LINE": "scoresde sampler=dd", "COMP_POINT": "19"}
    os.environ.update(query)
    try:
        done = scoresde(installed, tmp_path, "-sc", "query=bash")
    finally:
        for name in query:
            del os.environ[name]
    assert done.stdout.split() == ["sampler=ddim"]


@pytest.mark.parametrize("front", ["run.py", "scoresde"])
def test_ctrl_c_while_it_imports_is_one_line(request, tmp_path, front):
    (tmp_path / "torch.py").write_text(SLOW)
    site = [] if front == "run.py" else [str(request.getfixturevalue("installed"))]
    command = [str(ROOT / "run.py")] if front == "run.py" else ["-P", "-c", COMMAND]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *site])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    process = subprocess.Popen([sys.executable, *command], env=env, preexec_fn=restore, **pipes)
    assert process.stdout.readline() == "importing\n", process.communicate()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "error: stopped before it began\n")

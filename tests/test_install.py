"""The wheel: its metadata and configs, its command from any folder, and the library where an extra is missing."""

import ast
import os
import re
import signal
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from importlib.metadata import packages_distributions

import numpy as np
import pytest
from commands import ROOT, TINY

import scoresde as library

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Needed by nobody who does not fetch Inception's weights, read photographs of telephones or show the page of the extra
# demo, which `all` has not, as it takes an older pillow; part of torch on CUDA.
ELSEWHERE = {"torch-fidelity", "triton", "pillow-heif", "gradio", "starlette"}
ELSEWHERE |= {"huggingface-hub", "huggingface_hub"}  # of transformers

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
    return folder / "site"


def test_the_wheel_says_what_it_is(installed):
    (about,) = installed.glob("*.dist-info")
    assert "scoresde = scoresde_run:main" in (about / "entry_points.txt").read_text()
    assert (installed / "scoresde_run.py").exists()
    meta = message_from_string((about / "METADATA").read_text())
    assert meta["Version"] == library.__version__ and meta["License-Expression"] == "Apache-2.0"
    assert (about / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert "version" not in (ROOT / "CITATION.cff").read_text().replace("cff-version", "")  # it stands in one place
    assert (installed / "scoresde" / "py.typed").exists()


def names(requirements):
    """The names of the packages, as an index writes them."""
    return {re.match(r"[\w.-]+", r)[0].lower() for r in requirements}


def test_what_is_imported_is_required_at_once_or_by_an_extra():
    """At a file's top only what is always there; what a function imports may be in an extra that `all` includes."""
    always, extras = names(PROJECT["dependencies"]), PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    parts = everything.partition("[")[2].rstrip("]").split(",")
    asked = set().union(*(names(extras[part]) for part in parts))
    apart = {"all", "test", "bench", "docs", "demo", "types", "pretrained"}
    assert set(parts) == extras.keys() - apart and "scoresde[all]" in extras["test"]
    pretrained = names(extras["pretrained"])
    assert not pretrained & (always | asked | names(extras["test"]))
    whose = packages_distributions() | {
        m: [m.replace("_", "-")] for m in ("torch_fidelity", "triton", "pillow_heif", "gradio")
    }
    whose |= {"starlette": ["starlette"], **{name.replace("-", "_"): [name] for name in pretrained}}
    with_hydra = {"omegaconf", "yaml"}
    for path in (ROOT / "scoresde").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if not isinstance(node, ast.Import | ast.ImportFrom) or getattr(node, "level", 0):
                continue
            modules = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            for module in {m.partition(".")[0] for m in modules} - sys.stdlib_module_names - {"scoresde"} - with_hydra:
                here = {name.lower() for name in whose[module]}
                top = node in tree.body and path.name != "kernel.py"
                assert here & (always if top else always | asked | pretrained | ELSEWHERE), f"{path} imports {module}"


def scoresde(place, folder, *words, hidden=()):
    """The command, imported from `place`, where the modules `hidden` cannot be imported."""
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden})); {COMMAND}"
    paths = {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *words],
        cwd=folder,
        env=os.environ | paths,
        capture_output=True,
        text=True,
    )


def test_the_command_works_where_every_extra_is_missing(tmp_path):
    extras = ("accelerate", "matplotlib", "PIL", "sklearn", "ot", "optuna", "joblib", "tensorboard", "submitit")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (90, 1, 8, 8), np.uint8))
    images = ["data=array", "data.root=x.npy", "sampler=ddim", "sampler.steps=3", "tracker=tensorboard"]
    done = scoresde(ROOT, tmp_path, *TINY, *images, "wandb=disabled", "folder=m", "task=full", hidden=extras)
    said = " ".join(done.stdout.split())
    assert done.returncode == 0 and not done.stderr, done.stderr
    for name in ("accelerate", "matplotlib", "pillow", "tensorboard"):
        assert said.count(f"{name} is not installed") == 1 and f"pip install {name}" in said, said
    assert len(list(tmp_path.rglob("samples.npy"))) == len(list(tmp_path.rglob("likelihood.npz"))) == 1
    assert not list(tmp_path.rglob("*.png"))
    done = scoresde(ROOT, tmp_path, *TINY, "wandb=disabled", "folder=n", "task=train", hidden=extras)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "pip install scikit-learn" in done.stderr
    assert not (tmp_path / "n").exists()


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

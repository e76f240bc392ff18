"""A trained model, and its folder: plain data and tensors, which run no code of whoever made them.

model.json          what made it: sde, net, rule, loss, training, data; and how to make it again
model.safetensors   the averaged weights, and the data's transform
moments.safetensors the data's mean and covariance
checkpoint.pt       to go on with a training; the weights of one that has not ended are there
"""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import making
from ..conditions import Kind
from ..data import Data
from ..denoiser import Denoiser, Preconditioned, Wrapped
from ..errors import InputError
from ..machine import files
from ..sde import SDE
from ..spaces import Affine, Bins
from . import checkpoint, moments
from .description import FORMAT
from .state import load_state, plain_state
from .trust import check_trust

MODEL, WEIGHTS = "model.json", "model.safetensors"
REMEDY = "put back a copy, or train again with fresh=true"
SPACE = "space."  # tensors of the transform, beside the weights


class Trained(Wrapped):
    """A trained denoiser: `shape` of one sample, `encode(raw)` and `decode(x)`, `levels` of raw (None: continuous).

    The weights are the averaged ones.  `step` is how many steps of training they saw, `weights` a hash of them;
    `moments` are those of the training data, None in folders of before they were kept.
    """

    def __init__(self, denoiser: Denoiser, facts: Mapping[str, Any], step: int):
        super().__init__(denoiser.eval().requires_grad_(False))
        self.step = step
        self.shape, self.levels = tuple(facts["shape"]), facts["levels"]
        scale, shift, columns = facts["scale"], facts["shift"], facts.get("columns") or ()
        self.space = Affine(scale, shift) if self.levels is None else Bins(self.levels, scale, shift)
        self.columns = tuple(map(str, columns)) if (len(columns),) == self.shape else None
        self.name = str(facts["name"])
        self._hash = ""
        self.eval()

    def encode(self, raw: Tensor) -> Tensor:
        """Raw values (B, *shape) to model space: the middle of its bin for a discrete value."""
        return self.space.encode(raw)

    def decode(self, x: Tensor) -> Tensor:
        """Model space (B, *shape) to raw values: bytes or levels for discrete data, else the data's own units."""
        return self.space.decode(x)

    @property
    def weights(self) -> str:
        """Twelve hexadecimal digits that stand for these weights: what is made with them is kept under this name."""
        if not self._hash:
            self._hash = hash_of(plain_state(self.denoiser))
        return self._hash


def hash_of(state: Mapping[str, Tensor]) -> str:
    """Twelve hexadecimal digits of the names, the types and the values of tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:12]


def facts(data: Data) -> dict:
    """What a model must know of its data to be sampled without it: name, shape, levels, columns, transform."""
    known = {"name": data.name, "shape": list(data.shape), "levels": data.levels}
    known |= {"columns": None if data.columns is None else list(data.columns)}
    return known | {k: torch.as_tensor(getattr(data.space, k), dtype=torch.float64) for k in ("scale", "shift")}


def save(folder: Path, model: Trained) -> None:
    """Writes moments.safetensors, and model.safetensors: the weights, the transform and the step."""
    from safetensors.torch import save as to_bytes

    if model.moments is not None:
        moments.save(folder, model.moments)
    state = {k: v.detach().cpu().contiguous() for k, v in plain_state(model.denoiser).items()}
    state = {k: v.clone() for k, v in state.items()}  # tensors that share memory are refused
    affine = model.space
    state |= {f"{SPACE}{k}": torch.as_tensor(getattr(affine, k), dtype=torch.float64) for k in ("scale", "shift")}
    data = to_bytes(state, {"step": str(model.step), "format": "pt", "hash": hash_of(state)})
    files.write(folder / WEIGHTS, lambda file: file.write(data))


def mend(folder: Path) -> str:
    """Removes a damaged model.safetensors whose weights the checkpoint has; says so, "" where there was no need."""
    try:
        step_of(folder)
    except InputError as error:
        if not (folder / "checkpoint.pt").exists() or not (folder / WEIGHTS).exists():
            return ""
        (folder / WEIGHTS).unlink()
        return f"{error}: it was removed"
    return ""


def described(folder: Path) -> dict:
    """What model.json of a folder says.  Raises `InputError` if there is none, or it is damaged."""
    path = folder / MODEL
    if not path.exists():
        words = "train one: python run.py task=train, or scoresde.train(..., folder=)"
        raise InputError(f"{folder} is not a model folder: it has no {MODEL} ({words})")
    return files.read_json(path, {"sde": dict, "net": dict, "rule": _is_rule}, REMEDY)


def _is_rule(value: Any) -> bool:
    return isinstance(value, str | dict)


def step_of(folder: Path) -> int:
    """The step that a folder's weights have seen; 0 where there are none."""
    if (folder / WEIGHTS).exists():
        return _weights(folder, "cpu")[2]
    path = folder / "checkpoint.pt"
    return checkpoint.load(path)["step"] if path.exists() else 0


def shape_of(folder: Path) -> tuple[int, ...]:
    """The shape of a sample of the model in a folder."""
    known = described(folder).get("data") or {}
    if "shape" not in known:
        known = checkpoint.load(folder / "checkpoint.pt", needs=("facts",))["facts"]
    return tuple(known["shape"])


def conditions_of(folder: Path) -> dict[str, Kind]:
    """The conditions of the model in a folder, which are this package's own, by name."""
    known = described(folder).get("conditions") or {}
    return {name: making.make(node, f"conditions.{name}", Kind, trust=False) for name, node in known.items()}


def weights_of(folder: Path) -> str:
    """`Trained.weights` of the model in a folder; "" where there is none."""
    if (folder / WEIGHTS).exists():
        return hash_of(_weights(folder, "cpu")[0])
    path = folder / "checkpoint.pt"
    return hash_of(checkpoint.load(path, needs=("ema",))["ema"]) if path.exists() else ""


def _weights(folder: Path, device: str) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """The weights, the transform and the step of model.safetensors.  Raises `InputError` if it is damaged."""
    from safetensors import safe_open

    path = folder / WEIGHTS
    files.reading(path).close()  # no link, no pipe
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            step, known = (file.metadata() or {})["step"], (file.metadata() or {})["hash"]
        if hash_of(state) != known:
            raise ValueError("it has a wrong checksum")
        step = int(step)
    except Exception as error:  # of safetensors, as it happens to be
        checkpoint.raise_if_of_the_machine(error)
        beside = "remove it, as checkpoint.pt has its weights" if (folder / "checkpoint.pt").exists() else REMEDY
        words = f"it was cut short or damaged ({making.last_line(error)[:100]})"
        raise InputError(f"{path} cannot be read: {words}; {beside}") from error
    space = {k.removeprefix(SPACE): state.pop(k) for k in [*state] if k.startswith(SPACE)}
    if set(space) != {"scale", "shift"}:
        raise InputError(f"{path} is not a model of scoresde, as it lacks the data's transform; {REMEDY}")
    return state, space, step


def load(folder: str | Path, device: str = "cpu", trust: bool = False, denoiser: Denoiser | None = None) -> Trained:
    """The trained denoiser of a model folder, with the averaged weights.

    A folder from a stranger runs no code of theirs: what it names must be this package's own, of the part that it is
    named for.

    Arguments:
        folder: made by `scoresde.train(..., folder=)` or by the command line.
        device: where the model is put.
        trust: run classes of one's own that the folder names, from the folders of Python files that it lists.
        denoiser: an untrained denoiser of one's own making that takes the weights: nothing of the folder's is made.

    Returns:
        A `Denoiser` with `shape`, `encode` and `decode`.

    Raises:
        InputError: there is no model, it is damaged or of another network, or the folder names what is not trusted.
    """
    folder = Path(folder).expanduser()
    known = described(folder)
    if known.get("format", 1) not in range(1, FORMAT + 1):
        raise InputError(f"{folder / MODEL} has format {known['format']!r}, of a newer scoresde: update this one")
    if denoiser is None and not trust:
        check_trust(folder, known)
    if (folder / WEIGHTS).exists():
        state, space, step = _weights(folder, device)
        about = known.get("data") or {}
        found = {k: about.get(k) for k in ("shape", "levels", "columns")} | {"name": str(about.get("name")), **space}
    else:
        whole = checkpoint.load(folder / "checkpoint.pt", device, ("step", "ema", "facts"))
        state, found, step = whole["ema"], whole["facts"], whole["step"]
    if not checkpoint.PARTS["facts"](found):
        raise InputError(f"{folder / MODEL} is damaged (its data has no shape or levels): {REMEDY}")
    denoiser = denoiser or _made(folder, known, tuple(found["shape"]), trust)
    try:
        load_state(denoiser, state)
    except RuntimeError as error:
        words = " ".join(str(error).split())[:200]
        raise InputError(f"{folder} holds the weights of another network than its {MODEL} says ({words})") from error
    model = Trained(denoiser, found, step).to(device)
    model.moments = moments.load(folder, model.shape)
    return model


def _made(folder: Path, known: Mapping, shape: tuple[int, ...], trust: bool) -> Denoiser:
    """The untrained denoiser that a description is of."""
    for path in known.get("paths") or [] if trust else []:
        if path not in sys.path:
            sys.path.insert(0, path)
    try:
        sde = making.make(known["sde"], "sde", SDE, trust)
        with torch.random.fork_rng(devices=[]):
            kinds = conditions_of(folder)
            net = making.make(
                known["net"], "net", nn.Module, trust, shape=shape, **({"conditions": kinds} if kinds else {})
            )
        rule = known["rule"] if isinstance(known["rule"], str) else making.make(known["rule"], "rule", None, trust)
        return Preconditioned(net, sde, rule)
    except InputError as error:
        words = "or give the untrained denoiser: load(folder, denoiser=...)"
        raise InputError(f"{folder / MODEL}: {error}; {words}") from error

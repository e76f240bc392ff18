"""A trained model, and its folder: plain data and tensors, which run no code of whoever made them.

model.json          what made it: kind, sde, net, rule, loss, training, data; and how to make it again
model.safetensors   the averaged weights, and the data's transform
moments.safetensors the data's mean and covariance
checkpoint.pt       to go on with a training; the weights of one that has not ended are there
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import making
from ..conditions import Kind, Label
from ..denoiser import Denoiser, Preconditioned
from ..errors import InputError
from ..machine import files
from ..sde import SDE
from . import checkpoint, moments
from .classifier import NoisyClassifier, TrainedClassifier
from .denoiser import Model
from .description import FORMAT, source_of
from .known import SPACE, WEIGHTS, Known, hash_of, seal
from .state import load_state
from .trust import check_trust

MODEL = "model.json"
REMEDY = "put back a copy, or train again with fresh=true"


def save(folder: Path, model: Known) -> None:
    """`model.save(folder)`."""
    model.save(folder)


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
    known = files.read_json(path, remedy=REMEDY)
    kind = KINDS.get(kind_of(known))
    return files.read_json(path, kind.needs, REMEDY) if kind else known


def kind_of(known: Mapping[str, Any]) -> str:
    """What a description is of: a "denoiser" unless it says otherwise."""
    return str(known.get("kind", "denoiser"))


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
    """`Known.weights` of the model in a folder; "" where there is none."""
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
            about = file.metadata() or {}
        step, known = about["step"], about["hash"]
        if hash_of(state) != known or about.get("seal", seal(step, known)) != seal(step, known):  # older ones have none
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


def load(
    folder: str | Path, device: str = "cpu", trust: bool = False, denoiser: Denoiser | NoisyClassifier | None = None
) -> Model | TrainedClassifier:
    """The trained denoiser of a model folder, or the classifier of noisy data, with the averaged weights.

    A folder from a stranger runs no code of theirs: what it names must be this package's own, of the part that it is
    named for.

    Arguments:
        folder: made by `scoresde.train(..., folder=)`, by `scoresde.fit` or by the command line.
        device: where the model is put.
        trust: run classes of one's own that the folder names, from the folders of Python files that it lists.
        denoiser: an untrained denoiser (of a classifier's folder a `NoisyClassifier`) of one's own making that takes
            the weights: nothing of the folder's is made.

    Returns:
        A `Denoiser`, or a `TrainedClassifier`, with `shape`, `encode` and `decode`.

    Raises:
        InputError: there is no model, it is damaged or of another network, or the folder names what is not trusted.
    """
    folder = Path(folder).expanduser()
    known = described(folder)
    if known.get("format", 1) not in range(1, FORMAT + 1):
        raise InputError(f"{folder / MODEL} has format {known['format']!r}, of a newer scoresde: update this one")
    kind = KINDS.get(kind_of(known))
    if kind is None or not isinstance(denoiser, kind.bare | None):
        words = "it is not read here" if kind is None else f"a {type(denoiser).__name__} cannot take its weights"
        raise InputError(f"{folder / MODEL} is of a {making.brief(kind_of(known))}: {words}")
    if denoiser is None and not trust:
        check_trust(folder, known)
    state, found, step = _kept(folder, known, device)
    denoiser = denoiser or _made(folder, known, kind, tuple(found["shape"]), trust)
    try:
        load_state(denoiser, state)
    except RuntimeError as error:
        words = " ".join(str(error).split())[:200]
        raise InputError(f"{folder} holds the weights of another network than its {MODEL} says ({words})") from error
    if isinstance(denoiser, Denoiser):
        denoiser.source = source_of(known)
    model = kind.trained(denoiser, found, step).to(device)
    model.moments = moments.load(folder, model.shape)
    return model


def _kept(folder: Path, known: Mapping, device: str) -> tuple[dict[str, Tensor], dict[str, Any], int]:
    """The weights, the facts of the data and the step: of model.safetensors, or of the last checkpoint."""
    if (folder / WEIGHTS).exists():
        state, space, step = _weights(folder, device)
        about = known.get("data") or {}
        found = {k: about.get(k) for k in ("shape", "levels", "columns")} | {"name": str(about.get("name")), **space}
    else:
        whole = checkpoint.load(folder / "checkpoint.pt", device, ("step", "ema", "facts"))
        state, found, step = whole["ema"], whole["facts"], whole["step"]
    if not checkpoint.PARTS["facts"](found):
        raise InputError(f"{folder / MODEL} is damaged (its data has no shape or levels): {REMEDY}")
    return state, found, step


def _made(folder: Path, known: Mapping, kind: "_Kind", shape: tuple[int, ...], trust: bool) -> nn.Module:
    """The untrained module that a description is of."""
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
        return kind.made(net, sde, known, trust)
    except InputError as error:
        words = "or give the untrained denoiser: load(folder, denoiser=...)"
        raise InputError(f"{folder / MODEL}: {error}; {words}") from error


def _denoiser(net: nn.Module, sde: SDE, known: Mapping, trust: bool) -> Denoiser:
    rule = known["rule"] if isinstance(known["rule"], str) else making.make(known["rule"], "rule", None, trust)
    return Preconditioned(net, sde, rule)


def _classifier(net: nn.Module, sde: SDE, known: Mapping, trust: bool) -> NoisyClassifier:
    return NoisyClassifier(net, sde, making.make(known["label"], "conditions.label", Label, trust=False))


class _Kind(NamedTuple):
    """A kind of model: what its description must have, what it is before it is trained and after, and its maker."""

    needs: Mapping[str, Any]
    bare: type
    trained: type
    made: Callable[[nn.Module, SDE, Mapping, bool], nn.Module]


_PARTS = {"sde": dict, "net": dict}
KINDS = {
    "denoiser": _Kind(_PARTS | {"rule": lambda value: isinstance(value, str | dict)}, Denoiser, Model, _denoiser),
    "classifier": _Kind(_PARTS | {"label": dict}, NoisyClassifier, TrainedClassifier, _classifier),
}

"""A trained model, and its folder: plain data and tensors, which run no code of whoever made them.

model.json          what made it: kind, sde, net, rule, loss, training, data; and how to make it again
model.safetensors   the averaged weights, and the data's transform
moments.safetensors the data's mean and covariance
checkpoint.pt       to go on with a training; the weights of one that has not ended are there
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import making
from ..adapters import Adapter
from ..conditions import Kind
from ..denoiser import Denoiser
from ..errors import InputError
from ..machine import files
from ..sde import SDE
from . import checkpoint
from .description import FORMAT, of_class, source_of
from .kept import averages, codecs, moments
from .kept.state import load_state
from .kept.weights import REMEDY, apart, hash_of, path_of, read
from .kinds import KINDS, ModelKind, outputs_of
from .trained import Autoencoder, Clip, Model, NoisyClassifier, TrainedAutoencoder, TrainedClassifier, TrainedClip
from .trained.known import Known
from .trust import check_trust

MODEL = "model.json"


def save(folder: str | Path, model: Known) -> None:
    """`model.save(folder)`; and where nothing says yet what made it, what the folder says that it was loaded from.

    So that what was made of trained models is one that `load` takes: `save("mixed", base.adapted(0.5 * a + b))`.
    """
    folder, source = Path(folder).expanduser(), model.folder
    model.save(folder)
    if source is not None and not (folder / MODEL).exists():
        known = described(source)
        train = {k: v for k, v in (known.get("train") or {}).items() if k != "lora" or model.adapter is not None}
        known = {k: v for k, v in known.items() if k != "denoiser"} | of_class(model.bare)
        files.write_json(folder / MODEL, known | {"train": train})


def mend(folder: Path) -> str:
    """Removes a damaged model.safetensors whose weights the checkpoint has; says so, "" where there was no need."""
    try:
        step_of(folder)
    except InputError as error:
        if not (folder / "checkpoint.pt").exists() or not path_of(folder).exists():
            return ""
        path_of(folder).unlink()
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
    if (kept := path_of(folder)).exists():
        return read(kept, remedy=_remedy(folder))[1]
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
    if not any(path.exists() for path in (path_of(folder), folder / "checkpoint.pt")):
        return ""
    return hash_of(_kept(folder, files.read_json(folder / MODEL, default={}), "cpu").state)


def _remedy(folder: Path) -> str:
    return "remove it, as checkpoint.pt has its weights" if (folder / "checkpoint.pt").exists() else REMEDY


def load(
    folder: str | Path,
    device: str = "cpu",
    trust: bool = False,
    denoiser: Denoiser | NoisyClassifier | Clip | Autoencoder | None = None,
    ema: str | float | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Model | TrainedClassifier | TrainedClip | TrainedAutoencoder:
    """The trained denoiser, classifier, CLIP or autoencoder of a model folder, with the averaged weights.

    A folder from a stranger runs no code of theirs: what it names must be this package's own, of the part that it is
    named for.  Of an adapter's folder the weights are those of its base with the adapter merged.

    Arguments:
        folder: made by `scoresde.train(..., folder=)`, by `scoresde.fit` or by the command line.
        device: where the model is put.
        trust: run classes of one's own that the folder names, from the folders of Python files that it lists.
        denoiser: an untrained denoiser (a `NoisyClassifier`, a `Clip`, an `Autoencoder`) of one's own making that takes
            the weights: nothing of the folder's is made.
        ema: which average, by its decay or its name: one of `train.ema`, or power-0.1 of `task=ema`; None: the first.
        weights: trained weights by their names, to take the place of the folder's own.

    Returns:
        A `Denoiser`, a `TrainedClassifier`, a `TrainedClip` or a `TrainedAutoencoder`, with `shape`, `encode` and
        `decode`.

    Raises:
        InputError: there is no model, it is damaged or of another network, or the folder names what is not trusted; an
            adapter's base is not there, or has other weights.
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
    averages.check(folder, known, ema)
    found = _kept(folder, known, device, averages.chosen(known, ema), weights)
    if not checkpoint.PARTS["facts"](found.facts):
        raise InputError(f"{folder / MODEL} is damaged (its data has no shape or levels): {REMEDY}")
    denoiser = denoiser or _made(folder, known, kind, tuple(found.facts["shape"]), trust)
    try:
        load_state(denoiser, found.state)
    except RuntimeError as error:
        words = " ".join(str(error).split())[:200]
        raise InputError(f"{folder} holds the weights of another network than its {MODEL} says ({words})") from error
    if isinstance(denoiser, Denoiser):
        denoiser.source = source_of(known)
    model = kind.trained(denoiser, found.facts, found.step).to(device)
    model.moments, model.adapter, model.folder = moments.load(folder, model.shape), found.adapter, folder
    model.about = known
    model.carry(codecs.of(folder, known, lambda place: load(place, device, trust)))
    return model


def kept(folder: Path) -> "_Kept":
    """The weights that a folder keeps, by their names, with what it knows of them; no network is made."""
    return _kept(folder, described(folder), "cpu")


class _Kept(NamedTuple):
    """The weights that a folder keeps, an adapter in them merged; the facts of the data; the step; the adapter."""

    state: dict[str, Tensor]
    facts: dict[str, Any]
    step: int
    adapter: Adapter | None


def _kept(
    folder: Path,
    known: Mapping,
    device: str,
    average: str = "",
    weights: Mapping[str, Tensor] | None = None,
    over: tuple[Path, ...] = (),
) -> _Kept:
    """Of model.safetensors, or of the last checkpoint; `over` are the folders whose base this one is."""
    path = path_of(folder, average)
    if path.exists():
        state, step = read(path, device, _remedy(folder))
        state, space = apart(path, state)
        about = known.get("data") or {}
        found = {k: about.get(k) for k in ("shape", "levels", "columns")} | {"name": str(about.get("name")), **space}
    else:
        codecs.in_training(folder, known)
        whole = checkpoint.load(folder / "checkpoint.pt", device, ("step", "ema", "facts"))
        state = averages.of_checkpoint(folder, whole, average)
        found, step = whole["facts"], whole["step"]
    state |= weights or {}
    if not averages.setting(known, "lora"):
        return _Kept(state, found, step, None)
    adapter = Adapter(state)
    return _Kept(adapter.merged(_base(folder, known, device, over)), found, step, adapter)


def _base(folder: Path, known: Mapping, device: str, over: tuple[Path, ...]) -> dict[str, Tensor]:
    """The weights that an adapter is on top of, of the folder that it was trained from or one of its name beside it."""
    start = known.get("start")
    named, wanted = (str(start.get(k)) for k in ("folder", "weights")) if isinstance(start, dict) else ("", "")
    over, places = (*over, folder.resolve()), dict.fromkeys((Path(named), folder.parent / Path(named).name))
    there = [place for place in places if named and (place / MODEL).exists()]
    for place in there:
        if place.resolve() not in over:
            state = _kept(place, described(place), device, over=over).state
            if hash_of(state) == wanted:
                return state
    words = "has other weights now" if there else "is not there"
    raise InputError(f"{folder} is an adapter on top of {named} with the weights {wanted}, which {words}: put it back")


def _made(folder: Path, known: Mapping, kind: ModelKind, shape: tuple[int, ...], trust: bool) -> nn.Module:
    """The untrained module that a description is of."""
    for path in known.get("paths") or [] if trust else []:
        if path not in sys.path:
            sys.path.insert(0, path)
    try:
        sde = making.make(known["sde"], "sde", SDE, trust) if "sde" in kind.needs else None
        with torch.random.fork_rng(devices=[]):
            kinds = conditions_of(folder)
            inputs = {"shape": shape} | ({"conditions": kinds} if kinds else {})
            outputs = outputs_of(known, trust)
            inputs |= {"outputs": outputs} if outputs > 1 else {}
            net = making.make(known["net"], "net", nn.Module, trust, **inputs)
        return kind.made(net, sde, known, trust)
    except InputError as error:
        words = "or give the untrained denoiser: load(folder, denoiser=...)"
        raise InputError(f"{folder / MODEL}: {error}; {words}") from error

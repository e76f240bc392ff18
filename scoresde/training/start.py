"""A training that begins with the weights of a trained model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..denoiser import Denoiser
from ..errors import InputError
from ..machine import files, launcher
from ..model.folder import MODEL, kept
from ..model.kept.state import plain_state
from ..model.kept.weights import hash_of
from ..model.trained.denoiser import Model
from ..settings import brief
from .settings import Training

Start = Model | str | Path


def started(
    denoiser: Denoiser,
    start: Start | None,
    training: Training,
    folder: Path | None,
    say: Callable[[str], None] = lambda words: None,
) -> dict[str, Any]:
    """Gives an untrained denoiser the weights of a trained one, as far as they fit, and says in a line what does not.

    A training that goes on from a checkpoint has its weights there, but for adapters, whose base is read again.

    Arguments:
        denoiser: whose weights are set.
        start: the trained one, or its folder; None: `training.start`, or what the folder says that it started from.
        training: with `lora` all weights have to fit.
        folder: of the new model; None: nowhere.
        say: who gets the line.

    Returns:
        What a description says of it: {"start": {"folder", "weights", "step"}}, or {}.

    Raises:
        InputError: no weight fits, or with `lora` not all do; the start is not there, or has other weights by now.
    """
    known = files.read_json(folder / MODEL, default={}).get("start") if folder is not None else None
    known = known if isinstance(known, dict) else {}
    asked = start or training.start
    if isinstance(asked, list | tuple):
        raise InputError(
            f"start={brief(asked)}: words are followed by a command alone: give a model or its folder", "start"
        )
    source = asked or known.get("folder")
    if not source or (folder is not None and _place(source) == folder.resolve()):
        return {}
    begun = folder is not None and (folder / "checkpoint.pt").exists()
    if begun and not training.lora and not asked:
        return {"start": known}
    state, told = _of(source)
    if not asked and told["weights"] != known.get("weights"):
        raise InputError(
            f"{source} has other weights than {folder} started from ({known.get('weights')}): put them back"
        )
    fit = begin_with(denoiser, state, told["folder"] or type(source).__name__)
    if training.lora and not fit.whole:
        raise InputError(
            f"lora={training.lora}: adapters need the network of their start as it is; {fit.words}", "lora"
        )
    if not begun and not fit.whole and launcher.rank() == 0:
        say(fit.words)
    return {"start": told}


def _place(source: Start) -> Path | None:
    place = source.folder if isinstance(source, Model) else Path(source).expanduser()
    return place.resolve() if place is not None else None


def _of(source: Start) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights, and what a description says of them."""
    place = _place(source)
    if isinstance(source, Model):
        state, step = plain_state(source.denoiser), source.step
    else:
        found = kept(place)
        state, step = found.state, found.step
    return state, {"folder": str(place or ""), "weights": hash_of(state), "step": step}


class Fit:
    """How the weights of a start fit a denoiser: `taken` as they are, `grown` by zeros or `cut`, `anew` as the network
    made them, `left` as it has none of their name."""

    def __init__(self, name: str):
        self.name = name
        self.taken, self.grown, self.cut, self.anew, self.left = [], [], [], [], []

    @property
    def whole(self) -> bool:
        """Whether all were taken as they are."""
        return not (self.grown or self.cut or self.anew or self.left)

    @property
    def words(self) -> str:
        """All of it in a line."""
        n = len(self.taken) + len(self.grown) + len(self.cut)
        parts = [f"begins with {n} of {n + len(self.anew)} weights of {self.name}"]
        kinds = {"grown by zeros": self.grown, "cut": self.cut, "begin anew": self.anew, "left behind": self.left}
        return "; ".join(parts + [f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names])


def _listed(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@torch.no_grad()
def begin_with(denoiser: nn.Module, start: Model | Mapping[str, Tensor], name: str = "start") -> Fit:
    """Gives weights to those of the same names: what a shape has more is 0, what it has less is cut.

    Of a table of classes the last row, which stands for no class, is the last row of the start's.

    Arguments:
        denoiser: whose weights are set.
        start: a trained model, or the state of one.
        name: of the start, for words.

    Returns:
        How they fit.

    Raises:
        InputError: none fits.
    """
    known = plain_state(start.denoiser) if isinstance(start, Model) else start
    fit, own = Fit(name), plain_state(denoiser)
    tables = {f"{key}.table.weight" for key, part in denoiser.named_modules() if getattr(part, "last_is_null", False)}
    for key, value in own.items():
        there = known.get(key)
        if there is None or there.ndim != value.ndim:
            fit.anew.append(key)
            continue
        corner = tuple(slice(min(pair)) for pair in zip(there.shape, value.shape, strict=True))
        part = there[corner].to(value)
        same, cut = there.shape == value.shape, part.shape != there.shape
        (fit.taken if same else fit.cut if cut else fit.grown).append(key)
        value.zero_()[corner] = part
        if key in tables and not same:
            value[-1, : part.shape[1]] = there[-1, : part.shape[1]].to(value)
    fit.left = [key for key in known if key not in own]
    if len(fit.anew) == len(own):
        raise InputError(f"start={name}: none of its weights fits the {type(denoiser).__name__}", "start")
    return fit


def alone(module: nn.Module, word: str) -> None:
    """Freezes all weights but those with a word in their names.  Raises `InputError` where there are none of these."""
    names = [name for name, _ in module.named_parameters()]
    if not any(word in name for name in names):
        raise InputError(f"only={word}: no weight has it in its name, as in {', '.join(names[:3])}, ...", "only")
    for name, p in module.named_parameters():
        p.requires_grad_(word in name)

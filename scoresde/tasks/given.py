"""The conditions of samples and of examples: as the command says, or as the data has them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .. import conditions
from ..cascade.told import corruption, told
from ..conditions import Kind, Label, takes_words
from ..data import collate
from ..data.checks import reason
from ..errors import InputError
from ..run import Run
from ..settings import brief, nearest
from ..training.order import seed_of

ALL = "all"
LINES = ".txt"  # of texts, one each
FILES = (".npy", ".npz", ".pt")


def given(run: Run, n: int, split: str = "train", kinds: dict[str, Kind] | None = None) -> dict[str, Tensor]:
    """The conditions of n samples, rows by name, by the settings `given`; none for a model that takes none.

    What is not said is missing; where nothing is said at all, the samples have the conditions of the items of a split,
    drawn by the seed, so that they are distributed as the data is.  The kinds are those of the run's model and of what
    guides it, or others.  Raises `InputError` for a condition that the model
    does not take, or a value that is none of it.

    How noisy or blurred pictures are said to be they are made, by the seed.
    """
    kinds, said = run.conditions if kinds is None else kinds, run.plain["given"]
    _known(said, kinds)
    come = conditions.of_items(kinds)
    if not come or any(name in come for name in said):
        with warnings.catch_warnings(record=True) as cut:
            warnings.simplefilter("always")
            cond = {k: rows_of(k, value, come[k], n) for k, value in said.items() if k in come and value is not None}
        for warning in cut:
            run.say(f"warning: {warning.message}")
        return corrupted(run, kinds, cond | _own(said, kinds, n), torch.arange(n))
    try:
        data = run.data
    except (InputError, OSError) as error:
        run.say(f"the samples have no conditions: {error}")
        return _own(said, kinds, n)
    found = collate(getattr(data, split), drawn_items(run, n, split), come).cond
    cond = {name: kinds[name].rows(name, value, n) for name, value in found.items()} | _own(said, kinds, n)
    return corrupted(run, kinds, cond, torch.arange(n))


def _own(said: dict[str, Any], kinds: dict[str, Kind], n: int) -> dict[str, Tensor]:
    """Rows of what users alone say, such as the scale of guidance; how noisy pictures are is `corrupted`'s."""
    own = {k: kind for k, kind in kinds.items() if not kind.of_items and not isinstance(kind, conditions.Corruption)}
    return {name: rows_of(name, said[name], kind, n) for name, kind in own.items() if said.get(name) is not None}


def vet(run: Run, n: int, kinds: dict[str, Kind]) -> None:
    """Raises `InputError` for what `given` will not take, of a model of these kinds that is still to be trained."""
    said = run.plain["given"]
    _known(said, kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in said.items():
            if value is not None:
                rows_of(name, value, kinds[name], n)


def _known(said: dict[str, Any], kinds: dict[str, Kind]) -> None:
    for name in said:
        if name not in kinds:
            tip = nearest(name, kinds) if kinds else "; the model takes no conditions (cond=[])"
            raise InputError(f"given.{name}={brief(said[name])}: {name!r} is unknown{tip}", "given")


def drawn_items(run: Run, n: int, split: str) -> Tensor:
    """The places (n,) of the items of a split whose conditions samples have where nothing is said."""
    generator, size = torch.Generator().manual_seed(seed_of(run.config.seed, n)), len(getattr(run.data, split))
    return torch.cat([torch.randperm(size, generator=generator) for _ in range(-(-n // size))])[:n]


def corrupted(run: Run, kinds: dict[str, Kind], cond: dict[str, Tensor], index: Tensor) -> dict[str, Tensor]:
    """Conditions with their pictures as noisy or blurred as the command says, by the seed and the rows' numbers."""
    said, found = run.plain["given"], corruption(kinds)
    if found is None or said.get(found[0]) is None:
        return cond
    name, kind = found
    return told(kinds, cond, rows_of(name, said[name], kind, len(index)), index, run.config.seed)


def rows_of(name: str, value: Any, kind: Kind, n: int) -> Tensor:
    """Rows of a value: one for all, a list that is dealt out evenly and in order, a file, or all classes."""
    if takes_words(kind) and (texts := _texts(name, value)) is not None:
        few = kind.rows(name, texts, len(texts))
        return few[torch.arange(n) * len(few) // n]
    if isinstance(kind, Label):
        value = list(range(kind.classes)) if value == ALL else value
        if isinstance(value, list):
            few = kind.rows(name, value, len(value))
            return few[torch.arange(n) * len(few) // n]
    if isinstance(value, str) and Path(value).suffix.lower() in FILES:
        value = _read(name, Path(value).expanduser())
    if isinstance(value, list):
        value = np.array(value, dtype=float if not _whole(value) else int)
    return kind.rows(name, value, n)


def _texts(name: str, value: Any) -> list[str] | None:
    """The texts of a value: one, a list, or the lines of a file; None: it is something else."""
    if isinstance(value, str) and Path(value).suffix.lower() in FILES:
        return None
    if isinstance(value, str) and Path(value).suffix.lower() == LINES:
        try:
            return Path(value).expanduser().read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
        except (OSError, ValueError) as error:
            words = f"given.{name}={value} cannot be read ({reason(error)}): give a file of lines, or a text"
            raise InputError(words, "given") from error
    if isinstance(value, list):
        plain = value and all(v is None or isinstance(v, str | int | float) for v in value)
        return ["" if v is None else str(v) for v in value] if plain and any(map(_word, value)) else None
    return [str(value)] if isinstance(value, str | int | float) else None


def _word(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    return all(_whole(v) for v in value) if isinstance(value, list) else isinstance(value, int)


def _read(name: str, path: Path) -> Tensor:
    try:
        if path.suffix.lower() == ".pt":
            held = torch.load(path, map_location="cpu", weights_only=True)
        else:
            held = np.load(path, allow_pickle=False)
        if not isinstance(held, Tensor | np.ndarray):
            held = held[name] if name in held else held[next(iter(held))]
        return torch.as_tensor(held)
    except Exception as error:  # of numpy, zipfile, pickle or torch
        words = " ".join(str(error).split())[:100]
        raise InputError(f"given.{name}={path} cannot be read ({words}): give an array file", "given") from error


def of_items(run: Run, items: Dataset, index) -> dict[str, Tensor]:
    """The items' own conditions, rows by name, of those that the model takes; missing where they have none."""
    kinds, n = run.model.conditions, len(index)
    try:
        found = collate(items, index, conditions.of_items(kinds)).cond
    except InputError:  # other data, which may come with none
        return {}
    cond = {name: kinds[name].rows(name, value, n) for name, value in found.items()}
    return corrupted(run, kinds, cond, torch.as_tensor(index))


def groups(kinds: dict[str, Kind], cond: dict[str, Tensor]) -> tuple[list[str], list[Tensor]] | None:
    """By the first label of several classes: what each is called, and the places of its samples.  None where there is
    no such label."""
    for name, kind in kinds.items():
        if isinstance(kind, Label) and name in cond and len(cond[name].unique()) > 1:
            classes = cond[name].unique().tolist()
            called = ["missing" if c < 0 else kind.names[c] if kind.names else f"{name} {c}" for c in classes]
            return called, [(cond[name] == c).nonzero()[:, 0] for c in classes]
    return None

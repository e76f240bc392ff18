"""Which pictures are translated, and what the model is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ... import making
from ...conditions import Estimate, Picture
from ...config import views
from ...data import View, stack
from ...data.checks import find
from ...data.readers.pictures import pixels
from ...data.readers.pictures.folder import Found
from ...errors import InputError
from ...model.folder import MODEL, described
from ...run import Run
from ...settings import brief, nearest
from ..given import corrupted, of_items, rows_of

NONE = "none"  # the pictures are what is seen already
IMAGES = "scoresde.data.images"


@dataclass(frozen=True)
class Seen:
    """Pictures as a model is told them.

    Arguments:
        picture: what is seen, (n, C', *space'), in the model's space, NaN where nothing is.
        cond: all that the model is told, by name, n rows of each.
        truth: the pictures (n, *shape), in the data's own values; None: nobody knows them.
        held: whether they are the model's own data.
        words: what they are.
    """

    picture: Tensor
    cond: dict[str, Tensor]
    truth: Tensor | None
    held: bool
    words: str


def seen(run: Run, view: str | View | None, split: str) -> Seen:
    """What the model of a command sees of the first n pictures of a split, or of the folder that the command names.

    Raises `InputError` for a model that is told no picture, for a view that is not of its shape, and for pictures that
    cannot be read.
    """
    root = folder_of(run)
    name, kind, made, seed = _condition(run, view)
    shape, levels = run.model.shape, run.model.levels
    if levels is None or len(shape) != 3:
        raise InputError(f"task=translate is for pictures with levels: the model's data has shape {shape}, {levels=}")
    degraded = view == NONE
    if root is not None:
        raw = read(root, kind.shape if degraded else shape, levels)[: run.config.n]
        index, cond, words = torch.arange(len(raw)), {}, str(root)
    elif degraded:
        raise InputError("task.view=none is for pictures that are degraded: say data=images data.root=FOLDER")
    else:
        items = getattr(run.data, split)
        index = torch.arange(min(run.config.n, len(items)))
        raw, cond, words = stack(items, index), of_items(run, items, index), f"{run.data.name} {split}"
        index = index + (len(run.data.train) if split == "test" else 0)  # as `viewed` numbers them
    x = run.model.space.encode(raw)
    picture = x if made is None else made(x, index, seed)
    cond = corrupted(run, run.conditions, cond | said(run, len(raw), name) | {name: picture}, index)
    return Seen(picture, cond, None if degraded else raw, root is None, words)


def _condition(run: Run, said: str | View | None) -> tuple[str, Picture, View | None, int]:
    """The condition that the model sees pictures by, its kind, and the view, with its seed, that makes it of an item.

    The view is None where pictures are degraded already.
    """
    try:
        made, name, seed = views.named(run.config, None if said == NONE else said, run.trusts("view"))
    except InputError as error:
        raise error if said in (None, NONE) else InputError(f"task.{error}") from None
    kinds = {k: v for k, v in run.model.conditions.items() if isinstance(v, Picture) and not isinstance(v, Estimate)}
    name = name or next(iter(kinds), "")
    if name not in kinds:
        raise InputError(f"the model in {run.folder} is told no picture: train one with view=hole, say")
    if said == NONE:
        return name, kinds[name], None, seed
    if made is None:
        raise InputError(f"{run.folder} does not say what {name} shows: give task.view=NAME, of conf/view/, or none")
    if (there := made.of(tuple(run.model.shape))) != kinds[name].shape:
        raise InputError(f"task.view: {type(made).__name__} is {there}, and the model takes {kinds[name].shape}")
    return name, kinds[name], made, seed


def folder_of(run: Run) -> Path | None:
    """The folder of pictures that the command names in the place of the model's data, which is put back; None: none."""
    if not (run.folder / MODEL).exists():
        raise InputError(f"{run.folder} has no trained model: say folder=FOLDER, of a model of pictures")
    run.config, other = views.of_model(run.config, described(run.folder))
    if other is None:
        return None
    run.adopted = (*run.adopted, "data")
    if other.get("_target_") != IMAGES or not other.get("root"):
        raise InputError(f"data={brief(other.get('_target_'))}: pictures of a folder are data=images data.root=FOLDER")
    try:
        return find(other["root"], "give the folder with the pictures", folder=True)
    except InputError as error:
        raise making.placed(error, "data") from None


def read(root: Path, shape: tuple[int, ...], levels: int) -> Tensor:
    """The pictures of a folder, in the order of their paths, on so many levels: (n, *shape)."""
    found = Found(root, False)
    found.look_at_all()
    if not found.headers:
        raise InputError(f"data.root={root} has no image files")
    if shape[0] not in (1, 3):
        raise InputError(f"data.root={root}: the model sees pictures of {shape[0]} channels, and files have 1 or 3")
    square, pictures = shape[1] if shape[1] == shape[2] else None, []
    for path in found.headers:
        x = pixels.load(path, shape[0], square)
        if tuple(x.shape) != tuple(shape):
            raise InputError(f"{path} is {x.shape[2]}x{x.shape[1]}: the model sees {shape[2]}x{shape[1]}")
        pictures.append(x)
    raw = torch.stack(pictures)
    return raw if levels == 256 else (raw.double() * (levels - 1) / 255).round().long()


def said(run: Run, n: int, name: str | None = None) -> dict[str, Tensor]:
    """What the command gives beside the picture, which is the condition `name` if it is one: n rows of each."""
    kinds, words = run.conditions, run.plain["given"]
    for key in words:
        if key not in kinds:
            raise InputError(f"given.{key}={brief(words[key])}: {key!r} is unknown{nearest(key, kinds)}", "given")
        if key == name:
            raise InputError(f"given.{key}: what is seen is of the pictures themselves (task.view)", "given")
    return {k: rows_of(k, v, kinds[k], n) for k, v in words.items() if v is not None and kinds[k].of_items}

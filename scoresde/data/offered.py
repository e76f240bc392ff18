"""What items are offered with: which values are conditions, of what kind, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from ..conditions import Kind, Label, Picture, Tokens, Vector
from ..errors import InputError
from ..settings import brief, nearest
from .plain import TextUnfit, Unfit, as_plain

Wanted = Annotated[
    Sequence[str | int] | Mapping[str, Kind | None] | None,
    "a list of names, a mapping from names to kinds, or None for all that fit",
]
Beside = Mapping[str, Callable[[], Any] | str]
FEW = 1000  # classes, of which not each occurs
LARGE = 3  # a value of a picture that is not in -1..1


@dataclass(frozen=True)
class Offered:
    """Conditions of all items, tensors by name, their kinds, and notes, a line each."""

    values: Mapping[str, Tensor]
    kinds: Mapping[str, Kind]
    notes: tuple[str, ...] = ()


def offer(found: Beside, wanted: Wanted, train: np.ndarray, n: int, source: str, loose: bool = False) -> Offered:
    """The conditions of n items.

    Arguments:
        found: by name what lies beside the items: what gives values, alone or with their kind, or why there are none.
        wanted: the names of those to take, with the kind of each or None (by its values); None: all that fit.
        train: the places of the training items, whose mean and deviation vectors are scaled by.
        source: what they are read from, as errors tell it.
        loose: whether numbers with a decimal point count as whole if they are, as in text.

    Raises:
        InputError: one that is wanted is not there, is no condition, or not of the kind that it should have.
    """
    asked = dict.fromkeys(found) if wanted is None else _asked(wanted)
    values, kinds, left, texts = {}, {}, [], []
    for name, kind in asked.items():
        if name not in found:
            more = f"no {name}{nearest(name, found)}" if found else "nothing beside the items"
            raise InputError(f"cond={brief([*asked])}: {source} has {more}", "cond")
        try:
            values[name], kinds[name] = _condition(name, found[name], kind, train, n, loose)
        except Unfit as error:
            if wanted is not None:
                raise InputError(f"cond={brief([*asked])}: {name} cannot be a condition: {error}", "cond") from error
            texts += [name] if isinstance(error, TextUnfit) else []
            left += [] if isinstance(error, TextUnfit) else [f"{name} ({error})"]
    return Offered(values, kinds, tuple(_notes(values, kinds, left, texts)))


def _asked(wanted: Wanted) -> dict[str, Kind | None]:
    return {str(k): v for k, v in (wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted)).items()}


def _condition(name: str, get, kind: Kind | None, train: np.ndarray, n: int, loose: bool) -> tuple[Tensor, Kind]:
    """The values of all items, and their kind."""
    if isinstance(get, str):
        raise Unfit(get)
    if name == "x":
        raise Unfit("that name is the item's own")
    value = get()
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Kind):
        value, kind = value[0], kind or value[1]
    value, gaps = as_plain(value)
    if not value.ndim or len(value) != n:
        raise Unfit(f"{len(value)} rows for {n} items" if value.ndim else "a single value")
    if 0 in value.shape:
        raise Unfit(f"shape {tuple(value.shape)}")
    if kind is None:
        return _guessed(value, train, loose or gaps)
    try:
        return _given(name, value, kind), kind
    except InputError as error:
        raise InputError(f"cond={name}: {error}", "cond") from error


def _guessed(value: Tensor | np.ndarray, train: np.ndarray, loose: bool) -> tuple[Tensor, Kind]:
    """The values, and their kind by what they are."""
    if isinstance(value, np.ndarray):
        return _of_words(value)
    if value.is_floating_point() and bool(value.isinf().any()):
        raise Unfit("infinite values")
    classes = _classes(value, loose) if value.ndim == 1 else None
    if classes is not None:
        return classes, Label(int(classes.max()) + 1)
    if value.ndim < 3:
        return _vector(value if value.ndim == 2 else value[:, None], train)
    if not value.is_floating_point():
        raise Unfit(f"{_type(value)} of shape {tuple(value.shape)}: a picture has numbers with a point, about -1 to 1")
    return value.float(), Picture(tuple(value.shape[1:]))


def _of_words(words: np.ndarray) -> tuple[Tensor, Label]:
    """Classes by the words (N,) of items, "" where there is none."""
    names = sorted({*words} - {""})
    if len(names) > min(FEW, len(words) / 2):
        raise TextUnfit()
    if len(names) < 2:
        raise Unfit("the same text in all rows" if names else "nothing in it")
    return _codes(words, names), Label(len(names), tuple(names))


def _codes(words: np.ndarray, names: Sequence[str]) -> Tensor:
    place = {"": -1, **{word: i for i, word in enumerate(names)}}
    return torch.tensor([place[word] for word in words])


def _classes(value: Tensor, loose: bool) -> Tensor | None:
    """Whole numbers as classes 0, 1, ..., -1 where they are missing; None: they are no classes, or too many."""
    if value.is_floating_point():
        known = value.nan_to_num(0)
        if not loose or bool((known != known.round()).any()) or float(known.abs().max()) > 2**53:
            return None
        gone, value = value.isnan(), known.long()
    else:
        gone = (value == -1) & (not loose)  # where gaps are written otherwise, -1 is a number
    if bool((value[~gone] < 0).any()):
        return None
    value = torch.where(gone, -1, value)
    classes = int(value.max()) + 1
    every = classes <= FEW or len(value[~gone].unique()) == classes
    return value if every and 1 < classes <= len(value) / 2 else None


def _vector(value: Tensor, train: np.ndarray) -> tuple[Tensor, Vector]:
    """Numbers (N, D), with the mean and the deviation of those of the training items that are not missing."""
    own = value[torch.from_numpy(train)].double()
    gone = own.isnan()
    if bool(value.isnan().all()):
        raise Unfit("nothing in it")
    count = (~gone).sum(0).clamp(min=1)
    mean = own.nan_to_num(0).sum(0) / count
    std = (torch.where(gone, 0.0, own - mean).square().sum(0) / count).sqrt()
    same = own.where(~gone, math.inf).amin(0) >= own.where(~gone, -math.inf).amax(0)
    std = torch.where(same | (std == 0), 1.0, std)
    if not (bool(mean.isfinite().all()) and bool(std.isfinite().all())):
        raise Unfit("numbers beyond what float64 computes with")
    most = value.double().nan_to_num(0).abs().amax(0)
    fits = bool((2.0**-24 * most <= 1e-6 * std).all()) and float(most.max()) < 1e37
    held = value.float() if fits or value.dtype in (torch.float16, torch.bfloat16) else value
    return held if held.is_floating_point() else held.double(), Vector(value.shape[1], mean, std)


def _given(name: str, value: Tensor | np.ndarray, kind: Kind) -> Tensor:
    """The values as the kind that they should have.  Raises `InputError`."""
    if isinstance(value, np.ndarray):
        if not isinstance(kind, Label) or kind.names is None:
            raise InputError(f"condition {name} is text: give Label with names, or no kind", name)
        if strange := sorted({*value} - {"", *kind.names}):
            raise InputError(f"condition {name}={strange[0]!r} is none of its classes{nearest(strange[0], kind.names)}")
        return _codes(value, kind.names)
    whole = value.is_floating_point() and isinstance(kind, Label | Tokens) and not bool(value.isinf().any())
    if whole and bool((value.isnan() | (value == value.round())).all()):
        value = torch.where(value.isnan(), -1, value).long()
    if isinstance(kind, Picture) and value.is_floating_point():
        value = value.float()
    return kind.rows(name, value, len(value))


def _notes(values: Mapping[str, Tensor], kinds: Mapping[str, Kind], left: list[str], texts: list[str]) -> Iterable[str]:
    if kinds:
        yield f"items come with {_some([f'{name} ({_words(kinds[name], values[name])})' for name in kinds])}"
    for name, kind in kinds.items():
        most = float(values[name].abs().nan_to_num(0).max()) if isinstance(kind, Picture) else 0
        if most > LARGE:
            yield f"the pictures of {name} have values up to {most:.3g}: they should be about -1 to 1"
    if texts:
        yield f"text columns are not read yet: {_some(texts)}"
    if left:
        yield f"no conditions are made of {_some(left)}"


def _words(kind: Kind, value: Tensor) -> str:
    gone = int(kind.absent(value).sum())
    if isinstance(kind, Label):
        words = f"{kind.classes} class{'es' * (kind.classes > 1)}"
    elif isinstance(kind, Vector):
        words = f"{kind.size} number{'s' * (kind.size > 1)}"
    elif isinstance(kind, Tokens):
        words = f"up to {kind.length} tokens of {kind.vocabulary}"
    else:
        words = f"pictures {tuple(value.shape[1:])}"
    return words + f", {gone} of {len(value)} missing" * bool(gone)


def _some(words: list[str]) -> str:
    return ", ".join(words[:8]) + f" and {len(words) - 8} more" * (len(words) > 8)


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")

"""What items are offered with: which values are conditions, of what kind, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..conditions import Kind, Label, Picture, Text, Tokens, Vector
from ..errors import InputError
from ..settings import brief, nearest
from .plain import Unfit, Value, value_of
from .texts import columns, templates

TEXT = "text"  # what is asked for where words are text, however few there are
Wanted = Annotated[
    Sequence[str | int] | Mapping[str, Kind | Literal["text"] | None] | None,
    "a list of names, a mapping from names to kinds, or None for all that fit",
]
Beside = Mapping[str, Callable[[], Any] | str]
FEW = 1000  # classes, of which not each occurs
LARGE = 3  # a value of a picture that is not in -1..1


@dataclass(frozen=True)
class Offered:
    """Conditions of all items, tensors by name, their kinds, and notes, a line each.

    `more` gives those that are made when they are asked for: the values of all items, and their kind.
    """

    values: Mapping[str, Tensor]
    kinds: Mapping[str, Kind]
    notes: tuple[str, ...] = ()
    more: Mapping[str, Callable[[], columns.Read]] = field(default_factory=dict)


def offer(
    found: Beside,
    wanted: Wanted,
    train: np.ndarray,
    n: int,
    source: str,
    loose: bool = False,
    caption: str | None = None,
    texts: Container[str] = (),
) -> Offered:
    """The conditions of n items.

    Arguments:
        found: by name what lies beside the items: what gives values, alone or with their kind, or why there are none.
        wanted: the names of those to take, with the kind of each or None (by its values); None: all that fit.
        train: the places of the training items, whose mean and deviation vectors are scaled by.
        source: what they are read from, as errors tell it.
        loose: whether numbers with a decimal point count as whole if they are, as in text.
        caption: a template of columns, which makes the text "caption".
        texts: names of columns whose words are text, however few there are.

    Raises:
        InputError: one that is wanted is not there, is no condition, or not of the kind that it should have; a template
            that names no column, or one that is not there; text that is wanted without the package `tokenizers`.
    """
    asked = dict.fromkeys(found) if wanted is None else _asked(wanted)
    if caption is not None:
        found = {**found, templates.CAPTION: templates.joined(caption, found, source)}
        asked = {**asked, templates.CAPTION: asked.get(templates.CAPTION) or TEXT}
    asked = {name: kind or (TEXT if name in texts else None) for name, kind in asked.items()}
    values, kinds, left, more, notes = {}, {}, [], {}, []
    for name, kind in asked.items():
        if name not in found:
            more = f"no {name}{nearest(name, found)}" if found else "nothing beside the items"
            raise InputError(f"cond={brief([*asked])}: {source} has {more}", "cond")
        try:
            value = value_of(name, found[name], n)
            if wanted is None and _is_text(value, kind):
                more[name] = partial(columns.read, name, value.held, train)
            else:
                values[name], kinds[name] = _condition(name, value, kind, train, loose, notes)
        except Unfit as error:
            if wanted is not None:
                raise InputError(f"cond={brief([*asked])}: {name} cannot be a condition: {error}", "cond") from error
            left += [f"{name} ({error})"]
    return Offered(values, kinds, (*_notes(values, kinds, left, more), *notes), more)


def _asked(wanted: Wanted) -> dict[str, Kind | str | None]:
    return {str(k): v for k, v in (wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted)).items()}


def _is_text(value: Value, kind: Kind | str | None) -> bool:
    """Whether words are text, and no names of classes: as they are asked to be, or too many."""
    if not isinstance(value.held, np.ndarray) or isinstance(kind or value.kind, Kind) or not any(value.held):
        return False
    return kind == TEXT or len({*value.held} - {""}) > min(FEW, len(value.held) / 2)


def _condition(
    name: str, found: Value, kind: Kind | str | None, train: np.ndarray, loose: bool, notes: list[str]
) -> tuple[Tensor, Kind]:
    """The values of all items, and their kind."""
    value, kind = found.held, found.kind if kind is None else kind
    if _is_text(found, kind) or kind == TEXT or (isinstance(kind, Text) and isinstance(value, np.ndarray)):
        own = kind if isinstance(kind, Text) else None
        rows, read, said = columns.read(name, columns.as_words(name, value), train, own)
        notes += said
        return rows, read
    if kind is None:
        return _guessed(value, train, loose or found.gaps)
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


def _notes(
    values: Mapping[str, Tensor], kinds: Mapping[str, Kind], left: list[str], texts: Iterable[str]
) -> Iterable[str]:
    if kinds:
        yield f"items come with {_some([f'{name} ({_words(kinds[name], values[name])})' for name in kinds])}"
    for name, kind in kinds.items():
        most = float(values[name].abs().nan_to_num(0).max()) if isinstance(kind, Picture) else 0
        if most > LARGE:
            yield f"the pictures of {name} have values up to {most:.3g}: they should be about -1 to 1"
    if texts:
        yield f"there is text, for models that ask for it (cond=[{next(iter(texts))}]): {_some([*texts])}"
    if left:
        yield f"no conditions are made of {_some(left)}"


def _words(kind: Kind, value: Tensor) -> str:
    gone = int(kind.absent(value).sum())
    if isinstance(kind, Label):
        words = f"{kind.classes} class{'es' * (kind.classes > 1)}"
    elif isinstance(kind, Vector):
        words = f"{kind.size} number{'s' * (kind.size > 1)}"
    elif isinstance(kind, Text):
        words = f"text of up to {kind.length} tokens of {kind.vocabulary}"
    elif isinstance(kind, Tokens):
        words = f"up to {kind.length} tokens of {kind.vocabulary}"
    else:
        words = f"pictures {tuple(value.shape[1:])}"
    return words + f", {gone} of {len(value)} missing" * bool(gone)


def _some(words: list[str]) -> str:
    return ", ".join(words[:8]) + f" and {len(words) - 8} more" * (len(words) > 8)


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")

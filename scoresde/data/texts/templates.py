"""Captions of several columns: "{style} {name}"."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np

from ...errors import InputError
from ...settings import LATER, nearest
from ..plain import as_plain
from .columns import as_words

CAPTION = "caption"  # the condition that a template makes
Template = Annotated[str | None, LATER, 'a text with names of columns, such as "{style} {name}", or None']


def names_of(template: str | None) -> list[str]:
    """The columns that a template names.

    Raises:
        InputError: it names none, or is no template.
    """
    if template is None:
        return []
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise _wrong(template, f"it cannot be read ({error})") from error
    names = [name for _, name, _, _ in parts if name is not None]
    if not names or any(spec or how for _, _, spec, how in parts) or "" in names:
        raise _wrong(template, "it names no column" if not names else "columns are plain names in braces")
    return list(dict.fromkeys(names))


def joined(template: str, found: Mapping[str, Callable[[], Any] | str], source: str) -> Callable[[], np.ndarray]:
    """What gives the captions (N,) by a template, of what gives its columns.

    A column that an item lacks is left out, with the spaces around it; an item that lacks all of them has no caption.

    Raises:
        InputError: the source has no column that is named.
    """
    names = names_of(template)
    for name in names:
        if isinstance(found.get(name), str) or name not in found:
            raise _wrong(template, f"{source} has no {name}{nearest(name, found) if found else ''}")
    return lambda: _made(template, {name: _words(name, found[name]) for name in names})


def _words(name: str, get: Callable[[], Any]) -> np.ndarray:
    return as_words(name, as_plain(get())[0])


def _made(template: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    parts = [(text, name) for text, name, _, _ in string.Formatter().parse(template)]
    rows = zip(*columns.values(), strict=True)
    texts = []
    for row in rows:
        held = dict(zip(columns, row, strict=True))
        text = "".join(words + (held[name] if name is not None else "") for words, name in parts)
        texts.append(" ".join(text.split()) if any(held.values()) else "")
    return np.array(texts, dtype=object)


def _wrong(template: str, why: str) -> InputError:
    return InputError(f'caption={template!r}: {why}: give a text such as "{{style}} {{name}}"', "caption")

"""From numbers to sentences, and back."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ....errors import InputError
from .scene import COLOURS, RELATIONS, SHAPES, SIZES, Scene

NAMED = re.compile(rf"(?:({'|'.join(SIZES)}) )?(?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})\b")
PLACED = re.compile("|".join(RELATIONS))


@dataclass(frozen=True)
class Told:
    """What a sentence says: of each shape (size, colour, shape), the places in their lists, None where it is silent;
    what the first is to each of the others, None where it does not say."""

    shapes: tuple[tuple[int | None, int | None, int], ...]
    relations: tuple[int | None, ...]


def captions(scene: Scene) -> list[str]:
    """A sentence for each scene: "a small red circle above a large blue square"."""
    found = []
    parts = zip(*(part.tolist() for part in (scene.size, scene.colour, scene.shape, scene.relation)), strict=True)
    for sizes, colours, shapes, relations in parts:
        named = [
            f"a {SIZES[z]} {COLOURS[c]} {SHAPES[s]}" for z, c, s in zip(sizes, colours, shapes, strict=True) if s >= 0
        ]
        more = [f"{RELATIONS[r]} {name}" for r, name in zip(relations, named[1:], strict=False)]
        found.append(" ".join([named[0], " and ".join(more)]).strip())
    return found


def told(sentence: str) -> Told:
    """What a sentence says.

    Raises:
        InputError: it names no shape, or more than three.
    """
    words = " ".join(sentence.lower().split())
    named = list(NAMED.finditer(words))
    if not 1 <= len(named) <= 3:
        raise InputError(
            f"the sentence {sentence!r} names {len(named)} shapes: name one to three of {', '.join(SHAPES)}"
        )
    place = lambda names, word: None if word is None else names.index(word)
    shapes = tuple((place(SIZES, m[1]), place(COLOURS, m[2]), SHAPES.index(m[3])) for m in named)
    between = [PLACED.search(words, a.end(), b.start()) for a, b in zip(named, named[1:], strict=False)]
    return Told(shapes, tuple(None if m is None else RELATIONS.index(m[0]) for m in between))

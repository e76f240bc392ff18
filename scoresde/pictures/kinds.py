"""How data of a shape is drawn: decided here, once, for every picture."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

MOST = 4  # channels of a series or of an image that are drawn
COLUMNS = 6  # of a table


@dataclass(frozen=True)
class Kind:
    """What is drawn of an item: `name` is number, plane, table (vectors of 1, 2, more entries), series or image.

    An item has `parts` (columns, or channels) of an `area`: () of a vector, (L,) of a series, (H, W) of an image.
    Of the axes before those of an image one slice is drawn: `slices` has (number, of how many), numbers from 1.
    """

    name: str
    parts: int
    area: tuple[int, ...] = ()
    slices: tuple[tuple[int, int], ...] = ()

    @property
    def is_image(self) -> bool:
        """Whether it is drawn by pixels, without matplotlib."""
        return self.name == "image"

    @property
    def shown(self) -> int:
        """How many of the parts are drawn: the first ones."""
        return min(self.parts, MOST if self.area else COLUMNS)

    @property
    def note(self) -> str:
        """What of an item is drawn, in words: "slice 8 of 16", "channels 1 to 4 of 8"; "" if that is all of it."""
        slices = "slice " + ", ".join(f"{i} of {n}" for i, n in self.slices) if self.slices else ""
        part, parts = "channel" if self.area else "column", ""
        if self.parts > self.shown:
            parts = f"{part}s 1 to {self.shown} of {self.parts}"
        elif self.is_image and self.parts not in (1, 3):
            parts = f"{part}s 1 {'to' if self.parts > 2 else 'and'} {self.parts}"
        return words(slices, parts)

    def drawable(self) -> bool:
        """Whether the package is there that draws it: pillow, or matplotlib."""
        try:
            return importlib.util.find_spec("PIL" if self.is_image else "matplotlib") is not None
        except ValueError:  # a module that was put in its place
            return False

    def labels(self, names: Sequence[str] | None = None) -> list[str]:
        """What each part that is drawn is called: by the names of the data's columns, where it has them."""
        if names is not None and len(names) == self.parts:
            return [literal(str(name)) for name in names]
        if self.parts == 1:
            return [""]
        return [f"{'channel' if self.area else 'column'} {i + 1}" for i in range(self.parts)]

    def view(self, x: Tensor) -> Tensor:
        """x (N, *shape) as it is drawn: (N, parts, *area)."""
        x = x.detach().reshape(len(x), self.parts, *(n for _, n in self.slices), *self.area)
        for i, _ in self.slices:
            x = x[:, :, i - 1]
        return x


def kind_of(shape: Sequence[int]) -> Kind:
    """How items of a shape are drawn.

    (D,) is a vector, (C, L) a series, (C, H, W) an image, (C, D, H, W) and more the middle slice of each axis before
    the last two.  Axes of length 1 after the first are none: (D, 1) is a vector, (C, 1, L) a series.
    """
    parts, *space = shape or (1,)
    space = [d for d in space if d > 1]
    if not space:
        return Kind({1: "number", 2: "plane"}.get(parts, "table"), parts)
    if len(space) == 1:
        return Kind("series", parts, tuple(space))
    return Kind("image", parts, tuple(space[-2:]), tuple(((n + 1) // 2, n) for n in space[:-2]))


def finite(x: Tensor) -> tuple[Tensor, str]:
    """The items of x (N, ...) that are finite, and what to say of the others; "" if there are none.

    Raises `FloatingPointError` if no item is finite.
    """
    good = x.isfinite().flatten(1).all(1)
    left = int((~good).sum())
    if left == len(x):
        raise FloatingPointError(f"none of {len(x)} items is drawn: all have values that are not finite")
    return (x[good], f"{left} of {len(x)} are not finite and left out") if left else (x, "")


def literal(name: str, most: int = 30) -> str:
    """A name that somebody gave, as matplotlib shows it: no part of it is a formula, and it leaves room for others."""
    return (name if len(name) <= most else f"{name[: most - 3]}...").replace("$", r"\$")


def words(*parts: str) -> str:
    """Those of the parts that say something."""
    return ", ".join(part for part in parts if part)

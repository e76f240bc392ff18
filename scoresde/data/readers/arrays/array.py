"""Arrays and tables: tensors and arrays in memory, or a .npy, .npz, .pt, .csv or .parquet file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ....errors import InputError
from ....settings import Seed, brief, checked
from ....spaces import Bins, raw_dtype
from ...base import Data, of_parts
from ...checks import Levels, Part, Place, find, split
from ...offered import Beside, Wanted, offer
from ...rows import Blocks, kept
from ...standard import Look, look_at, moments, standardise
from ...texts.templates import CAPTION, Template, names_of
from . import stored, table

SUFFIXES = (".npy", ".npz", ".pt", *table.SUFFIXES)
Scaling = Annotated[Literal["auto", "global", "feature"] | None, "one of auto, global, feature, or None"]
Channels = Literal["auto", "first", "last", "none"]
Missing = Literal["error", "drop"]
Names = Annotated[Sequence[str | int] | None, "a list of names of columns, or None for all"]


@checked
def array(
    root: Place,
    test: Part = 0.1,
    seed: Seed = 0,
    key: str | int | None = None,
    levels: Levels = None,
    standardize: Scaling = "auto",
    channels: Channels = "auto",
    columns: Names = None,
    missing: Missing = "error",
    cond: Wanted = None,
    caption: Template = None,
) -> Data:
    """The rows of an array file, (N, *shape), or of a table; with its conditions.

    A .npy file of more than 2 GiB is read while it is used, and never as a whole.  The other arrays of an .npz or a .pt
    that have as many rows are conditions, under their keys: words and whole numbers (N,) of few values are labels,
    other numbers (N,) or (N, D) vectors, with the mean and the deviation of the training rows, floating numbers
    (N, C, H, ...) pictures, as they are: about -1 to 1.  -1 of a label and NaN are missing.

    Arguments:
        root: a .npy, .npz, .pt, .csv, .tsv or .parquet file; pickled objects are never loaded.
        test, seed, levels, standardize, channels, missing: as in `from_tensor`.
        key: which array of an .npz, or of a .pt that holds a dict; None: "x" if there is one, otherwise the first.
        columns: of a table, the columns to keep, in this order; None: all. Where they have no names, numbers from 1.
        cond: what the items come with: keys of the file, or columns of a table, which are then not in x; a mapping
            gives the kind of each, None where its values tell it, or "text". None: of an .npz or a .pt all that fit.
        caption: a template of columns or keys, which makes the text "caption": "{tissue} of {age} years".

    Returns:
        A `Data`.

    Raises:
        InputError: the file is missing, of another kind or unreadable, has no such key or column, has text for numbers;
            a condition that is not there or does not fit; whatever `from_tensor` raises.
    """
    path = find(root, f"give an array file ({', '.join(SUFFIXES)})")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"root={path} has suffix {path.suffix!r}: must be one of {', '.join(SUFFIXES)}", "root")
    how = {"test": test, "seed": seed, "levels": levels, "standardize": standardize, "missing": missing}
    own = _own(cond, caption)
    if suffix in table.SUFFIXES:
        if key is not None:
            raise InputError(f"key={brief(key)}: {path} is a table: say columns=[...]", "key")
        held, beside = table.read(path, columns, missing, own), {}
    else:
        held, beside = stored.read(path, key)
    if isinstance(held, np.ndarray) and held.dtype.names:
        held = table.from_columns(table.columns_of(held, str(path)), columns, str(path), own)
    elif columns is not None and not isinstance(held, table.Table):
        raise InputError(f"columns={brief(columns)}: {path} has no named columns", "columns")
    wanted = [] if cond is None and suffix in table.SUFFIXES else cond
    return replace(_made(held, str(path), channels, beside, wanted, caption, **how), name=path.stem)


@checked
def from_tensor(
    x: Any,
    test: Part = 0.1,
    seed: Seed = 0,
    levels: Levels = None,
    standardize: Scaling = "auto",
    name: str = "tensor",
    channels: Channels = "auto",
    missing: Missing = "error",
    cond: Mapping[str, Any] | None = None,
) -> Data:
    r"""The rows of x (N, *shape), N >= 2, split in two; (N,) becomes (N, 1).

    Continuous data is standardised in float64, $x' = (x - m) / s$, before anything is rounded; raw items are float32
    where that holds them to about 1e-6 of their spread, and float64 where it does not.

    Arguments:
        x: a tensor, an array or a memory map; a masked array counts as having missing values.
        test: the test set, a fraction or a count of the rows.
        seed: of the permutation that draws it.
        levels: x holds the integers 0..levels-1; None: continuous, whatever the dtype.
        standardize: of continuous data: "global" (one mean and deviation, of the training rows), "feature" (one for
            each entry of an item; constant entries keep their scale), None (as it is) or "auto": "feature" for vectors
            (N, D), "global" for what has a shape.
        name: what to call it.
        channels: where an item has its channels: "first" (C, ...), "last" (..., C), "none", or "auto": first, unless
            the shape speaks against it; what was guessed is in the notes.
        missing: rows with NaN or masked values are an "error", or left out ("drop").
        cond: what the rows come with, by name: a tensor, an array or a list of as many rows, or a pair of that and its
            kind; else its values tell the kind, as in `array`.

    Returns:
        A `Data`.

    Raises:
        InputError: no rows or no real numbers; missing or infinite values; levels with float data or with values out of
            range; constant data; a spread that its offset drowns in the type of x, or in the float32 of the model's
            space; a condition that does not fit; an option out of its range.
    """
    how = {"test": test, "seed": seed, "levels": levels, "standardize": standardize, "missing": missing}
    beside = {str(k): partial(dict.get, dict(cond), k) for k in cond or {}}
    return _made(x, name, channels, beside, list(beside), None, **how)


@checked
def from_table(
    x: Any,
    columns: Names = None,
    test: Part = 0.1,
    seed: Seed = 0,
    levels: Levels = None,
    standardize: Scaling = "auto",
    name: str = "table",
    missing: Missing = "error",
    cond: Wanted = None,
    caption: Template = None,
) -> Data:
    """The rows of a table with named columns as vectors (N, D), their names kept.

    Arguments:
        x: a pandas, polars or pyarrow table, a structured array, or a dict of columns.
        columns: those to keep, in this order; None: all that are no conditions.
        test, seed, levels, standardize, name, missing: as in `from_tensor`.
        cond: the columns that the rows come with, which are not in x: whole numbers of few values and words become
            labels, other numbers vectors of one, other words text; a mapping gives the kind of each, None or "text".
        caption: a template of columns, which makes the text "caption", and are not in x: "{tissue} of {age} years".

    Returns:
        A `Data`.

    Raises:
        InputError: no such column, a column that holds no numbers; whatever `from_tensor` raises.
    """
    how = {"test": test, "seed": seed, "levels": levels, "standardize": standardize, "missing": missing}
    own = _own(cond, caption)
    held = table.from_columns(table.columns_of(x, name), columns, name, own)
    return _made(held, name, "first", {}, [] if cond is None else cond, caption, **how)


def _made(
    held,
    name: str,
    channels: str,
    beside: Beside,
    cond: Wanted,
    caption: str | None,
    test,
    seed,
    levels,
    standardize,
    missing,
) -> Data:
    """The data set of a tensor, an array or a `Table`, with conditions of what lies beside it or of its columns."""
    columns, exact, notes, text = None, True, (), isinstance(held, table.Table)
    if text:
        columns, exact, notes, beside, held = held.columns, held.exact, held.notes, held.beside, held.x
    _check(held, name)
    channels, guesses = _channels(tuple(held.shape), channels, levels is not None or str(held.dtype)[-5:] == "uint8")
    rows = Blocks(held, channels, columns)
    look = look_at(rows, name, missing)
    if len(look.index) < len(rows):
        notes = (*notes, f"{len(rows) - len(look.index)} of {len(rows)} rows have missing values and are left out")
    train, hold = (look.index[part] for part in split(len(look.index), test, seed))
    if levels is None:
        made = standardise(rows, moments(rows, train, look), standardize, name, exact)
        space, dtype, notes = made.space, made.dtype, (*notes, *made.notes)
    else:
        _check_levels(rows, look, levels, name, text)
        space, dtype = Bins(levels), raw_dtype(levels)
    found = offer(beside, cond, train, len(rows), name, text, caption)
    parts = kept(rows, (train, hold), dtype, found.values)
    notes = (*notes, *guesses, *found.notes)
    more = {k: of_parts(make, (train, hold)) for k, make in found.more.items()}
    return Data(name, *parts, space, conditions=found.kinds, columns=columns, notes=notes, more=more)


def _own(cond: Wanted, caption: str | None) -> list[str]:
    """The columns that are beside x: those that are asked for, and those that a caption is made of."""
    asked = [str(name) for name in cond or () if caption is None or str(name) != CAPTION]
    return list(dict.fromkeys([*asked, *names_of(caption)]))


def _check(x, name: str) -> None:
    """InputError unless x holds real numbers, has a row and no empty axis."""
    if table.is_table(x):
        raise InputError(f"{name} is a {type(x).__name__} with named columns: say scoresde.data.from_table")
    if not isinstance(x, (Tensor, np.ndarray)):
        raise InputError(f"{name} is a {type(x).__name__}: must be a tensor or a numpy array")
    if isinstance(x, Tensor):
        real = not (x.is_complex() or x.is_quantized or x.is_meta) and x.layout is torch.strided
        kind = x.dtype if x.layout is torch.strided else x.layout
    else:
        real, kind = x.dtype.kind in "biuf", x.dtype
    if not real:
        raise InputError(f"{name} has dtype {kind}: must be real numbers")
    if x.ndim == 0 or 0 in x.shape:
        raise InputError(f"{name} has shape {tuple(x.shape)}: must be (N, *shape), N at least 2, no axis empty")


def _check_levels(rows: Blocks, look: Look, levels: int, name: str, text: bool) -> None:
    """InputError unless the rows are whole numbers 0..levels-1; tables and text may hold them as 3.0."""
    low, high = look.low.min(), look.high.max()
    blocks = (rows.with_gaps(part) for part in rows.spans()) if text else ()
    whole = text and all((block == np.round(block))[~gaps].all() for block, gaps in blocks)
    if rows.dtype.kind == "f" and not whole:
        words = f"{name} is {rows.held.dtype}, must be integers: convert it or leave levels out"
        raise InputError(f"levels={levels}: {words}", "levels")
    if low < 0 or high >= levels:
        held = f"{name} has values in {int(low)}..{int(high)}, must be in 0..{levels - 1}"
        raise InputError(f"levels={levels}: {held}", "levels")


def _channels(shape: tuple[int, ...], channels: str, whole: bool) -> tuple[str, tuple[str, ...]]:
    """Where the channels are, and a note where that was guessed; `whole`: values are bytes or have levels."""
    item, few = shape[1:], 4
    if channels != "auto" or len(item) < 2:
        return ("first" if channels == "auto" or len(item) < 1 else channels), ()
    square = item[0] == item[1]
    if len(item) == 2 and whole and (square or min(item) > few):
        kind = f"images of one channel, {(1, *item)}"
        return "none", (f"items of shape {item} are taken for {kind} (channels=first: a series of {item[0]} channels)",)
    if len(item) > 2 and item[0] > few >= item[-1] and item[-2] > few:
        moved = (item[-1], *item[:-1])
        words = f"items of shape {item} are taken to have their channels last, and become {moved}"
        return "last", (f"{words} (channels=first says otherwise)",)
    if (square and item[0] > few) or (item[0] > few and (item[-1] <= few or (whole and min(item) > few))):
        other = "last" if item[-1] <= few else "none"
        return "first", (
            f"items of shape {item} are taken to have {item[0]} channels (channels={other} says otherwise)",
        )
    return "first", ()

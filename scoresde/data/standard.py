"""Statistics of rows, block by block in float64 at any offset and scale, and the affine map that they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError
from ..spaces import Affine
from .look import LOSS, scales_note
from .rows import Blocks

EXACT = 1e-6  # of a deviation: what storing values as float64 may cost
LARGEST, SMALLEST = 1e307, 1e-290  # values and deviations beyond these overflow in float64


@dataclass(frozen=True)
class Look:
    """What a first look at all rows finds: which have no gaps, and the least and greatest value of each entry."""

    index: np.ndarray
    low: np.ndarray
    high: np.ndarray


def look_at(rows: Blocks, name: str, missing: str) -> Look:
    """Looks at all rows; those with missing values are left out if `missing` is "drop".

    Raises:
        InputError: a value is NaN, masked or infinite, or so large that float64 cannot compute with it.
    """
    whole, low, high, bad, first = np.ones(len(rows), bool), None, None, 0, None
    for span in rows.spans():
        block, gaps = rows.with_gaps(span)
        if missing == "drop":
            whole[span] = ~gaps.reshape(len(gaps), -1).any(1)
            block, gaps = block[whole[span]], gaps[whole[span]]
        wrong = gaps | ~np.isfinite(block)
        bad += int(wrong.sum())
        if first is None and wrong.any():
            place = np.unravel_index(int(wrong.argmax()), wrong.shape)
            first = int(np.flatnonzero(whole[span])[place[0]]) + span.start, int(place[1])
        elif len(block) and not bad:
            low = block.min(0) if low is None else np.minimum(low, block.min(0))
            high = block.max(0) if high is None else np.maximum(high, block.max(0))
    if bad:
        at = f"row {first[0]}" + (f", column {rows.columns[first[1]]}" if rows.columns else "")
        cure = "drop or fill them" if missing == "drop" else "fill them, or leave such rows out by missing=drop"
        raise InputError(f"{name}: {bad} values are NaN, masked or infinite, first in {at}: {cure}")
    if low is None:
        raise InputError(f"{name}: every row has missing values: fill them")
    most = max(abs(float(low.min())), abs(float(high.max())))
    if most > LARGEST:
        raise InputError(f"{name} has values up to {most:.3g}, beyond what float64 computes with: divide them first")
    return Look(np.flatnonzero(whole), low, high)


@dataclass(frozen=True)
class Moments:
    """Mean and variance of d for every entry x = centre + span d of the rows, |d| <= 1; `offset` is max |x|."""

    centre: np.ndarray
    span: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    offset: np.ndarray

    def pooled(self, axes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, deviation and offset, apart for the first `axes` axes of a row and together over the others."""
        kept = self.centre.shape[:axes]
        flat = lambda v: v.reshape(int(np.prod(kept)), -1)
        centre, span = flat(self.centre), flat(self.span)
        away = _difference(centre, centre[:, :1])
        unit = np.maximum(span, np.abs(away)).max(1, keepdims=True)  # so that no square leaves float64
        unit = np.where(unit == 0, 1.0, unit)
        place = away / unit + span / unit * flat(self.mean)
        mean = place.mean(1, keepdims=True)
        within = (span / unit) ** 2 * flat(self.variance)
        std = np.sqrt((within + (place - mean) ** 2).mean(1)) * unit[:, 0]
        found = centre[:, 0].astype(np.float64) + mean[:, 0] * unit[:, 0], std, flat(self.offset).max(1)
        return tuple(v.reshape(kept) for v in found)


def moments(rows: Blocks, index: np.ndarray, look: Look) -> Moments:
    """The moments of the rows at `index`, by the pairwise update of Chan, Golub, LeVeque (1983)."""
    span = _difference(look.high, look.low)
    unit = np.where(span == 0, 1.0, span)
    chosen = np.zeros(len(rows), bool)
    chosen[index] = True
    count, mean, square, low, high = 0, 0.0, 0.0, np.inf, -np.inf
    for part in rows.spans():
        d = _difference(rows[part][chosen[part]], look.low) / unit
        if len(d):
            own, total = d.mean(0), count + len(d)
            square = square + ((d - own) ** 2).sum(0) + (own - mean) ** 2 * (count * len(d) / total)
            mean, count = mean + (own - mean) * (len(d) / total), total
            low, high = np.minimum(low, d.min(0)), np.maximum(high, d.max(0))
    same, offset = low == high, np.maximum(np.abs(look.low.astype(float)), np.abs(look.high.astype(float)))
    return Moments(look.low, span, np.where(same, low, mean), np.where(same, 0.0, square / count), offset)


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b as float64, rounded once: integers of 64 bits in two halves, long doubles as they are."""
    if a.dtype.kind in "iu" and a.dtype.itemsize == 8:
        halves = lambda v: ((v >> 32).astype(np.float64), (v & 0xFFFFFFFF).astype(np.float64))
        (a1, a0), (b1, b0) = halves(a), halves(b)
        return (a1 - b1) * 2.0**32 + (a0 - b0)
    kind = np.promote_types(np.float64, a.dtype)
    return (a.astype(kind) - b.astype(kind)).astype(np.float64)


@dataclass(frozen=True)
class Standard:
    """The map to the model's space, the type that keeps raw values, and notes."""

    space: Affine
    dtype: torch.dtype
    notes: tuple[str, ...] = ()


def standardise(rows: Blocks, found: Moments, how: str | None, name: str, exact: bool = True) -> Standard:
    r"""$x' = (x - m) / s$ with mean $m$ and deviation $s$, in float64: one pair, one for each entry, or none.

    Arguments:
        how: "global", "feature", None (as it is), or "auto": "feature" for vectors, "global" for what has a shape.
        exact: whether the rows hold the data's own values; if not (text), what float64 does to them is looked at.

    Raises:
        InputError: the training rows are constant; a spread that its offset drowns in the rows' type, in float64, or
            in the float32 of the model's space: it gives both.
    """
    auto, vectors = how == "auto", len(rows.shape) == 2
    how = ("feature" if vectors else "global") if auto else how
    mean, std, offset = found.pooled(1)  # of columns, or of channels
    _check_type(rows, mean, std, offset, name, exact)
    if not std.any() and (auto or how == "global"):
        same = f"are {mean.flat[0]:g}" if (mean == mean.flat[0]).all() else "are the same in every row"
        raise InputError(f"{name}: all training values {same}: there is nothing to learn")
    if how == "feature":
        m, s, _ = found.pooled(len(rows.shape) - 1)
        transform = _affine(m, np.where(s <= 4 * rows.eps * np.abs(m), 0.0, s))  # nothing but rounding keeps its scale
        notes = ()
    else:
        one, spread, _ = found.pooled(0)
        transform = Affine(float(1 / spread), float(-one / spread)) if how == "global" else Affine()
        _check_model(rows, transform, mean, std, name, how)
        notes = tuple(scales_note(std, rows.columns, vectors)) if how == "global" else ()
    held = rows.eps >= np.finfo(np.float32).eps or (rows.eps == 0 and offset.max() <= 2**24)  # by float32
    wide = not held and (_affine(mean, std).wide or transform.wide)
    return Standard(transform, torch.float64 if wide else torch.float32, notes)


def _affine(mean: np.ndarray, std: np.ndarray) -> Affine:
    """To mean 0 and deviation 1; what has none keeps its scale."""
    std = np.where(std == 0, 1.0, std)
    return Affine(torch.from_numpy(1 / std), torch.from_numpy(-mean / std))


def _check_type(rows: Blocks, mean, std, offset, name: str, exact: bool) -> None:
    """InputError for a spread that is lost, by its offset, in the rows' own type or in float64."""
    lossy = (offset > 2**53) if rows.eps == 0 else not exact or rows.eps < np.finfo(np.float64).eps
    place = np.abs(mean)
    for lost, eps, kind in (
        (std <= 4 * rows.eps * place, rows.eps, rows.held.dtype),
        (lossy & (2.0**-53 * place > EXACT * std), 2.0**-52, "float64"),
    ):
        if (lost & (std > 0)).any():
            i = int((lost & (std > 0)).argmax())
            step = f"{str(kind).removeprefix('torch.')} has steps of about {eps * place[i]:.2g} there"
            raise InputError(f"{_spread(rows, i, mean, std, name)}: {step}: subtract the offset from the data first")
    if ((std > 0) & (std < SMALLEST)).any():
        i = int(((std > 0) & (std < SMALLEST)).argmax())
        raise InputError(f"{_spread(rows, i, mean, std, name)}: float64 cannot divide by that: multiply the data first")


def _check_model(rows: Blocks, transform: Affine, mean, std, name: str, how: str | None) -> None:
    """InputError for a spread that is lost in the float32 of the model's space."""
    scale, shift = float(transform.scale), float(transform.shift)
    spread, offset = abs(scale) * std, np.abs(scale * (mean + shift / scale))
    lost = (std > 0) & ((2.0**-24 * offset > LOSS * spread) | (spread < 1e-30) | (np.maximum(offset, spread) > 1e37))
    if lost.any():
        i = int(lost.argmax())
        here = f"with standardize={how} float32 cannot hold that in the model's space: take standardize=feature"
        raise InputError(f"{_spread(rows, i, mean, std, name)}: {here}")


def _spread(rows: Blocks, i: int, mean: np.ndarray, std: np.ndarray, name: str) -> str:
    """'name: column i has a spread of ... at an offset of ...'."""
    part = "column" if len(rows.shape) == 2 else "channel"
    which = rows.columns[i] if rows.columns else i
    return f"{name}: {part} {which} has a spread of {std[i]:.3g} at an offset of {mean[i]:.3g}"

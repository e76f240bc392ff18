"""A user's own torch Dataset."""

from __future__ import annotations

from torch.utils.data import Dataset, Subset

from ..errors import InputError
from .base import CUBE, Affine, Data, item
from .checks import check_levels, split


def custom(
    train: Dataset,
    test: Dataset | float | None = None,
    levels: int | None = None,
    name: str | None = None,
    scale: float = 1.0,
    shift: float = 0.0,
    seed: int = 0,
) -> Data:
    r"""Any torch Dataset with a length, whose items are tensors, tuples that start with one or dicts with "x".

    Arguments:
        test: a second dataset; or a fraction or count to split off train; None: 10 % of it.
        levels: items hold the integers 0..levels-1, and the model's space is [-1, 1]; None: continuous.
        scale, shift: of continuous data, $x = \text{scale} \cdot \text{raw} + \text{shift}$.
        seed: of the split.

    Raises:
        InputError: not a Dataset with a length, or empty; a first item that is no finite tensor, does not fit levels or
            has another shape in test than in train; an option out of its range.
    """
    check_levels(levels)
    if levels is not None and (scale, shift) != (1.0, 0.0):
        raise InputError(f"data.scale={scale} data.shift={shift}: not with data.levels={levels}, which has its own")
    shape = _first(train, levels, "train")
    if name is None:
        name = type(train).__name__.lower()
    if isinstance(test, Dataset):
        other = _first(test, levels, "test")
        if other != shape:
            raise InputError(f"{name}: train items have shape {shape}, test items {other}: must be the same")
    else:
        keep, hold = split(len(train), 0.1 if test is None else test, seed)
        train, test = Subset(train, keep.tolist()), Subset(train, hold.tolist())
    return Data(name, train, test, Affine(scale, shift) if levels is None else CUBE, levels)


def as_data(obj: Data | Dataset) -> Data:
    """A Data as it is, a torch Dataset through `custom`; anything else is an InputError."""
    if isinstance(obj, Data):
        return obj
    if isinstance(obj, Dataset):
        return custom(obj)
    raise InputError(f"data is a {type(obj).__name__}: must be a scoresde.data.Data or a torch Dataset")


def _first(dataset: Dataset, levels: int | None, part: str) -> tuple[int, ...]:
    """The shape of the first item, once that and the dataset have been looked at."""
    kind = type(dataset).__name__
    if not isinstance(dataset, Dataset) or not hasattr(dataset, "__len__"):
        raise InputError(f"data {part} is a {kind}: must be a torch Dataset with a length (or use from_tensor)")
    if len(dataset) == 0:
        raise InputError(f"data {part} is an empty {kind}: at least one item is needed")
    x = item(dataset[0])
    if x.ndim == 0 or x.numel() == 0:
        raise InputError(f"{kind} {part} item 0 has shape {tuple(x.shape)}: needs at least one axis, none empty")
    if x.is_complex() or not x.isfinite().all():
        raise InputError(f"{kind} {part} item 0 ({x.dtype}) has NaN, infinite or complex values: must be finite")
    if levels is not None:
        low, high = x.min().item(), x.max().item()
        if x.is_floating_point() or low < 0 or high >= levels:
            held = f"is {x.dtype} with values in {low:g}..{high:g}"
            raise InputError(f"data.levels={levels}: {kind} {part} item 0 {held}, must be integers in 0..{levels - 1}")
    return tuple(x.shape)

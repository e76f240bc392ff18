"""A loss at several resolutions at once."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError


def sides(space: Sequence[int], least: int) -> list[int]:
    """The sides d, d / 2, ... at which an error is looked at.

    Arguments:
        space: the sizes of the axes, of which d is the largest.
        least: the fewest pixels of it.

    Returns:
        The sides, from d down to the last that is not below `least`.

    Raises:
        InputError: data without axes, `least` above d, or an axis that cannot be halved so often.
    """
    if not 1 <= len(space) <= 3:
        raise InputError(f"multiscale={least}: data needs (channels, *space) with 1 to 3 space axes", "multiscale")
    d = max(space)
    if least > d:
        raise InputError(f"multiscale={least}: give at most the {d} pixels of a side", "multiscale")
    found = [d >> k for k in range((d // least).bit_length())]
    if any(s % 2 ** (len(found) - 1) for s in space):
        raise InputError(
            f"multiscale={least}: axes of {tuple(space)} cannot be halved {len(found) - 1} times", "multiscale"
        )
    return found


def multiscale(residual: Tensor, sides: Sequence[int]) -> Tensor:
    """sum_s d / s mean |P_s r|^2 of a residual r, with the means P_s r over squares that leave s pixels a side:

        L = sum_s (d / s) L_s,    L_s = E |P_s (D - x_0)|^2 w(t) / number of its entries

    A pixel of a large picture is told by its neighbours, and the layout of all of them weighs little in their mean
    square error: an error that many pixels share weighs more here.  A positive definite form of D - x_0 has the same
    minimum, E[x_0 | x_t], at every scale.  It is d times the paper's sum_s L_s / s, so that with d alone it is L_d.

    Hoogeboom, Heek, Salimans (2023), Simple diffusion, arXiv 2301.11093, section 3.2.

    Arguments:
        residual: r (B, C, *space).
        sides: s, from d, the largest of the axes, on, each half of the one before.

    Returns:
        (B,).
    """
    total, axes = 0.0, residual.ndim - 2
    for k, side in enumerate(sides):
        small = residual if k == 0 else getattr(F, f"avg_pool{axes}d")(residual, 2**k)
        total = total + sides[0] / side * small.square().flatten(1).mean(1)
    return total

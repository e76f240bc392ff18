"""Half and double the resolution, over one to three space axes: means and neighbours, or a filter (FIR)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....errors import InputError


class _Resampling(nn.Module):
    """The taps of the filter, and a convolution where there is one."""

    def __init__(self, taps: Sequence[float] = (), conv: nn.Module | None = None):
        super().__init__()
        check_taps(taps)
        self.register_buffer("taps", torch.tensor([float(w) for w in taps]), persistent=False)
        self.conv = conv


class Halve(_Resampling):
    """x (B, C, *space) at ceil(s / 2) positions of each axis: the mean of two neighbours, or a filter's.

    With n taps w, along each axis  y_i = sum_k w_k x_{2 i + k - (n - 1) // 2} / sum_k w_k.  Of [1, 3, 3, 1] the gain is
    cos^3(omega / 2): nothing is left of the wave that alternates.  Beyond the border x goes on as it ends there, so
    that a constant passes, where the originals pad with zeros.  With `conv`, of stride 2, the filter keeps the
    resolution, and the convolution halves it.

    Zhang (2019), arXiv 1904.11486; Karras et al. (2020), arXiv 1912.04958; Song et al. (2021), arXiv 2011.13456,
    appendix H.

    Arguments:
        taps: w; none: means.
        conv: of stride 2, behind the filter.
    """

    def forward(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        if not len(self.taps):
            return getattr(F, f"avg_pool{x.ndim - 2}d")(x, 2, ceil_mode=True, count_include_pad=False)
        for axis in range(2, x.ndim):
            x = _filtered(x, self.taps, axis, 2 if self.conv is None else 1)
        return x if self.conv is None else self.conv(x)


class Double(_Resampling):
    """x (B, C, *space) at `size` positions, twice as many or one less along each axis: the nearest, or a filter's.

    The filter is 2 times the adjoint of `Halve`'s along each axis, inside the border; of [1, 3, 3, 1] the two positions
    between x_i and x_{i+1} have weights 3 : 1 and 1 : 3.

    Arguments:
        taps: of the filter; none: the nearest.
        conv: that follows.
    """

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        if len(self.taps):
            for axis in range(2, x.ndim):
                x = _spread(x, self.taps, axis, size[axis - 2])
        else:
            x = F.interpolate(x, size=tuple(size), mode="nearest")
        return x if self.conv is None else self.conv(x)


def check_taps(taps: Sequence[float]) -> None:
    """Raises `InputError` for a filter of one number, or of numbers that do not add up to something."""
    if len(taps) == 1 or (taps and not sum(taps) > 0):
        raise InputError(f"fir={list(taps)}: give two or more numbers of a sum above 0, such as [1, 3, 3, 1]", "fir")


def _filtered(x: Tensor, taps: Tensor, axis: int, stride: int) -> Tensor:
    n, s = len(taps), x.shape[axis]
    left = (n - 1) // 2
    right = stride * (-(-s // stride) - 1) + n - s - left
    weight, strides = _weight(x, taps, axis), [stride if a == axis else 1 for a in range(2, x.ndim)]
    conv = getattr(F, f"conv{x.ndim - 2}d")
    return conv(_extended(x, axis, left, right), weight, stride=strides, groups=x.shape[1])


def _spread(x: Tensor, taps: Tensor, axis: int, size: int) -> Tensor:
    n, strides = len(taps), [2 if a == axis else 1 for a in range(2, x.ndim)]
    conv, more = getattr(F, f"conv_transpose{x.ndim - 2}d"), n // 2
    x = conv(_extended(x, axis, more, more), 2 * _weight(x, taps, axis), stride=strides, groups=x.shape[1])
    return x.narrow(axis, 2 * more + (n - 1) // 2, size)


def _weight(x: Tensor, taps: Tensor, axis: int) -> Tensor:
    shape = [len(taps) if a == axis else 1 for a in range(2, x.ndim)]
    taps = taps.to(x.dtype)
    return (taps / taps.sum()).reshape(1, 1, *shape).expand(x.shape[1], 1, *shape)


def _extended(x: Tensor, axis: int, left: int, right: int) -> Tensor:
    """x with its ends repeated along an axis."""
    first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
    return torch.cat([first] * left + [x] + [last] * right, axis)

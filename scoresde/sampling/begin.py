"""Where a sampling begins: at which noise, and where not at pure noise at which time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..denoiser import Denoiser, Source, device_of
from ..errors import InputError
from ..noise import Stream, normal

Begin = tuple[Tensor, float] | None  # x_0 (n, *shape) in the model's space, and the time that it is brought to


def cut(times: list[float], shape: Sequence[int], begin: Begin) -> list[float]:
    """Decreasing times, or t and those of them that are before it.

    Arguments:
        times: of a whole sampling.
        shape: of its samples.
        begin: (x_0, t); None: the times as they are.

    Returns:
        The times that are left, t first.

    Raises:
        InputError: x_0 of another shape, or a time that is not among these.
    """
    if begin is None:
        return times
    x0, t = begin
    if tuple(x0.shape) != tuple(shape):
        raise InputError(f"begin has x_0 of shape {tuple(x0.shape)}: the samples have {tuple(shape)}", "begin")
    if not times[-1] < t <= times[0]:
        raise InputError(f"begin has the time {t:g}: give one after {times[-1]:g} and up to {times[0]:g}", "begin")
    return [float(t), *(s for s in times if s < t)]


def first(source: Source, like: Tensor, index: Tensor, seed: int) -> Tensor:
    """The noise that a sampling starts from: standard, but for the offset of the model's own.

    Arguments:
        source: of the model.
        like: a tensor of the type and the device of the samples.
        index: their numbers (B,).
        seed: of the noise.

    Returns:
        (B, *shape).
    """
    z = normal(like, index, seed, *Stream.SAMPLING())
    if not source.offset:
        return z
    return source.noise(z, normal(like.new_empty(like.shape[:2]), index, seed, *Stream.SAMPLING(0, 1)))


def noises(denoiser: Denoiser, shape: Sequence[int], seed: int = 0, offset: int = 0) -> Tensor:
    """The noise eps that `sample(denoiser, ..., shape, seed)` begins with, x_T = sigma_T eps.

    Arguments:
        denoiser: the model.
        shape: (n, *data shape).
        seed, offset: as in `sample`.

    Returns:
        A tensor of `shape`, in torch's default type.
    """
    device = device_of(denoiser)
    index = torch.arange(offset, offset + shape[0], device=device)
    return first(denoiser.source, torch.empty(*shape, device=device), index, seed)

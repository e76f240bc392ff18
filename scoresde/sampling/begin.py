"""Where a sampling begins that does not begin at pure noise."""

from collections.abc import Sequence

from torch import Tensor

from ..errors import InputError

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

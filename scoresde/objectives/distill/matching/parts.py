"""With what a training by distributions begins: where jumps begin, the fake denoiser; and how far rows are apart."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ....denoiser import GUIDANCE, Denoiser, FlowMap, Preconditioned
from ....errors import InputError
from ....sampling import Renoise
from ....sde import SDE
from ....settings import brief


def energy(x: Tensor, y: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of rows x and y, without bias."""
    x, y = (value.flatten(1).double() for value in (x, y))
    own = [torch.cdist(value, value).sum() / (len(value) * (len(value) - 1)) for value in (x, y)]
    return float(2 * torch.cdist(x, y).mean() - own[0] - own[1])


def begins(sde: SDE, steps: int, times: Sequence[float]) -> list[float]:
    """The times that a student jumps from.

    Arguments:
        sde: whose they are.
        steps: how many, of evenly spaced angles.
        times: in place of those.

    Returns:
        Decreasing numbers, t_max first.

    Raises:
        InputError: times that do not decrease, or are not within the SDE's.
    """
    if not times:
        return [float(t) for t in Renoise(steps=steps).times(sde)[:-1]]
    falls = all(b < a for a, b in zip(times, times[1:], strict=False))
    if not falls or abs(times[0] - sde.t_max) > 1e-9 * sde.t_max or times[-1] <= sde.t_min:
        words = f"give decreasing times from t_max={sde.t_max:g} on, above t_min={sde.t_min:g}"
        raise InputError(f"times={brief(list(times))}: {words}", "times")
    return [float(t) for t in times]


def fake_of(fake: nn.Module | None, student: FlowMap, teacher: Denoiser) -> Denoiser:
    """The denoiser that is to learn the student's law, with gradients.

    Arguments:
        fake: a network, or a denoiser; None: it begins as the teacher.
        student: whose conditions it is told.
        teacher: the other one.

    Returns:
        A denoiser of the teacher's SDE.

    Raises:
        InputError: None with a teacher that has no network.
    """
    if isinstance(fake, Denoiser):
        return fake.requires_grad_(True).train()
    if fake is not None:
        return Preconditioned(fake, student.sde, "v")
    bare = getattr(teacher, "bare", teacher)
    if not isinstance(bare, Preconditioned):
        words = "it has no network that the fake denoiser could begin as: give fake=, a network"
        raise InputError(f"teacher={type(bare).__name__}: {words}", "fake")
    told = student.conditions.get(GUIDANCE)
    return FlowMap.of(bare, "data", None if told is None else (told.low, told.high))

"""What the models of few steps are told: where a step lands, and how strongly to be led to the other conditions."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from ..settings import Count
from .kinds import Vector

WAVES = 4  # of each angle


@dataclass(frozen=True)
class Landing(Vector):
    """Where the step that a model is asked for lands, as numbers of phi_s and of d = phi_t - phi_s; missing: nowhere.

    Of each of the two angles the angle itself, in units of pi/2, sines and cosines of 1, 2, 4 and 8 times it, and of
    phi_s its log tan.  Each is smooth, as derivatives by phi_t go through it.
    """

    given: ClassVar[bool] = False

    size: Count = 2 * (1 + 2 * WAVES) + 1
    drop: float = 0.0

    @staticmethod
    def numbers(phi_t: Tensor, phi_s: Tensor) -> Tensor:
        """The numbers of two angles.

        Arguments:
            phi_t, phi_s: of the beginning and of the landing (B,), both in (0, pi/2).

        Returns:
            (B, size).
        """
        found = [phi_s.tan().log().clamp(-8, 8) / 4]
        for angle in (phi_s, phi_t - phi_s):
            found.append(angle * (2 / math.pi))
            for k in range(WAVES):
                found += [torch.sin(2**k * angle), torch.cos(2**k * angle)]
        return torch.stack(found, 1)


@dataclass(frozen=True)
class Strength(Vector):
    """The scale w of guidance, that a distilled model has learned to follow in one evaluation.

    A number, `low` to `high`; 1, no guidance, where nobody says.

    Meng et al. (2023), On Distillation of Guided Diffusion Models, arXiv 2210.03142.

    Arguments:
        size, mean, std, names: as `Vector` has them; `of` sets them.
        low, high: those of the training.
    """

    of_items: ClassVar[bool] = False

    size: Count = 1
    drop: float = 0.0
    low: float = 1.0
    high: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.low < self.high:
            raise InputError(f"low={self.low} and high={self.high}: give scales, 0 or above, that rise", "high")

    @classmethod
    def of(cls, low: float, high: float) -> "Strength":
        """That of a training with w ~ U(low, high), whose mean and deviation a network sees away.

        Raises `InputError` for scales below 0, or that do not rise.
        """
        if not 0 <= low < high:
            raise InputError(f"guidance=({low}, {high}): give scales, 0 or above, that rise", "guidance")
        return cls(mean=((low + high) / 2,), std=((high - low) / math.sqrt(12),), low=low, high=high)

    def rows(self, name, value, n):
        found = super().rows(name, value, n).nan_to_num(nan=1.0)
        slack = 1e-6 * self.high
        if n and not (float(found.min()) >= self.low - slack and float(found.max()) <= self.high + slack):
            bad = float(found.min() if found.min() < self.low else found.max())
            raise self._refuse(name, f"is {bad:g}", f"numbers from {self.low:g} to {self.high:g}, as it was trained")
        return found

    def missing(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """n rows of 1, or of what is nearest to it among those of the training."""
        return torch.full((n, self.size), min(max(1.0, self.low), self.high), device=device)

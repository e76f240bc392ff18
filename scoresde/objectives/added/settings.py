"""What is added to denoising, and what goes with what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from ...conditions import Augmentation, Corruption, Estimate, Kind
from ...denoiser import Denoiser, Source
from ...errors import InputError
from ...sde import widest
from ...settings import Checked, Fraction, Scale, brief
from .augment import augmented, numbers
from .corrupt import corrupted, pictures
from .coupling import paired

ESTIMATE, AUGMENT, CORRUPTION = "estimate", "augment", "corruption"
SETTINGS = {ESTIMATE: "self_condition", AUGMENT: "augment"}
Coupling = Literal["independent", "optimal"]


@dataclass(frozen=True)
class Added(Checked):
    """The settings of `Denoising` beside its loss, which says what they are."""

    uncertainty: bool = False
    self_condition: Fraction = 0.0
    offset: Scale = 0.0
    augment: Fraction = 0.0
    coupling: Coupling = "independent"
    condition_noise: Scale = 0.0
    condition_blur: Scale = 0.0

    @classmethod
    def of(cls, settings: dict) -> "Added":
        """Those that are among an objective's settings."""
        return cls(**{f.name: settings[f.name] for f in fields(cls) if f.name in settings})

    def asks(self, shape: Sequence[int]) -> dict[str, Kind]:
        """The conditions that a network of data of a shape must take; `InputError` for a shape without space."""
        for name in ("offset", "augment"):
            if getattr(self, name) and len(shape) < 2:
                value = brief(getattr(self, name))
                raise InputError(f"{name}={value}: data of shape {tuple(shape)} have no space; leave it at 0", name)
        if self.condition_noise and self.condition_blur:
            said = f"condition_noise={self.condition_noise} and condition_blur={self.condition_blur}"
            raise InputError(
                f"{said}: one number says how much of it there is: choose one of the two", "condition_blur"
            )
        found: dict[str, Kind] = {ESTIMATE: Estimate.of(shape)} if self.self_condition else {}
        if most := self.condition_noise or self.condition_blur:
            found[CORRUPTION] = Corruption.of("noise" if self.condition_noise else "blur", most)
        return found | ({AUGMENT: Augmentation(numbers(len(shape) - 1))} if self.augment else {})

    def check(self, denoiser: Denoiser, shape: Sequence[int]) -> None:
        """Raises `InputError` for a network that does not take what it is to be told, and for noise that is dealt to
        items of which more is told."""
        for name, kind in self.asks(shape).items():
            setting = SETTINGS.get(name, "condition_noise" if self.condition_noise else "condition_blur")
            if {**denoiser.made, **denoiser.conditions}.get(name) != kind:
                said = f"{setting}={getattr(self, setting)}"
                words = f"the network takes no condition {name}: make it with conditions=Denoising.asks(shape, {said})"
                raise InputError(f"{said}: {words}", setting)
        if (self.condition_noise or self.condition_blur) and not pictures(denoiser.conditions):
            words = "the model is told no picture; give it one, by view=lower say, or leave this at 0"
            raise InputError(f"{setting}={getattr(self, setting)}: {words}", setting)
        if self.augment and (seen := pictures(denoiser.conditions)):
            words = f"items are turned and moved, and the picture {seen[0]} that goes with them is not: leave out one"
            raise InputError(f"augment={self.augment}: {words}", "augment")
        told = [*denoiser.conditions, *([AUGMENT] if self.augment else [])]
        if self.coupling == "optimal" and told:
            words = f"noise that is dealt to items is no N(0, I) for those of one {told[0]}: leave out one of the two"
            raise InputError(f"coupling={self.coupling!r} with the condition {told[0]}: {words}", "coupling")

    @property
    def source(self) -> Source:
        """The noise that a model learns to undo."""
        return Source(self.offset, self.coupling == "optimal")

    def drawn(
        self, x0: Tensor, eps: Tensor, cond: dict, size: int, part: slice, kinds: Mapping[str, Kind]
    ) -> tuple[Tensor, Tensor, dict, tuple]:
        """x_0, noise and conditions of a step with what is added to them, and which rows are to be told an estimate.

        Numbers are drawn by torch's generator for the whole batch of `size`, of which these rows are a `part`.
        """
        device = x0.device
        if CORRUPTION in kinds:
            cond |= corrupted(kinds, CORRUPTION, cond, size, part)
        if self.augment:
            x0, cond[AUGMENT] = augmented(x0, self.augment, size, part)
        if self.offset:
            eps = self.source.noise(eps, torch.randn(size, x0.shape[1], dtype=eps.dtype, device=device)[part])
        if self.coupling == "optimal":
            eps = paired(x0, eps)
        told = (torch.rand(size, device=device)[part] < self.self_condition,) if self.self_condition else ()
        return x0, eps, cond, told


@torch.no_grad()
def estimate(denoiser: Denoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: dict, told: Tensor) -> Tensor:
    """The model's own estimates of x_0 (B, *shape) in the rows of `told` (B,), as the condition takes them."""
    kind, rows, real = denoiser.made[ESTIMATE], told.nonzero()[:, 0], widest(x0.device)
    t = t.to(x0.device, real)
    x = denoiser.sde.perturb(x0.to(real), t, eps.to(real))
    found = kind.missing(len(x0), x0.device).to(x0.dtype)
    if len(rows):
        known = {name: value[rows] for name, value in cond.items()}
        found = found.index_copy(0, rows, kind.told(denoiser(x[rows], t[rows], known)).to(found.dtype))
    return found

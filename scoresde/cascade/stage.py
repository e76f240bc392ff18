"""One model of a cascade, and how it is sampled."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..conditions import Kind
from ..denoiser import Denoiser, Given, device_of
from ..errors import InputError
from ..likelihood import Likelihood, log_likelihood
from ..sampling import DPMpp2M, Sampler, sample
from ..settings import Checked, Count, Scale, Text
from .told import corruption, told


@dataclass(frozen=True, eq=False)
class Stage(Checked):
    """A model, its sampler and its guidance, and how its samples become the condition of the next model.

    Arguments:
        model: a trained model, or any denoiser.
        sampler: of this stage.
        gives: the name of the condition by which the next model is told what this one draws.
        guide: what leads the samples of this stage: `lambda model: Guided(model, 2.0)`; None: the model alone.
        augment: s, how noisy or blurred the sample of the stage before is made, and told to be, before this model is
            told it (see `Corruption`, which the model was trained with); 0: as it is.
        truncate: s > 0: this stage stops at the noise sigma / alpha = s, and the next model is told x / alpha, as noisy
            as that: it finds by itself what was left (Ho et al., 2021, arXiv 2106.15282, section 4.1).
        shape: of one sample; None: that of the trained model.

    Raises:
        InputError: settings out of range, or that the model was not trained for.
    """

    model: Denoiser
    sampler: Sampler = dataclasses.field(default_factory=DPMpp2M)
    gives: Text = "seen"
    guide: Callable[[Denoiser], Denoiser] | None = None
    augment: Scale = 0.0
    truncate: Scale = 0.0
    shape: tuple[Count, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape is None:
            if not hasattr(self.model, "shape"):
                raise InputError(f"shape=None: a {type(self.model).__name__} does not say its own: give it", "shape")
            object.__setattr__(self, "shape", tuple(self.model.shape))
        found = corruption(self.model.conditions)
        if self.augment and found is None:
            words = "the model was not trained with it (objective.condition_noise or condition_blur)"
            raise InputError(f"augment={self.augment:g}: {words}; leave it at 0", "augment")
        if found is not None and self.augment > found[1].most:
            most = found[1].most
            raise InputError(f"augment={self.augment:g}: give at most {most:g}, as the model was trained", "augment")
        if self.truncate:
            self._stopped()

    @cached_property
    def denoiser(self) -> Denoiser:
        """What is sampled: the model, or what guides it."""
        return self.model if self.guide is None else self.guide(self.model)

    @property
    def conditions(self) -> Mapping[str, Kind]:
        """What its samples may be told."""
        return self.denoiser.conditions

    def _stopped(self) -> tuple[Sampler, float]:
        """The sampler as it stops at `truncate`, and alpha there."""
        sde, said = self.model.sde, f"truncate={self.truncate:g}"
        low, high = (math.exp(-float(sde.log_snr(t)) / 2) for t in (sde.t_min, sde.t_max))
        if not low < self.truncate < high:
            raise InputError(
                f"{said}: give sigma / alpha above {low:.3g} and below {high:.3g}, those of the SDE", "truncate"
            )
        if not self.model.source.plain:
            raise InputError(f"{said}: the model's noise is not N(0, I), which the next one would be told", "truncate")
        if not isinstance(getattr(self.sampler, "grid", ""), str):
            raise InputError(f"{said}: the sampler's times are given: choose a grid by its name", "truncate")
        t = float(sde.time(-2 * math.log(self.truncate)))
        return dataclasses.replace(self.sampler, t_min=t, last="none"), float(sde.marginal(t)[0])

    def told(self, cond: Mapping[str, Any], n: int, seed: int = 0, offset: int = 0, s: float | None = None) -> dict:
        """The conditions of n samples of this stage, checked, pictures as noisy or blurred as `augment` says.

        Arguments:
            cond: by name; those that this stage does not take are left out.
            n: how many samples there are.
            seed, offset: of the noise of the pictures, as in `sample`.
            s: how noisy the pictures are already, and nothing is added to them; None: not at all.

        Returns:
            Tensors of n rows by name.

        Raises:
            InputError: a value that is none of its condition.
        """
        kinds, device = self.conditions, device_of(self.model)
        rows = {k: kinds[k].rows(k, v, n).to(device) for k, v in cond.items() if k in kinds and v is not None}
        found = corruption(self.model.conditions)
        if found is None or found[0] in rows:
            return rows
        if s is not None:
            return {**rows, found[0]: found[1].rows(found[0], s, n).to(device)}
        return told(self.model.conditions, rows, self.augment, torch.arange(offset, offset + n, device=device), seed)

    def draw(self, n: int, seed: int = 0, cond: Given = None, offset: int = 0, **options: Any) -> Tensor:
        """n samples in the model's space, or with `truncate` x / alpha at that noise.

        Arguments:
            n: how many.
            seed, offset: as in `sample`.
            cond: what `told` gives, or any conditions of the model.
            options: those of `sample`.

        Returns:
            (n, *shape).

        Raises:
            InputError, FloatingPointError: as `sample` does.
        """
        sampler, alpha = self._stopped() if self.truncate else (self.sampler, 1.0)
        known = {k: v for k, v in (cond or {}).items() if k in self.conditions} or None
        x = sample(self.denoiser, sampler, (n, *self.shape), seed, known, offset=offset, **options)
        return x / alpha if self.truncate else x

    def log_prob(self, x: Tensor, cond: Given = None, **options: Any) -> Likelihood:
        """log p(x | cond) of the model alone, without guidance: `log_likelihood`.

        Arguments:
            x: (B, *shape), in the model's space.
            cond: what `told` gives, or any conditions of the model.
            options: those of `log_likelihood`.

        Returns:
            A `Likelihood`.

        Raises:
            InputError, FloatingPointError: as `log_likelihood` does.
        """
        return log_likelihood(self.model, x, cond=cond, **options)

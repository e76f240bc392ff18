"""A trained denoiser."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...adapters import Adapter
from ...denoiser import Denoiser, Given, Wrapped, device_of
from ...sampling import DPMpp2M, Sampler, edit, natural, sample
from ..kept.state import load_state, plain_state
from .known import Known


class Model(Known, Wrapped):
    """A trained denoiser, with what it knows of its data (`Known`): what `load(folder)` and `train(...)` give.

    The weights are the averaged ones; `weights` is a hash of them.  `moments` are those of the training data, None in
    folders of before they were kept; `conditions` says what it can be told.

    Arguments:
        denoiser: is put into evaluation mode, without gradients.
        facts: of the data: name, shape, levels, columns, scale and shift, as a folder keeps them.
        step: how many steps of training its weights have seen.
    """

    def __init__(self, denoiser: Denoiser, facts: Mapping[str, Any], step: int):
        Wrapped.__init__(self, denoiser.eval().requires_grad_(False))
        self.know(facts, step)
        if self.levels is not None:
            self.grain = float(torch.as_tensor(self.space.width).abs().min()) / 2
        self.eval()

    misfit: float = 0.0  # of an average that was made of snapshots

    @property
    def bare(self) -> Denoiser:
        """The denoiser that was trained."""
        return self.denoiser

    def adapted(self, adapter: Adapter) -> "Model":
        """The model with an adapter on top: a copy, its weights W + Delta W.

        Raises `InputError` for an adapter of other layers.
        """
        denoiser = copy.deepcopy(self.denoiser)
        load_state(denoiser, adapter.merged(plain_state(self.denoiser)))
        space = {k: getattr(self.space, k) for k in ("scale", "shift")}
        facts = {"name": self.name, "shape": self.shape, "levels": self.levels, "columns": self.columns, **space}
        model = Model(denoiser, facts, self.step)
        model.moments, model.folder = self.moments, self.folder
        model.carry(self.codec)
        return model

    def with_variance(self, x, t, cond=None):
        return self.denoiser.with_variance(x, t, cond)

    def generate(
        self,
        n: int,
        sampler: Sampler | None = None,
        seed: int = 0,
        cond: Given = None,
        guide: Callable[[Denoiser], Denoiser] | None = None,
        shape: Sequence[int] | None = None,
        **options: Any,
    ) -> Tensor:
        """Samples in the data's own values.

        Arguments:
            n: how many.
            sampler: `DPMpp2M()`, 21 evaluations, by default; of a model of few steps `natural(model)`.
            seed: of the noise.
            cond: conditions by name, a row for each sample or one for all: {"label": 3}.
            guide: what leads the samples there: `lambda model: Guided(model, 3.0)`.
            shape: of one sample, in the model's space; None: that of the data.  A network that was trained on several
                shapes (`Data.buckets`) takes these.
            options: those of `sample`.

        Returns:
            (n, *shape), as `decode` gives them.

        Raises:
            InputError: as `sample` does.
            FloatingPointError: as `sample` does.
        """
        denoiser = self if guide is None else guide(self)
        whole = (n, *(self.shape if shape is None else shape))
        return self.decode(sample(denoiser, sampler or natural(self) or DPMpp2M(), whole, seed, cond=cond, **options))

    def edit(
        self,
        raw: Tensor,
        strength: float,
        sampler: Sampler | None = None,
        seed: int = 0,
        cond: Given = None,
        guide: Callable[[Denoiser], Denoiser] | None = None,
        **options: Any,
    ) -> Tensor:
        """Samples near given pictures, by partial noising (`sampling.edit`).

        Meng et al. (2021), SDEdit, arXiv 2108.01073.

        Arguments:
            raw: (n, *shape), in the data's own values; of a model of latents what these are of.
            strength: 0, the pictures as they are (of latents, as the codec makes them again), to 1, samples that know
                nothing of them.
            sampler, seed, cond, guide, options: as `generate` has them.

        Returns:
            (n, *shape), as `decode` gives them.

        Raises:
            InputError: as `sampling.edit` does.
            FloatingPointError: as `sample` does.
        """
        denoiser = self if guide is None else guide(self)
        x0 = self.inside(raw).to(device_of(self))
        return self.decode(edit(denoiser, sampler or natural(self) or DPMpp2M(), x0, strength, seed, cond, **options))

    @torch.no_grad()
    def inside(self, raw: Tensor) -> Tensor:
        """Raw values (B, *shape) of what `decode` gives, in the model's space: by way of the codec, if it has one."""
        return self.encode(raw if self.codec is None else self.codec.compressed(raw))

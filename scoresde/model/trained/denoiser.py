"""A trained denoiser."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...adapters import Adapter
from ...denoiser import GUIDANCE, Denoiser, FlowMap, Given, Wrapped, device_of
from ...errors import InputError
from ...making import node_of
from ...sampling import DPMpp2M, Sampler, edit, natural, sample
from ...settings import brief
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

    def adapted(self, adapter: "Adapter | Model") -> "Model":
        """The model with an adapter on top: a copy, its weights W + Delta W.

        Given as the model of few steps that was trained as it, with `Training(lora=8)`, it makes one of few steps of
        this model too, of the same base and fine-tuned to something else, without further training.

        Luo et al. (2023), LCM-LoRA, arXiv 2311.05556.

        Arguments:
            adapter: an `Adapter`, or a model that was trained as one; of this one's base, for it to make sense.

        Returns:
            A `Model`.

        Raises:
            InputError: an adapter of other layers; a model without one, of another SDE or of another rule.
        """
        few = adapter if isinstance(adapter, Model) else None
        denoiser = copy.deepcopy(self.denoiser) if few is None else self._like(few)
        load_state(denoiser, (adapter if few is None else few.adapter).merged(plain_state(denoiser)))
        space = {k: getattr(self.space, k) for k in ("scale", "shift")}
        facts = {"name": self.name, "shape": self.shape, "levels": self.levels, "columns": self.columns, **space}
        model = Model(denoiser, facts, self.step)
        model.moments, model.folder = self.moments, self.folder
        model.carry(self.codec)
        return model

    def _like(self, other: "Model") -> Denoiser:
        """A copy of what was trained, of few steps where another model is, with the weights from here."""
        where = f"the model in {other.folder}" if other.folder else "the other model"
        if other.adapter is None:
            raise InputError(f"{where} was not trained as an adapter: train one with lora=8", "adapter")
        a, b = self.bare, other.bare
        for name in ("sde", "rule"):
            theirs, ours = (node_of(getattr(v, name, None)) for v in (b, a))
            if theirs != ours:
                words = f"{where} has {name}={brief(theirs)}, and this one {brief(ours)}"
                raise InputError(f"{words}: give an adapter of its own base", "adapter")
        if b.lands is None:
            return copy.deepcopy(a)
        told = b.conditions.get(GUIDANCE)
        found = FlowMap.of(self, b.lands, None if told is None else (told.low, told.high))
        found.source = a.source
        return found

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

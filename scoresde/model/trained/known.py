"""What every trained model knows of its data, and how its weights are kept."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ...adapters import Adapter
from ...data import Data
from ...denoiser.moments import Moments
from ...spaces import Affine, Bins
from ..kept import codecs, moments, weights
from ..kept.state import plain_state


class Known(ABC):
    """What a model knows without its data: `shape` of one item, `encode(raw)` and `decode(x)`, `levels` of raw (None:
    continuous), `columns` and the data's `name`; `step`, how many steps of training its weights have seen.

    A trained model is one beside its module, with `bare`, the module whose weights are kept.
    """

    moments: Moments | None = None
    adapter: Adapter | None = None  # which its weights have in them, and alone are kept

    folder: Path | None = None  # where it was saved, or loaded from
    about: Mapping[str, Any] = MappingProxyType({})  # what its folder says of it

    def know(self, facts: Mapping[str, Any], step: int) -> None:
        """Takes what `facts` gave, or a folder."""
        self.step = step
        self.shape, self.levels = tuple(facts["shape"]), facts["levels"]
        scale, shift, columns = facts["scale"], facts["shift"], facts.get("columns") or ()
        self.space = Affine(scale, shift) if self.levels is None else Bins(self.levels, scale, shift)
        self.columns = tuple(map(str, columns)) if (len(columns),) == self.shape else None
        self.name = str(facts["name"])
        self._hash = ""

    @property
    @abstractmethod
    def bare(self) -> nn.Module:
        """The module that was trained."""

    @property
    def codec(self) -> Any:
        """Of a model of latents the autoencoder, which makes of them what `decode` gives; None of others."""
        return self.__dict__.get("_codec")

    def carry(self, codec: Any) -> None:
        """Takes a codec, or None: no part of the module, its weights are kept apart."""
        self.__dict__["_codec"] = codec

    @property
    def outer(self) -> "Known":
        """What has the `shape` and the `levels` of what `decode` gives: the codec, or the model itself."""
        return self if self.codec is None else self.codec

    def encode(self, raw: Tensor) -> Tensor:
        """Raw values (B, *shape) to model space: the middle of its bin for a discrete value.

        Of a model with a codec raw latents.
        """
        return self.space.encode(raw)

    def decode(self, x: Tensor) -> Tensor:
        """Model space (B, *shape) to raw values: bytes or levels for discrete data, else the data's own units.

        Of a model of latents what its codec makes of them.
        """
        raw = self.space.decode(x)
        return raw if self.codec is None else self.codec.restored(raw)

    @property
    def weights(self) -> str:
        """Twelve hexadecimal digits that stand for these weights: what is made with them is kept under this name."""
        if not self._hash:
            self._hash = weights.hash_of(plain_state(self.bare))
        return self._hash

    def save(self, folder: Path) -> None:
        """Writes model.safetensors, the weights, the transform and the step; and moments.safetensors.

        Of what was trained as an adapter, adapter.safetensors in place of the first.
        """
        if self.codec is not None:  # before the weights, without which a folder is in training
            codecs.save(folder, self.codec)
        if self.moments is not None:
            moments.save(folder, self.moments)
        self.folder = Path(folder)
        name, state = weights.WEIGHTS, plain_state(self.bare)
        if self.adapter is not None:
            name, state = weights.ADAPTER, self.adapter.state
        weights.write(folder / name, weights.with_space(state, self.space), self.step)


def facts(data: Data) -> dict:
    """What a model must know of its data to be used without it: name, shape, levels, columns, transform."""
    known = {"name": data.name, "shape": list(data.shape), "levels": data.levels}
    known |= {"columns": None if data.columns is None else list(data.columns)}
    return known | {k: torch.as_tensor(getattr(data.space, k), dtype=torch.float64) for k in ("scale", "shift")}

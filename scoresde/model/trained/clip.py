"""Pictures and what is said of them as vectors of one space: CLIP."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...answers import answered
from ...conditions import Kind, retold
from ...denoiser import device_of
from ...errors import InputError
from ...sde import SDE
from .classifier import seen
from .known import Known

WARM, MOST = 1 / 0.07, 100.0  # the scale of dot products before training, and the largest
TINY = 1e-6


class Pairing(nn.Module, ABC):
    """What a CLIP answers, trained (`TrainedClip`) or not (`Clip`): embeddings of length 1."""

    @property
    @abstractmethod
    def bare(self) -> "Clip":
        """The encoders that it answers by."""

    @property
    def condition(self) -> str:
        """The name of what is said of pictures."""
        return self.bare.reader.name

    @property
    def kind(self) -> Kind:
        """What is said of pictures."""
        return self.bare.reader.kind

    @property
    def size(self) -> int:
        """How many numbers an embedding has, E."""
        return self.bare.reader.outputs

    @property
    def scale(self) -> Tensor:
        """What dot products are multiplied by, at most 100."""
        return self.bare.log_scale.exp().clamp_max(MOST)

    def of_picture(self, x: Tensor, t: float | Tensor | None = None) -> Tensor:
        """f (B, E) of x (B, *shape), clean, or x_t where t is a number, () or (B,).

        Raises:
            InputError: a t of a CLIP of clean pictures; the network answers with another shape.
        """
        own = self.bare
        if t is not None and not own.noise:
            raise InputError("the CLIP is of clean pictures: for noised ones train it with noise=true", "noise")
        found = seen(own.net, own.sde, x, own.sde.t_min if t is None else t)
        found = answered(found, (len(x), self.size), f"the network {type(own.net).__name__}")
        return F.normalize(found, dim=1, eps=TINY).to(x.dtype)

    def of_text(self, value: Any, kind: Kind | None = None) -> Tensor:
        """g (B, E) of what is said; NaN in a row of which nothing is.

        Arguments:
            value: a text or a list of texts, a class or rows of them: as the condition may be given.
            kind: the condition that rows of tokens are of, where it is another than that of the CLIP.

        Raises:
            InputError: a value that is none of the condition.
        """
        if isinstance(value, Tensor) and kind is not None:
            value = retold(value, kind, self.kind, self.condition)
        value = self.kind.rows(self.condition, value, _rows(value, self.kind)).to(device_of(self))
        return torch.where(self.kind.absent(value)[:, None], math.nan, self.read(value))

    def similarity(self, x: Tensor, text: Tensor, t: float | Tensor | None = None) -> Tensor:
        """The cosines f . g (B,) of x, as `of_picture` takes it, and embeddings of text (E,) or (B, E)."""
        return (self.of_picture(x, t) * text.to(x.dtype)).sum(1)

    def read(self, value: Tensor) -> Tensor:
        """g (B, E) of rows of the condition, of which none is missing."""
        return F.normalize(self.bare.reader(value), dim=1, eps=TINY)


class Clip(Pairing):
    """Two encoders, of pictures and of what is said of them, whose answers have length 1:

        f(x_t, t) = net(x / n, c) / |net|,    g(y) = reader(y) / |reader|,    s = exp(log_scale) f . g

    Trained by `objectives.Contrastive` it has s(x_t, y) = log p(x_t, y) / (p(x_t) p(y)) + const at its best, up to what
    the angle between two vectors can say: what `guidance.ClipGuided` follows.  As a `NoisyClassifier` its network
    knows time as c = log(sigma / alpha) only.

    Radford et al. (2021), CLIP, arXiv 2103.00020; of noised pictures Nichol et al. (2021), GLIDE, arXiv 2112.10741,
    section 2.3.

    Arguments:
        net: net(x, c), x (B, *shape) and c (B,), gives (B, E): a `nets.Encoder` with zeros=False, or one's own.
        reader: a `nets.Reader` of E outputs, which knows the condition's `name` and its `kind`.
        sde: what makes x_t.
        noise: whether it is of x_t at any t; False: of clean pictures alone, which it takes as they are at t_min.

    Raises:
        InputError: encoders of two sizes; when it is called, an answer of another shape, or a t without `noise`.
    """

    def __init__(self, net: nn.Module, reader: nn.Module, sde: SDE, noise: bool = False):
        super().__init__()
        if getattr(net, "outputs", reader.outputs) != reader.outputs:
            raise InputError(f"the network has {net.outputs} outputs and the reader {reader.outputs}: give as many")
        self.net, self.reader, self.sde, self.noise = net, reader, sde, noise
        self.log_scale = nn.Parameter(torch.tensor(math.log(WARM)))

    @property
    def bare(self) -> "Clip":
        return self

    @property
    def conditions(self) -> Mapping[str, Kind]:
        """The condition, by its name."""
        return {self.condition: self.kind}

    def forward(self, x: Tensor, t: float | Tensor, cond: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Both embeddings.

        Arguments:
            x: (B, *shape).
            t: a number, () or (B,), which a CLIP of clean pictures does not look at.
            cond: the condition by its name, of which no row is missing.

        Returns:
            f (B, E) and g (B, E).
        """
        return self.of_picture(x, t if self.noise else None), self.read(cond[self.condition])


class TrainedClip(Known, Pairing):
    """A trained `Clip`, which answers as that does, with what it knows of its data (`Known`).

    Arguments:
        clip: is put into evaluation mode, without gradients.
        facts, step: as in `Model`.
    """

    def __init__(self, clip: Clip, facts: Mapping[str, Any], step: int):
        super().__init__()
        self.clip = clip.eval().requires_grad_(False)
        self.know(facts, step)
        self.eval()

    @property
    def bare(self) -> Clip:
        return self.clip

    @property
    def sde(self) -> SDE:
        """Of x_t."""
        return self.clip.sde

    @property
    def noise(self) -> bool:
        """Whether it is of noised pictures."""
        return self.clip.noise


def _rows(value: Any, kind: Kind) -> int:
    """How many rows a value has."""
    if isinstance(value, str):
        return 1
    several = isinstance(value, list | tuple) and any(isinstance(v, str) for v in value)
    whole = several or np.ndim(value) == kind.missing(1).ndim
    return len(value) if whole else 1

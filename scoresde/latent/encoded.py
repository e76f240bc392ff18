"""The latents of some items, made when they are asked for."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..data import Data, stack
from ..data.rows import Rows
from ..denoiser import device_of
from ..model import TrainedAutoencoder
from ..noise import Stream, normal

BATCH = 256  # items that are looked at at once


class Encoded(Rows):
    """z ~ q(z | x) of items x, by (seed, number); the mean without a seed.

    Arguments:
        items: of `data`, the first of which has the number `start`.
        data, model: what encodes x, and the autoencoder.
        seed, start: of the noise.
        cond: what they come with.
    """

    def __init__(
        self,
        items: Dataset,
        data: Data,
        model: TrainedAutoencoder,
        seed: int | None,
        start: int,
        cond: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.items, self.data, self.model, self.seed, self.start = items, data, model, seed, start
        self.cond = dict(cond or {})

    def __len__(self) -> int:
        return len(self.items)

    @torch.no_grad()
    def rows(self, index: np.ndarray) -> Tensor:
        device, shape, found = device_of(self.model), self.model.latent_shape, []
        for some in torch.from_numpy(np.asarray(index)).split(BATCH):
            x, eps = self.data.encode(stack(self.items, some)).to(device), None
            if self.seed is not None:
                like = torch.empty(len(some), *shape, device=device)
                eps = normal(like, (self.start + some).to(device), self.seed, *Stream.LATENT())
            found.append(self.model.compress(x, eps).float().cpu())
        return torch.cat(found) if found else torch.empty(0, *shape)

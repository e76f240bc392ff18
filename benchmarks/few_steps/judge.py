"""The Frechet distance of digits as task=evaluate has it, within one process."""

from pathlib import Path

import torch
from torch import Tensor

import scoresde
from scoresde import metrics
from scoresde.data import Data, stack
from scoresde.metrics import features
from scoresde.model import checkpoint


class Judge:
    """The features of a classifier, of samples and of the held-out items.

    Arguments:
        data: with labels; one half of its training items trains the classifier.
        kept: a file of one that task=evaluate has kept, out/features/DATA/classifier32-HASH.pt; None: it is trained.
    """

    def __init__(self, data: Data, kept: Path | None = None):
        self.data = data
        self.held = data.encode(stack(data.test, range(len(data.test))))
        if kept is not None:
            self.extractor = features.restore(checkpoint.load(kept))
        else:
            index = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[: len(data.train) // 2]
            x, held = data.encode(stack(data.train, index)), (self.held, data.labels[1])
            self.extractor = metrics.Learned.fit(x, data.labels[0][index], held)
        self.real = self.extractor(self.held)

    def __call__(self, raw: Tensor) -> metrics.Estimate:
        """Of samples in the data's own values."""
        return metrics.frechet(self.extractor(self.data.encode(raw)), self.real)


def words(found: metrics.Estimate) -> str:
    """The value with its 95 % interval."""
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def drawn(model: scoresde.Model, sampler: scoresde.sampling.Sampler, n: int, seed: int = 0) -> Tensor:
    """n samples in the data's own values."""
    return model.generate(n, sampler, seed, batch_size=256, progress=False)

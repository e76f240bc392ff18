"""What the samples of every family are measured by, beside the floor of real digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scoresde import metrics
from scoresde.data import Data, stack
from scoresde.metrics import features
from scoresde.model import checkpoint

STEPS, WIDTH, SEED = 800, 32, 0  # of the extractor: those of task=evaluate
FIGURES = ("frechet", "precision", "recall", "c2st", "memorisation")


@dataclass(frozen=True)
class Judge:
    """The extractor, a classifier trained on one half of the training items, and the real data as it sees it.

    test: features (m, D) of the held-out items; `unseen`: the training items (raw) that the extractor was not trained
    on; `held`: distances of the held-out items to their nearest training items.
    """

    extractor: metrics.Learned
    data: Data
    test: Tensor
    held: Tensor
    unseen: Tensor

    @classmethod
    def of(cls, data: Data, path: Path) -> Judge:
        """The judge of a data set with labels, its extractor kept in the file `path`."""
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(SEED))
        half = len(order) // 2
        items = lambda part, index: data.encode(stack(part, index))
        test = items(data.test, range(len(data.test)))
        if path.exists():
            extractor = features.restore(checkpoint.load(path))
        else:
            x, y = items(data.train, order[:half]), data.labels[0][order[:half]]
            extractor = metrics.Learned.fit(x, y, (test, data.labels[1]), STEPS, WIDTH, SEED)
            checkpoint.save(path, {"step": STEPS, **extractor.state()})
        held = metrics.nearest(test, items(data.train, range(len(data.train))))[:, 0]
        return cls(extractor, data, extractor(test), held, stack(data.train, order[half:]))

    def figures(self, raw: Tensor, floor: bool = False) -> dict[str, float]:
        """The figures of samples (n, *shape) in the data's own values; `floor` for real items.

        frechet: of the features, its bias of order 1/n out; precision, recall: k = 5; c2st, c2st_p: how often a
        classifier tells samples from held-out items, pixels as they are; classes: those with at least half of their
        share among the held-out items, both as the extractor's classifier reads them; least: the smallest share in
        units of its own there; shares: the total variation between them; memorisation: the chance to be nearer to the
        training items than held-out ones are.
        """
        x = self.data.encode(raw)
        seen, test = self.extractor(x), self.data.encode(stack(self.data.test, range(len(self.data.test))))
        found = {"frechet": metrics.frechet(seen, self.test)} | metrics.neighbours(seen, self.test)
        found["c2st"] = metrics.c2st(x, test)
        if floor:  # real training items are among their own nearest: one half of the held-out against the other
            found["memorisation"] = metrics.memorisation(self.held[::2], self.held[1::2])
        else:
            train = self.data.encode(stack(self.data.train, range(len(self.data.train))))
            found["memorisation"] = metrics.memorisation(metrics.nearest(x, train)[:, 0], self.held)
        out = {name: found[name].value for name in FIGURES}
        out |= {"frechet_low": found["frechet"].low, "frechet_high": found["frechet"].high}
        return out | {"c2st_p": found["c2st"].p_value} | self._classes(x, test)

    def _classes(self, x: Tensor, test: Tensor) -> dict[str, float]:
        shares = []
        for items in (x, test):
            with torch.no_grad():
                read = torch.cat([self.extractor.net(part).argmax(1) for part in items.split(512)])
            shares.append(torch.bincount(read, minlength=self.extractor.classes).double() / len(read))
        own, real = shares
        ratio = own / real.clamp_min(1e-12)
        far = 0.5 * float((own - real).abs().sum())
        return {"classes": int((ratio >= 0.5).sum()), "least": float(ratio.min()), "shares": far}

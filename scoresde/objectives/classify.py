"""A classifier of noisy data, as an objective."""

import copy
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..conditions import Label
from ..data import Batch, Data, collate
from ..errors import InputError
from ..loss import TIMES, DenoisingLoss
from ..making import node_of
from ..model.description import FORMAT, about, parts
from ..model.trained.classifier import NoisyClassifier, TrainedClassifier
from ..sde import SDE, widest
from ..settings import OneOf, Text, checked
from .guards import prepare, refuse_other_conditions
from .own import Own
from .validation import HeldOut

MOST = 512  # items that a validation looks at


def numbers(
    data: Data, loss: DenoisingLoss, sde: SDE, raw: Tensor, size: int, part: slice, dequantise: str
) -> tuple[Tensor, Tensor, Tensor]:
    """x_0, t and eps of the raw items of a `part` of a batch of `size`, drawn for the whole of it."""
    whole, device = (size, *data.shape), raw.device
    u = torch.rand(whole, device=device)[part] if dequantise == "uniform" and data.levels else None
    x0, t = data.encode(raw, u), loss.sample_times(sde, size)
    return x0, t[part], torch.randn(whole, dtype=x0.dtype, device=device)[part]


def noised(sde: SDE, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """x_t, in the widest type of the device."""
    real = widest(x0.device)
    return sde.perturb(x0.to(real), t.to(x0.device, real), eps.to(real))


def held_out(
    data: Data, loss: DenoisingLoss, sde: SDE, name: str, device: torch.device, dequantise: str
) -> HeldOut | None:
    """Those of the first `MOST` test items that have the condition; None where none has."""
    first = range(min(MOST, len(data.test)))
    kind = data.conditions[name]
    gone = kind.absent(collate(data.test, first, [name]).cond[name]) if len(first) else torch.ones(0).bool()
    items = (~gone).nonzero()[:, 0].tolist()
    return HeldOut(data, loss, sde, [name], device, items, dequantise) if items else None


class Classify(Own):
    """The cross-entropy -log p(label | x_t, t) of x_t = alpha x_0 + sigma eps, noise and times drawn afresh each step.

    Rows without a label (-1) do not count: the loss is the mean over the others of the whole batch.  Each validation
    gives the loss on up to 512 labelled test items, and the `accuracy` of the likeliest class at the least noise, both
    also by level: as `Validation`, in 8 bins of the times.

    Song et al. (2021), arXiv 2011.13456, appendix I; Dhariwal, Nichol (2021), arXiv 2105.05233.

    Arguments:
        classifier: its weights are where training starts; a trained one is trained further, a copy.
        data: with a label for its items.
        condition: the label's name.
        times: where t is drawn, as in `DenoisingLoss`; not `Adaptive`, which follows the errors of a denoiser.  The
            default is uniform in c = log(sigma / alpha): guidance adds sigma^2 / alpha grad log p to D, which along the
            flow weighs the classifier's gradient alike at all high c.
        dequantise: of data with levels: "uniform" within the bin, or "none", its middle.

    Raises:
        InputError: data without that label, a classifier of another number of classes, and times that learn.
    """

    @checked
    def __init__(
        self,
        classifier: NoisyClassifier | TrainedClassifier,
        data: Data,
        condition: Text = "label",
        times: Annotated[str, OneOf(TIMES)] | Callable = "log_snr",
        dequantise: Literal["uniform", "none"] = "uniform",
    ):
        super().__init__()
        if isinstance(classifier, TrainedClassifier):
            classifier = copy.deepcopy(classifier.classifier).requires_grad_(True)
        if isinstance(times, nn.Module):
            raise InputError(f"times={type(times).__name__} learns from a denoiser's errors: give another", "times")
        refuse_other_conditions({condition: Label(1)}, data)
        classifier.name_classes(data.conditions[condition])
        self.product, self.data, self.takes = classifier, data, (condition,)
        self.condition, self.loss, self.dequantise = condition, DenoisingLoss(times=times), dequantise
        self.add_up: Callable[[Tensor], Any] | None = None
        self.held_out: HeldOut | None = None

    def draw(self, batch: Batch, size: int, part: slice, turn: str = "") -> tuple:
        x0, t, eps = numbers(self.data, self.loss, self.product.sde, batch.x, size, part, self.dequantise)
        label = batch.cond[self.condition]
        labelled = (label >= 0).sum()
        if self.add_up is not None:
            self.add_up(labelled)
        return x0, t, eps, label, size / labelled.clamp_min(1)

    def forward(self, drawn: tuple, turn: str = "") -> Tensor:
        x0, t, eps, label, weight = drawn
        return weight * self._entropy(self.product(noised(self.product.sde, x0, t, eps), t), label)

    @staticmethod
    def _entropy(logits: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(logits, label, ignore_index=-1, reduction="none")

    def several(self, add_up):
        self.add_up = add_up

    def begin(self, device):
        prepare(self.product, self.data)
        self.held_out = held_out(self.data, self.loss, self.product.sde, self.condition, device, self.dequantise)

    def check(self, average: NoisyClassifier) -> dict[str, Any]:
        if self.held_out is None:  # no test item has a label
            return {}

        def rows(x0: Tensor, t: Tensor, eps: Tensor, cond: dict) -> Tensor:
            label, logits = cond[self.condition], average(noised(average.sde, x0, t, eps), t)
            least = torch.full_like(t, self.loss.start(average.sde))
            right = (average(noised(average.sde, x0, least, eps), least).argmax(1) == label, logits.argmax(1) == label)
            return torch.stack([self._entropy(logits, label), *(r.to(logits.dtype) for r in right)], 1)

        entropy, clean, right = self.held_out.rows(rows).unbind(1)
        by_level = self.held_out.by_level
        figures = {"validation": float(entropy.mean()), "accuracy": float(clean.mean())}
        return figures | {"validation_by_level": by_level(entropy), "accuracy_by_level": by_level(right)}

    def describe(self):
        loss = {"condition": self.condition, "times": node_of(self.loss.times), "dequantise": self.dequantise}
        label = node_of(self.product.label)
        known = {"format": FORMAT, "kind": "classifier", **parts(self.product), "label": label, "loss": loss}
        return known | {"data": about(self.data, self.takes)}

    def made(self, average: NoisyClassifier, step: int) -> TrainedClassifier:
        return TrainedClassifier(average, self.facts, step)

"""A classifier of noisy data."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...answers import answered
from ...conditions import Label
from ...denoiser.base import rows
from ...errors import InputError
from ...sde import SDE, as_time, expand
from .known import Known


def seen(net: nn.Module, sde: SDE, x: Tensor, t: float | Tensor) -> Tensor:
    """net(x / n, c) of x_t (B, *shape), in the network's own floating type, with n^2 = alpha^2 + sigma^2 and c =
    log(sigma / alpha), its only notion of time."""
    dtype = next((p.dtype for p in net.parameters() if p.is_floating_point()), x.dtype)
    alpha, sigma = sde.marginal(t)
    c = rows(-sde.log_snr(as_time(t)) / 2, x, torch.promote_types(dtype, torch.float32))
    return net((expand((alpha**2 + sigma**2) ** -0.5, x) * x).to(dtype), c)


class NoisyClassifier(nn.Module):
    """p(label | x_t = x) by its logits (B, classes):

        logits = net(x / n, c),    c = log(sigma / alpha),    n^2 = alpha^2 + sigma^2

    As of a denoiser c is the network's only notion of time, and it sees its own floating type; the logits have the type
    of x.  It is what `guidance.ClassifierGuided` takes.

    Song et al. (2021), arXiv 2011.13456, appendix I; Dhariwal, Nichol (2021), arXiv 2105.05233.

    Arguments:
        net: net(x, c), x (B, *shape) and c (B,), gives (B, classes): a `nets.Encoder`, or one's own.
        sde: what makes x_t.
        label: the classes, and their names; None: those of the data that it is trained on.

    Raises:
        InputError: a label of other classes than the network's; when it is called, an answer of another shape.
    """

    def __init__(self, net: nn.Module, sde: SDE, label: Label | None = None):
        super().__init__()
        self.net, self.sde, self.label = net, sde, None
        if label is not None:
            self.name_classes(label)

    def name_classes(self, label: Label) -> None:
        """Takes the classes of data from its label, if it has none yet.  Raises `InputError` where they are others."""
        outputs = getattr(self.net, "outputs", label.classes) if self.label is None else self.label.classes
        if outputs != label.classes:
            words = f"the classifier has {outputs} classes and the label {label.classes}"
            raise InputError(f"{words}: make its network with outputs={label.classes}")
        self.label = self.label or label

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The logits (B, classes) at x (B, *shape) and t, a number, () or (B,)."""
        logits = seen(self.net, self.sde, x, t)
        classes = self.label.classes if self.label else logits.shape[-1] if isinstance(logits, Tensor) else "classes"
        return answered(logits, (len(x), classes), f"the network {type(self.net).__name__}").to(x.dtype)

    def log_prob(self, x: Tensor, t: float | Tensor) -> Tensor:
        """log p(label | x_t = x) of every class (B, classes), at x (B, *shape) and t, a number, () or (B,)."""
        return self(x, t).log_softmax(1)


class TrainedClassifier(Known, nn.Module):
    """A trained `NoisyClassifier`, which answers as that does, with what it knows of its data (`Known`).

    Arguments:
        classifier: is put into evaluation mode, without gradients.
        facts, step: as in `Model`.
    """

    def __init__(self, classifier: NoisyClassifier, facts: Mapping[str, Any], step: int):
        super().__init__()
        self.classifier = classifier.eval().requires_grad_(False)
        self.know(facts, step)
        self.eval()

    @property
    def bare(self) -> NoisyClassifier:
        return self.classifier

    @property
    def sde(self) -> SDE:
        """Of x_t."""
        return self.classifier.sde

    @property
    def label(self) -> Label:
        """The classes."""
        return self.classifier.label

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The logits (B, classes) at x (B, *shape) and t, a number, () or (B,)."""
        return self.classifier(x, t)

    def log_prob(self, x: Tensor, t: float | Tensor) -> Tensor:
        """log p(label | x_t = x) of every class (B, classes), at x (B, *shape) and t, a number, () or (B,)."""
        return self.classifier.log_prob(x, t)

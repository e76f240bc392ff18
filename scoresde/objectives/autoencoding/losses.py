"""How far a picture is from its reconstruction."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ...errors import InputError
from ...model.trained.classifier import NoisyClassifier, TrainedClassifier
from ...nets import Encoder

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": lambda x, y: (x - y).abs().flatten(1).mean(1),
    "l2": lambda x, y: (x - y).square().flatten(1).mean(1),
}


class Perceptual(nn.Module):
    """The distance of two pictures in features f_l of a network that was trained for something else:

        sum_l mean over positions of sum_c w_lc (f_l(x)_c / |f_l(x)| - f_l(y)_c / |f_l(y)|)^2,    norms over channels c

    Zhang, Isola, Efros, Shechtman, Wang (2018), arXiv 1801.03924, there of ImageNet's networks and with weights w_l
    that were fitted to people's answers (`lpips`); here of the data's own classifier by default, and w = 1.

    Arguments:
        features: gives maps (B, C_l, *space_l), a list, of x (B, *shape); or a `TrainedClassifier` of a `nets.Encoder`,
            whose blocks' answers at the least noise they are.  It is frozen.
        weights: w_l (C_l,) of each map; None: all 1.

    Raises:
        InputError: a classifier of another network.
    """

    def __init__(
        self,
        features: Callable[[Tensor], Sequence[Tensor]] | TrainedClassifier | NoisyClassifier,
        weights: Sequence[Tensor] | None = None,
    ):
        super().__init__()
        self.layers = 0 if weights is None else len(weights)
        for layer, weight in enumerate(weights or ()):
            self.register_buffer(f"weight{layer}", weight.detach().clone(), persistent=False)
        if isinstance(features, TrainedClassifier | NoisyClassifier):
            features = _Maps(features)
        self.features = features
        if isinstance(features, nn.Module):
            features.eval().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance of x and y (B, *shape), each row's (B,)."""
        found = 0.0
        for layer, (a, b) in enumerate(zip(self.features(x), self.features(y), strict=True)):
            far = (nn.functional.normalize(a, dim=1) - nn.functional.normalize(b, dim=1)).square().flatten(2)
            weight = getattr(self, f"weight{layer}")[:, None] if self.layers else 1.0
            found = found + (weight * far).sum(1).mean(1)
        return found


class _Maps(nn.Module):
    """The answers of a classifier's blocks."""

    def __init__(self, classifier: TrainedClassifier | NoisyClassifier):
        super().__init__()
        self.classifier = getattr(classifier, "bare", classifier)
        if not isinstance(self.classifier.net, Encoder) or len(self.classifier.net.shape) < 2:
            words = "give one of a nets.Encoder of pictures (task=classifier)"
            raise InputError(f"a classifier of {type(self.classifier.net).__name__} has no maps: {words}", "perceptual")

    def forward(self, x: Tensor) -> list[Tensor]:
        sde = self.classifier.sde
        alpha, sigma = (float(part) for part in sde.marginal(sde.t_min))
        c = x.new_full((len(x),), math.log(sigma / alpha))
        return self.classifier.net.maps(x / math.hypot(alpha, sigma), c)

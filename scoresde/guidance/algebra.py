"""Models multiplied, and divided by one another."""

from collections.abc import Sequence

from torch import nn

from ..denoiser import Denoiser, weigh
from ..errors import InputError
from ..settings import brief, checked
from .base import Steered, known_to, merged, same_sde


class Product(Steered):
    """The product of experts prod_i p_i^w_i, by the sum of their scores, sum_i w_i score_i.  As D:

        D = x / alpha + sum_i w_i (D_i - x / alpha)

    A model with a negative weight is divided by: Product([a, b], [1.0, -0.5]) keeps away from what b has.  At each time
    this is the score of the product of the noisy densities, which is not the product with noise added: the samples are
    near prod_i p_i^w_i, not exactly of it.  Weights with a sum of 1 leave pure noise as it is; with a larger sum the
    samplers begin with more noise than such a product has.

    Hinton (2002), Training Products of Experts; Liu et al. (2022), arXiv 2206.01714; Du et al. (2023), arXiv
    2302.11552, who say when it fails.

    Arguments:
        denoisers: models of one SDE and one shape; each is told those of the given conditions that it knows.
        weights: w_i, finite numbers; 1 for all by default.

    Raises:
        InputError: no models, another number of weights, models of two SDEs or bound to two numbers of samples, and
            conditions of one name and two kinds.
    """

    rowed = ("others",)

    @checked
    def __init__(self, denoisers: Sequence[Denoiser], weights: Sequence[float] | None = None):
        if not len(denoisers):
            raise InputError("denoisers=[]: give one or more", "denoisers")
        first, *others = denoisers
        super().__init__(first)
        self.weights = (1.0,) * len(denoisers) if weights is None else tuple(map(float, weights))
        if len(self.weights) != len(denoisers):
            words = f"give one for each of {len(denoisers)} models"
            raise InputError(f"weights={brief(weights)}: {words}", "weights")
        self.others = nn.ModuleList(others)
        self.conditions = merged(denoisers)
        for i, other in enumerate(others, 1):
            same_sde(first, other, f"denoisers[{i}]")
            self.holds(f"denoisers[{i}]", other.bound)

    def forward(self, x, t, cond=None):
        alpha, _ = self._level(t)
        experts = (self.denoiser, *self.others)
        total = sum(w * d(x, t, known_to(d, cond)) for w, d in zip(self.weights, experts, strict=True))
        return weigh((1 - sum(self.weights)) / alpha, x, 1.0, total)

"""Sliced score matching on noised data."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from ..data import Batch, Data
from ..denoiser import Denoiser
from ..errors import InputError
from ..loss import DenoisingLoss
from ..making import recorded
from ..sde import expand, widest
from ..settings import Range
from .denoising import Denoising


class Sliced(Denoising):
    """Score matching that is never told the noise: of x_t alone, by random projections u of covariance I:

        J = w sigma^4 / alpha^2 (2 u^T (ds/dx) u + |s|^2 + n / sigma^2) / n,    s = score(x_t, t)
          = w (2 sigma^2 / alpha u^T (dD/dx) u + |D - x_t / alpha|^2 - n sigma^2 / alpha^2) / n,    D = D(x_t, t)

    of n dimensions: the variance-reduced form, |s|^2 for (u^T s)^2, scaled so that E J = E w |D - x_0|^2 / n.  The
    denoising loss has that expectation and a smaller variance, as it knows x_0.  The second line is Stein's unbiased
    estimate of that error.  With w = alpha^2 / sigma^2 ("simple") its noise is of one size at all levels; with another
    it grows as w sigma^2 / alpha^2.  Each step takes a product with the Jacobian, and its gradient.

    Song, Garg, Shi, Ermon (2019), Sliced Score Matching, arXiv 1905.07088; Stein (1981); Hyvaerinen (2005).

    Arguments:
        denoiser, data, dequantise: as in `Denoising`.
        loss: its weight and times.
        slices: projections of each row.
        projections: "rademacher", signs, or "gaussian".

    Raises:
        InputError: settings out of range; a control variate, or times that learn from the denoising loss.
    """

    @recorded
    def __init__(
        self,
        denoiser: Denoiser,
        loss: DenoisingLoss,
        data: Data,
        dequantise: str = "uniform",
        slices: Annotated[int, Range(1, 1000)] = 1,
        projections: Literal["rademacher", "gaussian"] = "rademacher",
    ):
        super().__init__(denoiser, loss, data, dequantise)
        if loss.control is not None or self.times is not None:
            words = "sliced score matching knows no noise: give control=None, and times that do not learn from it"
            raise InputError(f"loss={type(loss).__name__}: {words}", "loss")
        self.slices, self.projections = slices, projections

    def draw(self, batch: Batch, size: int, part: slice, turn: str = "") -> tuple:
        x0, t, eps, cond = super().draw(batch, size, part, turn)
        u = torch.randn(self.slices, size, *self.data.shape, dtype=x0.dtype, device=x0.device)[:, part]
        return x0, t, eps, cond, u.sign() if self.projections == "rademacher" else u

    def forward(self, drawn: tuple, turn: str = "") -> Tensor:
        x0, t, eps, cond, u = drawn
        sde, real = self.product.sde, widest(x0.device)
        t = t.to(x0.device, real)
        x = sde.perturb(x0.to(real), t, eps.to(real)).requires_grad_()
        alpha, sigma = sde.marginal(t)
        mean = self.product(x, t, cond)
        away = (mean - x / expand(alpha, x)).square().flatten(1).sum(1)
        slope = sum(self._slope(mean, x, v.to(real)) for v in u) / self.slices
        sum_of = 2 * sigma**2 / alpha * slope + away - x[0].numel() * (sigma / alpha) ** 2
        return self.loss.weight_at(sde, t) * sum_of / x[0].numel()

    @staticmethod
    def _slope(mean: Tensor, x: Tensor, u: Tensor) -> Tensor:
        """u^T (dD/dx) u of each row, (B,)."""
        (product,) = torch.autograd.grad(mean, x, u, create_graph=True)
        return (product * u).flatten(1).sum(1)

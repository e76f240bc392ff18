"""One jump of a few-step model as a function of the rows of z, with its Jacobian."""

import torch
from torch import Tensor

from ...denoiser import Denoiser, jumped
from ...sde import Marginal
from ..divergence import _products, basis


class Jumping:
    """z_s of z_t, z = x / n, of some of the rows of a model; counts the evaluations of each.

    Arguments:
        denoiser: the model, its conditions bound, in double precision where there is any.
        t, s: where the jump begins and lands.
        nfe: evaluations so far (B,), which are added to.
    """

    def __init__(self, denoiser: Denoiser, t: Marginal, s: Marginal, nfe: Tensor):
        self.denoiser, self.t, self.s, self.nfe = denoiser, t, s, nfe

    def at(self, phi: float) -> "Jumping":
        """The jump to the same end that begins at an angle between the two."""
        sde = self.denoiser.sde
        t = sde.at(float(sde.time(-2 * torch.tensor(phi, dtype=torch.float64).tan().log())))
        return Jumping(self.denoiser, t, self.s, self.nfe)

    def __call__(self, z: Tensor, rows: Tensor, count: bool = True) -> Tensor:
        """z_s (b, *shape) of z (b, *shape), those of the rows (b,) by number."""
        if count:
            self.nfe[rows] += 1
        model, x = self.denoiser.select(rows), self.t.n * z
        return jumped(model.sde, x, model.landing(x, self.t, self.s), self.t, self.s) / self.s.n

    def jacobian(self, z: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """z_s (b, *shape) and dz_s / dz (b, D, D), by D products through one evaluation."""
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            value = self(leaf, rows)
            products = [_products(value, leaf, e, False).flatten(2) for e in basis(leaf, 64)]
        return value.detach(), torch.cat(products).permute(1, 0, 2).detach()

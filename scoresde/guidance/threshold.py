"""Predictions that stay in the range of the data, however strongly they are guided."""

import math

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import InputError
from ..settings import Fraction, checked
from .base import Steered, per_row


class Thresholded(Steered):
    """D clamped to [low, high], the range of the data; with a `quantile`, by dynamic thresholding:

        D' = c + h / s clamp(D - c, -s, s),    s = max(h, the quantile of |D - c| over the numbers of a row)

    with c and h the centre and half the width of the range: a prediction within it stays as it is, and one that is
    saturated comes back as a whole.  Put it around the guidance: Thresholded(Guided(model, 7.5), quantile=0.995).

    Saharia et al. (2022), Imagen, arXiv 2205.11487, section 2.3.

    Arguments:
        denoiser: a model, guided or not.
        low, high: the range, in the model's space.
        quantile: from 0 to 1, 0.995 say; None: D is clamped as it is.

    Raises:
        InputError: low >= high.
    """

    @checked
    def __init__(self, denoiser: Denoiser, low: float = -1.0, high: float = 1.0, quantile: Fraction | None = None):
        super().__init__(denoiser)
        if not low < high:
            raise InputError(f"low={low!r}, high={high!r}: give low below high", "low")
        self.low, self.high, self.quantile = low, high, quantile

    def forward(self, x, t, cond=None):
        x0 = self.denoiser(x, t, cond)
        if self.quantile is None:
            return x0.clamp(self.low, self.high)
        centre, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        away = x0 - centre
        s = _quantile(away.flatten(1).abs(), self.quantile)
        shrunk = centre + torch.clamp(away, -per_row(s, x0), per_row(s, x0)) * per_row(half / s, x0)
        return torch.where(per_row(s <= half, x0), x0.clamp(self.low, self.high), shrunk)


def _quantile(rows: Tensor, q: float) -> Tensor:
    """That of each row (B, D), linear between its numbers; torch.quantile takes no more than 2^24 of them in all."""
    place = q * (rows.shape[1] - 1)
    low, high = math.floor(place), math.ceil(place)
    values = [rows.kthvalue(k + 1, dim=1).values for k in (low, high)]
    return torch.lerp(*values, place - low)

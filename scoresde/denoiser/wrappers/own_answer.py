"""A denoiser that is told its own last answer."""

from torch import Tensor

from ...conditions import Estimate
from ..base import Denoiser, Wrapped


class SelfConditioned(Wrapped):
    """D(x, t, its last answer), of a model that was trained to be told one: row by row, at the first call none.

    It is a function of x, t and what was asked before, so that it is made anew for each batch of a sampling.  Rows that
    leave the batch (`select`), as those of adaptive solvers do, are told no estimate: D(x, t) alone.

    Chen, Zhang, Hinton (2022), Analog Bits, arXiv 2208.04202.

    Arguments:
        denoiser: one that takes an `Estimate`.
    """

    def __init__(self, denoiser: Denoiser):
        super().__init__(denoiser)
        self.name, self.kind = next((k, v) for k, v in denoiser.made.items() if isinstance(v, Estimate))
        self.last: Tensor | None = None

    def forward(self, x, t, cond=None):
        fits = self.last is not None and len(self.last) == len(x)
        last = self.last if fits else self.kind.missing(len(x), x.device).to(x.dtype)
        x0 = self.denoiser(x, t, {**(cond or {}), self.name: last})
        self.last = self.kind.told(x0)
        return x0

    landing = Denoiser.landing

    def select(self, rows):
        return self.denoiser.select(rows)


def self_conditioned(denoiser: Denoiser) -> Denoiser:
    """A denoiser that is told its own last answer, if it was trained for that; otherwise itself."""
    takes = any(isinstance(kind, Estimate) for kind in denoiser.made.values())
    return SelfConditioned(denoiser) if takes else denoiser

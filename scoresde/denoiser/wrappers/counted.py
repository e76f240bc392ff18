"""A denoiser that counts what it is asked."""

from collections.abc import Callable

from torch import Tensor

from ..base import Denoiser, Wrapped


class Tally:
    """What `Counted` counts."""

    calls, rows, x0 = 0, 0, None


class Counted(Wrapped):
    """A denoiser that counts: `calls` of the network, `rows` given to it, and `x0`, its latest answer.

    Arguments:
        denoiser: the one that is counted; what is selected from this adds to the same counts.
        on_call: on_call(counted) runs after every call (a progress bar, say).
    """

    def __init__(self, denoiser: Denoiser, on_call: Callable[["Counted"], None] | None = None):
        super().__init__(denoiser)
        self.on_call, self.tally = on_call, Tally()  # one for all that are selected from it

    @property
    def calls(self) -> int:
        """How often the denoiser was called."""
        return self.tally.calls

    @property
    def rows(self) -> int:
        """How many rows it was given, in all calls."""
        return self.tally.rows

    @property
    def x0(self) -> Tensor | None:
        """Its latest answer (B, *shape); None before the first."""
        return self.tally.x0

    def forward(self, x, t, cond=None):
        return self._count(self.denoiser(x, t, cond))

    def with_variance(self, x, t, cond=None):
        x0, v = self.denoiser.with_variance(x, t, cond)
        return self._count(x0), v

    def landing(self, x, t, s, cond=None):
        return self._count(self.denoiser.landing(x, t, s, cond))

    def log_posterior(self, x0, x, t, cond=None):
        found = self.denoiser.log_posterior(x0, x, t, cond)
        if found is not None:
            self._add(len(x))
        return found

    def beside(self, other):
        """The other model, counted together with this one."""
        counted = Counted(self.denoiser.beside(other), self.on_call)
        counted.tally = self.tally
        return counted

    def _count(self, x0: Tensor) -> Tensor:
        self.tally.x0 = x0
        self._add(len(x0))
        return x0

    def _add(self, rows: int) -> None:
        self.tally.calls += 1
        self.tally.rows += rows
        if self.on_call is not None:
            self.on_call(self)

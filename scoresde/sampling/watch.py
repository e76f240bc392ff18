"""How far a sampling is: the samples done, and how much of their way those under way have behind them."""

import contextlib
import time
from collections.abc import Iterator, Sequence

from torch import Tensor

from ..denoiser import Denoiser, Wrapped
from ..machine.progress import Advance, fewer, shown
from ..sde import SDE, as_time

SLOW = 0.05  # of its way, where an adaptive solver still looks for the size of its steps
PAUSE = 0.25  # seconds between two looks at the times of an adaptive solver: reading them waits for the device


class Watch:
    """Counts the samples of one process, chunk by chunk, and tells `report(done, words)` how many of n there are.

    Of the chunk under way `share` is the part of its way that it has behind it.
    """

    def __init__(self, n: int, report: Advance):
        self.n, self.report = n, report
        self.finished, self.rows, self.share, self.looked = 0, 0, 0.0, 0.0

    def over(self, rows: int) -> None:
        """Begins a chunk of so many rows, or begins it again."""
        self.rows, self.share = rows, 0.0

    def at(self, share: float, least: float = 0.0) -> None:
        """Notes the part of its way that the chunk has behind it, which never goes back; less than `least` of it says
        nothing of the pace."""
        self.share = max(self.share, share)
        self.report(self.finished + (self.share if self.share > least else 0) * self.rows, self.words)

    def done(self) -> None:
        """Ends the chunk."""
        self.finished, self.rows, self.share = self.finished + self.rows, 0, 0.0
        self.report(self.finished, self.words)

    def words(self) -> str:
        """So many of n samples, and how far the next ones are."""
        more = f", {100 * self.share:.0f} % of the next {self.rows}" if self.rows else ""
        return f"{self.finished} of {self.n} samples{more}"

    def look(self, sde: SDE, t: float | Tensor, asking: int, times: Sequence[float]) -> None:
        """Notes the angles that are left to the rows that an adaptive solver still asks for, now and then."""
        now = time.perf_counter()
        if now - self.looked > PAUSE:
            self.looked = now
            first, last = (float(sde.angle(end)) for end in (times[0], times[-1]))
            left = (sde.angle(as_time(t)).expand(asking) - last) / (first - last)
            self.at(min(1 - float(left.clamp(0, 1).sum()) / self.rows, 0.999), SLOW)


class Asked(Wrapped):
    """A denoiser that tells a `Watch` at which times an adaptive solver asks it."""

    def __init__(self, denoiser: Denoiser, watch: Watch, times: Sequence[float]):
        super().__init__(denoiser)
        self.watch, self.times = watch, times

    def forward(self, x, t, cond=None):
        self.watch.look(self.sde, t, len(x), self.times)
        return self.denoiser(x, t, cond)


@contextlib.contextmanager
def watched(progress: bool | Advance, rank: int, n: int, steps: int) -> Iterator[Watch | None]:
    """A `Watch` of n samples that moves a bar of its own (True: on the first process) or the one given; None for False.

    Raises `InputError` for anything else.
    """
    more = "fewer steps, or another sampler, take less" if steps > 20 else ""
    with shown(progress, "sampling", n, shorter=fewer("n=", n, more), lead=rank == 0) as advance:
        yield Watch(n, advance) if advance else None

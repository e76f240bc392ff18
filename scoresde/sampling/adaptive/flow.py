"""The probability flow with adaptive steps."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ... import ode
from ...likelihood import flow_velocity
from ...sde import widest
from ...settings import Count, OneOf, Positive
from ..loop import Placing, Sampler, Steps


@dataclass(frozen=True)
class ProbabilityFlow(Sampler):
    """Adaptive steps on dz/dphi = v, z = x / n, phi = atan(sigma / alpha); each row has its own steps.

    The flow is the same for every SDE in these variables and needs fewer evaluations than in t.

    Song et al. (2021), arXiv 2011.13456, section 4.3; the methods' own references are in `scoresde.ode`.

    Arguments:
        steps: only sets where the solver reports on its way (for a callback).
        rtol, atol: bound the error, relative to z and absolute.
        method: a name in `scoresde.ode.METHODS`, or a `scoresde.ode.Method`.
        max_nfe: the most evaluations of a row in each of the `steps`; None: no bound.
        on_max_nfe: what becomes of a row that needs more: "error", or "finish" in a few fixed steps with a warning.

    Raises:
        InputError: settings out of range, or too few evaluations to finish.
    """

    steps: Steps = 1
    grid: Placing = "uniform_angle"
    rtol: Positive = 1e-5
    atol: Positive = 1e-5
    method: Annotated[str, OneOf(ode.METHODS)] | ode.Method = "adams"
    max_nfe: Count | None = None
    on_max_nfe: Literal["error", "finish"] = "error"

    def __post_init__(self):
        super().__post_init__()
        ode.check(self.method, self.rtol, self.atol, self.max_nfe, self.on_max_nfe)

    def step(self, denoiser, x, t, s, state, noise):
        real = widest(x.device)
        at, to = denoiser.sde.at(t), denoiser.sde.at(s)
        start, end = (x.new_full((len(x),), end.phi, dtype=real) for end in (at, to))

        def flow(phi, z, rows):
            return (flow_velocity(denoiser.select(rows), z[0], phi),)

        options = {k: getattr(self, k) for k in ("rtol", "atol", "method", "max_nfe", "on_max_nfe")}
        (z,), _ = ode.integrate(flow, (x.to(real) / at.n,), start, end, **options)
        return (to.n * z).to(x.dtype), None

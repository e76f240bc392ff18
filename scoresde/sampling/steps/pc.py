"""Predictor-corrector sampling: a sampler's steps from one noise level to the next, and a corrector's at one level."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from ...errors import InputError
from ...settings import OneOf, Positive, Range, Scale
from ..adaptive.flow import ProbabilityFlow
from ..adaptive.reverse_sde import AdaptiveSDE
from ..adaptive.with_torchsde import ReverseSDE
from ..loop import Placing, Sampler, Steps
from .correctors import CORRECTORS
from .fixed import DDIM, RK4, EDMHeun, Heun, Rosenbrock
from .stochastic import DPMpp2M, DPMpp2MSDE, EulerMaruyama, ExponentialEuler, ReverseDiffusion

# Predictors by name, as functions of the temperature.
PREDICTORS: dict[str, Callable[[float], Sampler]] = {
    "reverse_diffusion": lambda temperature: ReverseDiffusion(temperature=temperature),
    "ancestral": lambda temperature: DDIM(eta=1.0, temperature=temperature),
    "euler_maruyama": lambda temperature: EulerMaruyama(temperature=temperature),
    "exponential": lambda temperature: ExponentialEuler(s_noise=temperature),
    "dpmpp_2m_sde": lambda temperature: DPMpp2MSDE(s_noise=temperature),
    "ddim": lambda _: DDIM(),
    "heun": lambda _: Heun(),
    "edm": lambda _: EDMHeun(),
    "rk4": lambda _: RK4(),
    "rosenbrock": lambda _: Rosenbrock(),
    "dpmpp_2m": lambda _: DPMpp2M(),
    "ode": lambda _: ProbabilityFlow(),
    "adaptive_sde": lambda _: AdaptiveSDE(),
    "sde": lambda _: ReverseSDE(),
}


@dataclass(frozen=True)
class PC(Sampler):
    """Predictor-corrector: steps of a sampler from t to s, and steps of a corrector at one noise level before or after.

    It takes the predictor's evaluations and one for each corrector step.

    Song et al. (2021), arXiv 2011.13456, algorithm 1; "before" as in the authors' code.

    Arguments:
        predictor: a name in `PREDICTORS` or any sampler (its own steps, grid and last step do not count) that does not
            extrapolate along a trajectory.
        corrector: "langevin", "ald", "gibbs", "none", or a function (denoiser, x, u, t, s, noise) -> x at the same time
            u.
        snr: that of `Langevin` and `ALD`.
        batch_norms: that of `Langevin`.
        corrector_steps: how many at a time.
        correct: "before", at the time t, and then the predictor's step from t to s; "after" it, at s.
        between: (low, high) of sigma / alpha where the corrector acts; None: everywhere.
        temperature: scales the noise of a predictor by name.

    Raises:
        InputError: a `between` that does not rise, a predictor that is a PC, or one that takes no corrector, beside
            one; settings out of range.
    """

    steps: Steps = 200
    grid: Placing = "uniform_angle"
    predictor: Annotated[str, OneOf(PREDICTORS)] | Sampler = "reverse_diffusion"
    corrector: Annotated[str, OneOf(CORRECTORS)] | Callable = "langevin"
    snr: Positive = 0.16
    corrector_steps: Annotated[int, Range(0, 10**4)] = 1
    correct: Literal["before", "after"] = "before"
    between: tuple[Scale, Annotated[float, Range(0, math.inf)]] | None = None
    temperature: Scale = 1.0
    batch_norms: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.between is not None and not self.between[0] < self.between[1]:
            raise InputError(f"between={self.between!r}: give two levels of sigma / alpha, the lower first", "between")
        chosen = self._predictor()
        if isinstance(chosen, PC):
            raise InputError(f"predictor={self.predictor!r}: give a name or a Sampler other than PC", "predictor")
        if chosen.memory and self._corrector() is not None:
            raise InputError(f"predictor={chosen} takes no corrector: {chosen.memory}", "predictor")

    def _predictor(self) -> Sampler:
        return PREDICTORS[self.predictor](self.temperature) if isinstance(self.predictor, str) else self.predictor

    def _corrector(self) -> Callable | None:
        if not isinstance(self.corrector, str):
            return self.corrector
        kind = CORRECTORS[self.corrector]
        options = {"langevin": {"snr": self.snr, "batch_norms": self.batch_norms}, "ald": {"snr": self.snr}}
        return None if kind is None else kind(**options.get(self.corrector, {}))

    def begin(self, sde, times):
        predictor = self._predictor()
        return predictor, self._corrector(), predictor.begin(sde, times)

    def step(self, denoiser, x, t, s, state, noise):
        predictor, corrector, past = state or (self._predictor(), self._corrector(), None)

        def corrected(x, u):
            low, high = self.between or (0.0, math.inf)
            at = denoiser.sde.at(u)
            acts = corrector is not None and low <= at.sigma / at.alpha <= high
            for _ in range(self.corrector_steps if acts else 0):
                x = corrector(denoiser, x, u, t, s, noise)
            return x

        if self.correct == "before":
            x = corrected(x, t)
        x, past = predictor.step(denoiser, x, t, s, past, noise)
        return (corrected(x, s) if self.correct == "after" else x), (predictor, corrector, past)

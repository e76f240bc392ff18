"""Every sampler and corrector, with what the laws ask of them: one list for the tests and for the tables in docs/."""

from dataclasses import dataclass, field

from scoresde.ode import METHODS
from scoresde.sampling import (
    DDIM,
    DEIS,
    PC,
    RK4,
    Adams,
    AdaptiveSDE,
    DPMpp,
    DPMpp2M,
    DPMpp2MSDE,
    EDMHeun,
    EulerMaruyama,
    ExponentialEuler,
    GaussianAdams,
    Heun,
    Jump,
    ProbabilityFlow,
    RectifiedAdams,
    ReverseDiffusion,
    ReverseSDE,
    Reversible,
    Rosenbrock,
    Sampler,
    SASolver,
    UniPC,
)


@dataclass(frozen=True)
class Entry:
    """A sampler's class, the settings that make it, its order (weak for noise) and its evaluations a step."""

    kind: type[Sampler]
    order: int
    each: int = 1
    settings: dict = field(default_factory=dict)
    noise: bool = False
    start: int = 0  # evaluations before the first step
    at: int | None = None  # the steps at which the order shows, and the grid
    on: str = "uniform_angle"

    @property
    def steps(self) -> int:
        """The fewer steps of the two at which the order is measured."""
        return self.at or {1: 400, 2: 200}.get(self.order, 100)

    def __call__(self, steps: int, **settings) -> Sampler:
        return self.kind(steps=steps, **{**self.settings, **settings})


RK = {"start": "runge_kutta"}
PLAIN = {"correct": False}
DETERMINISTIC = {
    "euler": Entry(Adams, 1, settings={"order": 1, **PLAIN}, at=800),
    "ddim": Entry(DDIM, 1, at=800),
    "jump": Entry(Jump, 1, at=800),
    "heun": Entry(Heun, 2, 2),
    "edm": Entry(EDMHeun, 2, 2, on="karras"),
    "rosenbrock": Entry(Rosenbrock, 2, 2),
    "reversible": Entry(Reversible, 2, start=1),
    "rk4": Entry(RK4, 4, 4),
    "adams": Entry(Adams, 3),
    "ab2": Entry(Adams, 2, settings={"order": 2, **PLAIN}),
    "ab3": Entry(Adams, 3, settings={"order": 3, **PLAIN, **RK}),
    "ab4": Entry(Adams, 4, settings={"order": 4, **PLAIN, **RK}, at=200),
    "ab5": Entry(Adams, 5, settings={"order": 5, **PLAIN, **RK}),
    "abm2": Entry(Adams, 2, settings={"order": 1}),
    "abm4": Entry(Adams, 4, settings={"order": 3, **RK}, at=200),
    "abm5": Entry(Adams, 5, settings={"order": 4, **RK}),
    "rectified_adams": Entry(RectifiedAdams, 3),
    "rectified_ab4": Entry(RectifiedAdams, 4, settings={"order": 4, **PLAIN, **RK}, at=200),
    "gaussian_adams": Entry(GaussianAdams, 3, settings={"order": 2, "grid": "angle"}, at=200),
    "dpmpp_2m": Entry(DPMpp2M, 2, on="log_snr"),
    "dpmpp_3m": Entry(DPMpp, 3, settings=RK, on="log_snr", at=200),
    "deis": Entry(DEIS, 3, settings=RK, on="log_snr", at=200),
    "unipc2": Entry(UniPC, 3, settings={"order": 2}, on="log_snr"),
    "unipc3": Entry(UniPC, 4, settings={"order": 3, **RK}, on="log_snr", at=400),
}
STOCHASTIC = {
    "euler_maruyama": Entry(EulerMaruyama, 1, noise=True),
    "reverse_diffusion": Entry(ReverseDiffusion, 1, noise=True),
    "ancestral": Entry(DDIM, 1, settings={"eta": 1.0}, noise=True),
    "ddim_half": Entry(DDIM, 1, settings={"eta": 0.5}, noise=True),
    "exponential": Entry(ExponentialEuler, 1, noise=True),
    "edm_churn": Entry(EDMHeun, 2, 2, settings={"s_churn": 20.0}, noise=True, on="karras"),
    "dpmpp_2m_sde": Entry(DPMpp2MSDE, 2, noise=True),
    "sa": Entry(SASolver, 2, settings={"correct": False}, noise=True),
    "pc": Entry(PC, 1, 2, noise=True),
}
ADAPTIVE = {
    **{
        "ode" if method == "adams" else f"ode_{method}": Entry(
            ProbabilityFlow, 5, settings={"rtol": 1e-3, "atol": 1e-3, "method": method}
        )
        for method in METHODS
    },
    "adaptive_sde": Entry(AdaptiveSDE, 1, settings={"rtol": 0.05, "atol": 0.05}, noise=True),
    "sde": Entry(ReverseSDE, 1, settings={"rtol": 0.1, "atol": 0.1}, noise=True),
}
SAMPLERS: dict[str, Entry] = {**DETERMINISTIC, **STOCHASTIC, **ADAPTIVE}
CORRECTORS = ("none", "langevin", "ald", "gibbs")

"""What a visitor may ask for: a sampler by its name, a few samples, a class, a scale."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from .. import sampling as s
from ..pictures.kinds import Kind
from ..settings import Checked, Count, OneOf, Range, Seed

# As `conf/sampler/` has them, but for their steps.  `ode` steps as it likes, and stops where the picture shows it.
SAMPLERS: dict[str, Callable[[int], s.Sampler]] = {
    "gaussian_adams": lambda steps: s.GaussianAdams(steps=steps),
    "dpmpp_2m": lambda steps: s.DPMpp2M(steps=steps),
    "adams": lambda steps: s.Adams(steps=steps),
    "unipc": lambda steps: s.UniPC(steps=steps),
    "ddim": lambda steps: s.DDIM(steps=steps),
    "jump": lambda steps: s.Jump(steps=steps),
    "renoise": lambda steps: s.Renoise(steps=steps),
    "heun": lambda steps: s.Heun(steps=steps),
    "edm": lambda steps: s.EDMHeun(steps=steps),
    "ode": lambda steps: s.ProbabilityFlow(steps=steps, rtol=1e-4, atol=1e-4),
    "dpmpp_2m_sde": lambda steps: s.DPMpp2MSDE(steps=steps),
    "sa": lambda steps: s.SASolver(steps=steps),
    "ancestral": lambda steps: s.Ancestral(steps=steps),
    "exponential": lambda steps: s.ExponentialEuler(steps=steps),
    "euler_maruyama": lambda steps: s.EulerMaruyama(steps=steps),
    "reverse_diffusion": lambda steps: s.ReverseDiffusion(steps=steps),
    "pc": lambda steps: s.PC(steps=steps),
}
MOST = {"image": 64, "series": 16}  # samples at once; 2000 of vectors
USUAL = {"image": 16, "series": 4, "number": 1000, "plane": 1000, "table": 500}


def most(kind: Kind) -> int:
    """How many samples at once are drawn of items of a kind."""
    return MOST.get(kind.name, 2000)


def usual(kind: Kind) -> int:
    """How many are, unless another number is asked for."""
    return USUAL[kind.name]


@dataclass(frozen=True)
class Wish(Checked):
    """`n` samples by a `sampler` of `steps`, of a class (`label`; None: of none, -1: of all in turn) and of what is
    `said` (empty: nothing), led there by the `scale` of classifier-free guidance (1: the conditional model, 0: without
    either), which a distilled model is told."""

    n: Count = 16
    seed: Seed = 0
    sampler: Annotated[str, OneOf(SAMPLERS)] = "gaussian_adams"
    steps: Annotated[int, Range(1, 1000)] = 20
    label: Annotated[int, Range(-1, 2**31)] | None = None
    scale: Annotated[float, Range(-5, 20)] = 1.0
    said: str = ""

    def made(self) -> s.Sampler:
        """The sampler."""
        return SAMPLERS[self.sampler](self.steps)


@dataclass(frozen=True)
class Walk(Checked):
    """`points` on the great circle between the latents of two `ends`: the seeds of two samples, or the numbers of two
    held-out items."""

    between: Literal["seeds", "items"] = "seeds"
    first: Seed = 0
    last: Seed = 1
    points: Annotated[int, Range(2, 32)] = 9
    label: Annotated[int, Range(0, 2**31)] | None = None
    scale: Annotated[float, Range(-5, 20)] = 1.0
    said: str = ""

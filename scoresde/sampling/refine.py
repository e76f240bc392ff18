"""Drafts of a model of few steps, refined by a few steps of its teacher: noise in part, and back."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from torch import Tensor

from .. import grids
from ..denoiser import Denoiser, Given, device_of, weigh
from ..errors import InputError
from ..sde import SDE
from ..settings import Count, Fraction, OneOf, Seed, checked
from .edit import edit, time_of
from .loop import Placing, Sampler
from .steps.fixed import DDIM
from .steps.gaussian import GaussianAdams
from .steps.jump import Few, Jump, Renoise
from .steps.pc import PC


def _langevin(steps: int, times: Callable[[int], Sequence[float]]) -> Sampler:
    pairs = steps // 2
    return PC(steps=pairs, grid=times(pairs), last="none", predictor="ddim", snr=0.4)


# What goes back from a level, by the number of its evaluations, and times of so many intervals.
REFINEMENTS: dict[str, Callable[[int, Callable[[int], Sequence[float]]], Sampler]] = {
    "gibbs": lambda steps, times: DDIM(steps=steps, grid=times(steps), last="none", eta=1.0),
    "flow": lambda steps, times: GaussianAdams(steps=steps, grid=times(steps), last="none"),
    "langevin": _langevin,
}
Kind = Annotated[str, OneOf(REFINEMENTS)]


def refinement(sde: SDE, level: float, steps: int, kind: str) -> Sampler:
    """The sampler that goes back from a level to t_min, in `steps` evaluations.

    Arguments:
        sde: whose times they are.
        level: above 0; how far from the angle of t_min to that of t_max it begins.
        steps: evaluations.
        kind: a name in `REFINEMENTS`.

    Returns:
        A sampler, its times finer toward the data (`grids.angle`).
    """
    _even(kind, steps, "steps")
    start = time_of(sde, level, sde.t_min)
    return REFINEMENTS[kind](steps, lambda n: tuple(grids.times("angle", sde, n, start, sde.t_min)))


def _even(kind: str, steps: int, name: str) -> None:
    if kind == "langevin" and steps % 2:
        words = "a step of Langevin and one of the flow are a pair: give an even number"
        raise InputError(f"{name}={steps}, kind=langevin: {words}", name)


@checked
def refine(
    teacher: Denoiser,
    draft: Tensor,
    level: Fraction = 0.2,
    steps: Count = 2,
    kind: Kind = "gibbs",
    seed: Seed = 0,
    cond: Given = None,
    **options: Any,
) -> Tensor:
    """Drafts, corrected by a few steps of another model: noise in part, and back by its steps.

    The draft x_0 becomes x_t = alpha_t x_0 + sigma_t eps, where the angle phi = atan(sigma / alpha) has come the share
    `level` of the way to that of t_max, and `steps` evaluations of the teacher lead back to t_min:

        gibbs      ancestral steps.  A sweep of Gibbs sampling over the pair (x_0, x_t), whose second half is as exact
                   as so many steps are; in one step it is the corrector `Gibbs`
        flow       steps of the probability flow (`GaussianAdams`)
        langevin   steps of the flow (DDIM), a step of Langevin before each, which counts too

    What the draft has wrong below the level is the teacher's then; what is wrong above it, such as the shares of modes
    that lie further apart than its noise, stays as it is.  `Corrected` is a sampler that does both.

    Meng et al. (2021), SDEdit, arXiv 2108.01073; Xu et al. (2023), Restart sampling, arXiv 2306.14878; Lugmayr et al.
    (2022), RePaint, arXiv 2201.09865.

    Arguments:
        teacher: the model that corrects.
        draft: (n, *shape), in the model's space.
        level: 0 to 1; at 0 the draft is given back, at 1 it is forgotten.
        steps: evaluations of the teacher for each row; an even number of "langevin".
        kind: "gibbs", "flow" or "langevin".
        seed: of the noise; another one than that of the draft's sampling.
        cond: the teacher's conditions by name, a row for each sample or one for all.
        options: those of `sample`.

    Returns:
        (n, *shape), in the model's space.

    Raises:
        InputError: wrong arguments, as `sample` raises it; a draft that is not finite.
        FloatingPointError: as `sample` does.
    """
    if not level:
        return draft.clone()
    return edit(teacher, refinement(teacher.sde, level, steps, kind), draft, level, seed, cond, **options)


@dataclass(frozen=True)
class Corrected(Sampler):
    """A student's draft, refined by its teacher within one sampling: so many evaluations of each.

    `steps` jumps of the model that is sampled, and `refine` steps of the teacher from the noise of `level`, by `kind`
    (`refine` says what these are).  Each is told the conditions of the samples that it takes.

    Arguments:
        teacher: a denoiser, of whichever SDE, or a function that gives one, called when a sampling begins.
        steps, grid: of the draft.
        draft: "jump" or "renoise"; "auto": by what the model has learned (`Jump`, or `Renoise` of one that jumps to the
            data alone).
        level: where the teacher begins, 0 to 1; at 0 the samples are the draft, to the bit.
        refine: evaluations of the teacher.
        kind: "gibbs", "flow" or "langevin".

    Raises:
        InputError: settings out of range; when it samples, what `Jump` and `Renoise` raise, and no teacher.
    """

    steps: Few = 1
    grid: Placing = "uniform_angle"
    last: Literal["none"] = "none"
    draft: Literal["auto", "jump", "renoise"] = "auto"
    level: Fraction = 0.2
    refine: Count = 2
    kind: Kind = "gibbs"
    teacher: Denoiser | Callable[[], Denoiser] | None = field(default=None, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        _even(self.kind, self.refine, "refine")

    def __repr__(self) -> str:
        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.name != "teacher")
        teacher = self.teacher
        who = getattr(teacher, "weights", type(teacher).__name__) if isinstance(teacher, Denoiser) else repr(teacher)
        return f"{type(self).__name__}({', '.join(shown)}, teacher={who})"

    def informed(self, denoiser):
        """This sampler, with its teacher, and the draft that suits a model.

        Arguments:
            denoiser: the model that drafts.

        Raises `InputError` for a model that has not learned the draft's steps, and without a teacher.
        """
        data = denoiser.lands == "data"
        name = self.draft if self.draft != "auto" else ("renoise" if data and self.steps > 1 else "jump")
        chosen = self._drafts(name).informed(denoiser)
        if self.teacher is None:
            raise InputError("teacher=None: give the denoiser that refines the drafts", "teacher")
        teacher = self.teacher if isinstance(self.teacher, Denoiser) else self.teacher()
        teacher = teacher.to(device_of(denoiser))
        return dataclasses.replace(self, draft=name, grid=chosen.grid, t_min=chosen.t_min, teacher=teacher)

    def _drafts(self, name: str) -> Sampler:
        return {"jump": Jump, "renoise": Renoise}[name](steps=self.steps, grid=self.grid, t_min=self.t_min)

    def begin(self, sde, times):
        drafts = self._drafts(self.draft)
        return drafts, drafts.begin(sde, times), float(times[-1])

    def step(self, denoiser, x, t, s, state, noise):
        drafts, past, end = state
        x, past = drafts.step(denoiser, x, t, s, past, noise)
        if float(s) == end and self.level:
            x = self._refined(denoiser.beside(self.teacher), x, noise)
        return x, (drafts, past, end)

    def _refined(self, teacher: Denoiser, x: Tensor, noise: Any) -> Tensor:
        sampler = refinement(teacher.sde, self.level, self.refine, self.kind).informed(teacher)
        times = teacher.sde.along(sampler.times(teacher.sde))
        x, state = weigh(times[0].alpha, x, times[0].sigma, noise(x)), sampler.begin(teacher.sde, times)
        for t, s in itertools.pairwise(times):
            x, state = sampler.step(teacher, x, t, s, state, noise)
        return x

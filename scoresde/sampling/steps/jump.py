"""Samplers of models of few steps: jumps along the flow, and jumps to the data with noise in between."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ...denoiser import Denoiser, jumped, weigh
from ...errors import InputError
from ...sde import SDE, Marginal
from ..loop import Placing, Sampler, Steps

Few = Steps


@dataclass(frozen=True)
class Jump(Sampler):
    """Jumps along the probability flow, one evaluation each, the last one to `t_min`:

        x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) D(x_t, t -> s)

    of a model that knows where it lands (`FlowMap`): the samplers of progressive distillation, trajectory models,
    shortcuts and MeanFlow; in one step of any consistency model.  Of an ordinary denoiser it is DDIM.

    Arguments:
        steps: how many jumps.
        grid: where they land; a chain of jumps that a model has learned has its own times.

    Raises:
        InputError: when it samples: steps or times that the model has not learned.
    """

    inverts: ClassVar[bool] = True  # x_s is a function of x_t alone, which `likelihood.map_likelihood` inverts

    steps: Few = 4
    grid: Placing = "uniform_angle"
    last: Literal["none"] = "none"

    def informed(self, denoiser):
        """This sampler, with the times of a chain of jumps.

        Arguments:
            denoiser: the model.

        Raises `InputError` for steps that the model has not learned.
        """
        lands = denoiser.lands
        if lands == "data" and self.steps > 1:
            words = "it has learned jumps to the data alone: say steps=1, or sampler=renoise, which takes several"
            raise InputError(f"steps={self.steps}: {words}", "steps")
        if isinstance(lands, str) or lands is None:
            return self
        learned = len(lands) - 1
        if self.steps != learned:
            raise InputError(f"steps={self.steps}: the model has learned {learned} jumps: say steps={learned}", "steps")
        return dataclasses.replace(self, grid=lands, t_min=lands[-1])

    def step(self, denoiser, x, t, s, state, noise):
        return jumped(denoiser.sde, x, denoiser.landing(x, t, s), t, s), None


@dataclass(frozen=True)
class Renoise(Sampler):
    """Jumps to the data, and noise to the next time: x_s = alpha_s D(x_t, t) + sigma_s z, z ~ N(0, I).

    The multistep sampler of consistency models, latent consistency models and adversarial students (Song et al., 2023,
    arXiv 2303.01469, algorithm 1).  One evaluation a step; in one step it is `Jump`.

    Arguments:
        steps: how many jumps.
        grid: where they begin.

    Raises:
        InputError: when it samples: of a model that has learned a chain of jumps, none of which but the last is to the
            data.
    """

    steps: Few = 4
    grid: Placing = "uniform_angle"
    last: Literal["none"] = "none"

    def informed(self, denoiser):
        """This sampler.

        Arguments:
            denoiser: the model.

        Raises `InputError` for a model of a chain of jumps.
        """
        if denoiser.lands is not None and not isinstance(denoiser.lands, str):
            words = "the model has learned a chain of jumps, and only the last is to the data: say sampler=jump"
            raise InputError(f"sampler=renoise: {words}")
        return self

    def begin(self, sde: SDE, times: Sequence[Marginal]) -> Any:
        return float(times[-1])

    def step(self, denoiser: Denoiser, x, t, s, state, noise):
        end = denoiser.sde.t_min if state is None else state
        x0 = denoiser.landing(x, t, end)
        if float(s) == end:
            return jumped(denoiser.sde, x, x0, t, s), state
        to = denoiser.sde.at(s)
        return weigh(to.alpha, x0, to.sigma, noise(x)), state


def natural(denoiser: Denoiser) -> Sampler | None:
    """The sampler that a model of few steps was made for, None of any other.

    Arguments:
        denoiser: the model.

    Returns:
        A chain's `Jump` with its steps, or `Jump` of 4 of a model that jumps anywhere; `Renoise` of 2 of one that jumps
        to the data.
    """
    lands = denoiser.lands
    if lands is None:
        return None
    if isinstance(lands, str):
        return Jump() if lands == "any" else Renoise(steps=2)
    return Jump(steps=len(lands) - 1)

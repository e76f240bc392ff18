"""A model that is guided by a worse version of itself."""

from ..denoiser import Denoiser
from ..errors import InputError
from ..settings import checked
from .base import Steered, known_to, merged, same_sde
from .scale import Interval, Scale, Strength, led


class Autoguided(Steered):
    """D = D_weak + w (D - D_weak), with a weaker model of the same data: a smaller one, or one trained less.

    Where the two differ the weaker one errs more, in the same direction; w > 1 leads away from both errors, and unlike
    classifier-free guidance not towards a class.  Both are told the same conditions, of which the weaker one may know
    fewer.  It takes a call of each model; of one alone where w is 1 or 0 in the whole batch.

    Karras et al. (2024), Guiding a Diffusion Model with a Bad Version of Itself, arXiv 2406.02507.

    Arguments:
        denoiser, weaker: the models, of one SDE.
        scale: w, a number; (B,), a row's own; or a function of t, a number, which gives a number.
        interval: (low, high) of sigma / alpha; w is 1 elsewhere.

    Raises:
        InputError: models of two SDEs, a weaker one that knows other conditions, and wrong settings.
    """

    rowed = ("weaker", "scale")

    @checked
    def __init__(self, denoiser: Denoiser, weaker: Denoiser, scale: Strength, interval: Interval = None):
        super().__init__(denoiser)
        same_sde(denoiser, weaker, "weaker")
        if extra := weaker.conditions.keys() - denoiser.conditions.keys():
            words = f"the {type(denoiser).__name__} does not: give a weaker model of the same conditions, or of fewer"
            raise InputError(f"weaker knows condition {', '.join(sorted(extra))}, and {words}", "weaker")
        self.conditions = merged([denoiser, weaker])
        self.weaker, self.scale = weaker, Scale.of(scale, denoiser, interval)
        self.holds("weaker", weaker.bound)
        self.holds("scale", self.scale.rows)

    def forward(self, x, t, cond=None):
        w = self.scale.at(x, t, *self._level(t))
        if isinstance(w, float) and w == 1:
            return self.denoiser(x, t, cond)
        weak = self.weaker(x, t, known_to(self.weaker, cond))
        return weak if isinstance(w, float) and w == 0 else led(self.denoiser(x, t, cond), weak, w)

"""Predictor-corrector sampling: a stochastic step of the reverse SDE beside Langevin steps at one noise level."""

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InputError
from .fixed import DDIM
from .loop import Sampler


def reverse_diffusion(denoiser, x, t, s, noise, **cond):
    """The forward step from s to t, x_t = a x_s + G z with a = alpha_t / alpha_s and G^2 = sigma_t^2 - a^2 sigma_s^2,
    discretised in reverse:

        x_s = (2 - a) x_t + G^2 score(x_t, t) + G z

    Song et al. (2021), arXiv 2011.13456, appendix E, where a = sqrt(1 - beta_i) for VP and 1 for VE.
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.sde.marginal(t), denoiser.sde.marginal(s)
    a = alpha_t / alpha_s
    g2 = (sigma_t**2 - (a * sigma_s) ** 2).clamp_min(0)
    return (2 - a) * x + g2 * denoiser.score(x, t, **cond) + g2.sqrt() * noise.transition(x)


def ancestral(denoiser, x, t, s, noise, **cond):
    """x_s from the posterior of the forward process given x_0 = D(x_t, t): DDIM with eta = 1.

    Ho, Jain, Abbeel (2020), arXiv 2006.11239; here for any alpha, sigma.
    """
    return DDIM(eta=1.0).step(denoiser, x, t, s, None, noise, **cond)[0]


def euler_maruyama(denoiser, x, t, s, noise, **cond):
    """x_s = x_t - (f x_t - g^2 score) (t - s) + g sqrt(t - s) z, f and g at t.

    The reverse SDE of Anderson (1982); Song et al. (2021), arXiv 2011.13456, section 4.1.  In t alone, so it needs a
    grid with small steps where f or g is large.
    """
    f, g2 = denoiser.sde.drift_diffusion(t)
    h = t - s
    return x - h * (f * x - g2 * denoiser.score(x, t, **cond)) + (g2 * h).sqrt() * noise.transition(x)


@dataclass(frozen=True)
class langevin:
    """x <- x + e score(x, t) + sqrt(2 e) z at the noise level of t, where with a = alpha_t / alpha_s

        e = 2 (a snr)^2 sigma^2 min(1, 4 D / (sigma |score|)^2)

    for data of D dimensions.  That is the paper's rule 2 a^2 (snr |z| / |score|)^2 with both norms at their values for
    pure noise, sqrt(D) and sqrt(D) / sigma; each sample's own |score| shortens the step where it is over twice that.
    Steps that follow |z| or |score| closely would not leave p_t as it is in few dimensions: in two, 100 steps made the
    variance 22 % too large.
    `batch_norms=True` is the paper's code: |z| and |score| are means over the batch, without a guard, and a sample
    depends on its batch mates.  `snr`: larger takes larger steps.

    Song et al. (2021), arXiv 2011.13456, algorithms 4 and 5.
    """

    snr: float = 0.16
    batch_norms: bool = False

    def __call__(self, denoiser, x, t, s, noise, **cond):
        (alpha_t, sigma_t), (alpha_s, _) = denoiser.sde.marginal(t), denoiser.sde.marginal(s)
        score, z = denoiser.score(x, t, **cond), noise(x)
        if self.batch_norms:
            ratio = (z.flatten(1).norm(dim=1).mean() / score.flatten(1).norm(dim=1).mean().clamp_min(1e-12)) ** 2
        else:
            mean_square = score.flatten(1).square().mean(1).reshape(-1, *[1] * (x.ndim - 1))
            ratio = 1 / (mean_square / 4).clamp_min(float(sigma_t) ** -2)
        e = 2 * (alpha_t / alpha_s * self.snr) ** 2 * ratio
        return x + e * score + (2 * e).sqrt() * z


PREDICTORS: dict[str, Callable | None] = {
    "reverse_diffusion": reverse_diffusion,
    "ancestral": ancestral,
    "euler_maruyama": euler_maruyama,
}


@dataclass(frozen=True)
class PC(Sampler):
    """Predictor-corrector: at each time t, `corrector_steps` corrector steps at t, then the predictor from t to s.

    `predictor` is "reverse_diffusion", "ancestral", "euler_maruyama" or a function
    (denoiser, x, t, s, noise, **cond) -> x_s; `corrector` is "langevin" (see `langevin` for `snr` and `batch_norms`),
    "none", or such a function.  One evaluation for the predictor and one for each corrector step.

    Song et al. (2021), arXiv 2011.13456, algorithm 1; the corrector goes first, as in the authors' code.
    """

    steps: int = 200
    grid: str = "uniform_angle"
    predictor: str | Callable = "reverse_diffusion"
    corrector: str | Callable = "langevin"
    snr: float = 0.16
    corrector_steps: int = 1
    batch_norms: bool = False

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.predictor, str) and self.predictor not in PREDICTORS:
            raise InputError(f"predictor={self.predictor!r} is unknown: choose one of {', '.join(PREDICTORS)}")
        if isinstance(self.corrector, str) and self.corrector not in ("langevin", "none"):
            raise InputError(f"corrector={self.corrector!r} is unknown: choose langevin or none")
        if self.corrector_steps < 0 or not self.snr > 0:
            raise InputError(f"corrector_steps={self.corrector_steps}, snr={self.snr}: need >= 0 and > 0")

    def step(self, denoiser, x, t, s, state, noise, **cond):
        predictor = PREDICTORS[self.predictor] if isinstance(self.predictor, str) else self.predictor
        named = {"langevin": langevin(self.snr, self.batch_norms), "none": None}
        corrector = named[self.corrector] if isinstance(self.corrector, str) else self.corrector
        for _ in range(self.corrector_steps if corrector else 0):
            x = corrector(denoiser, x, t, s, noise, **cond)
        return predictor(denoiser, x, t, s, noise, **cond), None

"""The waist of the toolkit: a Denoiser gives E[x_0 | x_t]; samplers, likelihood and guidance take nothing else."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .answers import answered, ask
from .errors import InputError
from .moments import Moments
from .sde import SDE, Marginal, as_time, expand
from .settings import brief


def weigh(a: float | Tensor, x: Tensor, b: float | Tensor, y: Tensor) -> Tensor:
    """a x + b y for x, y (B, *shape), a and b numbers or coefficients () or (B,)."""
    plain = isinstance(a, float) and isinstance(b, float)
    return torch.add(a * x, y, alpha=b) if plain else expand(a, x) * x + expand(b, x) * y


def rows(value: float | Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    """A number, or a tensor () or (B,), as (B,) beside x (B, *shape), of the type given."""
    if torch.is_tensor(value) and (value.ndim or value.requires_grad or value.device == x.device):
        return value.to(x.device, dtype).expand(len(x))
    # A host number fills on the device; a copy from the host would wait for it.
    return x.new_full((len(x),), float(value), dtype=dtype)


class Denoiser(nn.Module, ABC):
    """The posterior mean D(x, t) = E[x_0 | x_t = x] under the SDE `self.sde`.

    `forward(x, t, **cond)` takes x (B, *shape) of any floating type, t a number, () or (B,), and whatever conditions
    the model knows; it returns (B, *shape) in the type of x.  All the rest follows from it: with alpha, sigma at t and
    n^2 = alpha^2 + sigma^2,

        score = (alpha D - x) / sigma^2      eps = (x - alpha D) / sigma      v = (alpha x / n - n D) / sigma

    (Efron, 2011, Tweedie's formula; Vincent, 2011, denoising score matching.)
    """

    sde: SDE
    moments: Moments | None = None  # of the data, where they are known

    def __init__(self, sde: SDE):
        super().__init__()
        self.sde = sde

    @abstractmethod
    def forward(self, x: Tensor, t: float | Tensor, **cond) -> Tensor:
        """E[x_0 | x_t = x]."""

    def __call__(self, x: Tensor, t: float | Tensor, **cond) -> Tensor:
        """D(x, t).  Raises `InputError` for an answer that is no tensor like x, or has lost its graph to x."""
        return ask(super().__call__, self, x, t, **cond)

    def _level(self, t: float | Tensor) -> tuple[Any, Any]:
        """alpha and sigma: numbers at a time of a sampling, else tensors, which may have a graph."""
        known = isinstance(t, Marginal) and t.way.sde is self.sde
        return (t.alpha, t.sigma) if known else self.sde.marginal(t)

    def score(self, x: Tensor, t: float | Tensor, **cond) -> Tensor:
        """grad_x log p_t(x) = (alpha D(x, t) - x) / sigma^2, (B, *shape)."""
        alpha, sigma = self._level(t)
        return weigh(-1 / sigma**2, x, alpha / sigma**2, self(x, t, **cond))

    def eps(self, x: Tensor, t: float | Tensor, **cond) -> Tensor:
        """The expected noise E[eps | x_t = x] = (x - alpha D(x, t)) / sigma, (B, *shape)."""
        alpha, sigma = self._level(t)
        return weigh(1 / sigma, x, -alpha / sigma, self(x, t, **cond))

    def velocity(self, x: Tensor, t: float | Tensor, **cond) -> Tensor:
        """dz/dphi of the probability flow in z = x / n and phi = atan(sigma / alpha), (B, *shape):

        v = cos(phi) eps - sin(phi) x_0 = (cos(phi) z - D(x, t)) / sin(phi)
        """
        alpha, sigma = self._level(t)
        n = (alpha**2 + sigma**2) ** 0.5
        return weigh(alpha / (n * sigma), x, -n / sigma, self(x, t, **cond))


# Preconditioning: rule(alpha, sigma) -> (c_skip, c_out, c_in), and D = c_skip x + c_out net(c_in x, c).


def eps(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The network predicts the noise: D = (x - sigma net) / alpha.  Ho, Jain, Abbeel (2020), arXiv 2006.11239."""
    return 1 / alpha, -sigma / alpha, (alpha**2 + sigma**2) ** -0.5


def v(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The network predicts v = (alpha eps - sigma x_0) / n: D = alpha/n^2 x - sigma/n net.

    Salimans, Ho (2022), Progressive Distillation, arXiv 2202.00512; n^2 = alpha^2 + sigma^2.
    """
    n2 = alpha**2 + sigma**2
    return alpha / n2, -sigma / n2.sqrt(), n2**-0.5


def x0(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The network predicts the data: D = net."""
    return torch.zeros_like(alpha), torch.ones_like(alpha), (alpha**2 + sigma**2) ** -0.5


@dataclass(frozen=True)
class edm:
    """The network has inputs and targets of unit variance for data of standard deviation sd = `sigma_data`.

    With m = alpha^2 sd^2 + sigma^2: D = alpha sd^2 / m x + sigma sd / sqrt(m) net(x / sqrt(m)).
    Karras et al. (2022), arXiv 2206.00364, table 1, here for any alpha.
    """

    sigma_data: float = 0.5

    def __call__(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sd = self.sigma_data
        m = alpha**2 * sd**2 + sigma**2
        return alpha * sd**2 / m, sigma * sd / m.sqrt(), m**-0.5


Rule = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
RULES: dict[str, Rule] = {"eps": eps, "v": v, "x0": x0, "edm": edm()}


class Preconditioned(Denoiser):
    """D(x, t) = c_skip x + c_out net(c_in x, c), with c = log(sigma / alpha) the network's only notion of time.

    `net(x, c, **cond)` takes (B, *shape) and (B,) and knows no SDE.  `rule` is "eps", "v", "x0", "edm" or a function
    (alpha, sigma) -> (c_skip, c_out, c_in).  The network sees its own floating type; c and the sum have the type of x
    (float32 at least), so a float64 solver loses nothing to the division by a small sigma.

    Raises `InputError` for an unknown rule, or one that answers with anything else.
    """

    def __init__(self, net: nn.Module, sde: SDE, rule: str | Rule = "v"):
        super().__init__(sde)
        if isinstance(rule, str) and rule not in RULES:
            raise InputError(f"rule={rule!r} is unknown: choose one of {', '.join(RULES)}")
        self.net = net
        self.rule = RULES[rule] if isinstance(rule, str) else rule
        _check_rule(self.rule)

    def forward(self, x, t, **cond):
        dtype = next((p.dtype for p in self.net.parameters() if p.is_floating_point()), x.dtype)
        if isinstance(t, Marginal) and t.way.sde is self.sde:
            c_skip, c_out, c_in = t.known(self.rule, lambda way: self.rule(way.alpha, way.sigma))
            log_snr = t.log_snr
        else:
            t = as_time(t)
            c_skip, c_out, c_in = self.rule(*self.sde.marginal(t))
            log_snr = self.sde.log_snr(t)
        c = rows(-log_snr / 2, x, torch.promote_types(dtype, torch.float32))
        net = ask(self.net, self.net, (expand(c_in, x) * x).to(dtype), c, **cond)
        return weigh(c_skip, x, c_out, net.to(x.dtype))


def _check_rule(rule: Rule) -> None:
    alpha = torch.tensor([0.8, 0.6], dtype=torch.float64)
    found = rule(alpha, alpha.flip(0))
    if not isinstance(found, tuple | list) or len(found) != 3:
        raise InputError(f"rule answers with {brief(found)}: it must give c_skip, c_out and c_in")
    for c in found:
        if not isinstance(c, float | int):
            answered(c, alpha.shape, "rule")


class FromScore(Denoiser):
    """The denoiser of a bare score function: D = (x + sigma^2 score(x, t)) / alpha.

    `score(x, t, **cond)` takes x (B, *shape) and t (B,) in the type of x, and returns grad_x log p_t(x) (B, *shape).
    For likelihoods it must be computed in torch, from x as it is given.
    """

    def __init__(self, score: Callable[..., Tensor], sde: SDE):
        super().__init__(sde)
        self.score_function = score

    def forward(self, x, t, **cond):
        alpha, sigma = self._level(t)
        return weigh(1 / alpha, x, sigma**2 / alpha, self.score(x, t, **cond))

    def score(self, x, t, **cond):
        return ask(self.score_function, self.score_function, x, rows(t, x, x.dtype), **cond)


def device_of(denoiser: nn.Module) -> torch.device:
    """Where its parameters and buffers are; the CPU if it has none."""
    kept = itertools.chain(denoiser.parameters(), denoiser.buffers())
    return next((p.device for p in kept), torch.device("cpu"))


def select(cond: dict, rows: Tensor, n: int) -> dict:
    """The conditions of some rows: tensors with n rows are indexed, anything else is handed on."""
    return {k: c[rows.to(c.device)] if torch.is_tensor(c) and c.ndim and len(c) == n else c for k, c in cond.items()}


class Counted(Denoiser):
    """A denoiser that counts: `calls` of the network, `rows` given to it, and `x0`, its latest answer.

    `on_call(counted)`, if given, runs after every call (a progress bar, say).
    """

    def __init__(self, denoiser: Denoiser, on_call: Callable[["Counted"], None] | None = None):
        super().__init__(denoiser.sde)
        self.denoiser, self.on_call, self.moments = denoiser, on_call, denoiser.moments
        self.calls, self.rows, self.x0 = 0, 0, None

    def forward(self, x, t, **cond):
        self.x0 = self.denoiser(x, t, **cond)
        self.calls += 1
        self.rows += len(x)
        if self.on_call is not None:
            self.on_call(self)
        return self.x0

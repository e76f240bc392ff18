"""The reverse SDE by the solvers of torchsde."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from ...sde import widest
from ...settings import OneOf, Positive, Range, Scale
from ..loop import Placing, Sampler, Steps
from .reverse_sde import denoised

# The calculus is of no account where noise is additive, but torchsde asks for it.
METHODS = {
    "euler": "ito",
    "srk": "ito",
    "heun": "stratonovich",
    "midpoint": "stratonovich",
}


class _Reverse:
    """dz = f dtau + g dw in tau = c_t - c, as torchsde wants it: z flat (B, D), tau growing from 0.

    The noise is additive, given by its product alone: nothing holds a D x D matrix.
    """

    noise_type = "additive"

    def __init__(self, denoiser, start: float, shape: torch.Size, eta: float, method: str):
        self.denoiser, self.start, self.shape, self.eta = denoiser, start, shape, eta
        self.sde_type = METHODS[method]
        self.known: list[tuple[float, Tensor, Tensor]] = []

    def g_prod(self, tau: Tensor, z: Tensor, w: Tensor) -> Tensor:
        return float(self.eta * 2**0.5 * self._c(tau).exp().atan().sin()) * w

    def _c(self, tau: Tensor) -> Tensor:
        return self.start - torch.as_tensor(tau, dtype=torch.float64).cpu()

    def f(self, tau: Tensor, z: Tensor) -> Tensor:
        for time, state, drift in self.known:  # adaptive steps begin twice in one place
            if time == float(tau) and state is z:
                return drift
        c = self._c(tau)
        cos = c.exp().atan().cos()
        x0 = denoised(self.denoiser, z.reshape(self.shape), c).flatten(1)
        drift = -(cos * (cos * z - x0) + self.eta**2 * (z - cos * x0))
        self.known = [*self.known[-5:], (float(tau), z, drift)]
        return drift


@dataclass(frozen=True)
class ReverseSDE(Sampler):
    """The reverse SDE dx = [f x - (1 + eta^2)/2 g^2 score] dt + eta g dw by torchsde, with adaptive or fixed steps.

    In z = x / n, n^2 = alpha^2 + sigma^2, and tau = c_t - c, c = log(sigma / alpha) = log tan(phi), it is, for every
    SDE,

        dz = -[cos(phi) (cos(phi) z - D) + eta^2 (z - cos(phi) D)] dtau + eta sqrt(2) sin(phi) dw,

    with a bounded drift and additive noise.  VP, t from 1 to 1e-5, has a span of 12 in tau.  torchsde's reversible_heun
    is left out: no step makes it stable where the drift contracts, as it does here.

    torchsde holds one step for the whole batch, and its Brownian path is a function of (seed, number of the batch's
    first sample, grid step): a sample depends on its batch mates and on `batch_size`.  `AdaptiveSDE` does not.

    Li, Wong, Chen, Duvenaud (2020), Scalable Gradients for Stochastic Differential Equations, arXiv 2001.01328;
    Roessler (2010), Runge-Kutta Methods for the Strong Approximation of Solutions of Stochastic Differential Equations.

    Arguments:
        steps: only sets where the solver reports on its way.
        last: "tweedie" or "none": torchsde does not part a step from its noise.
        method: "euler" (1 evaluation a step), "srk" (2; strong order 1.5 where noise is additive), "heun" (2) or
            "midpoint" (2).
        adaptive: each step is taken whole and in halves, and its length follows the error.
        rtol, atol: the tolerance of adaptive steps, relative to z and absolute.
        dt: the step in tau, the first one if adaptive.
        eta: a number; 0 is the probability flow, 1 the reverse SDE.

    Raises:
        InputError: settings out of range.
        FloatingPointError: in a sampling, if torchsde's error estimate is not a number.
    """

    steps: Steps = 1
    grid: Placing = "uniform_angle"
    last: Literal["tweedie", "none"] = "tweedie"  # torchsde does not part a step from its noise
    method: Annotated[str, OneOf(METHODS)] = "euler"
    adaptive: bool = True
    rtol: Positive = 0.02
    atol: Positive = 0.02
    dt: Annotated[float, Range(1e-6)] = 0.1
    eta: Scale = 1.0

    def step(self, denoiser, x, t, s, state, noise):
        """From t to s by as many of torchsde's steps as it takes.  Raises `FloatingPointError` where they diverge."""
        import torchsde

        sde = denoiser.sde
        # Float64 states and times: in float32 the Brownian path is asked for times beyond its end.
        real = widest(x.device)
        start, end = (float(-sde.log_snr(u) / 2) for u in (t, s))
        n_t, n_s = (torch.hypot(*sde.marginal(u)) for u in (t, s))
        z = (x.to(real) / n_t).flatten(1)
        path = torchsde.BrownianInterval(
            0.0,
            start - end,
            size=z.shape,
            dtype=real,
            device=x.device,
            entropy=((noise.seed & (1 << 64) - 1) << 64) | (int(noise.index[0]) << 24) | noise.step,
            levy_area_approximation="space-time" if self.method == "srk" else "none",
        )
        reverse = _Reverse(
            denoiser.select(torch.arange(len(x), device=x.device)), start, x.shape, self.eta, self.method
        )
        times = torch.tensor([0.0, start - end], dtype=torch.float64)
        kwargs = dict(dt=self.dt, adaptive=self.adaptive, rtol=self.rtol, atol=self.atol)
        try:
            z = torchsde.sdeint(reverse, z, times, path, self.method, **kwargs)[-1]
        except AssertionError as error:  # how torchsde says that an error estimate is not a number
            raise FloatingPointError(f"torchsde's {self.method} stopped: {error}") from error
        return (n_s * z.reshape(x.shape)).to(x.dtype), None

"""The numbers that are drawn: points of a grid, densities there, and samples of p_t."""

import math
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from ..denoiser import Denoiser, Given, bind, device_of
from ..likelihood import log_likelihood
from ..noise import normal
from ..sampling import ProbabilityFlow, sample
from ..sde import SDE, widest
from ..settings import Range
from .canvas import Limits

CHUNK = 20_000  # points that are carried through the flow at a time
TOLERANCE = 1e-3  # of the flow: densities to about 0.003 of their highest
QUANTILES = 1500  # of a number, that are carried through the flow
Points = Annotated[int, Range(2, 2000)]


def fine(denoiser: Denoiser, points: int | None, own: int, flow: int) -> int:
    """The points of a grid on each axis: those asked for, else many where densities are cheap and fewer where they go
    through the flow."""
    return points or (own if hasattr(denoiser, "log_prob") else flow)


def grid(limits: Limits, points: int) -> tuple[list[Tensor], Tensor]:
    """`points` places on each axis, and all points (N, D) that they make, the last axis fastest."""
    axes = [torch.linspace(low, high, points, dtype=torch.float64) for low, high in limits]
    return axes, torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def log_density(denoiser: Denoiser, x: Tensor, t: float | None, cond: Given) -> Tensor:
    """log p_t(x) of x (N, *shape): by the denoiser's own `log_prob`, else through its flow; float64 (N,).

    `t=None` is the data's: where it goes through the flow, that of the SDE's t_min.
    """
    sde, device = denoiser.sde, device_of(denoiser)
    own = getattr(denoiser, "log_prob", None)
    if own is not None:
        x = x.to(device)
        return own(x, t, cond=cond).double().cpu() if cond else own(x, t).double().cpu()
    if t is not None and t >= sde.t_max:
        return sde.prior_log_prob(x)
    found = []
    for part in x.split(CHUNK):
        part = part.to(device, torch.float32 if device.type == "mps" else torch.float64)
        options: dict[str, Any] = {"rtol": TOLERANCE, "atol": TOLERANCE, "t_min": t, "cond": cond}
        found.append(log_likelihood(denoiser, part, **options).log_prob.double().cpu())
    return torch.cat(found)


def draws(denoiser: Denoiser, shape: tuple[int, ...], n: int, t: float | None, seed: int, cond: Given) -> Tensor:
    """n samples of p_t (of the data for None), (n, *shape) on the CPU: the denoiser's own, else through its flow."""
    sde = denoiser.sde
    if t is not None and t >= sde.t_max:
        return sde.prior(normal(torch.empty(n, *shape), torch.arange(n), seed, 0, 0)).cpu()
    if hasattr(denoiser, "log_prob") and hasattr(denoiser, "sample") and not cond:
        return denoiser.sample(n, t, seed).detach().cpu()
    flow = ProbabilityFlow(rtol=1e-3, atol=1e-3, t_min=t, last="tweedie" if t is None else "none")
    return sample(denoiser, flow, (n, *shape), seed, cond=cond, progress=False).cpu()


def moments_of_time(sde: SDE, n: int) -> list[float]:
    """n + 1 decreasing times that follow both the clock and the angle, so that lines between them look smooth."""
    phi = torch.linspace(float(sde.angle(sde.t_max)), float(sde.angle(sde.t_min)), n // 2 + 2, dtype=torch.float64)
    inner = sde.time(-2 * torch.log(torch.tan(phi[1:-1]))).tolist()
    even = torch.linspace(sde.t_max, sde.t_min, n - n // 2 + 1, dtype=torch.float64).tolist()
    return sorted({*even, *inner}, reverse=True)


def by_angle(sde: SDE, n: int) -> list[float]:
    """n times from t_min to t_max, whose angles atan(sigma / alpha) are evenly apart."""
    ends = [math.atan(sde.at(t).sigma / sde.at(t).alpha) for t in (sde.t_min, sde.t_max)]
    phi = torch.linspace(*ends, n, dtype=torch.float64)[1:-1]
    return [sde.t_min, *sde.time(-2 * torch.log(torch.tan(phi))).tolist(), sde.t_max]


@torch.no_grad()
def carried(
    denoiser: Denoiser, shape: tuple[int, ...], times: list[float], x: Tensor, units: list[float], cond: Given
) -> Tensor:
    """p_t of a number at places x (N,), in the given units of each of the decreasing times (T,), t_max first: (T, N).

    Ways of a flow on the line do not cross: it carries each quantile of p_T to that of p_t.  Between neighbours,

        p_t((x_i + x_{i+1}) / 2) = (q_{i+1} - q_i) / (x_{i+1} - x_i),

    for quantiles q_i evenly apart in the x_T of p_T, out to six deviations: one flow gives all times.
    """
    sde, device = denoiser.sde, device_of(denoiser)
    z = torch.linspace(-6, 6, QUANTILES, dtype=torch.float64)
    mass = torch.special.ndtr(z).diff()
    flow = ProbabilityFlow(rtol=1e-4, atol=1e-5)  # of differences of near points
    state = sde.prior(z).to(device, widest(device)).reshape(-1, *shape)
    bound, found = bind(denoiser, cond, len(state)), []
    at = sde.along(times)
    for i, t in enumerate(at):
        if i:
            state, _ = flow.step(bound, state, at[i - 1], t, None, None)
        y = state.flatten().double().cpu() / units[i]
        log_p = (mass / y.diff().clamp_min(1e-12)).log().numpy()
        log_p = np.interp(x.numpy(), ((y[1:] + y[:-1]) / 2).numpy(), log_p, -math.inf, -math.inf)
        found.append(torch.from_numpy(log_p).exp())
    return torch.stack(found)

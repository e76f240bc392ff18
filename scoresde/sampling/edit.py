"""Samples near given pictures: these made noisy, and denoised again (SDEdit)."""

from typing import Any

import torch
from torch import Tensor

from ..denoiser import Denoiser, Given
from ..errors import InputError
from ..sde import SDE
from ..settings import Fraction, Seed, checked
from .loop import Sampler, ended, sample


def time_of(sde: SDE, strength: float, end: float) -> float:
    """The time t at which the angle phi = atan(sigma / alpha) has come so far from that of `end` to that of t_max:

        phi_t = phi_end + strength (phi_T - phi_end)

    Arguments:
        sde: whose times they are.
        strength: 0 to 1.
        end: the last time of the sampling.

    Returns:
        t, a number.
    """
    low, high = (float(sde.angle(t)) for t in (end, sde.t_max))
    if strength in (0, 1):
        return sde.t_max if strength else end
    angle = torch.tensor(low + strength * (high - low), dtype=torch.float64)
    return float(sde.time(-2 * angle.tan().log()))


@checked
def edit(
    denoiser: Denoiser,
    sampler: Sampler,
    x0: Tensor,
    strength: Fraction,
    seed: Seed = 0,
    cond: Given = None,
    **options: Any,
) -> Tensor:
    """Image-to-image: samples that begin at x_t = alpha_t x_0 + sigma_t eps of given x_0, in the place of pure noise.

    How far t is on the way to noise is the `strength`: the angle phi = atan(sigma / alpha), in which all SDEs are
    alike, goes from that of the sampler's last time to that of t_max.  The sampler takes those of its own times that
    are left, so that a lesser strength costs less.  At 0 x_0 is given back; at 1 it is forgotten, and the samples are
    those of `sample` of the same seed, to the bit: alpha at t_max, which is small, is taken for 0.

    Meng et al. (2021), SDEdit, arXiv 2108.01073, section 3, there with stochastic samplers.

    Arguments:
        denoiser: the model.
        sampler: any one whose steps are not fitted to the whole way (`FittedLinear`).
        x0: (n, *shape), in the model's space.
        strength: 0 to 1.
        seed: of the noise.
        cond: the model's conditions by name, a row for each sample or one for all.
        options: those of `sample`.

    Returns:
        (n, *shape), in the model's space.

    Raises:
        InputError: wrong arguments, as `sample` raises it; x_0 that is not finite.
        FloatingPointError: as `sample` does.
    """
    if not bool(x0.isfinite().all()):
        raise InputError("x0 is not finite: give finite values in the model's space", "x0")
    end = ended(sampler, denoiser).informed(denoiser).times(denoiser.sde)[-1]
    t = time_of(denoiser.sde, strength, end)
    if t <= end:
        return x0.clone()
    begin = None if strength == 1 else (x0, t)
    return sample(denoiser, sampler, tuple(x0.shape), seed, cond=cond, begin=begin, **options)

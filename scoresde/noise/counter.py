"""Random numbers by counter: a function of (seed, sample index, step, draw), so batches and devices do not matter.

Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, 2011, Parallel Random Numbers: As Easy as 1, 2, 3) in integer tensor
arithmetic: the same bits on every device and for every batch size.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Words = Tensor | np.ndarray  # of 32 bits each, in int64
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_MASK = 0xFFFFFFFF


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, ...]:
    """Philox 4x32-10: four words of `counter` and two of `key` to four words of 32 bits, which broadcast together.

    A product of two 32-bit words wraps as a signed 64-bit integer; its upper word is read with a shift and a mask.

    Salmon, Moraes, Dror, Shaw (2011), Parallel Random Numbers: As Easy as 1, 2, 3.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def _word(number: int | Tensor, place: Words) -> Words:
    """The low 32 bits of a number as (1, 1), or of whole numbers (B,) as (B, 1): what `place` is, and where it is."""
    if not torch.is_tensor(number):
        # A host number fills on the device; a copy from the host would wait for it.
        return np.array([[number & _MASK]]) if isinstance(place, np.ndarray) else place.new_full((1, 1), number & _MASK)
    number = number.to("cpu", torch.int64).numpy() if isinstance(place, np.ndarray) else number.to(place)
    return number.reshape(-1, 1) & _MASK


def bits(index: Tensor, size: int, seed: int, step: int | Tensor, draw: int | Tensor) -> tuple[Tensor, ...]:
    """Uniform 32-bit words for the samples `index`.

    Arguments:
        index: the numbers (B,) of the samples; the words are made where it is.
        size: how many words a sample needs at least.
        seed: a whole number of up to 64 bits.
        step, draw: numbers, the same for all samples, or tensors (B,) of whole numbers, each sample's own.

    Returns:
        Four tensors (B, ceil(size / 4)), int64.
    """
    places, host = (size + 3) // 4, index.device.type == "cpu"
    place = np.arange(places) if host else torch.arange(places, device=index.device)
    counter = (place[None], *(_word(number, place) for number in (index, step, draw)))
    words = philox(counter, (seed & _MASK, (seed >> 32) & _MASK))
    # On the host by numpy, whose calls cost a quarter of torch's.
    return tuple(map(torch.from_numpy, words)) if host else words


def normal(x: Tensor, index: Tensor, seed: int, step: int | Tensor, draw: int | Tensor) -> Tensor:
    """Standard normal numbers shaped, typed and placed like `x`, for the sample numbers `index`.

    Box and Muller (1958): sqrt(-2 log u1) (cos, sin)(2 pi u2), in float64 where the device has it; on CUDA by a Triton
    kernel where one can be had.

    Arguments:
        x: (B, *shape), whose values do not count.
        index, seed, step, draw: as in `bits`.

    Returns:
        (B, *shape).
    """
    kernel = _kernel() if x.is_cuda else None
    return (kernel or _normal)(x, index, seed, step, draw)


def _normal(x: Tensor, index: Tensor, seed: int, step: int | Tensor, draw: int | Tensor) -> Tensor:
    real = torch.float32 if x.device.type == "mps" else torch.float64
    size = x[0].numel()
    a, b, c, d = bits(index, size, seed, step, draw)
    radius = torch.stack((a, c), 1).to(real).add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = torch.stack((b, d), 1).to(real).mul_(2 * math.pi * 2.0**-32)
    pairs = torch.stack((angle.cos().mul_(radius), angle.sin_().mul_(radius)), 2)
    return pairs.to(x.dtype).flatten(1)[:, :size].reshape(x.shape)


@functools.cache
def _kernel(device: str = "cuda") -> Callable[..., Tensor] | None:
    """The Triton kernel of `normal`, if there is one here that gives the same numbers; tried once."""
    x, index = (torch.empty(3, 11, dtype=torch.float64, device=device), torch.arange(3, device=device))
    try:
        from .kernel import normal as kernel

        return kernel if torch.allclose(kernel(x, index, 1, 2, 3), _normal(x, index, 1, 2, 3), 1e-12, 1e-12) else None
    except Exception:  # no triton, no C compiler, a GPU that it does not know: what it raises is its own affair
        return None


def uniform(x: Tensor, index: Tensor, seed: int, step: int | Tensor, draw: int | Tensor = 0) -> Tensor:
    """Uniform numbers in (0, 1), shaped, typed and placed like `x`.

    Arguments:
        x: (B, *shape), whose values do not count.
        index, seed, step, draw: as in `bits`.

    Returns:
        (B, *shape), of 24 random bits each.
    """
    size = x[0].numel()
    words = torch.cat(bits(index, size, seed, step, draw), 1)[:, :size]
    # 24 bits: exact in float32, so that no value rounds to 1.
    return ((words >> 8).to(x.dtype) + 0.5).mul(2.0**-24).clamp(max=1 - 2.0**-24).reshape(x.shape)


def rademacher(x: Tensor, index: Tensor, seed: int, step: int | Tensor, draw: int | Tensor = 0) -> Tensor:
    """Random signs, +1 or -1 with equal chance, shaped, typed and placed like `x`.

    Arguments:
        x: (B, *shape), whose values do not count.
        index, seed, step, draw: as in `bits`.

    Returns:
        (B, *shape).
    """
    size = x[0].numel()
    words = torch.cat(bits(index, size, seed, step, draw), 1)[:, :size]
    return ((words & 1) * 2 - 1).to(x.dtype).reshape(x.shape)

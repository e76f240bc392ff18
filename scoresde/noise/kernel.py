"""`noise.normal` as one Triton kernel for CUDA; `noise` takes it only where it gives the values of its own arithmetic.

It has been run in Triton's interpreter and compiled for CUDA, but no GPU has run it yet.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_MASK = tl.constexpr(0xFFFFFFFF)
_M0, _M1 = tl.constexpr(0xD2511F53), tl.constexpr(0xCD9E8D57)
_W0, _W1 = tl.constexpr(0x9E3779B9), tl.constexpr(0xBB67AE85)
_STEP = tl.constexpr(2.0**-32)
_TURN = tl.constexpr(2 * 3.141592653589793 * 2.0**-32)
_BLOCK = 256


@triton.jit
def _polar(u, w, step, turn):
    radius = tl.sqrt(-2 * tl.log((u.to(tl.float64) + 0.5) * step))
    angle = w.to(tl.float64) * turn
    return radius * tl.cos(angle), radius * tl.sin(angle)


@triton.jit
def _put(out, value, row, column, size, inside):
    tl.store(out + row * size + column, value.to(out.dtype.element_ty), mask=inside & (column < size))


@triton.jit(do_not_specialize=["step", "draw", "k0", "k1", "count", "places", "size"])
def _kernel(
    out, index, step, draw, k0, k1, count, places, size, STEPS: tl.constexpr, DRAWS: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    row, place = i // places, i % places
    # 32-bit words in 64 bits, as in noise.philox: one multiplication gives both halves of a product.
    c0, c1 = place, tl.load(index + row, mask=inside, other=0) & _MASK
    c2 = (tl.load(step + row, mask=inside, other=0) if STEPS else place * 0 + step) & _MASK
    c3 = (tl.load(draw + row, mask=inside, other=0) if DRAWS else place * 0 + draw) & _MASK
    k0, k1 = place * 0 + k0, place * 0 + k1
    for _ in tl.static_range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = ((p1 >> 32) & _MASK) ^ c1 ^ k0, p1 & _MASK, ((p0 >> 32) & _MASK) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    # As tensors: a bare number may reach a float64 tensor in float32.
    unit, turn = tl.full([BLOCK], _STEP, tl.float64), tl.full([BLOCK], _TURN, tl.float64)
    x, y = _polar(c0, c1, unit, turn)
    _put(out, x, row, place, size, inside)
    _put(out, y, row, place + places, size, inside)
    x, y = _polar(c2, c3, unit, turn)
    _put(out, x, row, place + 2 * places, size, inside)
    _put(out, y, row, place + 3 * places, size, inside)


def normal(x: Tensor, index: Tensor, seed: int, step: int | Tensor, draw: int | Tensor) -> Tensor:
    """The numbers of `noise.normal`: the same Philox words, Box and Muller in float64, then the type of `x`."""
    size = x[0].numel()
    places = (size + 3) // 4
    out = torch.empty(x.shape, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
    index = index.long().contiguous()
    step, draw = (
        a.to(index).reshape(-1).expand(len(x)).contiguous() if torch.is_tensor(a) else a & 0xFFFFFFFF
        for a in (step, draw)
    )
    key, count = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF), len(x) * places
    own = torch.is_tensor(step), torch.is_tensor(draw)
    with torch.cuda.device_of(x):
        _kernel[(triton.cdiv(count, _BLOCK),)](out, index, step, draw, *key, count, places, size, *own, _BLOCK)
    return out.to(x.dtype)

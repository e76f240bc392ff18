"""Where a jump came from: fixed points, Newton's method, and ways to its start where that is far."""

import torch
from torch import Tensor

from ...noise import Stream, normal
from .jumps import Jumping

DENSE = 1024  # dimensions up to which a Jacobian is made
PAST = 6  # iterates that Anderson's acceleration looks at
STAGES = 12  # of the angle, on the way to a jump whose inverse is not found at once
STARTS = 4  # random ones, at last


def inverse(jump: Jumping, y: Tensor, tolerance: float, seed: int) -> tuple[Tensor, Tensor]:
    """z (B, *shape) with jump(z) = y, row by row, and which rows were found (B,).

    Anderson's acceleration of the fixed points of z = z - (jump(z) - y) / cos(d) first, which takes evaluations alone;
    of up to 1024 dimensions then Newton's method, with ever shorter steps until |jump(z) - y| falls; from there on
    along jumps to the same end that begin at nearer angles, where the model knows these; and from random starts.
    """
    rows = torch.arange(len(y), device=y.device)
    z, found = fixed_points(jump, y, y.clone(), rows, tolerance)
    if y[0].numel() > DENSE:
        return z, found
    for attempt in range(2 + STARTS):
        rows = (~found).nonzero()[:, 0]
        if not len(rows):
            break
        if attempt == 1:
            if not (jump.denoiser.lands is None or isinstance(jump.denoiser.lands, str)):
                continue  # a chain knows no other beginnings
            begin = staged(jump, y[rows], rows, tolerance)
        else:
            begin = y[rows] if attempt == 0 else normal(y[rows], rows, seed, *Stream.GAUSSIAN_PROBES(attempt, 0))
        better, done = newton(jump, y[rows], begin, rows, tolerance)
        z, found = z.index_copy(0, rows[done], better[done]), found.index_fill(0, rows[done], True)
    return z, found


def staged(jump: Jumping, y: Tensor, rows: Tensor, tolerance: float) -> Tensor:
    """A start for the jump's inverse: those of jumps to the same end from angles that grow."""
    low, high, z = jump.s.phi, jump.t.phi, y
    for k in range(1, STAGES):
        part = jump.at(low + (high - low) * k / STAGES)
        z = newton(part, y, z, rows, max(tolerance, 1e-6), rounds=8)[0]
    return z


def error(value: Tensor, y: Tensor) -> Tensor:
    """The largest |value - y| of each row (B,), over 1 + the largest |y|."""
    return (value - y).flatten(1).abs().amax(1) / (1 + y.flatten(1).abs().amax(1))


@torch.no_grad()
def fixed_points(jump: Jumping, y: Tensor, z: Tensor, rows: Tensor, tolerance: float, rounds: int = 40):
    """z with jump(z) = y, and which rows were found, by Anderson's acceleration; rows that run away are given up.

    Walker, Ni (2011), Anderson Acceleration for Fixed-Point Iterations.
    """
    cos = float(torch.tensor(jump.t.phi - jump.s.phi).cos())
    found = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    best = z.clone()
    if cos < 0.2:
        return best, found
    active, points, moves = torch.arange(len(y), device=y.device), [], []
    for _ in range(rounds):
        part, value = z[active], jump(z[active], rows[active])
        off = error(value, y[active])
        done, lost = off <= tolerance, ~(off < 1e3)
        best[active[done]], found[active[done]] = part[done], True
        keep = ~(done | lost)
        if not bool(keep.any()):
            break
        points = [p[keep] for p in points[-PAST:]] + [part[keep]]
        moves = [m[keep] for m in moves[-PAST:]] + [((y[active] - value) / cos)[keep]]
        active = active[keep]
        z[active] = _accelerated(points, moves)
    return best, found


def _accelerated(points: list[Tensor], moves: list[Tensor]) -> Tensor:
    """The next iterate: the latest point and move, less what the differences before explain of the move."""
    point, move = points[-1], moves[-1]
    if len(points) == 1:
        return point + move
    d_move = torch.stack([(b - a).flatten(1) for a, b in zip(moves, moves[1:], strict=False)], 2)
    d_point = torch.stack([(b - a).flatten(1) for a, b in zip(points, points[1:], strict=False)], 2)
    gram = d_move.mT @ d_move
    ridge = 1e-12 * gram.diagonal(dim1=1, dim2=2).amax(1).clamp_min(1e-300)
    gram = gram + ridge[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    share = torch.linalg.lstsq(gram, d_move.mT @ move.flatten(1)[..., None]).solution
    return point + move - ((d_point + d_move) @ share)[..., 0].reshape(point.shape)


def newton(jump: Jumping, y: Tensor, z: Tensor, rows: Tensor, tolerance: float, rounds: int = 30):
    """z with jump(z) = y, and which rows were found, by Newton's method with steps that are halved until they help."""
    z, found = z.clone(), torch.zeros(len(y), dtype=torch.bool, device=y.device)
    active = torch.arange(len(y), device=y.device)
    for _ in range(rounds):
        value, jacobian = jump.jacobian(z[active], rows[active])
        off = error(value, y[active])
        done = off <= tolerance
        found[active[done]] = True
        go = ~done & off.isfinite()
        active, off = active[go], off[go]
        if not len(active):
            break
        step, singular = torch.linalg.solve_ex(jacobian[go], (value[go] - y[active]).flatten(1)[..., None])
        step = torch.where((singular == 0)[:, None, None], step, 0.0)[..., 0].reshape(y[active].shape)
        moved = _shortened(jump, y[active], z[active], step, rows[active], off)
        z[active] = moved[0]
        active = active[moved[1]]
        if not len(active):
            break
    return z, found


@torch.no_grad()
def _shortened(jump: Jumping, y: Tensor, z: Tensor, step: Tensor, rows: Tensor, off: Tensor) -> tuple[Tensor, Tensor]:
    """z - c step with the first c of 1, 1/2, ... that makes the error smaller, and whether there was one (B,)."""
    z, helped, size = z.clone(), torch.zeros_like(off, dtype=torch.bool), 1.0
    for _ in range(10):
        left = (~helped).nonzero()[:, 0]
        if not len(left):
            break
        tried = z[left] - size * step[left]
        good = error(jump(tried, rows[left]), y[left]) < off[left] * (1 - size / 4)
        z[left[good]], helped[left[good]] = tried[good], True
        size /= 2
    return z, helped

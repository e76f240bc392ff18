"""What a fixed path takes at its nodes: the weights of the values there, and an evaluation that is made again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..ode.adams import lagrange_integrals


def predictors(angles: Tensor, order: int):
    """For each step the weights, newest first, of the velocities behind it, and of those and the new one."""
    for j in range(len(angles) - 1):
        behind = angles[max(0, j - order + 1) : j + 1].flip(0)
        every = torch.cat([angles[j + 1 : j + 2], behind])
        yield tuple(_integrals(nodes, angles[j], angles[j + 1]) for nodes in (behind, every))


def quadrature(angles: Tensor, points: int) -> Tensor:
    """Weights of the nodes in the integral over all steps of the polynomials through the `points` nodes about each."""
    n, weights = len(angles), torch.zeros_like(angles)
    points = min(points, n)
    for j in range(n - 1):
        low = min(max(0, j + 1 - points // 2), n - points)
        part = slice(low, low + points)
        weights[part] += torch.tensor(_integrals(angles[part], angles[j], angles[j + 1]), dtype=angles.dtype)
    return weights


def _integrals(nodes: Tensor, a: Tensor, b: Tensor) -> list[float]:
    """The integrals from a to b of the Lagrange polynomials of the nodes."""
    scaled = (nodes - a) / (b - a)
    return ((b - a) * lagrange_integrals(scaled, torch.ones_like(scaled, dtype=torch.bool))).tolist()


class Checkpoint(torch.autograd.Function):
    """(v, d) = evaluate(z), which keeps z alone for the way back and evaluates again there, with a graph."""

    @staticmethod
    def forward(ctx, evaluate: Callable[[Tensor], tuple[Tensor, Tensor]], z: Tensor, *weights: Tensor) -> Any:
        ctx.evaluate, ctx.weights = evaluate, weights
        ctx.save_for_backward(z)
        return evaluate(z)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        z = ctx.saved_tensors[0].detach().requires_grad_(ctx.needs_input_grad[1])
        inputs = [a for a, needed in zip((z, *ctx.weights), ctx.needs_input_grad[1:], strict=True) if needed]
        with torch.enable_grad():
            pairs = [(a, g) for a, g in zip(ctx.evaluate(z), gradients, strict=True) if a.requires_grad]
        values, gradients = zip(*pairs, strict=True)
        found = iter(torch.autograd.grad(values, inputs, gradients, allow_unused=True))
        return None, *(next(found) if needed else None for needed in ctx.needs_input_grad[1:])

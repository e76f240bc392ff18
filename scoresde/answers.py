"""What a user gives and a user's function answers, looked at before it is computed with: kind, shape, graph."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from .errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
NUDGE = 1e-3


def batch(x: Tensor) -> Tensor:
    """x, if it is a batch (B, *shape) of real numbers.  Raises `InputError`."""
    if x.ndim < 2 or not len(x) or not x.is_floating_point():
        raise InputError(f"x is {x.dtype} {tuple(x.shape)}: give rows (B, *shape) of real numbers (see Data.encode)")
    return x


def derivatives(function: Callable[P, R]) -> Callable[P, R]:
    """Lets a function that takes derivatives do so under `torch.inference_mode` too, which it leaves.

    Raises `InputError` for a denoiser that was made there: its weights can have no derivatives.
    """

    @functools.wraps(function)
    def outside(*args: P.args, **options: P.kwargs) -> R:
        for value in (*args, *options.values()):
            if isinstance(value, nn.Module) and any(map(_inference, value.parameters())):
                raise InputError(f"the {type(value).__name__} was made under torch.inference_mode: make it outside")
        if not torch.is_inference_mode_enabled():
            return function(*args, **options)
        with torch.inference_mode(False):
            return function(*map(_plain, args), **{k: _plain(v) for k, v in options.items()})

    return outside


def _plain(value: Any) -> Any:
    """A value, or those of a mapping (conditions), fit for derivatives."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def answered(value: Any, shape: Sequence[int], who: str) -> Tensor:
    """The value, if it is a tensor of real numbers of that shape.  Raises `InputError`, which names who answered."""
    if isinstance(value, Tensor) and value.shape == shape and value.is_floating_point():
        return value
    held = (
        f"{type(value).__name__}" if not isinstance(value, Tensor) else f"a {value.dtype} tensor {tuple(value.shape)}"
    )
    raise InputError(f"{who} answers with {held}: it must give a tensor of real numbers of shape {tuple(shape)}")


def _inference(p: Tensor) -> bool:
    return not torch.nn.parameter.is_lazy(p) and p.is_inference()


def ask(function: Callable[..., Any], who: Any, x: Tensor, /, *rest: Any, shape: Sequence[int] | None = None) -> Tensor:
    """function(x, *rest), which must be of `shape`, that of x (B, *shape) if None, and depend on x by a graph where x
    has one.

    `who` is the object that is named in an error.  Raises `InputError` for an answer of another kind or shape; for one
    that was detached from x, taken under `torch.no_grad` or computed outside torch: its derivative would pass for 0.
    """
    y = function(x, *rest)
    wanted = x.shape if shape is None else shape
    if not (isinstance(y, Tensor) and y.shape == wanted and y.is_floating_point()):
        answered(y, wanted, f"{_name(who)} for x of shape {tuple(x.shape)}")
    if x.requires_grad and not y.requires_grad and torch.is_grad_enabled():
        refuse_if_it_moves(function, who, x, y, rest)
    return y


def check_graph(function: Callable[..., Any], who: Any, x: Tensor, /, *rest: Any) -> None:
    """Raises `InputError` if function(x, ...) has a graph, to its parameters, and none to x, and yet depends on x."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        y = ask(function, who, leaf, *rest)
        if y.requires_grad and torch.autograd.grad(y.sum(), leaf, allow_unused=True)[0] is None:
            refuse_if_it_moves(function, who, leaf, y, rest)


def refuse_if_it_moves(function: Callable[..., Any], who: Any, x: Tensor, y: Tensor, rest: tuple) -> None:
    """Raises `InputError` if y = function(x, *rest), which has no graph to x, depends on x."""
    with torch.no_grad():
        moved = function(x + NUDGE * (1 + x.abs()), *rest)
    if not torch.equal(moved, y):
        raise InputError(
            f"{_name(who)} depends on x without a graph (by detach, torch.no_grad or numpy): no derivative can be "
            "taken of it; compute it in torch from x as it is given"
        )


def _name(who: Any) -> str:
    if isinstance(who, str):
        return who
    kind = "network" if isinstance(who, nn.Module) and not hasattr(who, "sde") else "denoiser"
    if isinstance(who, nn.Module):
        return f"the {kind} {type(who).__name__}"
    return f"the score function {getattr(who, '__qualname__', type(who).__name__)}"

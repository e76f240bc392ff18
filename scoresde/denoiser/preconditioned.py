"""A denoiser of a network, and the rules by which the network sees its input and gives its answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..answers import answered, ask
from ..errors import InputError
from ..sde import SDE, Marginal, as_time, expand
from ..settings import brief
from .base import Cond, Denoiser, rows, weigh
from .levels import levels

# Preconditioning: rule(alpha, sigma) -> (c_skip, c_out, c_in), and D = c_skip x + c_out net(c_in x, c).


def eps(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The network predicts the noise: D = (x - sigma net) / alpha.

    alpha, sigma (...) to (c_skip, c_out, c_in), each of their shape.  Ho, Jain, Abbeel (2020), arXiv 2006.11239.
    """
    return 1 / alpha, -sigma / alpha, (alpha**2 + sigma**2) ** -0.5


def v(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The network predicts v = (alpha eps - sigma x_0) / n: D = alpha/n^2 x - sigma/n net, n^2 = alpha^2 + sigma^2.

    alpha, sigma (...) to (c_skip, c_out, c_in), each of their shape.  Salimans, Ho (2022), Progressive Distillation,
    arXiv 2202.00512.
    """
    n2 = alpha**2 + sigma**2
    return alpha / n2, -sigma / n2.sqrt(), n2**-0.5


def x0(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The network predicts the data: D = net.

    alpha, sigma (...) to (c_skip, c_out, c_in), each of their shape.
    """
    return torch.zeros_like(alpha), torch.ones_like(alpha), (alpha**2 + sigma**2) ** -0.5


@dataclass(frozen=True)
class edm:
    """The network has inputs and targets of unit variance for data of standard deviation sd = `sigma_data`.

    With m = alpha^2 sd^2 + sigma^2: D = alpha sd^2 / m x + sigma sd / sqrt(m) net(x / sqrt(m)).
    Karras et al. (2022), arXiv 2206.00364, table 1, here for any alpha.
    """

    sigma_data: float = 0.5

    def __call__(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """alpha, sigma (...) to (c_skip, c_out, c_in), each of their shape."""
        sd = self.sigma_data
        m = alpha**2 * sd**2 + sigma**2
        return alpha * sd**2 / m, sigma * sd / m.sqrt(), m**-0.5


Rule = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
RULES: dict[str, Rule] = {"eps": eps, "v": v, "x0": x0, "edm": edm()}


class Preconditioned(Denoiser):
    """D(x, t) = c_skip x + c_out net(c_in x, c), with c = log(sigma / alpha) the network's only notion of time.

    The network sees its own floating type; c and the sum have the type of x (float32 at least), so a float64 solver
    loses nothing to the division by a small sigma.

    Arguments:
        net: net(x, c) takes (B, *shape) and (B,) and knows no SDE.  One with `conditions`, kinds by their names, is
            called as net(x, c, cond), with tensors by name; what is missing in all rows may be absent.
        sde: which gives alpha and sigma.
        rule: "eps", "v", "x0", "edm" or a function (alpha, sigma) -> (c_skip, c_out, c_in); or `levels.of(data)`, for a
            network with as many `outputs` as that has bins.

    Raises:
        InputError: an unknown rule, or one that answers with anything else.
    """

    outputs: ClassVar[int] = 1  # tensors like x that the network answers with, by every rule but `levels`
    settings: Mapping[str, Any] = MappingProxyType({})  # of a subclass, what makes it beside net, SDE and rule

    def __init__(self, net: nn.Module, sde: SDE, rule: str | Rule = "v"):
        super().__init__(sde)
        if isinstance(rule, str) and rule not in RULES:
            raise InputError(f"rule={rule!r} is unknown: choose one of {', '.join(RULES)}")
        self.net = net
        kinds = dict(getattr(net, "conditions", None) or {})
        self.conditions = {name: kind for name, kind in kinds.items() if kind.given}
        self.made = {name: kind for name, kind in kinds.items() if not kind.given}
        self.rule = RULES[rule] if isinstance(rule, str) else rule
        _check_rule(self.rule)
        has, needs = getattr(net, "arguments", {}).get("outputs"), self.outputs_of(self.rule)
        if has not in (None, needs):
            raise InputError(f"net={type(net).__name__} has outputs={has}: this denoiser needs outputs={needs}", "net")

    @classmethod
    def outputs_of(cls, rule: str | Rule) -> int:
        """How many tensors like x the network answers with.

        Arguments:
            rule: as the class takes it.

        Returns:
            A number.

        Raises:
            InputError: `levels`, in a class whose network has a use for its outputs.
        """
        own = getattr(rule, "outputs", 1)
        if own > 1 and cls.outputs > 1:
            raise InputError(f"rule=levels: a {cls.__name__} has a Gaussian step; choose rule=v", "rule")
        return cls.outputs * own

    def forward(self, x, t, cond=None):
        if isinstance(self.rule, levels):
            return self.rule.mean(x, *self._level(t), self._logits(x, t, cond))
        (c_skip, c_out), given = self._inputs(x, t, cond)
        return weigh(c_skip, x, c_out, ask(self.net, self.net, *given).to(x.dtype))

    def log_posterior(self, x0, x, t, cond=None):
        if not isinstance(self.rule, levels) or not self.rule.spread:
            return super().log_posterior(x0, x, t, cond)
        return self.rule.log_posterior(x0, x, *self._level(t), self._logits(x, t, cond))

    def _logits(self, x: Tensor, t: float | Tensor, cond: Cond) -> Tensor:
        """The network's answer for the rule `levels`, (B, K C, *space)."""
        shape = (len(x), self.rule.outputs * x.shape[1], *x.shape[2:])
        return ask(self.net, self.net, *self._inputs(x, t, cond)[1], shape=shape)

    def _inputs(self, x: Tensor, t: float | Tensor, cond: Cond) -> tuple[tuple[Any, Any], tuple]:
        """c_skip and c_out, and what the network is called with."""
        dtype = next((p.dtype for p in self.net.parameters() if p.is_floating_point()), x.dtype)
        if isinstance(t, Marginal) and t.way.sde is self.sde:
            c_skip, c_out, c_in = t.known(self.rule, lambda way: self.rule(way.alpha, way.sigma))
            log_snr = t.log_snr
        else:
            t = as_time(t)
            c_skip, c_out, c_in = self.rule(*self.sde.marginal(t))
            log_snr = self.sde.log_snr(t)
        c = rows(-log_snr / 2, x, torch.promote_types(dtype, torch.float32))
        given = (cond or {},) if self.conditions or self.made else ()
        return (c_skip, c_out), ((expand(c_in, x) * x).to(dtype), c, *given)


def _check_rule(rule: Rule) -> None:
    alpha = torch.tensor([0.8, 0.6], dtype=torch.float64)
    found = rule(alpha, alpha.flip(0))
    if not isinstance(found, tuple | list) or len(found) != 3:
        raise InputError(f"rule answers with {brief(found)}: it must give c_skip, c_out and c_in")
    for c in found:
        if not isinstance(c, float | int):
            answered(c, alpha.shape, "rule")

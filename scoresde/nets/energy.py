"""An energy of any network: a conservative score."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..answers import derivatives
from ..errors import InputError
from .base import Network
from .parts.runs import eagerly


class Energy(Network):
    """The gradient of an energy that a network makes: `net(x, c)` = grad_x E(x, c), x (B, *shape) -> like x.

    The Jacobian of the answer is symmetric, and so is that of every rule's score, which is a multiple of x plus one of
    the answer: the model has a density, log p_t(x) = -E + ... up to a constant, and Langevin steps can be accepted or
    rejected.  A call costs about two of the network, a step of training about three of its steps.  Under
    `torch.compile` it runs as it is, since compiled code has no second derivative.

    Salimans, Ho (2021), Should EBMs model the energy or the score?; Du et al. (2023), arXiv 2302.11552, section 4.

    Arguments:
        net: f(x, c), or f(x, c, cond) with `conditions`, of an answer like x.
        form: "dot": E = <x, f(x, c)>, whose gradient begins at 0 where f does; "distance": E = |x - f(x, c)|^2 / 2.

    Raises:
        InputError: a network of several outputs.
    """

    def __init__(self, net: nn.Module, form: Literal["dot", "distance"] = "dot"):
        super().__init__()
        self.net, self.form, self.conditions = net, form, dict(getattr(net, "conditions", None) or {})
        if (outputs := getattr(net, "outputs", 1)) != 1:
            raise InputError(f"net has outputs={outputs}: an energy needs outputs=1", "net")

    def energy(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        """E, of each row.

        Arguments:
            x: (B, *shape).
            c: log(sigma / alpha) (B,).
            cond: tensors by name with B rows each; what is absent is missing.

        Returns:
            (B,).
        """
        f = self.net(x, c, cond or {}) if self.conditions else self.net(x, c)
        value = x * f if self.form == "dot" else (x - f).square() / 2
        return value.flatten(1).sum(1)

    def forward(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        """The gradient of the energy, with a graph where gradients are on.

        Arguments:
            x, c, cond: as in `energy`.

        Returns:
            (B, *shape).
        """
        return eagerly(self._slope, x, c, cond)

    @derivatives
    def _slope(self, x: Tensor, c: Tensor, cond: Mapping[str, Tensor] | None) -> Tensor:
        keep = torch.is_grad_enabled()
        # The fused kernels of attention have no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH) if keep else nullcontext():
            leaf = x if keep and x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(self.energy(leaf, c, cond).sum(), leaf, create_graph=keep)[0]

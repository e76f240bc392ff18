"""Networks: `net(x, c, **cond)` for x (B, *shape) and the log noise level c (B,); they know no SDE."""

from .base import Network
from .mlp import MLP
from .unet import UNet

__all__ = ["MLP", "Network", "UNet"]

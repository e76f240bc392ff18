"""Noise dealt to the items of a batch."""

import torch
from torch import Tensor


def paired(x0: Tensor, eps: Tensor) -> Tensor:
    """The rows of eps (B, *shape) in the order that makes the sum of |x_0 - eps|^2 over the batch least.

    Tong et al. (2023), arXiv 2302.00482; Pooladian et al. (2023), arXiv 2304.14772.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    likeness = x0.flatten(1).double() @ eps.flatten(1).double().T
    order = linear_sum_assignment(likeness.cpu().numpy(), maximize=True)[1]
    return eps[torch.from_numpy(order).to(eps.device)]

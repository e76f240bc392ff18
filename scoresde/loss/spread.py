"""How the numbers of a batch, of which its times are made, are spread."""

import torch
from torch import Tensor

from ..errors import InputError

DRAWS = ("iid", "stratified", "even", "antithetic")


def spread(n: int, how: str, generator: torch.Generator | None = None) -> Tensor:
    """n numbers in (0, 1), each uniform, in float64 on the CPU, together spread out.

    Arguments:
        n: how many.
        how: "iid": independent; "stratified": one in each of n equal strata, in their order; "even": (i + u) / n with
            one u for all (Kingma et al., 2021, arXiv 2107.00630); "antithetic": pairs u, 1 - u, the mate of number i <
            n / 2 at i + n / 2 (Hammersley, Morton, 1956).
        generator: torch's global one by default.

    Returns:
        (n,).

    Raises:
        InputError: an unknown `how`.
    """
    if how not in DRAWS:
        raise InputError(f"how={how!r}: choose among {', '.join(DRAWS)}", "how")
    u = torch.rand(n, dtype=torch.float64, generator=generator)
    if how == "iid":
        return u
    if how == "antithetic":
        half = u[: (n + 1) // 2]
        return torch.cat([half, 1 - half])[:n]
    return (torch.arange(n) + (u[:1] if how == "even" else u)) / n

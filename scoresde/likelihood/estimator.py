"""Which estimator of the divergence is asked for: an object, or a name and a number of probes."""

from collections.abc import Callable
from typing import Annotated

from ..errors import InputError
from ..settings import OneOf
from .divergence import Divergence, Exact, Hutchinson, HutchPP

FEW = 16  # dimensions in which "auto" is exact: so many probes see no more, and fewer may all be alike
NAMES: dict[str, Callable[[int], Divergence]] = {
    "exact": lambda k: Exact(),
    "rademacher": Hutchinson,
    "gaussian": lambda k: Hutchinson(k, "gaussian"),
    "hutchpp": HutchPP,
}
Estimator = Annotated[str, OneOf(NAMES)] | Divergence


def estimator(divergence: str | Divergence | None, probes: int | str | None, dims: int, fresh: bool) -> Divergence:
    """What `log_likelihood` is asked for, for D = `dims` dimensions and probes that are `fresh` in each step or kept.

    Raises `InputError`.
    """
    if isinstance(divergence, Divergence):
        if probes not in (None, "auto"):
            words = f"{divergence} has its own number, leave probes out or say 'auto'"
            raise InputError(f"probes={probes!r}: {words}", "probes")
        return divergence
    if probes is None and divergence in (None, "exact"):
        return Exact()
    if divergence == "exact":
        raise InputError(f"probes={probes!r}: the exact divergence has none, leave it out", "probes")
    if probes == "auto" and divergence is None and dims <= FEW:
        return Exact()
    # The spread of a few kept probes is often small by chance; that of fresh ones is known from every step.
    first = 6 if divergence == "hutchpp" else 4 if fresh else 8
    return NAMES[divergence or "rademacher"](first if probes == "auto" else 1 if probes is None else probes)

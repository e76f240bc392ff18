"""Results and plans in one line, in place of all the numbers in their tensors."""

import dataclasses
import math
from typing import Any

from torch import Tensor


class Result:
    """A base for results of rows, which says their number, the mean of what was computed, and what that took:

    Likelihood(50 rows, mean log_prob -2.31 +- 0.12, 40 evaluations a row)
    """

    def __repr__(self) -> str:
        name = next(name for name in ("log_prob", "integral", "error") if hasattr(self, name))
        values, nfe = getattr(self, name), getattr(self, "nfe", None)
        parts = [f"{len(values)} row{'s' * (len(values) != 1)}", f"mean {name} {mean(values)}"]
        if nfe is not None and len(values):
            parts.append(f"{float(nfe.double().mean()) if isinstance(nfe, Tensor) else nfe:.0f} evaluations a row")
        return f"{type(self).__name__}({', '.join(parts)})"


class Shapes:
    """A base for dataclasses that hold tensors, which says their shapes: GaussianPart(cov=(64, 64), strength=1.0)."""

    def __repr__(self) -> str:
        fields = (f"{f.name}={_short(getattr(self, f.name))}" for f in dataclasses.fields(self))
        return f"{type(self).__name__}({', '.join(fields)})"


def mean(values: Tensor) -> str:
    """The mean of values (B,) with its standard error over them, "-2.31 +- 0.12"; of one value that alone."""
    values = values.detach().double()
    if not len(values):
        return "of none"
    stderr = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{float(values.mean()):.4g}" + (f" +- {stderr:.2g}" if math.isfinite(stderr) else "")


def _short(value: Any) -> str:
    if isinstance(value, Tensor) and value.ndim:
        return str(tuple(value.shape))
    if isinstance(value, list | tuple) and len(value) > 4:
        return f"({len(value)} numbers)"
    return repr(value.item() if isinstance(value, Tensor) else value)

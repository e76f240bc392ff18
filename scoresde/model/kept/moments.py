"""The mean and the covariance of a model's data, kept beside it: moments.safetensors, for samplers of few steps."""

import math
from pathlib import Path

import numpy as np
import torch

from ...data import Data, stack
from ...denoiser.moments import Moments
from ...errors import InputError, last_line
from ...machine import files
from .. import checkpoint

MOMENTS = "moments.safetensors"
ROWS, VALUES = 8192, 2**24  # at most so many rows are read, and so many numbers if 64 rows have fewer


def of_data(data: Data, dequantise: str) -> Moments:
    """Those of up to 8192 training items in the model's space, evenly chosen, with the noise of dequantisation."""
    n, size = len(data.train), math.prod(data.shape)
    rows = min(n, ROWS, max(64, VALUES // size))
    x = data.encode(stack(data.train, np.arange(rows) * n // rows))
    uniform = data.levels and dequantise == "uniform"
    within = torch.as_tensor(data.space.width) ** 2 / 12 if uniform else 0.0
    return Moments.of(x, within)


def save(folder: Path, moments: Moments) -> None:
    """Writes moments.safetensors."""
    from safetensors.torch import save as to_bytes

    data = to_bytes({name: value.contiguous() for name, value in moments.state().items()})
    files.write(folder / MOMENTS, lambda file: file.write(data))


def load(folder: Path, shape: tuple[int, ...]) -> Moments | None:
    """What `save` wrote; None in a folder without it.  Raises `InputError` if it is damaged or of other data."""
    from safetensors.torch import load_file

    path = folder / MOMENTS
    if not path.exists() and not path.is_symlink():
        return None
    files.reading(path).close()  # no link, no pipe
    try:
        state = load_file(str(path))
        moments = Moments.from_state(state)
        if tuple(moments.mean.shape) != shape or not all(bool(v.isfinite().all()) for v in state.values()):
            raise ValueError(f"its mean is not of the shape {shape}, or not all is finite")
        moments.turn(torch.zeros(1, *shape, dtype=torch.float64), moments.basis) * moments.deviations
    except Exception as error:  # of safetensors, as it happens to be
        checkpoint.raise_if_of_the_machine(error)
        words = f"it was cut short or damaged ({last_line(error)[:100]})"
        raise InputError(f"{path} cannot be read: {words}; remove it: samplers do without") from error
    return moments

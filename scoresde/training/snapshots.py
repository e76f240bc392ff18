"""Snapshots of averages by powers of the step, kept while a training goes on, and any average that is made of them.

snapshots/STEP.safetensors    WIDTH/NAME: the averaged weight NAME by the power of this width, sigma_rel
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..machine import files
from ..model.folder import described, load
from ..model.kept import weights
from ..model.kept.state import plain_state
from ..model.trained.denoiser import Model
from ..settings import Count, checked
from .power import Width, coefficients, gamma_of

FOLDER = "snapshots"
REMEDY = "remove it: the other snapshots stand in for it"


def save(folder: Path, step: int, averages: Mapping[float, Mapping[str, Tensor]], dtype: torch.dtype) -> None:
    """Writes the averages of a step, by their widths."""
    state = {f"{width}/{name}": v.to(dtype) for width, state in averages.items() for name, v in state.items()}
    weights.write(folder / FOLDER / f"{step:08d}.safetensors", state, step)


def taken(folder: Path) -> dict[int, Path]:
    """The files of a folder's snapshots by their steps."""
    found = sorted((folder / FOLDER).glob("*.safetensors"))
    return {int(path.stem): path for path in found if path.stem.isdecimal()}


def drop_after(folder: Path, step: int) -> None:
    """Removes the snapshots of later steps, which are made again."""
    for path in (path for later, path in taken(folder).items() if later > step):
        files.check(path)
        path.unlink()


@checked
def reconstruct(
    folder: str | Path, sigma_rel: Width, step: Count | None = None, keep: bool = False, **options: Any
) -> Model:
    """The model of a folder with its weights averaged by a power of the step, of any width: made of its snapshots.

        model = reconstruct("runs/mine", 0.12)

    The training has to have kept some: `train(..., snapshots=50)`.  Karras et al. (2023), arXiv 2312.02696.

    Arguments:
        folder: of a denoiser.
        sigma_rel: the width, a share of the steps: the larger the longer.
        step: that the average ends at; None: the last that there is a snapshot of.
        keep: write it as averages/power-WIDTH.safetensors, for `load(folder, ema="power-WIDTH")` and the setting `ema`.
        options: those of `load`.

    Returns:
        The model; its `misfit` is |w - w'| / |w| of the weights of the steps that were asked for, w, and that it has.

    Raises:
        InputError: no snapshots, or a damaged one; as `load` does.
    """
    folder = Path(folder).expanduser()
    found, at, misfit = _averaged(folder, sigma_rel, step)
    model = load(folder, weights=found, **options)
    model.step, model.misfit = at, misfit
    if keep:
        adapter = model.adapter.state if model.adapter is not None else None
        state = adapter or plain_state(model.bare)
        weights.write(weights.average_path(folder, name_of(sigma_rel)), weights.with_space(state, model.space), at)
    return model


def name_of(sigma_rel: float) -> str:
    """By which an average of this width is kept."""
    return f"power-{float(sigma_rel)}"


def _averaged(folder: Path, sigma_rel: float, step: int | None) -> tuple[dict[str, Tensor], int, float]:
    """The weights of an average by their names, the step that it ends at, and its misfit."""
    described(folder)
    there = taken(folder)
    if not there:
        words = "train with train.snapshots=50, say, the steps between two"
        raise InputError(f"{folder} has no snapshots to make an average of: {words}")
    end = step or max(there)
    if end > max(there):
        raise InputError(f"step={step}: the last snapshot in {folder} is of step {max(there)}", "step")
    widths = sorted({float(key.split("/", 1)[0]) for key in _read(there[max(there)])})
    kept = [(t, width) for t in there for width in widths]
    x, misfit = coefficients([(t, gamma_of(width)) for t, width in kept], (end, gamma_of(sigma_rel)))
    share, total = dict(zip(kept, x.tolist(), strict=True)), {}
    for t, path in there.items():
        for key, value in _read(path).items():
            width, name = key.split("/", 1)
            part = share[t, float(width)] * value.double()
            total[name] = total[name].add_(part) if name in total else part
    return {name: value.float() for name, value in total.items()}, end, misfit


def _read(path: Path) -> dict[str, Tensor]:
    return weights.read(path, remedy=REMEDY)[0]

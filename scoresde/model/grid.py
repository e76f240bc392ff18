"""The time grid that is fitted to a model, kept beside it: grid.json."""

from collections.abc import Callable
from pathlib import Path

from ..machine import files
from ..sampling import FittedGrid, fit_grid
from .folder import Model

GRID = "grid.json"


def fitted_grid(folder: Path, model: Model, say: Callable[[str], None], keep: bool = True) -> FittedGrid:
    """The grid fitted to the model's weights: what the folder has of them, else made anew and kept there (`keep`)."""
    path, needs = folder / GRID, {"weights": str, "angles": files.list_of(float), "share": files.list_of(float)}
    known = files.read_json(path, needs, default=None, say=say)
    if known and known["weights"] == model.weights and len(known["angles"]) == len(known["share"]) > 1:
        return FittedGrid(tuple(known["angles"]), tuple(known["share"]))
    grid = fit_grid(model, (32, *model.shape))
    if keep:
        files.write_json(path, {"weights": model.weights, "angles": grid.angles, "share": grid.share})
        say(f"fitted a time grid to the model: {path}")
    return grid

"""Pictures of data of any shape, as `kinds.kind_of` says: images by pixels, points, tables and series as plots.

Nothing is drawn, without an error, where the package that a picture needs is missing: the command has said so.
"""

from .curves import errors_by_level, front, histogram, intervals, losses
from .draw import extremes, names_of, samples, some_real
from .pixels import TILE, as_bytes, save_png, sheet, tile
from .plots import figure
from .ways import SIDE, trajectory, translations, walks

__all__ = [
    "SIDE",
    "TILE",
    "as_bytes",
    "errors_by_level",
    "extremes",
    "figure",
    "front",
    "histogram",
    "intervals",
    "losses",
    "names_of",
    "samples",
    "save_png",
    "sheet",
    "some_real",
    "tile",
    "trajectory",
    "translations",
    "walks",
]

"""What the objectives of this package's own models have in common."""

from typing import Any

from ..data import Data
from ..denoiser import device_of
from ..model.folder import load
from ..model.trained.known import facts
from .base import Objective
from .guards import look


class Own(Objective):
    """An objective whose product is a model that folders hold, a denoiser, a classifier or a CLIP, of `data`."""

    product: Any
    data: Data

    def look(self):
        look(self.product, self.data)

    def load(self, folder):
        return load(folder, str(device_of(self.product)), denoiser=self.product)

    @property
    def facts(self):
        return facts(self.data)

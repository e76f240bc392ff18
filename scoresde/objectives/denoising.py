"""Denoising score matching, as an objective."""

from typing import Any

import torch
from torch import Tensor

from ..conditions import dropped
from ..data import Batch, Data
from ..denoiser import Denoiser, device_of
from ..loss import DenoisingLoss
from ..making import recorded
from ..model import moments
from ..model.denoiser import Model
from ..model.description import describe
from ..model.folder import load
from ..model.known import facts
from .base import Objective
from .guards import look, prepare
from .validation import Validation


class Denoising(Objective):
    """`DenoisingLoss` on the items of a data set, with noise and times drawn afresh in each step.

    Of a denoiser with conditions each is taken from a row with the chance `drop` of its kind, and all of them together
    with the largest of these where there are several (Ho, Salimans, 2022, arXiv 2207.12598): so that it learns what
    they tell together, one by one, and to do without.

    Arguments:
        denoiser: its weights are where training starts.
        loss: its times, if they learn, do so in place.
        data: whose items come with the denoiser's conditions.
        dequantise: of data with levels: "uniform" within the bin, or "none", its middle.
    """

    @recorded
    def __init__(self, denoiser: Denoiser, loss: DenoisingLoss, data: Data, dequantise: str = "uniform"):
        super().__init__()
        self.product, self.loss, self.data, self.dequantise = denoiser, loss, data, dequantise
        self.times = loss.learner  # so that they go to the device
        self.takes = tuple(denoiser.conditions)
        self.validation: Validation | None = None

    def draw(self, batch: Batch, size: int, part: slice, turn: str = "") -> tuple:
        data, device = self.data, batch.x.device
        whole, dequantised = (size, *data.shape), self.dequantise == "uniform" and data.levels
        u = torch.rand(whole, device=device)[part] if dequantised else None
        x0, t = data.encode(batch.x, u), self.loss.sample_times(self.product.sde, size)
        eps = torch.randn(whole, dtype=x0.dtype, device=device)[part]
        return x0, t[part], eps, self._dropped(batch.cond, size, part)

    def _dropped(self, cond: dict[str, Tensor], size: int, part: slice) -> dict[str, Tensor]:
        kinds, out = self.product.conditions, {}
        device = next((value.device for value in cond.values()), None)
        most = max((kind.drop for kind in kinds.values()), default=0.0) if len(cond) > 1 else 0.0
        all_of_them = torch.rand(size, device=device)[part] < most if most else None
        for name, value in cond.items():
            if drop := kinds[name].drop:
                gone = torch.rand(size, device=device)[part] < drop
                value = dropped(value, gone if all_of_them is None else gone | all_of_them)
            out[name] = value
        return out

    def forward(self, drawn: tuple, turn: str = "") -> Tensor:
        x0, t, eps, cond = drawn
        return self.loss(self.product, x0, t, eps, cond)

    def begin(self, device):
        prepare(self.product, self.data)
        self.validation = Validation(self.data, self.loss, self.product, device, dequantise=self.dequantise)

    def check(self, average: Denoiser) -> dict[str, Any]:
        mean, by_level = self.validation(average)
        return {"validation": mean, "validation_by_level": by_level}

    def several(self, add_up):
        if self.times is not None:
            self.times.add_up = add_up

    def state(self):
        return self.loss.state()

    def load_state(self, state):
        self.loss.load_state(state)

    def look(self):
        look(self.product, self.data)

    def describe(self):
        return describe(self.product, self.data, self.loss, self)

    def made(self, average: Denoiser, step: int) -> Model:
        model = Model(average, self.facts, step)
        model.moments = moments.of_data(self.data, self.dequantise)
        return model

    def load(self, folder):
        return load(folder, str(device_of(self.product)), denoiser=self.product)

    @property
    def facts(self):
        return facts(self.data)

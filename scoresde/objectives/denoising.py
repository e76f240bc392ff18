"""Denoising score matching, as an objective."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..conditions import Kind, dropped, of_items
from ..data import Batch, Data
from ..data.views import redrawn
from ..denoiser import Denoiser, Moments
from ..loss import DenoisingLoss
from ..making import recorded
from ..model.description import describe
from ..model.kept import moments
from ..model.trained.denoiser import Model
from ..settings import Fraction, Scale
from .added.settings import ESTIMATE, Added, Coupling, estimate
from .added.uncertainty import Uncertainty
from .base import load_named, named
from .guards import check_shapes, prepare
from .own import Own
from .validation import Validation


class Denoising(Own):
    """`DenoisingLoss` on the items of a data set, with noise and times drawn afresh in each step.

    Of a denoiser with conditions each is taken from a row with the chance `drop` of its kind, and all of them together
    with the largest of these where there are several (Ho, Salimans, 2022, arXiv 2207.12598): so that it learns what
    they tell together, one by one, and to do without.

    Arguments:
        denoiser: its weights are where training starts.
        loss: its times, if they learn, do so in place.
        data: whose items come with the denoiser's conditions.
        dequantise: of data with levels: "uniform" within the bin, or "none", its middle.
        uncertainty: the loss of each level is divided by its mean, which is learned (`added.uncertainty`; Karras et
            al., 2023, arXiv 2312.02696).
        self_condition: the share of rows that are told the model's own estimate of x_0, as samples are at each step
            that of the step before; 0.5, say (Chen, Zhang, Hinton, 2022, arXiv 2208.04202).  The network takes
            `asks(shape, self_condition=0.5)`.
        offset: o of the noise eps + o k, with one normal number k for each channel; samples start from the same noise
            (Guttenberg, 2023, Diffusion with Offset Noise).  See `Source` for what then holds.
        augment: the chance of each change of an item, of which the network is told and samples are not: flips, and of
            pictures scales, turns, stretches and shifts (Karras et al., 2022, arXiv 2206.00364, appendix F.2).  The
            network takes `asks(shape, augment=0.12)`.
        coupling: "optimal": the noise of a batch (of several processes, of each one's own part) is dealt to its items
            so that the sum of |x_0 - eps|^2 is least: with `sde=linear` the paths of the flow are straighter (Tong et
            al., 2023, arXiv 2302.00482).  See `Source` for what then holds.
        condition_noise: the largest s of the noise of a picture that the model is told, z + s n, s ~ U(0, largest) for
            each row, and told too: so that it forgives what another model's picture has wrong (Ho et al., 2021, arXiv
            2106.15282).  See `Corruption`; the network takes `asks(shape, condition_noise=0.5)`.
        condition_blur: the same of a Gaussian blur, of that deviation in pixels, in place of noise.

    Raises:
        InputError: a network that does not take what it is to be told; what does not go with the data or with each
            other.
    """

    @recorded
    def __init__(
        self,
        denoiser: Denoiser,
        loss: DenoisingLoss,
        data: Data,
        dequantise: str = "uniform",
        uncertainty: bool = False,
        self_condition: Fraction = 0.0,
        offset: Scale = 0.0,
        augment: Fraction = 0.0,
        coupling: Coupling = "independent",
        condition_noise: Scale = 0.0,
        condition_blur: Scale = 0.0,
    ):
        super().__init__()
        self.added = Added(uncertainty, self_condition, offset, augment, coupling, condition_noise, condition_blur)
        self.added.check(denoiser, data.shape)
        loss.check(data.shape)
        denoiser.source = self.added.source
        self.said, self.asked = loss, loss  # what a description tells; what `loss` is made of
        self.product, self.data, self.dequantise = denoiser, data, dequantise
        self.uncertainty = Uncertainty() if uncertainty else None
        self.times = loss.learner  # so that they go to the device
        self.takes = tuple(of_items(denoiser.conditions))
        self.validation: Validation | None = None

    @functools.cached_property
    def moments(self) -> Moments:
        """Of the training items, once they have been looked at."""
        return moments.of_data(self.data, self.dequantise)

    @functools.cached_property
    def loss(self) -> DenoisingLoss:
        """The loss that is minimised: the one given, with times that follow the data where it says so.

        Not vectors: only in a space there may be a layout.
        """
        follows = self.asked.follows and len(self.data.shape) > 1
        return self.asked.fitted(self.moments.deviations) if follows else self.asked

    @property
    def chosen(self) -> dict[str, float]:
        """What followed the data: `mean` and `std` of the times; {} where nothing did."""
        found = self.loss.times.normal if self.asked.follows and not self.loss.follows else ()
        return dict(zip(("mean", "std"), found, strict=True)) if found else {}

    @classmethod
    def asks(cls, shape: Sequence[int], **settings: Any) -> dict[str, Kind]:
        """The conditions, by name, that a network of data of a shape must take for these settings."""
        return Added.of(settings).asks(shape)

    def trained(self, turn):
        return [*self.product.parameters(), *(self.uncertainty.parameters() if self.uncertainty else ())]

    def draw(self, batch: Batch, size: int, part: slice, turn: str = "") -> tuple:
        data, device = self.data, batch.x.device
        whole, dequantised = (size, *batch.x.shape[1:]), self.dequantise == "uniform" and data.levels
        u = torch.rand(whole, device=device)[part] if dequantised else None
        x0, t = data.encode(batch.x, u), self.loss.sample_times(self.product.sde, size)
        eps = torch.randn(whole, dtype=x0.dtype, device=device)[part]
        cond = redrawn(data.train, batch.x, batch.cond, size, part)
        cond = dropped_rows(cond, self.product.conditions, size, part)
        x0, eps, cond, told = self.added.drawn(x0, eps, cond, size, part, self.product.conditions)
        return x0, t[part], eps, cond, *told

    def forward(self, drawn: tuple, turn: str = "") -> Tensor:
        x0, t, eps, cond, *told = drawn
        if told:
            cond = {**cond, ESTIMATE: estimate(self.product, x0, t, eps, cond, *told)}
        losses = self.loss(self.product, x0, t, eps, cond)
        return self.uncertainty(losses, -self.product.sde.log_snr(t) / 2) if self.uncertainty else losses

    def others(self, data):
        if data.buckets:
            check_shapes(self.product, data)
        return data.buckets

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
        return self.loss.state() | named(self._beside())

    def load_state(self, state):
        load_named(self._beside(), state)
        own = tuple(f"{name}." for name, _ in self._beside())
        self.loss.load_state({k: v for k, v in state.items() if not k.startswith(own)})

    def describe(self):
        known = describe(self.product, self.data, self.said, self)
        return known | ({"chosen": self.chosen} if self.chosen else {})

    def made(self, average: Denoiser, step: int) -> Model:
        model = Model(average, self.facts, step)
        model.moments = self.moments
        model.carry(self.data.codec)
        return model


def dropped_rows(cond: dict[str, Tensor], kinds: Mapping[str, Kind], size: int, part: slice) -> dict[str, Tensor]:
    """Conditions of a step, each taken from some rows with the chance `drop` of its kind, and all together with the
    largest of these where there are several; drawn for the whole batch of `size`, of which these rows are a `part`."""
    out: dict[str, Tensor] = {}
    device = next((value.device for value in cond.values()), None)
    most = max((kind.drop for kind in kinds.values()), default=0.0) if len(cond) > 1 else 0.0
    all_of_them = torch.rand(size, device=device)[part] < most if most else None
    for name, value in cond.items():
        if drop := kinds[name].drop:
            gone = torch.rand(size, device=device)[part] < drop
            value = dropped(value, gone if all_of_them is None else gone | all_of_them)
        out[name] = value
    return out

"""Items and what is left of them in a few latents, as an objective."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...data import Batch, Data, collate
from ...data.look import spaced
from ...denoiser import device_of
from ...errors import InputError
from ...making import node_of
from ...model.description import FORMAT, about, without_inputs
from ...model.trained.autoencoder import Autoencoder, TrainedAutoencoder
from ...nets.autoencoder import Codebook, Gaussian
from ...nets.autoencoder.bottleneck import SILENT
from ...settings import Scale, Whole, checked
from ...spaces import Bins
from ..guards import prepare
from ..own import Own
from .codes import Upkeep
from .losses import LOSSES

MOST = 512  # items that a validation looks at
BALANCE = 1e4  # the most that the critic's gradient is multiplied by
CRITIC, CODEC = "critic", "codec"


class Autoencode(Own):
    r"""A reconstruction, and what keeps its latents in order; per number of an item, of D of them:

        loss(x, x') + w_KL KL(q(z | x) || N(0, I)) / D  (or the cost of a codebook)
        + w_P perceptual(x, x') - w_C lambda mean critic(x')

    `loss` is |x - x'| (l1), its square (l2), or -log P(v | z) / D in nats, of data with levels (levels): with w_KL = 1
    the negative evidence lower bound.  The critic learns by a hinge loss, max(0, 1 - critic(x)) + max(0, 1 +
    critic(x')), from step `start` on, and its gradient is as long as that of the rest at the decoder's last layer:
    lambda = |grad rest| / |grad critic|.

    Each validation looks at up to 512 held-out items, evenly spaced, by the means of their latents: `validation`, the
    loss without the critic; `psnr`, decibels; of a Gaussian `kl`, nats an item, and `silent`, how many channels of the
    latents say less than 0.01 nats a place; of a codebook `used`, the share of its codes among them, and `perplexity`,
    by how many even ones; of loss=levels `bits_per_dim`, an upper bound of -log2 P(v) / D, of codes too.

    Kingma, Welling (2014), arXiv 1312.6114; van den Oord et al. (2017), arXiv 1711.00937; Esser, Rombach, Ommer (2021),
    arXiv 2012.09841; Rombach et al. (2022), arXiv 2112.10752.

    Arguments:
        autoencoder: its weights are where training starts.
        data: of items (C, *space).
        loss: the reconstruction's.
        kl: w_KL, of a Gaussian bottleneck; None: 1 with levels, else 1e-4.
        perceptual: a distance of pictures (x, y) -> (B,), a `Perceptual`; None: none.
        perceptual_weight: w_P.
        critic: a `nets.PatchCritic` or one's own; None: none.
        critic_weight: w_C.
        start: the step from which there is a critic.

    Raises:
        InputError: an autoencoder of other items; a loss of levels for data without any, or without `likelihood`.
    """

    @checked
    def __init__(
        self,
        autoencoder: Autoencoder,
        data: Data,
        loss: Literal["l1", "l2", "levels"] = "l1",
        kl: Scale | None = None,
        perceptual: nn.Module | Callable | None = None,
        perceptual_weight: Scale = 0.1,
        critic: nn.Module | None = None,
        critic_weight: Scale = 0.5,
        start: Whole = 500,
    ):
        super().__init__()
        shape = tuple(autoencoder.net.shape)
        if shape != tuple(data.shape):
            raise InputError(f"the autoencoder is of items {shape}, and {data.name} has {tuple(data.shape)}", "data")
        if loss == "levels" and (data.levels is None or autoencoder.log_std is None):
            words = "the data has none" if data.levels is None else "make the autoencoder with likelihood=True"
            raise InputError(f"loss=levels: {words}", "loss")
        self.product, self.data, self.how = autoencoder, data, loss
        self.kl = (1.0 if loss == "levels" else 1e-4) if kl is None else kl
        self.perceptual, self.critic = perceptual, critic
        self.weights, self.start = (perceptual_weight, critic_weight), start
        self.turns = ("",) if critic is None else (CRITIC, CODEC)
        book = autoencoder.bottleneck
        self.upkeep = Upkeep(book) if isinstance(book, Codebook) else None
        self.numbers, self.made_steps, self.add_up = math.prod(shape), 0, None
        self.held: Tensor | None = None

    def trained(self, turn):
        return list((self.critic if turn == CRITIC else self.product).parameters())

    def draw(self, batch: Batch, size: int, part: slice, turn: str = "") -> tuple:
        device = batch.x.device
        eps = torch.randn(size, *self.product.latent_shape, device=device)[part]
        return batch.x, eps, None if self.upkeep is None else (self.upkeep.numbers(device), part)

    def forward(self, drawn: tuple, turn: str = "") -> Tensor:
        raw, eps, chosen = drawn
        x = self.data.encode(raw)
        if turn == CRITIC:
            return self._critic(x, eps)
        again, found = self.product(x, eps)
        if self.upkeep is not None and self.training:
            self.upkeep.saw(found.h, found.codes, *chosen)
        value = self._rest(raw, x, again, found)
        return value if turn == "" or self.made_steps < self.start else value + self._fooled(value, again)

    def _rest(self, raw: Tensor, x: Tensor, again: Tensor, found: Any) -> Tensor:
        """All of the loss (B,) but for the critic."""
        if self.how == "levels":
            mass = Bins.of(self.data).log_mass(raw, again, self.product.log_std.exp().expand_as(again))
            value = -mass / self.numbers
        else:
            value = LOSSES[self.how](x, again)
        value = value + (self.kl * found.cost / self.numbers if found.codes is None else found.cost)
        return value if self.perceptual is None else value + self.weights[0] * self.perceptual(x, again)

    def _critic(self, x: Tensor, eps: Tensor) -> Tensor:
        if self.made_steps < self.start:
            return sum(0 * p.sum() for p in self.critic.parameters()).expand(len(x))
        with torch.no_grad():
            again, _ = self.product(x, eps)
        true, false = (self.critic(y).flatten(1) for y in (x, again))
        return (F.relu(1 - true) + F.relu(1 + false)).mean(1)

    def _fooled(self, value: Tensor, again: Tensor) -> Tensor:
        """-w_C lambda critic(x') (B,)."""
        fooled, last = -self.critic(again).flatten(1).mean(1), self.product.net.last
        parts = [torch.autograd.grad(v.sum(), last, retain_graph=True)[0] for v in (value, fooled)]
        for part in parts if self.add_up is not None else ():
            self.add_up(part)
        rest, own = (part.norm() for part in parts)
        return self.weights[1] * (rest / (own + 1e-6)).clamp(0, BALANCE).detach() * fooled

    def after(self, step, average):
        self.made_steps = step
        if self.upkeep is not None:
            self.upkeep.step()

    def several(self, add_up):
        self.add_up = add_up
        if self.upkeep is not None:
            self.upkeep.add_up = add_up

    def begin(self, device):
        prepare(self.product, self.data)
        self.held = collate(self.data.test, spaced(len(self.data.test), MOST), []).x.to(device)

    @torch.no_grad()
    def check(self, average: Autoencoder) -> dict[str, Any]:
        """Figures of held-out items: see `Autoencode`."""
        rows, codes, silence = [], [], []
        for raw in self.held.split(128):
            x = self.data.encode(raw)
            again, found = average(x)
            error = (x - again).square().flatten(1).mean(1) / 4  # of a range of 2
            rows.append(torch.stack([self._rest(raw, x, again, found), -10 * error.clamp_min(1e-10).log10()], 1))
            if isinstance(average.bottleneck, Gaussian):
                each = average.bottleneck.divergence(average.net.down(x))
                silence.append(each.flatten(2).mean(2))
                rows[-1] = torch.cat([rows[-1], each.flatten(1).sum(1, keepdim=True)], 1)
            elif found.codes is not None:
                codes.append(found.codes.flatten())
        return self._told(torch.cat(rows).mean(0).tolist(), codes, silence, average)

    def _told(self, means: list[float], codes: list[Tensor], silence: list[Tensor], average: Autoencoder) -> dict:
        found = {"validation": means[0], "psnr": means[1]}
        if codes:
            count = torch.bincount(torch.cat(codes), minlength=average.bottleneck.size).double()
            p = count / count.sum()
            found["used"] = float((count > 0).double().mean())
            found["perplexity"] = float(torch.exp(-(p * p.clamp_min(1e-12).log()).sum()))
        if silence:
            found |= {"kl": means[2], "silent": int((torch.cat(silence).mean(0) < SILENT).sum())}
        if self.how == "levels" and (codes or silence):
            found["bits_per_dim"] = float(average.bits(self.held, Bins.of(self.data)).sum(1).mean())
        return found

    def state(self):
        found = super().state() | {"made_steps": torch.tensor(self.made_steps)}
        return found | ({"used": self.upkeep.used} if self.upkeep is not None else {})

    def load_state(self, state):
        self.made_steps = int(state["made_steps"])
        if self.upkeep is not None:
            self.upkeep.used.copy_(state["used"])
        super().load_state({k: v for k, v in state.items() if "." in k})

    @torch.no_grad()
    def look(self):
        prepare(self.product, self.data)
        mode = self.product.training
        raw = collate(self.data.train, [0], []).x.to(device_of(self.product))
        x = self.data.encode(raw)
        again, _ = self.product.eval()(x)
        if self.critic is not None:
            self.critic(again)
        self.product.train(mode)

    def describe(self):
        own = self.product
        known = {"format": FORMAT, "kind": "autoencoder", "net": without_inputs(node_of(own.net), ("shape",))}
        known |= {"bottleneck": node_of(own.bottleneck), "likelihood": own.log_std is not None}
        loss = {"loss": self.how, "kl": self.kl, "start": self.start, "weights": list(self.weights)}
        loss |= {"critic": None if self.critic is None else node_of(self.critic), "perceptual": self._seen_by()}
        return known | {"loss": loss, "data": about(self.data, [])}

    def _seen_by(self) -> str | None:
        """What the perceptual distance looks by, in a few words."""
        if self.perceptual is None:
            return None
        features = getattr(self.perceptual, "features", None)
        part = getattr(features, "classifier", None)
        of = getattr(features, "kind", None) if part is None else f"a {type(part.net).__name__}"
        return type(self.perceptual).__name__ + ("" if of is None else f" of {of}")

    def made(self, average: Autoencoder, step: int) -> TrainedAutoencoder:
        model = TrainedAutoencoder(average, self.facts, step)
        model.about = self.describe()
        return model

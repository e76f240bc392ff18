"""Latents, what they mean and how they are distributed, trained together by one bound."""

import functools
import math
from typing import Any, Literal

import torch
from torch import Tensor

from ... import noise
from ...data import Affine, Batch, Data, Tensors, collate, stack
from ...denoiser import Denoiser, Moments, Preconditioned, device_of
from ...errors import InputError
from ...making import node_of
from ...model.description import FORMAT, about, describe, without_inputs
from ...model.folder import load
from ...model.trained.autoencoder import Autoencoder, TrainedAutoencoder
from ...model.trained.denoiser import Model
from ...model.trained.known import facts
from ...nets import Gaussian, Mixed
from ...settings import checked
from ..guards import prepare
from ..own import Own
from .parts import Joint, Terms, loss_of, terms

CODEC, SCORE = "codec", "score"
MOST, ROWS = 512, 4096  # items that a validation looks at; that the moments of the latents are taken of
LEVELS = 4  # noise levels of each item in a validation


class LSGM(Own):
    r"""An autoencoder and a denoiser of its latents, trained together by the bound on -log p(x), per number of an item:

        E_q [-log p(x | z)] + CE(q(z | x), p(z)) - H(q(z | x))
        CE <= 1/2 integral of g^2 E|score(z_t, t) - grad log q(z_t | z)|^2 dt + terms of both ends

    where the cross entropy is denoising score matching of z_t = alpha z + sigma eps (`parts.cross_entropy`).  Encoder
    and decoder follow the bound, the weight g^2 / sigma^2 of the squared error of eps (w_ll).  The denoiser follows it
    too (weighting="ll": all are moved at once), or the same with the weight 1 ("un") or g^2 ("re"), in a turn of its
    own with noise of its own.  Times are drawn in proportion to what each weight makes of z ~ N(0, I), and divided by
    that density.

    Each validation looks at up to 512 held-out items with fixed z, noise and 4 noise levels: `validation`, the bound in
    nats a number; `bits_per_dim` of data with levels, and its terms `reconstruction`, `cross_entropy` and `entropy`, in
    nats an item.

    The model is one of latents, whose codec is the autoencoder: it samples, and `latent.bound` tells what it says of
    log p(x).  It keeps one average of its weights.

    Vahdat, Kreis, Kautz (2021), Score-based Generative Modeling in Latent Space, arXiv 2106.05931.

    Arguments:
        autoencoder: of Gaussian latents, with a likelihood; its weights are where training starts.
        denoiser: a `Preconditioned` of items (*latent_shape), with the rule "eps" around a `nets.Mixed`, or "v": either
            begins near N(0, I).
        data: of items x, with levels or without.
        weighting: of the denoiser.

    Raises:
        InputError: codes, no likelihood, other items; a denoiser with conditions, or a `nets.Mixed` with another rule.
    """

    @checked
    def __init__(
        self, autoencoder: Autoencoder, denoiser: Denoiser, data: Data, weighting: Literal["ll", "un", "re"] = "ll"
    ):
        super().__init__()
        _check(autoencoder, denoiser, data)
        self.product, self.data, self.weighting = Joint(autoencoder, denoiser), data, weighting
        self.turns = ("",) if weighting == "ll" else (CODEC, SCORE)
        self.bound, self.simple = loss_of("ll"), loss_of(weighting)
        self.numbers = math.prod(data.shape)
        self.held: tuple[Tensor, ...] = ()

    @functools.cached_property
    def latents(self) -> Data:
        """What a description says of the latents: their name, shape and space."""
        one = Tensors(torch.zeros(1, *self.product.autoencoder.latent_shape))
        return Data(f"{self.data.name} latents", one, one, Affine())

    def trained(self, turn):
        parts = {CODEC: self.product.autoencoder, SCORE: self.product.denoiser}
        return list(parts.get(turn, self.product).parameters())

    def draw(self, batch: Batch, size: int, part: slice, turn: str = "") -> tuple:
        device, shape = batch.x.device, (size, *self.product.autoencoder.latent_shape)
        loss = self.simple if turn == SCORE else self.bound
        t = loss.sample_times(self.product.sde, size)[part]
        return batch.x, *(torch.randn(shape, device=device)[part] for _ in range(2)), t.to(device)

    def forward(self, drawn: tuple, turn: str = "") -> Tensor:
        raw, eps_z, eps, t = drawn
        if turn == SCORE:
            with torch.no_grad():
                z = self.product.autoencoder.compress(self.data.encode(raw), eps_z)
            return self.simple(self.product.denoiser, z, t, eps)
        return self.terms(self.product, raw, eps_z, eps, t).total / self.numbers

    def terms(self, joint: Joint, raw: Tensor, eps_z: Tensor, eps: Tensor, t: Tensor) -> Terms:
        """The terms of the bound of items, in nats.

        Arguments:
            joint: the product, or its average.
            raw: items (B, *shape).
            eps_z, eps: standard normal numbers (B, *latent_shape), of z ~ q(z | x) and of z_t.
            t: the times (B,), of `bound`.

        Returns:
            `parts.Terms`, each (B,).
        """
        coder = joint.autoencoder
        mean, log_std = coder.posterior(self.data.encode(raw).to(eps_z.dtype))
        z = mean + log_std.exp() * eps_z
        log_p = coder.log_likelihood(raw, z, self.data.space)
        return terms(joint, self.bound, log_p, z, log_std, (t, eps))

    def begin(self, device):
        prepare(self.product, self.data)
        raw = collate(self.data.test, range(min(MOST, len(self.data.test))), []).x.to(device)
        like, index = torch.zeros(len(raw), *self.product.autoencoder.latent_shape), torch.arange(len(raw))
        drawn = [noise.normal(like, index, 0, *noise.Stream.POSTERIOR(k)) for k in range(1 + LEVELS)]
        u = (torch.randperm(LEVELS * len(raw), generator=torch.Generator().manual_seed(0)) + 0.5) / (LEVELS * len(raw))
        times = self.bound.place(u, self.product.sde).reshape(LEVELS, -1)
        self.held = (raw, *(value.to(device) for value in (torch.stack(drawn), times)))

    @torch.no_grad()
    def check(self, average: Joint) -> dict[str, Any]:
        """Figures of held-out items: see `LSGM`."""
        raw, eps, times = self.held
        rows = [torch.stack(self.terms(average, raw, eps[0], eps[1 + k], times[k])) for k in range(LEVELS)]
        found = dict(zip(Terms._fields, torch.stack(rows).double().mean((0, 2)).tolist(), strict=True))
        total = found["reconstruction"] + found["cross_entropy"] - found["entropy"]
        more = {"bits_per_dim": total / self.numbers / math.log(2)} if self.data.levels else {}
        return {"validation": total / self.numbers} | more | found

    @torch.no_grad()
    def look(self):
        prepare(self.product, self.data)
        mode, device = self.product.training, device_of(self.product)
        raw = collate(self.data.train, [0], []).x.to(device)
        zero = torch.zeros(1, *self.product.autoencoder.latent_shape, device=device)
        self.product.eval()
        self.terms(self.product, raw, zero, zero, torch.full((1,), self.product.sde.t_max, device=device))
        self.product.train(mode)

    def describe(self):
        own = self.product
        known = describe(own.denoiser, self.latents, self.simple)
        known["data"] = {k: v for k, v in known["data"].items() if k != "fingerprint"}
        return known | {"codec": {"with": self._codec()}, "origin": about(self.data, []), "lsgm": self.weighting}

    def _codec(self) -> dict[str, Any]:
        """The description of the autoencoder, as a folder of its own has it."""
        own = self.product.autoencoder
        known = {"format": FORMAT, "kind": "autoencoder", "net": without_inputs(node_of(own.net), ("shape",))}
        known |= {"bottleneck": node_of(own.bottleneck), "likelihood": True}
        return known | {"loss": {"loss": "lsgm"}, "data": about(self.data, [])}

    @property
    def facts(self):
        return facts(self.latents)

    def made(self, average: Joint, step: int) -> Model:
        codec = TrainedAutoencoder(average.autoencoder, facts(self.data), step)
        codec.about = self._codec()
        model = Model(average.denoiser, self.facts, step)
        model.moments = self._moments(codec)
        model.carry(codec)
        return model

    @torch.no_grad()
    def _moments(self, codec: TrainedAutoencoder) -> Moments:
        """Of z of up to 4096 training items, evenly chosen."""
        n, device = len(self.data.train), device_of(codec)
        rows = min(n, ROWS)
        raw = stack(self.data.train, torch.arange(rows) * n // rows)
        parts = [codec.posterior(self.data.encode(part).to(device)) for part in raw.split(256)]
        mean, log_std = (torch.cat(part).cpu().double() for part in zip(*parts, strict=True))
        return Moments.of(mean, (2 * log_std).exp().mean(0))

    def load(self, folder):
        return load(folder, str(device_of(self.product)), denoiser=self.product.denoiser)


def _check(autoencoder: Autoencoder, denoiser: Denoiser, data: Data) -> None:
    shape = tuple(autoencoder.net.shape)
    if shape != tuple(data.shape):
        raise InputError(f"the autoencoder is of items {shape}, and {data.name} has {tuple(data.shape)}", "data")
    if not isinstance(autoencoder.bottleneck, Gaussian) or autoencoder.log_std is None:
        has = "is of codes" if autoencoder.codes is not None else "has no likelihood"
        words = "give one with a nets.Gaussian and likelihood=True"
        raise InputError(f"the autoencoder {has}: {words}", "autoencoder")
    if denoiser.conditions or denoiser.made:
        raise InputError("the denoiser has conditions, which latents that are trained with it have not", "denoiser")
    rule = denoiser.rule if isinstance(denoiser, Preconditioned) else None
    if rule is not None and isinstance(denoiser.net, Mixed) and getattr(rule, "__name__", "") != "eps":
        raise InputError('nets.Mixed mixes the noise: give the denoiser rule="eps"', "rule")

"""A prior of embeddings and a decoder of them, together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..denoiser import Denoiser
from ..errors import InputError
from ..model.named import same_items
from ..sampling import DPMpp2M, Sampler, from_latent, sample, slerp, to_latent
from ..settings import Checked, Count, Seed, Text

APART = 0x5BD1E995  # makes the prior's noise another than the decoder's, of one seed

Guide = Callable[[Denoiser], Denoiser]


@dataclass(frozen=True)
class Unclip(Checked):
    """A prior draws the embedding e of a picture from its words y, and a decoder the picture:

        p(x | y) = integral p(x | e, y) p(e | y) de

    Ramesh et al. (2022), arXiv 2204.06125.

    Arguments:
        prior: a denoiser of embeddings, `unclip.embeddings`, told the words.
        decoder: a denoiser of pictures, `unclip.embedded`, told the embedding, and the words where it takes them.
        clip: whose embeddings they are.
        name: of the embedding, as the decoder's condition.
        unit: whether embeddings have length 1, to which the prior's are brought.

    Raises:
        InputError: a decoder that takes no condition of that name; a CLIP of pictures of another shape.
    """

    prior: Any
    decoder: Any
    clip: Any
    name: Text = "embedding"
    unit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name not in self.decoder.conditions:
            known = ", ".join(self.decoder.conditions) or "none"
            raise InputError(f"name={self.name!r}: the decoder's conditions are {known}", "name")
        same_items("clip", self.clip, self.decoder, "the decoder")

    def embed(
        self,
        n: Count,
        cond: Mapping[str, Any] | None = None,
        seed: Seed = 0,
        picks: Count = 2,
        sampler: Sampler | None = None,
        guide: Guide | None = None,
    ) -> Tensor:
        """n embeddings of words, each the one of `picks` drawn whose dot product with that of the words is the largest.

        Arguments:
            n: how many.
            cond: the words, a row for each or one for all, as the prior takes them.
            seed: of the noise; number i's are the same whatever n is.
            picks: how many to choose from; 1: what the prior draws is distributed as it says.
            sampler: `DPMpp2M()` by default.
            guide: what leads the prior: `lambda model: Guided(model, 3.0)`.

        Returns:
            (n, E).
        """
        told = _rows(self.prior, cond, n)
        drawn = {name: value.repeat_interleave(picks, 0) for name, value in told.items()}
        model = self.prior if guide is None else guide(self.prior)
        shape = (n * picks, self.clip.size)
        x = sample(model, sampler or DPMpp2M(), shape, seed ^ APART, cond=drawn or None)
        found = getattr(self.prior, "decode", lambda v: v)(x)
        found = F.normalize(found, dim=1) if self.unit else found
        found = found.unflatten(0, (n, picks))
        word = self.clip.condition if picks > 1 else None
        if word not in told:  # nothing to choose by
            return found[:, 0]
        text = self.clip.of_text(told[word], self.prior.conditions[word]).to(found.dtype).nan_to_num()
        return found[torch.arange(n), (found * text[:, None]).sum(2).argmax(1)]

    def generate(
        self,
        n: Count,
        cond: Mapping[str, Any] | None = None,
        seed: Seed = 0,
        picks: Count = 2,
        sampler: Sampler | None = None,
        guide: Guide | None = None,
        first: Guide | None = None,
    ) -> Tensor:
        """n pictures of words, as the decoder's data has them.

        Arguments:
            n, cond, seed, picks: as in `embed`.
            sampler: of both models, `DPMpp2M()` by default.
            guide: what leads the decoder.
            first: what leads the prior.

        Returns:
            (n, *shape), raw.
        """
        return self.draw(self.embed(n, cond, seed, picks, sampler, first), cond, seed, sampler, guide)

    def draw(
        self,
        embedding: Tensor,
        cond: Mapping[str, Any] | None = None,
        seed: Seed = 0,
        sampler: Sampler | None = None,
        guide: Guide | None = None,
    ) -> Tensor:
        """A picture of each embedding.

        Arguments:
            embedding: (n, E).
            cond, seed, sampler, guide: as in `generate`.

        Returns:
            (n, *shape), raw.
        """
        model, n = self.decoder if guide is None else guide(self.decoder), len(embedding)
        told = self._told(embedding, cond)
        return self._raw(sample(model, sampler or DPMpp2M(), (n, *self.decoder.shape), seed, cond=told))

    def variations(self, raw: Tensor, n: Count, seed: Seed = 0, **options: Any) -> Tensor:
        """n other pictures of the embedding of each, raw (B, *shape): what the CLIP sees stays, the rest is drawn anew.

        Arguments:
            raw: the pictures.
            n: how many of each.
            seed: of the noise.
            options: those of `draw`; a `cond` has a row for each picture, or one for all.

        Returns:
            (B, n, *shape), raw.
        """
        options["cond"] = {
            name: value.repeat_interleave(n, 0)
            for name, value in _rows(self.decoder, options.get("cond"), len(raw)).items()
        }
        found = self.draw(self.seen(raw).repeat_interleave(n, 0), seed=seed, **options)
        return found.unflatten(0, (len(raw), n))

    def between(self, a: Tensor, b: Tensor, points: Count = 7, **how: Any) -> Tensor:
        """Walks from pictures a to b, raw (B, *shape): embeddings and latents go along great circles between theirs.

        Arguments:
            a, b: the pictures.
            points: of each walk, its ends too.
            how: rtol, atol and t_min of the flow: as `to_latent` has them.

        Returns:
            (B, points, *shape), raw.
        """
        e, z = ([f(v) for v in (a, b)] for f in (self.seen, lambda v: self._latent(v, how)))
        ways = torch.linspace(0, 1, points, dtype=torch.float64).tolist()
        return torch.stack([self._flow(slerp(*e, w), slerp(*z, w), how) for w in ways], 1)

    def changed(
        self, raw: Tensor, before: Any, after: Any, amounts: Sequence[float] = (0.25, 0.5), **how: Any
    ) -> Tensor:
        """Pictures changed as one text becomes another.

        Their latents stay, their embeddings turn towards (g(after) - g(before)) / |g(after) - g(before)|, by shares of
        the angle between them.

        Arguments:
            raw: the pictures (B, *shape).
            before, after: texts, one or B, as the CLIP reads them: what a picture shows, what it shall show.
            amounts: shares of the angle, 0 to 1.
            how: as in `between`.

        Returns:
            (B, amounts, *shape), raw.

        Raises:
            InputError: two texts that the CLIP holds to be the same.
        """
        away = self.clip.of_text(after) - self.clip.of_text(before)
        if not bool((away.norm(dim=1) > 1e-6).all()):
            raise InputError("before and after are the same to the CLIP, or one of them is missing", "after")
        e, z = self.seen(raw), self._latent(raw, how)
        turned = F.normalize(away, dim=1).to(e).expand(len(e), -1)
        return torch.stack([self._flow(slerp(e, turned, w), z, how) for w in amounts], 1)

    @torch.no_grad()
    def seen(self, raw: Tensor) -> Tensor:
        """The embeddings (B, E) of pictures, raw (B, *shape)."""
        return self.clip.of_picture(self._x(raw)).float()

    def _x(self, raw: Tensor) -> Tensor:
        return getattr(self.decoder, "encode", lambda v: v)(raw)

    def _raw(self, x: Tensor) -> Tensor:
        return getattr(self.decoder, "decode", lambda v: v)(x)

    def _told(self, embedding: Tensor, cond: Mapping[str, Any] | None) -> dict[str, Tensor]:
        return _rows(self.decoder, cond, len(embedding)) | {self.name: embedding}

    def _latent(self, raw: Tensor, how: Mapping[str, Any]) -> Tensor:
        return to_latent(self.decoder, self._x(raw), cond=self._told(self.seen(raw), None), **how)

    def _flow(self, embedding: Tensor, latent: Tensor, how: Mapping[str, Any]) -> Tensor:
        return self._raw(from_latent(self.decoder, latent, cond=self._told(embedding, None), **how))


def _rows(model: Denoiser, cond: Mapping[str, Any] | None, n: int) -> dict[str, Tensor]:
    """Those of the conditions that a model takes, n rows each."""
    known = model.conditions
    return {name: known[name].rows(name, value, n) for name, value in (cond or {}).items() if name in known}

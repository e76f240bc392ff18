"""A codebook whose codes stay in use."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...nets.autoencoder import Codebook

MEMORY = 0.95  # of how often a code was used, from step to step
SELDOM = 0.05  # of an even share: what is used less begins anew


class Upkeep(nn.Module):
    """Codes that are hardly used take the place of vectors that the encoder gives now.

    Of every code it is known how often it was used, an average over some 20 steps; after a step those with less than a
    twentieth of an even share are put on vectors of its batch.  Dhariwal et al. (2020), arXiv 2005.00341.
    """

    def __init__(self, codebook: Codebook):
        super().__init__()
        self.book = [codebook]  # in a list: its weights are the product's
        self.register_buffer("used", torch.ones(codebook.size))
        self.add_up: Callable[[Tensor], Any] | None = None
        self.seen: tuple[Tensor, Tensor] | None = None

    def numbers(self, device: torch.device) -> Tensor:
        """The random numbers of a step, (size,), which choose the vectors."""
        return torch.rand(self.book[0].size, device=device)

    def saw(self, h: Tensor, codes: Tensor, u: Tensor, part: slice = slice(None)) -> None:
        """Is told the vectors h (B, latent, *space) of a step, on their sphere, their codes, and its `numbers`.

        Of several processes `part` says which rows of the batch these are: the vectors that are chosen are those of one
        process with the whole batch.
        """
        book, rank, ranks = self.book[0], part.start or 0, part.step or 1
        count = torch.bincount(codes.flatten(), minlength=book.size).to(self.used)
        vectors = h.float().movedim(1, -1).flatten(1, -2)  # (B, places, latent)
        rows, places = vectors.shape[:2]
        place = (u * rows * ranks * places).long()  # in the whole batch
        row, place = place // places, place % places
        chosen = vectors[row // ranks, place] * (row % ranks == rank)[:, None]
        if self.add_up is not None:
            self.add_up(count)
            self.add_up(chosen)
        self.seen = count, chosen

    @torch.no_grad()
    def step(self) -> int:
        """Ends a step: how many codes begin anew."""
        if self.seen is None:
            return 0
        book, (count, chosen) = self.book[0], self.seen
        share = count / count.sum().clamp_min(1) * book.size
        self.used.mul_(MEMORY).add_((1 - MEMORY) * share)
        seldom = self.used < SELDOM
        book.book[seldom] = chosen[seldom].to(book.book)
        self.used[seldom] = 1.0
        self.seen = None
        return int(seldom.sum())

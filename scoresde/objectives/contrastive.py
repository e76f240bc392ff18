"""Pictures and what is said of them, told from other pairs: CLIP, as an objective."""

import copy
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from ..conditions import Kind, Tokens, retold
from ..data import Batch, Data
from ..errors import InputError
from ..loss import TIMES, DenoisingLoss
from ..making import node_of
from ..model.description import FORMAT, about, parts, without_inputs
from ..model.trained.clip import MOST, Clip, TrainedClip
from ..settings import OneOf, Whole, checked
from .classify import held_out, noised, numbers
from .guards import prepare, refuse_other_conditions
from .own import Own
from .validation import HeldOut

FAR = -1e9  # the logit of what is no candidate


class Contrastive(Own):
    """The symmetric cross-entropy of a batch of pairs, over whose rows and columns the logits L = s f g^T are:

        -(1 / 2) log softmax_j(L_ij)[i] - (1 / 2) log softmax_j(L_ji)[i] - log n_i

    where n_i pairs have the words of pair i, itself too.  They are not each other's negatives: what they share is the
    target, evenly, so that the least value is 0 and the best logits are log p(x, y) / (p(x) p(y)) + const, however
    often words are repeated, be they ten labels.  (Without the copies in the denominators the best logits would be the
    log-odds of y in place of its log probability.)  Rows without words do not count.  Of several processes the batch is
    that of all.

    Each validation gives the loss of up to 512 held-out pairs among each other, and how often the nearest is right, of
    clean pictures (at the least noise): `accuracy_text`, the words of a picture, `accuracy_picture`, a picture of the
    words, and their mean, `accuracy`; `chance` is that of a guess.  With noise also by level, as `Validation`.

    Radford et al. (2021), CLIP, arXiv 2103.00020; of noised pictures Nichol et al. (2021), GLIDE, arXiv 2112.10741.

    Arguments:
        clip: its weights are where training starts; a trained one is trained further, a copy.
        data: with the CLIP's condition for its items.
        times: where t is drawn, of a CLIP of noised pictures: as `Classify` has it.
        dequantise: of data with levels: "uniform" within the bin, or "none", its middle.
        negatives: how many more words each picture is told from, of tokens.

    Raises:
        InputError: data without that condition, times that learn, and negatives of what is no tokens.
    """

    @checked
    def __init__(
        self,
        clip: Clip | TrainedClip,
        data: Data,
        times: Annotated[str, OneOf(TIMES)] | Callable = "log_snr",
        dequantise: Literal["uniform", "none"] = "uniform",
        negatives: Whole = 0,
    ):
        super().__init__()
        if isinstance(clip, TrainedClip):
            clip = copy.deepcopy(clip.clip).requires_grad_(True)
        if isinstance(times, nn.Module):
            raise InputError(f"times={type(times).__name__} learns from a denoiser's errors: give another", "times")
        refuse_other_conditions(clip.conditions, data)
        if negatives and not isinstance(clip.kind, Tokens):
            words = f"negatives={negatives}: of tokens one is replaced, and {clip.condition} is a"
            raise InputError(f"{words} {type(clip.kind).__name__}", "negatives")
        self.negatives = negatives
        self.product, self.data, self.takes = clip, data, (clip.condition,)
        self.loss, self.dequantise = DenoisingLoss(times=times), dequantise
        self.add_up: Callable[[Tensor], Any] | None = None
        self.held_out: HeldOut | None = None

    def draw(self, batch: Batch, size: int, part: slice, turn: str = "") -> tuple:
        clip, name = self.product, self.product.condition
        x0, t, eps = numbers(self.data, self.loss, clip.sde, batch.x, size, part, self.dequantise)
        value = retold(batch.cond[name], self.data.conditions[name], clip.kind, name)
        place = torch.arange(size, device=value.device)[part]
        whole = self._whole(value, place, size)
        wrong = replaced(whole, self.negatives)[place] if self.negatives else None
        return x0, t, eps, value, alike(whole, clip.kind), place, wrong

    def forward(self, drawn: tuple, turn: str = "") -> Tensor:
        x0, t, eps, value, same, place, wrong = drawn
        clip = self.product
        f, g = clip(noised(clip.sde, x0, t, eps) if clip.noise else x0, t, {clip.condition: value})
        f = f.to(g.dtype)
        more = None if wrong is None else self._wrong(f, wrong, value)
        if self.add_up is None:
            return losses(clip.scale * f @ g.T, same, _scaled(clip.scale, more))
        cosines = self._whole(f, place, len(same)) @ self._whole(g, place, len(same)).T
        more = None if more is None else self._whole(more, place, len(same))
        own = losses(clip.scale * cosines, same, _scaled(clip.scale, more))[place]
        # What the other processes' rows say of the embeddings of these: gradients are added up over processes.
        others, scale = torch.ones_like(same.diagonal()).index_fill(0, place, False), clip.scale.detach()
        rest = losses(scale * cosines, same, _scaled(scale, more))[others].sum()
        return own + (rest - rest.detach()) / len(place)

    def _wrong(self, f: Tensor, wrong: Tensor, value: Tensor) -> Tensor:
        """The cosines (B, k) of pictures and their negatives; `FAR` where these are the words themselves."""
        g = self.product.read(wrong.flatten(0, 1)).unflatten(0, wrong.shape[:2])
        there = (wrong != value[:, None]).any(2)
        return torch.einsum("be,bke->bk", f, g.to(f.dtype)).masked_fill(~there, FAR)

    def _whole(self, own: Tensor, place: Tensor, size: int) -> Tensor:
        """The rows of all processes (size, ...); a graph goes to the own ones."""
        if self.add_up is None:
            return own
        whole = own.new_zeros(size, *own.shape[1:])
        whole[place] = own.detach()
        self.add_up(whole)
        return whole.index_copy(0, place, own)

    def after(self, step, average):
        with torch.no_grad():
            self.product.log_scale.clamp_(max=math.log(MOST))

    def several(self, add_up):
        self.add_up = add_up

    def begin(self, device):
        prepare(self.product, self.data)
        clip = self.product
        self.held_out = held_out(self.data, self.loss, clip.sde, clip.condition, device, self.dequantise)

    def check(self, average: Clip) -> dict[str, Any]:
        if self.held_out is None:  # no test item has words
            return {}
        name, width = average.condition, average.size
        kind = self.data.conditions[name]

        def rows(x0: Tensor, t: Tensor, eps: Tensor, cond: dict) -> Tensor:
            g = average.read(retold(cond[name], kind, average.kind, name))
            if not average.noise:
                return torch.cat([average.of_picture(x0), g], 1)
            see = lambda u: average.of_picture(noised(average.sde, x0, u, eps), u).to(g.dtype)
            return torch.cat([see(torch.full_like(t, self.loss.start(average.sde))), g, see(t)], 1)

        f, g, *noisy = self.held_out.rows(rows).split(width, 1)
        same = alike(self.held_out.cond[name].cpu(), kind)
        scale, at = average.scale.detach().cpu(), (noisy or [f])[0]
        loss = losses(scale * at @ g.T, same)
        text, picture = nearest(f, g, same), nearest(g, f, same)
        figures = {"validation": float(loss.mean()), "accuracy": float((text + picture).mean() / 2)}
        figures |= {"accuracy_text": float(text.mean()), "accuracy_picture": float(picture.mean())}
        figures |= {"chance": float(same.double().mean()), "scale": float(scale)}
        if average.noise:
            levels = {"validation": loss, "accuracy": nearest(at, g, same)}
            figures |= {f"{k}_by_level": self.held_out.by_level(v) for k, v in levels.items()}
        return figures

    def describe(self):
        clip = self.product
        known = {"format": FORMAT, "kind": "clip", **parts(clip)}
        known |= {"reader": without_inputs(node_of(clip.reader)) | {"outputs": clip.size}, "noise": clip.noise}
        known |= {"conditions": {name: node_of(kind) for name, kind in clip.conditions.items()}}
        loss = {"condition": clip.condition, "times": node_of(self.loss.times), "dequantise": self.dequantise}
        loss |= {"negatives": self.negatives} if self.negatives else {}
        return known | {"loss": loss, "data": about(self.data, self.takes)}

    def made(self, average: Clip, step: int) -> TrainedClip:
        return TrainedClip(average, self.facts, step)


def alike(value: Tensor, kind: Kind) -> Tensor:
    """Which pairs (n, n) have the same words, by the rows of the condition; those without any are like none."""
    there = ~kind.absent(value)
    number = torch.unique(value.nan_to_num(), dim=0, return_inverse=True)[1]
    return (number[:, None] == number) & there[:, None] & there


def replaced(value: Tensor, k: int) -> Tensor:
    """k rows of tokens (n, k, L) for each of (n, L): itself, one token replaced by that of another row at its place.

    The other row has as many tokens, so that places correspond, and the place is one where both differ, each alike
    likely.  A row that differs from no other of its length comes back as it is.
    """
    length = (value >= 0).sum(1)
    other = (length[:, None] == length) & (value[:, None] != value).any(2)
    j = torch.multinomial(other.float() + 1e-9, k, replacement=True)
    found = value[:, None].expand(-1, k, -1).clone()
    differs = (found != value[j]) & other.gather(1, j)[..., None]
    place = torch.multinomial(differs.flatten(0, 1).float() + 1e-9, 1).unflatten(0, j.shape)
    new = torch.where(differs.gather(2, place), value[j].gather(2, place), found.gather(2, place))
    return found.scatter(2, place, new)


def _scaled(scale: Tensor, more: Tensor | None) -> Tensor | None:
    return None if more is None else scale * more


def losses(logits: Tensor, same: Tensor, more: Tensor | None = None) -> Tensor:
    """The loss of each pair (n,): see `Contrastive`; 0 for those that have no words.  `more` (n, k) joins the rows."""
    there = same.diagonal()
    rows, columns = (logits.masked_fill(~mask, FAR) for mask in (there, there[:, None]))
    rows = rows if more is None else torch.cat([rows, more.to(rows)], 1)
    found = -(rows.log_softmax(1).diagonal() + columns.log_softmax(0).diagonal()) / 2
    found = found - same.sum(1).clamp_min(1).log()
    return torch.where(there, found, 0.0) * (len(same) / there.sum().clamp_min(1))


def nearest(a: Tensor, b: Tensor, same: Tensor) -> Tensor:
    """Of each row of a (n, E) whether its nearest row of b (n, E) is its own, or one with the same words: 0, 1."""
    best = (a @ b.T).argmax(1, keepdim=True)
    return same.gather(1, best)[:, 0].double()

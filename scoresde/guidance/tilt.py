"""A density that is multiplied by a function of x_t: D' = D + w (sigma^2 / alpha) grad_x h, for p_t exp(w h)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..answers import answered, derivatives, refuse_if_it_moves
from ..denoiser import Denoiser, device_of, rows
from ..errors import InputError
from ..sde import expand
from ..settings import brief, checked
from .base import Steered, beside
from .scale import Scale, Strength


class _Tilt(Steered):
    rowed = ("scale",)

    def _add(self, x0: Tensor, slope: Tensor, w: float | Tensor, t: float | Tensor) -> Tensor:
        alpha, sigma = self._level(t)
        return x0 + expand(w * sigma**2 / alpha, x0) * slope.to(x0.dtype)

    @derivatives
    def _slope(self, h: Callable, who: str, x: Tensor, t: Any, given: Any) -> tuple[Tensor, Tensor | None]:
        """grad_x of h(x, t, given)[0], with a graph only in grad mode, and what h gives beside its values (B,)."""
        followed = (v for v in (x, t, *self.parameters()) if isinstance(v, Tensor))
        tracked = torch.is_grad_enabled() and any(v.requires_grad for v in followed)
        with torch.enable_grad():
            leaf = x if tracked and x.requires_grad else x.detach().requires_grad_()
            values, more = h(leaf, t, given)
            slope = None
            if values.requires_grad:
                (slope,) = torch.autograd.grad(values.sum(), leaf, create_graph=tracked, allow_unused=True)
            if slope is None:
                refuse_if_it_moves(lambda *args: h(*args)[0], who, leaf, values, (t, given))
                slope = torch.zeros_like(leaf)
        return slope, more if tracked or more is None else more.detach()


class ClassifierGuided(_Tilt):
    """Guidance by a classifier of noisy data: the score of p_t(x) p(label | x)^w.

        D' = D + w (sigma^2 / alpha) grad_x log p(label | x_t = x)

    At w = 1 and with the exact classifier it is the conditional model.

    Song et al. (2021), arXiv 2011.13456, appendix I; Dhariwal, Nichol (2021), arXiv 2105.05233.

    Arguments:
        denoiser: the model, D.
        classifier: a module or a function of x (B, *shape) and t (B,), in the type of x, that gives logits (B,
            classes), by torch from x as it is given.
        label: a class, or one for each row (B,); a row with -1 is not guided.
        scale: w, a number; (B,), a row's own; or a function of t, a number, which gives a number.

    Raises:
        InputError: labels that are none, logits of another shape or with fewer classes, or some that have no graph to
            x.
    """

    rowed = ("scale", "label")

    @checked
    def __init__(self, denoiser: Denoiser, classifier: Callable, label: int | Tensor, scale: Strength = 1.0):
        super().__init__(denoiser)
        found = torch.as_tensor(label)
        plain = not found.is_floating_point() and not found.is_complex() and found.dtype != torch.bool
        if not plain or found.ndim > 1 or not found.numel() or int(found.min()) < -1:
            words = "give a class 0, 1, ..., or one for each sample (-1: not guided)"
            raise InputError(f"label={brief(label)}: {words}", "label")
        self.classifier, self.scale = classifier, Scale.of(scale, denoiser)
        self.label, self.most = found.reshape(-1).long().to(device_of(denoiser)), int(found.max())
        self.holds("label", len(self.label) if len(self.label) > 1 else None)
        self.holds("scale", self.scale.rows)

    def forward(self, x, t, cond=None):
        x0 = self.denoiser(x, t, cond)
        w = self.scale.at(x, t, *self._level(t))
        if isinstance(w, float) and w == 0:
            return x0
        slope, _ = self._slope(self._log_prob, "classifier", x, t, beside(self.label, x, "label"))
        return self._add(x0, slope, w, t)

    def _log_prob(self, x: Tensor, t: float | Tensor, label: Tensor) -> tuple[Tensor, None]:
        logits = self.classifier(x, rows(t, x, x.dtype))
        classes = logits.shape[-1] if isinstance(logits, Tensor) and logits.ndim == 2 else "classes"
        logits = answered(logits, (len(x), classes), "classifier")
        if self.most >= classes:
            raise InputError(f"label={self.most}: the classifier has {classes} classes, 0 to {classes - 1}", "label")
        found = logits.log_softmax(1).gather(1, label.clamp_min(0)[:, None])[:, 0]
        return torch.where(label < 0, 0.0, found), None


class ClipGuided(_Tilt):
    """Guidance by a CLIP of noised pictures, towards a text: the score of p_t(x) exp(w s f(x_t, t) . g).

        D' = D + w (sigma^2 / alpha) grad_x s f(x_t, t) . g

    The dot product with the CLIP's own scale s stands for log p(x_t, y) / (p(x_t) p(y)): at w = 1 and with the exact
    one it is the conditional model.  g may be that of a picture too, or of a difference of texts.

    Nichol et al. (2021), GLIDE, arXiv 2112.10741, section 2.3, whose scale is w s.

    Arguments:
        denoiser: the model, D.
        clip: a `TrainedClip` of noised pictures, or what has of_picture(x, t), which gives f (B, E) of x (B, *shape)
            and t (B,), by torch from x as it is given, and a `scale`, 1 if it has none.
        text: g, (E,) or a row's own (B, E), NaN in rows that are not guided: as `clip.of_text` gives it; or what that
            takes, a text or a list of texts.
        scale: w, a number; (B,), a row's own; or a function of t, a number, which gives a number.

    Raises:
        InputError: a CLIP of clean pictures, a text that is none, embeddings of another size or without a graph to x.
    """

    rowed = ("scale", "text")

    @checked
    def __init__(self, denoiser: Denoiser, clip: Any, text: Any, scale: Strength = 1.0):
        super().__init__(denoiser)
        if not getattr(clip, "noise", True):
            raise InputError("clip is one of clean pictures: train one of noised ones, with noise=true", "clip")
        found = text if isinstance(text, Tensor) and text.is_floating_point() else clip.of_text(text)
        if found.ndim not in (1, 2) or not found.numel() or bool(found.isinf().any()):
            raise InputError(f"text={brief(text)}: give a text, or embeddings (E,) or (B, E)", "text")
        found = found[None] if found.ndim == 1 else found
        self.clip, self.text = clip, found.detach().to(device_of(denoiser))
        self.scale, self.sharp = Scale.of(scale, denoiser), float(torch.as_tensor(getattr(clip, "scale", 1.0)).detach())
        self.holds("text", len(found) if len(found) > 1 else None)
        self.holds("scale", self.scale.rows)

    def forward(self, x, t, cond=None):
        x0 = self.denoiser(x, t, cond)
        w, text = self.scale.at(x, t, *self._level(t)), beside(self.text, x, "text")
        if (isinstance(w, float) and w == 0) or bool(text.isnan().any(1).all()):
            return x0
        slope, _ = self._slope(self._product, "clip", x, t, text)
        return self._add(x0, slope, w, t)

    def _product(self, x: Tensor, t: float | Tensor, text: Tensor) -> tuple[Tensor, None]:
        found = answered(self.clip.of_picture(x, rows(t, x, x.dtype)), text.shape, "clip")
        gone = text.isnan().any(1)
        product = (found * torch.where(gone[:, None], 0.0, text).to(found.dtype)).sum(1)
        return torch.where(gone, 0.0, self.sharp * product), None


class Tilted(_Tilt):
    """Guidance by any function of the denoised estimate, with h(x) = log_weight(D(x, t), t):

        D' = D + w (sigma^2 / alpha) grad_x log_weight(D(x, t), t)

    by a gradient through the network.  For a measurement y = A x_0 + s n the log_weight -|y - A x_0|^2 / (2 s^2) takes
    p(y | x_t) for p(y | x_0 = D(x, t)), which is exact only without noise.

    Chung et al. (2023), Diffusion Posterior Sampling, arXiv 2209.14687; Bansal et al. (2023), Universal Guidance, arXiv
    2302.07121.

    Arguments:
        denoiser: the model, D.
        log_weight: a function of x_0 (B, *shape) and t (B,), in the type of x, that gives (B,), by torch from x_0 as it
            is given; it may be a module.
        scale: w, a number; (B,), a row's own; or a function of t, a number, which gives a number.

    Raises:
        InputError: an answer of another shape, or without a graph to x.
    """

    @checked
    def __init__(self, denoiser: Denoiser, log_weight: Callable, scale: Strength = 1.0):
        super().__init__(denoiser)
        self.log_weight, self.scale = log_weight, Scale.of(scale, denoiser)
        self.holds("scale", self.scale.rows)

    def forward(self, x, t, cond=None):
        w = self.scale.at(x, t, *self._level(t))
        if isinstance(w, float) and w == 0:
            return self.denoiser(x, t, cond)
        slope, x0 = self._slope(self._weighed, "log_weight", x, t, cond)
        return self._add(x0, slope, w, t)

    def _weighed(self, x: Tensor, t: float | Tensor, cond: Any) -> tuple[Tensor, Tensor]:
        x0 = self.denoiser(x, t, cond)
        return answered(self.log_weight(x0, rows(t, x0, x0.dtype)), x0.shape[:1], "log_weight"), x0

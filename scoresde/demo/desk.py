"""What each button of the page does: from what a visitor gives to pictures and words.  It needs no gradio."""

import math
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..machine.progress import duration
from ..sampling import natural
from . import draw, given, scores
from .subject import Subject
from .ways import Frame, denoising, walk
from .wishes import SAMPLERS, Walk, Wish, most, usual

PAUSE = 0.15  # seconds between two pictures of a way
NO_CLASS, ALL_CLASSES = "none", "all in turn"


class Desk:
    """The functions of the page over one `Subject`, and the words about it."""

    def __init__(self, subject: Subject):
        self.subject = subject

    @property
    def title(self) -> str:
        """The model in a line."""
        model, words = self.subject.model, lambda shape: " x ".join(map(str, shape))
        shape = f"{model.shape[0]} columns" if len(model.shape) == 1 else words(model.shape)
        shape = f"{words(model.outer.shape)} by way of {shape}" if self.subject.latent else shape
        levels = f", {self.subject.levels} levels" if self.subject.levels else ""
        known = f", {len(self.subject.classes)} classes" if self.subject.classes else ""
        return f"{type(model.sde).__name__} on {model.name}: {shape}{levels}{known}, {model.step} steps of training"

    @property
    def samplers(self) -> list[str]:
        """The names of the samplers that can be chosen; of a model of few steps its own."""
        found = natural(self.subject.model)
        if found is None:
            return [name for name in SAMPLERS if name != "renoise"]
        first = type(found).__name__.lower()
        return [first, *(["renoise"] if self.subject.model.lands == "any" else [])]

    @property
    def steps(self) -> int:
        """How many steps are made unless others are asked for."""
        found = natural(self.subject.model)
        return 20 if found is None else found.steps

    @property
    def counts(self) -> tuple[int, int]:
        """How many samples are drawn unless another number is asked for, and how many at most."""
        return usual(self.subject.kind), most(self.subject.kind)

    @property
    def scales(self) -> tuple[float, float, float] | None:
        """The least and the largest scale of guidance that can be chosen, and the first one; None: there is none."""
        if self.subject.scales is None:
            return (0.0, 8.0, 1.0) if self.subject.free else None
        low, high = self.subject.scales
        return low, high, min(max(1.0, low), high)

    def choices(self, several: bool = True) -> list[tuple[str, int | None]]:
        """What can be said of the class: (words, number), numbers as `Wish.label` takes them; none without labels.

        `several`: all classes at once are a choice too.
        """
        classes = self.subject.classes
        free = [(NO_CLASS, None)] if self.subject.unlabelled else []
        every = [(ALL_CLASSES, -1)] if several and len(classes) > 1 else []
        return [*free, *every, *((name[:60], i) for i, name in enumerate(classes))] if classes else []

    def sample(self, **wish: Any) -> Iterator[tuple[np.ndarray | None, np.ndarray | None, str]]:
        """(picture, strip, words) on the way from noise, and at last of the samples.

        `wish` are the fields of a `Wish`.  Raises `InputError`, `FloatingPointError`.
        """
        asked, kept, began = Wish(**wish), [], time.perf_counter()
        due = began  # when the next picture may be drawn: the plots of tables take as long as the samples
        for frame in denoising(self.subject, asked):
            if frame.samples is None:
                kept.append(frame)
                if (now := time.perf_counter()) > due:
                    yield self._on_the_way(frame), None, f"step {frame.step} of {frame.total}, t = {frame.t:.3g}"
                    due = time.perf_counter() + max(PAUSE, 3 * (time.perf_counter() - now))
                continue
            took = duration(time.perf_counter() - began)
            words = f"{asked.n} samples by {asked.sampler}, {asked.steps} steps, seed {asked.seed}: {took}"
            yield draw.sheet(self.subject, frame.samples), draw.strip(self.subject, kept), words

    def _on_the_way(self, frame: Frame) -> np.ndarray:
        """D(x_t, t) of images and series, which are blurred before they are sharp; x_t of points."""
        clear = self.subject.kind.is_image or self.subject.kind.name == "series"
        return draw.sheet(self.subject, self.subject.model.decode(frame.x0 if clear else frame.x))

    def interpolate(self, **wish: Any) -> tuple[np.ndarray, str]:
        """The picture of a walk, and words; `wish` are the fields of a `Walk`."""
        asked, began = Walk(**wish), time.perf_counter()
        raw = walk(self.subject, asked)
        held = asked.between == "items"
        ends = self.subject.held_out([asked.first, asked.last])[0] if held else None
        words = f"{asked.points} points between {asked.between} {asked.first} and {asked.last}"
        return draw.walk(self.subject, raw, ends), f"{words}: {duration(time.perf_counter() - began)}"

    @cached_property
    def held(self) -> scores.Held | None:
        """The figures of held-out data; None where there are none, and `without` then says why."""
        self.without = ""
        try:
            return scores.held(self.subject)
        except InputError as error:
            self.without = str(error)
            return None

    def likelihood(
        self,
        picture: Any = None,
        invert: bool = False,
        text: str = "",
        file: Any = None,
        number: int | None = None,
        label: int | None = None,
        said: str = "",
    ) -> tuple[np.ndarray, np.ndarray | None, str]:
        """The item as the model sees it, its place in the histogram of held-out data (None: there is none), and words.

        Arguments:
            picture: an image, drawn or uploaded.
            invert: ink on paper becomes light on dark, as the data has it.
            text: or the item as numbers.
            file: or an array file.
            number: or a held-out item by its number, which has its own label.
            label: the class; None: none is told.
            said: words of the item; empty: none are told.

        Returns:
            (H, W, 3), (H, W, 3) or None, and the words.

        Raises:
            InputError: what is given is no item; a model of latents, whose likelihood is not that of items.
        """
        if self.subject.latent:
            raise InputError("the likelihood of a model of latents is that of latents: say task=likelihood")
        raw, cond = self._item(picture, invert, text, file, number)
        cond = self.subject.cond(label, 1, said) if number is None else cond
        held = self.held
        how = held.how if held else scores.How()
        value = float(scores.score(self.subject, raw, cond, how, number or 0)[0])
        unit = scores.units(self.subject)
        words = f"{value:.3f} {unit}" if math.isfinite(value) else f"no finite number of {unit}"
        if held is None:
            return draw.item(self.subject, raw), None, f"{words}; nothing to place it among: {self.without}"
        share = f"more likely than {100 * held.place(value):.0f} % of {held.source}"
        return draw.item(self.subject, raw), draw.histogram(held, value), f"{words}, {share}"

    def _item(self, picture, invert, text, file, number):
        if number is not None:
            return self.subject.held_out([number])
        if text:
            return given.from_text(self.subject, text), None
        if file is not None:
            return given.from_file(self.subject, file), None
        return given.from_picture(self.subject, picture, invert), None

    @cached_property
    def dark(self) -> bool:
        """Whether images are dark at their sides, as white digits on black are: dark strokes are then inverted."""
        levels, data = self.subject.model.levels, self.subject.data
        if data is None or not levels or not given.takes_pictures(self.subject):
            return False
        raw = self.subject.held_out(range(min(8, len(data.test))))[0]
        return bool(torch.cat([raw[..., 0].flatten(), raw[..., -1].flatten()]).double().median() < (levels - 1) / 2)

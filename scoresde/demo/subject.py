"""What is shown: a trained model, its folder, and the data that it was trained on where that is still there."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from torch import Tensor

from .. import pictures
from ..conditions import Kind, Label, Strength, takes_words
from ..data import Data, collate
from ..denoiser import GUIDANCE, Denoiser, device_of
from ..errors import InputError
from ..guidance import Guided
from ..model import Model
from ..pictures.kinds import Kind as Drawn
from ..pictures.kinds import kind_of
from ..settings import brief


class Subject:
    """A model, the folder that it came from, and its data, which is read when it is first asked for.

    Arguments:
        model: what `scoresde.load` gives.
        folder: where results of `task=likelihood` are looked for; None: nowhere.
        data: gives the data set; None: there is none.

    Raises:
        InputError: the model cannot do without a condition that a visitor has no way to give.
    """

    def __init__(self, model: Model, folder: Path | None = None, data: Callable[[], Data] | None = None):
        self.model, self.folder, self._data, self.lost = model, folder, data, ""
        labels = [name for name, kind in model.conditions.items() if isinstance(kind, Label)]
        self.label = labels[0] if labels else None
        texts = [name for name, kind in model.conditions.items() if takes_words(kind)]
        self.text = texts[0] if texts else None
        for name, kind in model.conditions.items():
            if name not in (self.label, self.text) and kind.of_items and not kind.drop:
                words = "the page gives one label and one text, and leaves other conditions out"
                raise InputError(f"the model was trained with {name} in every row (drop 0): {words}")

    @cached_property
    def data(self) -> Data | None:
        """The data set; None where it cannot be read (what Raises `InputError` there), and `lost` then says why."""
        if self.latent:
            self.lost = "of a model of latents the page shows samples, and no data beside them"
            return None
        if self._data is None:
            self.lost = "the folder does not say what data it was trained on"
            return None
        try:
            found = self._data()
            if tuple(found.shape) != self.model.shape or found.levels != self.model.levels:
                words = f"has the shape {tuple(found.shape)} and levels {found.levels}, the model"
                raise InputError(f"{found.name} {words} {self.model.shape} and {self.model.levels}")
        except (InputError, OSError) as error:
            self.lost = str(error)
            return None
        return found

    @property
    def latent(self) -> bool:
        """Whether the model is of latents, which are shown as what the autoencoder makes of them."""
        return self.model.codec is not None

    @property
    def kind(self) -> Drawn:
        """How its items are drawn."""
        return kind_of(self.model.outer.shape)

    @property
    def levels(self) -> int | None:
        """Of what is drawn."""
        return self.model.outer.levels

    @property
    def device(self) -> str:
        """Where the model is."""
        return str(device_of(self.model))

    @property
    def names(self) -> Sequence[str] | None:
        """The names of a table's columns."""
        return pictures.names_of(self.model.outer)

    @property
    def classes(self) -> list[str]:
        """What each class is called; none where the model takes no label."""
        if self.label is None:
            return []
        kind = self._label()
        return [*(kind.names or map(str, range(kind.classes)))]

    @property
    def free(self) -> bool:
        """Whether the model knows labels or words and can do without them, so that it can be guided."""
        if self.model.lands is not None or self.scales is not None:  # a distilled model is told the scale, if any
            return False
        return any(name is not None and self.model.conditions[name].drop > 0 for name in (self.label, self.text))

    @property
    def scales(self) -> tuple[float, float] | None:
        """The least and the largest scale of guidance that a distilled model is told; None: it is told none."""
        kind = self.model.conditions.get(GUIDANCE)
        return (kind.low, kind.high) if isinstance(kind, Strength) else None

    @property
    def unlabelled(self) -> bool:
        """Whether the model knows labels and can do without them."""
        return self.label is not None and self._label().drop > 0

    def _label(self) -> Kind:
        return self.model.conditions[self.label]

    def cond(self, label: int | None, n: int, said: str = "", scale: float | None = None) -> dict[str, Tensor] | None:
        """The conditions of n items.

        Arguments:
            label: one class, all classes in turn for -1, none for None.
            n: how many.
            said: words of all of them, nothing if they are empty.
            scale: of guidance, which only a model that is told it takes; None: 1, or what is nearest to it.

        Returns:
            Tensors by name, n rows each; None: the model takes no conditions.

        Raises:
            InputError: a class that the model does not know, words where it takes none, none of either where it needs
                some, a scale that it has not learned.
        """
        found = self._labels(label, n)
        if self.text is None and said.strip():
            raise InputError(f"said={brief(said)}: the model takes no text", "said")
        kinds = self.model.conditions
        if self.text is not None:
            found = found or {}
            if said.strip():
                found[self.text] = kinds[self.text].rows(self.text, said, n)
            elif not kinds[self.text].drop:
                raise InputError('said="": the model needs words (it was trained with drop 0)', "said")
        if self.scales is not None and scale is not None:
            found = {**(found or {}), GUIDANCE: kinds[GUIDANCE].rows("scale", scale, n)}
        return found

    def _labels(self, label: int | None, n: int) -> dict[str, Tensor] | None:
        if self.label is None:
            if label is not None:
                raise InputError(f"label={brief(label)}: the model takes no label", "label")
            return None
        kind = self._label()
        if label is None:
            if not kind.drop:
                raise InputError("label=None: the model needs a class (it was trained with drop 0)", "label")
            return {}
        rows = [i * kind.classes // n if n >= kind.classes else i for i in range(n)] if label == -1 else label
        return {self.label: kind.rows(self.label, rows, n)}

    def guided(self, label: int | None, scale: float, said: str = "") -> Denoiser:
        """The model, or classifier-free guidance of it where a label or words are given and the scale is not 1.

        Arguments:
            label: a class, or None.
            scale: of guidance.
            said: words, or nothing.

        Returns:
            A `Denoiser`.
        """
        given = label is not None or bool(said.strip())
        return Guided(self.model, scale) if self.free and given and scale != 1 else self.model

    def held_out(self, numbers: Sequence[int]) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Held-out items (B, *shape) by their numbers, raw, with the conditions that they come with.

        Raises `InputError` where there is no data, or it has no such item.
        """
        if self.data is None:
            raise InputError(f"there is no held-out data here: {self.lost}")
        items, kinds = self.data.test, self.model.conditions
        for i in numbers:
            if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < len(items):
                raise InputError(f"item {brief(i)}: give a number from 0 to {len(items) - 1}", "item")
        try:
            batch = collate(items, numbers, kinds)
        except InputError:
            batch = collate(items, numbers)
        known: Mapping[str, Tensor] = batch.cond
        cond = {name: kinds[name].rows(name, value, len(numbers)) for name, value in known.items()}
        return batch.x, cond if kinds else None

    @cached_property
    def real(self) -> Tensor | None:
        """Some held-out items to draw beside samples; None for images, and where there is no data."""
        return None if self.kind.is_image or self.data is None else pictures.some_real(self.data)

"""Stages together: each is told what the one before has drawn."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from ..conditions import Kind
from ..denoiser import Given
from ..errors import InputError
from ..likelihood import Likelihood
from ..settings import Checked, Count, Seed, nearest
from .stage import Stage
from .told import alike, corruption, handed


@dataclass(frozen=True, eq=False)
class Cascade(Checked):
    """p(x_1) p(x_2 | x_1) ... p(x_K | x_{K-1}): a base model, and models that are each told the sample before.

    The noise of a sample is a function of (seed, stage, sample, step): it does not depend on what is drawn beside it,
    and the first stage's samples are those of its model alone with the same seed.

    Ho, Saharia, Chan, Fleet, Norouzi, Salimans (2021), Cascaded Diffusion Models, arXiv 2106.15282.

    Arguments:
        stages: the first one first.

    Raises:
        InputError: no stages; a stage whose samples are not what the next one asks for; augmentation of the first one,
            which is told no sample, or truncation of the last one, or of one whose next cannot take it.
    """

    stages: Sequence[Stage]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stages:
            raise InputError("stages=[]: give one stage at least", "stages")
        first, last = self.stages[0], self.stages[-1]
        if first.augment:
            raise InputError(f"stage 1 has augment={first.augment:g}, and is told no sample: leave it at 0", "stages")
        if last.truncate:
            words = "and no stage after it finds the rest: leave it at 0"
            raise InputError(f"stage {len(self.stages)} has truncate={last.truncate:g}, {words}", "stages")
        for number, (before, after) in enumerate(pairwise(self.stages), 1):
            _check_gives(number, before, after)
            if before.truncate:
                _check_truncated(number, before, after)

    @property
    def conditions(self) -> dict[str, Kind]:
        """What samples may be told, by name: of all stages, but for what they tell each other and how noisy it is.

        Where two stages have a condition of one name, that of the earlier one.
        """
        found: dict[str, Kind] = {}
        for number, stage in enumerate(self.stages):
            known = {self.stages[number - 1].gives} if number else set()
            own = {k: kind for k, kind in stage.conditions.items() if kind.of_items and k not in known}
            found = own | found
        return found

    def check(self, cond: Given, n: int) -> None:
        """Looks at the conditions `cond` of `n` samples, before any work.

        Raises `InputError` for one that no stage takes, a value that is none of it, and one that a stage lacks.
        """
        for name in cond or {}:
            if name not in self.conditions:
                tip = nearest(name, self.conditions) if self.conditions else "; no stage takes any"
                raise InputError(f"condition {name!r} is unknown{tip}", "cond")
        for number, stage in enumerate(self.stages):
            known = self.stages[number - 1].gives if number else None
            for name, kind in stage.conditions.items():
                if name == known or not kind.of_items:
                    continue
                given = None if (cond or {}).get(name) is None else kind.rows(name, cond[name], n)
                if kind.drop == 0 and (given is None or bool(kind.absent(given).any())):
                    words = f"stage {number + 1} asks for the condition {name}, which nobody gives"
                    raise InputError(f"{words}: give {kind.words(n)}", "cond")

    def one(
        self, k: int, before: Tensor | None, n: int, seed: int = 0, cond: Given = None, offset: int = 0, **options: Any
    ) -> Tensor:
        """n samples of stage k, told those of the stage before.

        Arguments:
            k: its number, 0 is the first.
            before: the samples of the stage before (n, *shape), as it gives them; None for the first stage.
            n: how many.
            seed: of the whole cascade.
            cond: as in `draw`, n rows each or one for all.
            offset: sample i has the noise of the number offset + i.
            options: those of `sample`.

        Returns:
            (n, *shape), in the model's space.

        Raises:
            InputError, FloatingPointError: as `sample` does.
        """
        stage, own = self.stages[k], _seed(seed, k)
        return stage.draw(n, own, self._told(k, before, n, own, cond, offset), offset, **options)

    def _told(self, k: int, before: Tensor | None, n: int, seed: int, cond: Given, offset: int) -> dict[str, Tensor]:
        stage, given, s = self.stages[k], dict(cond or {}), None
        if k:
            last = self.stages[k - 1]
            given[last.gives], s = handed(before, last.model, stage.model), last.truncate or None
        return stage.told(given, n, seed, offset, s)

    def each(self, n: Count, seed: Seed = 0, cond: Given = None, **options: Any) -> Iterator[Tensor]:
        """The samples of one stage after the other.

        Arguments:
            n, seed, cond, options: as in `draw`.

        Returns:
            An iterator of what `draw` lists.
        """
        self.check(cond, n)
        x = None
        for k in range(len(self.stages)):
            x = self.one(k, x, n, seed, cond, **options)
            yield x

    def draw(self, n: Count, seed: Seed = 0, cond: Given = None, **options: Any) -> list[Tensor]:
        """n samples of every stage.

        Arguments:
            n: how many.
            seed: of the noise.
            cond: conditions by name, a row for each sample or one for all; every stage is told those that it takes.
            options: those of `sample`.

        Returns:
            For each stage (n, *shape), in its model's space; of a stage that is truncated as it tells them.

        Raises:
            InputError: wrong conditions, before anything is drawn; as `sample` does.
            FloatingPointError: as `sample` does.
        """
        return list(self.each(n, seed, cond, **options))

    def generate(self, n: Count, seed: Seed = 0, cond: Given = None, **options: Any) -> Tensor:
        """n samples of the last stage in the data's own values, or of a denoiser that knows no data in its space.

        Arguments:
            n, seed, cond, options: as in `draw`.

        Returns:
            (n, *shape).

        Raises:
            InputError, FloatingPointError: as `draw` does.
        """
        *_, x = self.each(n, seed, cond, **options)
        decode = getattr(self.stages[-1].model, "decode", None)
        return x if decode is None else decode(x)

    def log_prob(
        self, items: Sequence[Tensor], cond: Given = None, seed: Seed = 0, offset: int = 0, **options: Any
    ) -> list[Likelihood]:
        """log p(x_1), log p(x_2 | x_1), ...: of each stage given what it is told, without guidance.

        A stage with `augment` is told x_{k-1} made as noisy as that, by (seed, offset + i): its density is given that.

        Arguments:
            items: x_k (B, *shape) of every stage, in its model's space.
            cond: as in `draw`.
            seed, offset: of the noise of what is told, and of the probes.
            options: those of `log_likelihood`.

        Returns:
            A `Likelihood` of each stage.

        Raises:
            InputError: another number of items than stages; a truncated stage, whose samples are no items of its data.
        """
        if len(items) != len(self.stages):
            raise InputError(f"{len(items)} items for {len(self.stages)} stages: give those of each stage", "items")
        if cut := [k for k, stage in enumerate(self.stages, 1) if stage.truncate]:
            raise InputError(f"stage {cut[0]} is truncated: a density is that of whole stages", "stages")
        n, found = len(items[0]), []
        self.check(cond, n)
        for k, (stage, x) in enumerate(zip(self.stages, items, strict=True)):
            known = self._told(k, items[k - 1] if k else None, n, _seed(seed, k), cond, offset)
            known = {name: value for name, value in known.items() if name in stage.model.conditions}
            found.append(stage.log_prob(x, known or None, seed=_seed(seed, k), offset=offset, **options))
        return found


def _seed(seed: int, stage: int) -> int:
    """A seed of each stage's own; the first has that of the cascade."""
    return seed if not stage else int.from_bytes(hashlib.sha256(repr((seed, stage)).encode()).digest()[:8], "big") >> 1


def _check_gives(number: int, before: Stage, after: Stage) -> None:
    kind, said = after.model.conditions.get(before.gives), f"stage {number} gives {before.gives} {before.shape}"
    if kind is None:
        has = ", ".join(name for name, k in after.model.conditions.items() if k.of_items) or "nothing"
        raise InputError(f"{said}, and stage {number + 1} asks for {has}", "stages")
    asked = tuple(kind.missing(1).shape[1:])
    if asked != tuple(before.shape) or not kind.missing(1).is_floating_point():
        words = f"and stage {number + 1} asks for a {type(kind).__name__} of shape {asked}"
        raise InputError(f"{said}, {words}", "stages")


def _check_truncated(number: int, before: Stage, after: Stage) -> None:
    found, said = corruption(after.model.conditions), f"stage {number} has truncate={before.truncate:g}"
    if found is None or found[1].by != "noise" or before.truncate > found[1].most:
        most = "was trained with no noise in what it is told"
        most = f"was trained with noise up to {found[1].most:g}" if found and found[1].by == "noise" else most
        raise InputError(f"{said}, and the model of stage {number + 1} {most} (objective.condition_noise)", "stages")
    if after.augment:
        words = f"stage {number + 1} augment={after.augment:g}: its picture is noisy already, leave out one of the two"
        raise InputError(f"{said} and {words}", "stages")
    if not alike(before.model, after.model):
        words = "the models of the two stages scale their values differently, so that its noise is another there"
        raise InputError(f"{said}, and {words}", "stages")

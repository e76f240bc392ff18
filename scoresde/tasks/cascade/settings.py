"""What a command says of a stage of a cascade, and the stage that it makes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ... import making
from ...cascade import Stage
from ...config.commands.composed import choice, composed
from ...config.guide import INPUTS, Guide
from ...data import Data
from ...denoiser import Counted, Denoiser
from ...errors import InputError, in_yaml
from ...guidance import Guided, Thresholded
from ...model.folder import MODEL, load
from ...model.grid import fitted_grid
from ...model.trained.denoiser import Model
from ...report.again import value
from ...run import Run, Within
from ...sampling import Sampler
from ...settings import Checked, Fraction, Scale, Text, brief, nearest
from ...tracking.report import say


@dataclass(frozen=True)
class Said(Checked):
    """What `stages` says of one stage: a folder alone, or a mapping with any of these.

    Arguments:
        folder: of its model.
        train: in its place the words of the command that trains the model, where that is not done yet.
        sampler: a name, or settings in the place of the command's; None: the command's.
        scale: of classifier-free guidance; None: the command's `guidance`.
        guidance: in its place a node, as `guidance=` has it.
        threshold: the quantile of dynamic thresholding, around either of them; None: there is none.
        augment, truncate, gives: as `Stage` has them.
        ema: which average of the weights, as the command's `ema` says it.
    """

    folder: Text | None = None
    train: tuple[Text, ...] = ()
    sampler: Text | dict | None = None
    scale: Scale | None = None
    guidance: dict | None = None
    threshold: Fraction | None = None
    augment: Scale = 0.0
    truncate: Scale = 0.0
    gives: Text = "seen"
    ema: Text | float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.folder is None) == (not self.train):
            raise InputError("say folder=, of a model, or train=, the words that train it", "folder")
        if self.scale is not None and self.guidance is not None:
            raise InputError(f"scale={self.scale:g} and guidance: choose one of the two", "scale")

    @classmethod
    def of(cls, node: Any, place: str) -> "Said":
        """That of a stage in the config, a folder or a mapping.  Raises `InputError`."""
        if isinstance(node, str):
            return cls(folder=node)
        if not isinstance(node, Mapping):
            raise InputError(f"{place} is {in_yaml(brief(node))}: give a folder, or a mapping with a folder")
        known = [field.name for field in fields(cls)]
        if unknown := [key for key in node if key not in known]:
            raise InputError(f"{place}: {unknown[0]} is no setting of a stage{nearest(unknown[0], known)}")
        try:
            return cls(**{str(k): tuple(v) if k == "train" and isinstance(v, list) else v for k, v in node.items()})
        except InputError as error:
            raise InputError(f"{place}: {in_yaml(str(error))}") from None


def read(nodes: Any) -> list[Said]:
    """All stages of a config.  Raises `InputError` for one that is wrong, or where there is none."""
    nodes = [nodes] if isinstance(nodes, str) else nodes
    if not isinstance(nodes, Sequence) or not nodes:
        raise InputError("stages is not set: say stages=[FOLDER,FOLDER], the first stage first")
    return [Said.of(node, f"stage {i + 1}") for i, node in enumerate(nodes)]


class Maker:
    """Makes the stages of a command: all that can be looked at is, before anything is trained.

    Arguments:
        config: the command's.
        plain: the same as plain types.
        said: of each stage.
    """

    def __init__(self, config: Any, plain: Mapping[str, Any], said: Sequence[Said]):
        self.config, self.plain, self.said, self.trained = config, plain, said, {}
        self.samplers = [self._sampler_node(one, f"stage {i + 1}") for i, one in enumerate(said)]
        self.guides = [self._guide_node(one, f"stage {i + 1}") for i, one in enumerate(said)]
        for i, one in enumerate(said):
            if one.train:
                self.trained[i] = Within(one.train, config, f"stage {i + 1}", trains=True)
            elif not (folder := Path(one.folder).expanduser()).is_dir() or not (folder / MODEL).exists():
                raise InputError(f"stage {i + 1}: {folder} is no folder of a trained model: it has no {MODEL}")

    def folders(self) -> list[Path]:
        """The folders of the models, once those that are to be trained are."""
        found = []
        for i, said in enumerate(self.said):
            if i not in self.trained:
                found.append(Path(said.folder).expanduser())
                continue
            found.append(self.trained[i]())
        return found

    def data(self, folder: Path) -> Data:
        """The data that the model in a folder was trained on, with the conditions that it takes."""
        words = [f"folder={value(str(folder))}"]
        made, choices = composed(words, self.config)
        return Run(made, choices, said=words).data

    def stage(self, i: int, folder: Path, device: str) -> Stage:
        """Stage i, of the model in a folder.  Raises `InputError` for one that is no denoiser."""
        said = self.said[i]
        model = load(folder, device, self.config.trust, ema=said.ema)
        if not isinstance(model, Model):
            raise InputError(f"stage {i + 1}: {folder} holds no denoiser, but a {type(model).__name__}")
        sampler = making.make(self.samplers[i], "sampler", Sampler, folder=folder)
        if getattr(sampler, "grid", None) == "fitted":
            sampler = dataclasses.replace(sampler, grid=fitted_grid(folder, model, say, True))
        given = {"gives": said.gives, "augment": said.augment, "truncate": said.truncate}
        try:
            return Stage(model, sampler, guide=self._guide(i, said), **given)
        except InputError as error:
            raise InputError(f"stage {i + 1}: {in_yaml(str(error))}") from None

    def _guide(self, i: int, said: Said) -> Any:
        """What counts a stage's evaluations, around what guides it, around which is its threshold."""

        def kept(model: Denoiser) -> Denoiser:
            return model if said.threshold is None else Thresholded(model, quantile=said.threshold)

        def led(model: Denoiser) -> Denoiser:
            if said.scale is not None:
                return kept(Guided(model, said.scale) if said.scale != 1 else model)
            guide = Guide.of(self.guides[i], model, self.config.trust)
            if guide.conditions:
                words = "a classifier leads single models; give a scale, or guidance of another kind"
                raise InputError(f"stage {i + 1}: guidance: {words}")
            return kept(guide({}))

        return lambda model: Counted(led(model))

    def _sampler_node(self, said: Said, place: str) -> dict:
        own = said.sampler
        try:
            node = choice("sampler", own) if isinstance(own, str) else dict(self.plain["sampler"])
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        if isinstance(own, dict):
            node = own if "_target_" in own else node | own
        making.vet(node, f"{place}: sampler", Sampler, True, ("folder",))
        return node

    def _guide_node(self, said: Said, place: str) -> dict | None:
        if said.scale is not None:
            return None
        node = said.guidance or self.plain.get("guidance")
        if node:
            plain = {k: v for k, v in node.items() if k not in INPUTS}
            making.vet(plain, f"{place}: guidance", Denoiser, True, INPUTS)
        return node

"""One command: its config, its model folder, its tracker, and what it prints."""

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor, nn

from .. import making
from ..conditions import Kind
from ..config import build, conditions, guide, method, objective, settle
from ..config.commands import options
from ..config.commands.jobs import Job
from ..config.guide import Guide
from ..config.latents import at_hand
from ..data import Data
from ..denoiser import Denoiser
from ..errors import InputError
from ..loss import DenoisingLoss
from ..machine import files, launcher, locks, processes
from ..machine.devices import best_device
from ..model import folder as model
from ..model.folder import MODEL
from ..model.grid import fitted_grid
from ..model.kept import averages
from ..model.kept.weights import path_of
from ..model.named import named
from ..model.trained.denoiser import Model
from ..sampling import Sampler, hardware
from ..sampling.loop import ended
from ..settings import Checked
from ..tracking.report import plain
from ..tracking.track import Trackers
from ..training import book
from ..training.book import check, check_same
from ..training.settings import Training
from .trackers import trackers


@dataclass(frozen=True)
class Task(Checked, ABC):
    """What a command does: its settings, checked before any work, and the work itself."""

    alone: ClassVar[bool] = False  # such a task takes the config in place of a run, and needs no model
    leaves: ClassVar[bool] = True  # whether it leaves files; one that does not has no tracker, lock and page

    @property
    def trains(self) -> bool:
        """Whether it trains the model, and what that begins with, where they are not trained yet."""
        return False

    @abstractmethod
    def __call__(self, run: "Run") -> None:
        """Does it."""

    def place(self, run: "Run") -> Path:
        """The folder that it works in: the model's, or one of its own."""
        return run.folder


class Run:
    """One command: its config, checked as a whole before any work, its model folder, and where figures and words go."""

    def __init__(
        self,
        config: DictConfig,
        choices: dict[str, str],
        console: Console | None = None,
        job: Job | None = None,
        said: Sequence[str] = (),
    ):
        options.checked(config)
        # `adopted` are the parts that the folder's own model gave.
        config, self.adopted = build.adopt(build.retarget(config, said), said)
        self.config, self.choices = config, choices = method.own_sampler(config, choices, self.adopted, said)
        self.job = job
        self.lead = launcher.rank() == 0  # of several processes the first one writes and speaks
        self.console = console or Console(highlight=False, markup=False, emoji=False, quiet=not self.lead)
        if config.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device=cuda: torch sees no CUDA device here; say device=auto or device=cpu")
        hardware.check(config.compile, config.cuda_graphs, config.autocast, self.device)
        build.import_paths(config)
        making.vet(self.plain["net"], "net", nn.Module, self.trusts("net"), ("shape",))
        if "data" not in self.adopted:  # which is looked at where it is needed
            build.vet_data(config)
        sde = build.build_sde(config, self.trusts("sde"))
        none = config.loss is None and "loss" in self.adopted  # of a model whose objective has none
        self.loss = None if none else build.make(config.loss, "loss", DenoisingLoss, self.trusts("loss"))
        objective.vet(config, self.trusts("objective"))
        method.vet(config)
        self.training = build.make(config.train, "train", Training)
        self.folder = build.model_folder(config)
        averages.check(self.folder, {"train": {"ema": self.training.ema}}, config.ema)
        self.sampler: Sampler = build.make(config.sampler, "sampler", Sampler, folder=self.folder)
        self.fits_grid = getattr(self.sampler, "grid", None) == "fitted"  # waits for the trained model
        if not self.fits_grid:
            try:
                self.sampler.times(sde)
            except InputError as error:
                raise making.placed(error, "sampler") from None
        guide.vet(config)
        self.likelihood = build.make(config.likelihood, "likelihood")
        self.results: list[tuple[str, str]] = []
        self.made: dict[str, Path] = {}  # the folder of each result, by its task
        if processes.missed():
            self.say(
                "accelerate launch starts one process on CPUs: for several, torchrun --nproc_per_node N run.py ..."
            )
        self.tracker = Trackers(trackers(self), self.say)

    def trusts(self, part: str) -> bool:
        """Whether a part of the model may be of anybody's making: of the command's own, or trusted."""
        return self.config.trust or part not in self.adopted

    @property
    def plain(self) -> dict:
        """The whole config, resolved, as plain types."""
        return OmegaConf.to_container(self.config, resolve=True)

    @cached_property
    def data(self) -> Data:
        """The data set, loaded at its first use.  Raises `InputError` if the model was trained on other data."""
        if (self.folder / MODEL).exists() and not self.config.fresh:
            check_same(self.folder, self.loaded)
        return self.loaded

    @cached_property
    def loaded(self) -> Data:
        """The data set that the config names, whatever the model was trained on."""
        if self.config.data is None:
            raise InputError(f"{self.folder} was trained from Python, on data that it does not name: say data=...")
        taught = self.config.teacher is not None and not (self.folder / MODEL).exists()
        home = Path(str(self.config.teacher)).expanduser() if taught else self.folder
        data = build.build_data(at_hand(self.config, home), self.trusts("data"))
        data = conditions.as_kept(data, self.config, home)
        for note in getattr(data, "notes", ()):
            self.say(note)
        return data

    @cached_property
    def device(self) -> str:
        """Where the model is sampled and scored."""
        return best_device() if self.config.device == "auto" else self.config.device

    @cached_property
    def model(self) -> Model:
        """The trained denoiser in the folder.  Raises `InputError` if there is none or it is not the config's."""
        if not any(path.exists() for path in (path_of(self.folder), self.folder / "checkpoint.pt")):
            raise InputError(f"{self.folder} has no trained model: run the same command with task=train first")
        check(self.folder, build.model_config(self.config))
        shape = model.shape_of(self.folder)
        known = model.described(self.folder)
        config = settle.as_in(self.config, known)
        denoiser = build.build_denoiser(config, shape, self.adopted, model.conditions_of(self.folder), known)
        found = model.load(self.folder, self.device, denoiser=denoiser, ema=self.config.ema)
        if found.step < self.training.steps:
            self.say(f"the model in {self.folder} has seen {found.step} of {self.training.steps} steps so far")
        if self.config.adapter is None:
            return found
        other = named("adapter", self.config.adapter, Model, self.device, self.config.trust)
        try:
            return found.adapted(other)
        except InputError as error:
            raise InputError(f"adapter={self.config.adapter}: {error}", "adapter") from None

    @cached_property
    def fitted_sampler(self) -> Sampler:
        """The sampler as it is used: its grid fitted to the model, if it asks for that, its end at the data's grain."""
        if not self.fits_grid:
            sampler = ended(self.sampler, self.model)
            return sampler if self.model.lands is None else method.informed(sampler, self.model)
        return dataclasses.replace(self.sampler, grid=fitted_grid(self.folder, self.model, self.say, self.lead))

    @property
    def conditions(self) -> dict[str, Kind]:
        """What samples may be given: the conditions of the model, and of what guides it."""
        return dict(self.model.conditions) | self.guide.conditions

    @cached_property
    def guide(self) -> Guide:
        """What guides the model, by the settings `guidance`."""
        return Guide(self.config, self.model)

    def guided(self, cond: Mapping[str, Tensor]) -> Denoiser:
        """The model, or what guides it to these conditions."""
        return self.guide(cond)

    def told(self) -> list[Any]:
        """What names a result beside the model and the sampler: what it is given, and what guides it."""
        return [part for part in (self.plain["given"], self.plain.get("guidance")) if part]

    def say(self, words: str) -> None:
        """Prints a line."""
        self.console.print(plain(words), soft_wrap=True)

    def place(self, task: str, choice: str, *parts) -> Path:
        """The folder of a sampling or scoring run beneath the model's, named by what makes its result."""
        folder = self.folder / f"{task}-{choice}-{build.short_hash(parts, 6)}"
        files.check(folder / "summary.json")
        return folder

    def finish(self, folder: Path, summary: dict, rows: list[tuple[str, str]]) -> None:
        """Writes the config and the summary of what was done, and keeps rows for the closing table."""
        self.keep_config(folder)
        files.write_json(folder / "summary.json", summary)
        self.results += rows
        self.made[summary["task"]] = folder

    def keep_config(self, folder: Path) -> None:
        """Writes config.yaml, for people to read."""
        config = OmegaConf.to_yaml(self.config, resolve=True)
        files.write(folder / "config.yaml", lambda file: file.write(config.encode()))

    def trained(self) -> bool:
        """Whether the folder has the model that is asked for, all its steps made.  Raises `InputError` for another."""
        return book.Book(self.folder, build.model_config(self.config), self.training.steps).finished()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the folder's lock; jobs of a sweep wait for it.

        Raises `InputError` if another command is at work in it.
        """
        if not self.lead:
            yield
            return
        with locks.alone(self.folder, wait=self.job is not None, say=self.say):
            files.sweep(self.folder)
            yield

"""The task that searches: Optuna proposes overrides, each trial is a job, and a figure of its summary is the judge."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from ..config import build
from ..config.commands.jobs import SWEEP, Job, fingerprint, interrupted, read
from ..errors import InputError
from ..machine import files, locks
from ..run import Task
from ..settings import Count, Whole, nearest
from ..tracking.report import called, say
from .figures import direction, figures
from .page import leave

LETTERS = str.maketrans({"/": "_", ".": "_"})


@dataclass(frozen=True)
class Space:
    """One override and what Optuna may put in its place."""

    key: str
    suggest: Callable[[Any], Any]


def space(words: list[str]) -> list[Space]:
    """The search space, in the words of Hydra's sweeps, each with an equals sign.

    KEY=a,b or KEY=choice(a,b); KEY=interval(low,high) of numbers, whole ones for int(interval(..)), on a log scale for
    tag(log, interval(..)); KEY=range(start,stop,step).  Raises `InputError` for anything else.
    """
    found = []
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException as error:
            raise InputError(f"task.space: {word!r} cannot be read: {str(error).splitlines()[0]}") from error
        value, key = override.value(), override.get_key_element()
        if isinstance(value, ChoiceSweep):
            choices = [c if isinstance(c, int | float | str | None) else str(c) for c in override.sweep_iterator()]
            found.append(Space(key, lambda t, k=key, c=choices: t.suggest_categorical(k, c)))
        elif isinstance(value, IntervalSweep):
            whole, log = isinstance(value.start, int) and isinstance(value.end, int), "log" in value.tags
            ends = (value.start, value.end)
            if whole:
                found.append(Space(key, lambda t, k=key, e=ends, g=log: t.suggest_int(k, *e, log=g)))
            else:
                found.append(Space(key, lambda t, k=key, e=ends, g=log: t.suggest_float(k, *e, log=g)))
        elif isinstance(value, RangeSweep):
            choices = list(value.range())
            found.append(Space(key, lambda t, k=key, c=choices: t.suggest_categorical(k, c)))
        else:
            raise InputError(f"task.space: {word!r} is one value: give KEY=a,b or KEY=interval(low,high)")
    if not found:
        raise InputError("task.space is empty: say task.space=['sampler.snr=interval(0.05,0.3)']")
    return found


@dataclass(frozen=True)
class Search(Task):
    """Trials of the task `of`, whose figure `objective` is to be optimised over the `space`, until there are `trials`.

    `direction` is the figure's own, where it is known; the first `startup` trials are drawn at random; more than
    `failures` that fail end it.
    """

    alone: ClassVar[bool] = True

    of: str = "full"
    objective: str = "likelihood.bits_per_dim"
    direction: Literal["minimize", "maximize"] | None = None
    trials: Count = 20
    startup: Whole = 8
    failures: Whole = 3
    space: tuple[str, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        known = direction(self.objective)
        if self.direction is None and known is None:
            words = f"whether {self.objective} is better high or low is not known: give minimize or maximize"
            raise InputError(f"direction=null: {words}", "direction")
        if None not in (known, self.direction) and known != self.direction:
            raise InputError(f"direction={self.direction}: {self.objective} is to be {known}d", "direction")

    @property
    def goal(self) -> str:
        """minimize or maximize."""
        return self.direction or direction(self.objective)

    def __call__(self, config: DictConfig) -> None:
        search(config, self)


def search(config: DictConfig, task: Search) -> None:
    """Runs trials until the study has `task.trials` that ended; a study that was cut off goes on.

    The study is search.db (SQLite) in out/search/NAME-HASH, named by what is searched and over what; every trial has
    its folder with status.json there.  Raises `InputError` if Optuna is missing, for a wrong space, for a damaged
    study, and where another command is at work on it.
    """
    try:
        import optuna
    except ImportError:
        raise InputError("task=search needs Optuna: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    places, words = space(list(task.space)), _fixed()
    said = [task.of, task.objective, task.goal, *sorted(task.space), *sorted(words)]
    home = Path(config.out) / "search" / f"{task.objective.translate(LETTERS)}-{build.short_hash(said)}"
    os.environ[SWEEP] = home.name
    with locks.alone(home, say=say):
        files.sweep(home)
        study = _study(home, task.goal)
        if ended := _ended(study):
            say(f"{home}: {ended} trials were made before")
        while (left := task.trials - _count(study)) > 0:
            # The sampler's own state is not stored: seeded by the number of trials that came before, of which those
            # that were cut off are none, it draws what it would have drawn undisturbed.
            seed = config.seed + _ended(study)
            study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=task.startup)
            trial = study.ask()
            try:
                study.tell(trial, _try(trial, places, words, config, home, task))
                say(f"{left - 1} trials left")
            except Exception as error:
                trial.set_user_attr("error", str(error)[:500])
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                say(f"trial {trial.number} failed: {error}; see {home}/{trial.number}/traceback.txt")
            except BaseException:  # asked to end: the next search draws the same trial
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                raise
            failed = sum("error" in t.user_attrs for t in study.trials)
            if failed > task.failures:
                raise InputError(f"{failed} trials failed, more than task.failures={task.failures}: see {home}")
        _report(study, home, words, task)


def _study(home: Path, direction: str):
    """The study in a folder, new if there is none; trials that a killed search left running are closed."""
    import optuna

    path = home / "search.db"
    if path.is_symlink():
        raise InputError(f"{path} is a link, which is not followed: put the file itself in its place")
    known = {"study_name": "search", "storage": f"sqlite:///{path.absolute()}", "direction": direction}
    try:
        study = optuna.create_study(**known, load_if_exists=True)
        for trial in study.trials:
            if trial.state == optuna.trial.TrialState.RUNNING:
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                interrupted(home / str(trial.number))
    except Exception as error:  # of Optuna, SQLAlchemy and SQLite, as they happen to be
        reason = str(error.__cause__ or error).strip().splitlines()[0][:150]
        raise InputError(
            f"{path} cannot be used ({reason}): if it is damaged, put back a copy, or remove it to search anew"
        ) from error
    return study


def _fixed() -> list[str]:
    """The overrides of this command line that every trial shares."""
    own = ("task=", "task.", "hydra")
    return [w for w in HydraConfig.get().overrides.task if not w.startswith(own)]


def _count(study) -> int:
    return sum(t.state.name in ("COMPLETE", "PRUNED") for t in study.trials)


def _ended(study) -> int:
    """How many trials came to an end of their own, good or bad."""
    return _count(study) + sum(t.state.name == "FAIL" and "error" in t.user_attrs for t in study.trials)


def _try(trial, places: list[Space], words: list[str], config: DictConfig, home: Path, task: Search) -> float:
    """Runs one trial as a job, and gives the figure that judges it."""
    from ..run import Run, begun, execute

    chosen = [f"{p.key}={_word(p.suggest(trial))}" for p in places]
    here = HydraConfig.get()
    overrides = [*words, *chosen, f"task={task.of}"]
    made = compose(here.job.config_name, overrides, return_hydra_config=True)
    choices = dict(made.hydra.runtime.choices)
    made = OmegaConf.masked_copy(made, [k for k in made if k != "hydra"])
    made.paths = config.paths
    say(f"\ntrial {trial.number}: {' '.join(chosen)}")
    job = Job(home / str(trial.number), trial.number, home.name, tuple(overrides), fingerprint(made))
    with job:
        of = build.make(made.task, "task", Task)
        work = Run(begun(made, of, choices, overrides), choices, job=job, said=overrides)
        execute(work, of)
        job.end(work.made)
        found = figures(read(job.folder / "summary.json"))
        if task.objective not in found:
            raise InputError(f"task.objective={task.objective} is not in its summary{nearest(task.objective, found)}")
    value = found[task.objective].value
    if not math.isfinite(value):
        raise FloatingPointError(f"{task.objective} is {value}")
    return value


def _word(value: Any) -> str:
    return "null" if value is None else str(value)


def _report(study, home: Path, words: list[str], task: Search) -> None:
    """Prints the best trials and the command that repeats the best one, and writes them to best.json."""
    done = sorted((t for t in study.trials if t.value is not None), key=lambda t: t.value)
    done = done if task.goal == "minimize" else done[::-1]
    best = done[0]
    said = {t.number: [f"{k}={_word(v)}" for k, v in t.params.items()] for t in done}
    chosen = said[best.number]
    say(f"\n{task.objective}, {task.goal}, of {len(done)} trials:")
    for trial in done[:5]:
        say(f"  {trial.value:.5g}  trial {trial.number}: {' '.join(said[trial.number])}")
    say(f"the best again: {called()} {' '.join([*words, *chosen])}\nthe study: {home}/search.db")
    found = {"objective": task.objective, "value": best.value, "trial": best.number, "overrides": [*words, *chosen]}
    files.write_json(home / "best.json", found)
    leave(home)

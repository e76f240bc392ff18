"""The task that searches: Optuna proposes overrides, each trial is a job, and a figure of its summary is the judge."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
from hydra.errors import HydraException
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from ..errors import InputError
from ..making import nearest
from . import build
from .command import called
from .compare import figures
from .jobs import SWEEP, Job, fingerprint, read

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


def search(config: DictConfig) -> None:
    """Runs trials until the study has `task.trials` that ended; a study that was cut off goes on.

    The study is search.db (SQLite) in out/search/NAME-HASH, named by what is searched and over what; every trial has
    its folder with status.json there.  Raises `InputError` if Optuna is missing, or for a wrong space.
    """
    try:
        import optuna
    except ImportError:
        raise InputError("task=search needs Optuna: pip install optuna") from None
    task = config.task
    if task.direction not in ("minimize", "maximize"):
        raise InputError(f"task.direction={task.direction!r}: choose minimize or maximize")
    places, words = space(list(task.space)), _fixed()
    said = [task.of, task.objective, task.direction, *sorted(task.space), *sorted(words)]
    home = Path(config.out) / "search" / f"{task.objective.translate(LETTERS)}-{build.short_hash(said)}"
    home.mkdir(parents=True, exist_ok=True)
    os.environ[SWEEP] = home.name
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = f"sqlite:///{(home / 'search.db').absolute()}"
    study = optuna.create_study(study_name="search", storage=storage, direction=task.direction, load_if_exists=True)
    _drop_unfinished(study)
    ended = len(study.trials)
    if ended:
        print(f"{home}: {sum(t.state.is_finished() for t in study.trials)} trials were made before")
    # The sampler's own state is not stored: seeded by the number of trials, it is a function of what came before.
    while (left := task.trials - _count(study)) > 0:
        study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials), n_startup_trials=task.startup)
        trial = study.ask()
        try:
            study.tell(trial, _try(trial, places, words, config, home))
            print(f"{left - 1} trials left")
        except Exception as error:  # an interruption leaves the trial as it is, to be tried again
            trial.set_user_attr("error", str(error)[:500])
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            print(f"trial {trial.number} failed: {error}; see {home}/{trial.number}/traceback.txt")
        failed = sum("error" in t.user_attrs for t in study.trials)
        if failed > task.failures:
            raise InputError(f"{failed} trials failed, more than task.failures={task.failures}: see {home}")
    _report(study, home, words, task)


def _fixed() -> list[str]:
    """The overrides of this command line that every trial shares."""
    own = ("task=", "task.", "hydra")
    return [w for w in HydraConfig.get().overrides.task if not w.startswith(own)]


def _count(study) -> int:
    return sum(t.state.name in ("COMPLETE", "PRUNED") for t in study.trials)


def _drop_unfinished(study) -> None:
    """Trials that a killed search left running are closed, and their overrides are tried first."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _try(trial, places: list[Space], words: list[str], config: DictConfig, home: Path) -> float:
    """Runs one trial as a job, and gives the figure that judges it."""
    from .run import Run, execute

    chosen = [f"{p.key}={_word(p.suggest(trial))}" for p in places]
    here, task = HydraConfig.get(), config.task
    overrides = [*words, *chosen, f"task={task.of}"]
    made = compose(here.job.config_name, overrides, return_hydra_config=True)
    choices = dict(made.hydra.runtime.choices)
    made = OmegaConf.masked_copy(made, [k for k in made if k != "hydra"])
    made.paths = config.paths
    print(f"\ntrial {trial.number}: {' '.join(chosen)}", flush=True)
    job = Job(home / str(trial.number), trial.number, home.name, tuple(overrides), fingerprint(made))
    with job:
        work = Run(made, choices, job=job)
        execute(work, get_method(made.task["_target_"]))
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


def _report(study, home: Path, words: list[str], task: DictConfig) -> None:
    """Prints the best trials and the command that repeats the best one, and writes them to best.json."""
    from . import checkpoint

    done = sorted((t for t in study.trials if t.value is not None), key=lambda t: t.value)
    done = done if task.direction == "minimize" else done[::-1]
    best = done[0]
    said = {t.number: [f"{k}={_word(v)}" for k, v in t.params.items()] for t in done}
    chosen = said[best.number]
    print(f"\n{task.objective}, {task.direction}, of {len(done)} trials:")
    for trial in done[:5]:
        print(
            f"  {trial.value:.5g}  trial {trial.number}: {' '.join(f'{k}={_word(v)}' for k, v in trial.params.items())}"
        )
    print(f"the best again: {called()} {' '.join([*words, *chosen])}\nthe study: {home}/search.db")
    found = {"objective": task.objective, "value": best.value, "trial": best.number, "overrides": [*words, *chosen]}
    checkpoint.write_json(home / "best.json", found)

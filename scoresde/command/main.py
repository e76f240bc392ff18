"""The command line: composes a config with Hydra and runs its task; a user's mistake is one line, not a traceback."""

import contextlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ..config.commands.jobs import SWEEP, Job, fingerprint, sweep_name
from ..machine import launcher, locks, memory
from ..tracking.report import called, say
from .ending import TOLD, end_sweep, fail, in_a_line, told
from .explain import explain

OPEN = ("given.", "told.")
TEXTS = ("given.", "data.caption")  # where a comma and a space are part of a text, and no list of jobs


def cli() -> None:
    """The command `scoresde`, and run.py: the configs are the installed ones, or those of the checkout."""
    if sys.version_info >= (3, 14):
        fail("use Python 3.11, 3.12 or 3.13 (on 3.14 and later the parser of Hydra's command line fails)")
    here = Path(__file__).resolve().parents[1]
    main(next(p for p in (here / "conf", here.parent / "conf") if (p / "config.yaml").exists()))


def main(conf: Path) -> None:
    """Runs the command line with the configs in the folder `conf`.

    What goes wrong is one line on standard error and the exit code 1; SIGINT is 130, SIGTERM 143, SIGHUP 129.
    """
    OmegaConf.register_new_resolver("called", called, replace=True)
    # Hydra would print its own report and exit; with this it raises, and `explain` can say it better.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ[SWEEP] = sweep_name(sys.argv[1:])
    sys.argv[1:] = sorted(map(quoted, sys.argv[1:]), key=lambda w: w not in ("--multirun", "-m"))  # as argparse wants
    memory.keep_freed()
    with in_a_line():
        if words := launcher.ignored():
            say(words)
        launcher.forget()
        try:
            hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(run)()
        except Exception as error:
            end_sweep()  # the jobs' own tracebacks are in their folders
            if isinstance(error, HydraException | OmegaConfBaseException) or "Config group override" in str(error):
                fail(explain(error, conf))
            raise
        end_sweep()


def quoted(word: str) -> str:
    """KEY=VALUE with its value in quotes where Hydra's grammar could not read it: a path with =, #, [, accents, ..."""
    if word.startswith(OPEN):  # its keys are those of the model's conditions, which no config lists
        word = f"++{word}"
    key, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"[+~]{0,2}[\w./@]+", key):
        return word
    parser = OverridesParser.create()
    try:
        found = parser.parse_override(word)
        if found.is_sweep_override() and ", " in value and key.lstrip("+~").startswith(TEXTS):
            raise HydraException("a text")
    except HydraException:
        inner = value.replace("\\", "\\\\").replace("'", "\\'")
        with contextlib.suppress(HydraException):
            parser.parse_override(f"{key}='{inner}'")
            return f"{key}='{inner}'"
    return word


def run(config: DictConfig) -> None:
    """Runs one composed config."""
    from ..run import Run, begun, execute

    choices = dict(HydraConfig.get().runtime.choices)
    sources = [s.path for s in HydraConfig.get().runtime.config_sources if s.provider == "command-line"]
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        try:
            task = asked(config, sources)
        except (*TOLD, OmegaConfBaseException) as error:
            if not multirun:
                raise
            task = error  # of one job: its folder tells, and the others go on
        if isinstance(task, Exception) or (multirun and not task.alone):
            run_job(config, choices, task)
        elif task.alone:
            task(config)
        else:
            said = tuple(HydraConfig.get().overrides.task)
            execute(Run(begun(config, task, choices, said), choices, said=said), task)
    except (*TOLD, OmegaConfBaseException) as error:
        if multirun:
            raise
        # Raised, Hydra would add words of its own.
        fail(str(error).splitlines()[0] if isinstance(error, OmegaConfBaseException) else told(error))


def asked(config: DictConfig, sources: list[str]) -> Callable:
    """The task of a config, whose settings of no group are checked, and whose own code can be imported."""
    from ..config.build import import_paths, make
    from ..config.commands.options import checked
    from ..run import Task

    checked(config)
    with open_dict(config):
        config.paths = [*config.paths, *(str(Path(p).absolute()) for p in sources)]
    import_paths(config)
    return make(config.task, "task", Task)


def run_job(config: DictConfig, choices: dict[str, str], task: Callable | Exception) -> None:
    """Runs one job of a sweep, unless it is done already; its folder tells how it went.

    `task` is an error where the job's settings are wrong.
    """
    from ..run import Run, begun, execute

    here = HydraConfig.get()
    folder, overrides = Path(here.runtime.output_dir), tuple(here.overrides.task)
    job = Job(folder, here.job.num, folder.parent.name, overrides, fingerprint(config), launcher.rank() == 0)
    words = f"job {job.number}: {' '.join(w for w in overrides)}"
    # The same sweep may be at work in another terminal.
    with locks.alone(folder, wait=True, say=say) if job.lead else contextlib.nullcontext():
        if not config.fresh and job.done():
            say(f"{words} is done already")
            return
        say(f"\n{words}")
        with job:
            if isinstance(task, Exception):
                raise task
            made = Run(begun(config, task, choices, overrides), choices, job=job, said=overrides)
            execute(made, task)
            job.end(made.made)

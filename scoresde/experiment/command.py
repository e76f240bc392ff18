"""The command line: composes a config with Hydra and runs its task; a user's mistake is one line, not a traceback."""

import contextlib
import difflib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from .. import launcher, locks
from ..errors import InputError, package
from ..sampling.hardware import OutOfMemory, out_of_memory
from .jobs import SWEEP, Job, closing, fingerprint, sweep_name
from .report import plain, say
from .signals import Terminated, listen

LAUNCHERS = {"joblib": "hydra-joblib-launcher", "submitit": "hydra-submitit-launcher"}
MISTAKES = (InputError, FloatingPointError, OSError, OutOfMemory, MemoryError)  # a line is enough
TOLD = (*MISTAKES, RuntimeError, ModuleNotFoundError)  # `told` looks closer
AGAIN = "the same command goes on from the last checkpoint"


def cli() -> None:
    """The command `scoresde`, and run.py: the configs are the installed ones, or those of the checkout."""
    if sys.version_info >= (3, 14):
        fail("use Python 3.11, 3.12 or 3.13 (on 3.14 and later the parser of Hydra's command line fails)")
    here = Path(__file__).resolve().parents[1]
    main(next(p for p in (here / "conf", here.parent / "conf") if (p / "config.yaml").exists()))


def called() -> str:
    """What the user types: `scoresde`, or `python run.py`."""
    name = Path(sys.argv[0]).name
    return f"python {name}" if name.endswith(".py") else name


def main(conf: Path) -> None:
    """Runs the command line with the configs in the folder `conf`.

    What goes wrong is one line on standard error and the exit code 1; SIGINT is 130, SIGTERM 143, SIGHUP 129.
    """
    OmegaConf.register_new_resolver("called", called, replace=True)
    # Hydra would print its own report and exit; with this it raises, and `explain` can say it better.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ[SWEEP] = sweep_name(sys.argv[1:])
    sys.argv[1:] = sorted(map(quoted, sys.argv[1:]), key=lambda w: w not in ("--multirun", "-m"))  # as argparse wants
    try:
        listen()
        if words := launcher.ignored():
            say(words)
        launcher.forget()
        hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(run)()
        end_sweep()
    except KeyboardInterrupt:
        stopped("stopped", 130)
    except Terminated as asked:
        stopped(f"stopped by {asked}", 128 + asked.number)
    except Exception as error:
        end_sweep()  # the jobs' own tracebacks are in their folders
        if isinstance(error, HydraException | OmegaConfBaseException) or "Config group override" in str(error):
            fail(explain(error, conf))
        if isinstance(error, TOLD):
            fail(told(error))
        raise


def quoted(word: str) -> str:
    """KEY=VALUE with its value in quotes where Hydra's grammar could not read it: a path with =, #, [, accents, ..."""
    key, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"[+~]{0,2}[\w./@]+", key):
        return word
    parser = OverridesParser.create()
    try:
        parser.parse_override(word)
    except HydraException:
        inner = value.replace("\\", "\\\\").replace("'", "\\'")
        with contextlib.suppress(HydraException):
            parser.parse_override(f"{key}='{inner}'")
            return f"{key}='{inner}'"
    return word


def stopped(words: str, code: int) -> None:
    """Says so once, though a launcher tells all its processes, and exits."""
    if launcher.rank():
        sys.exit(code)
    fail(f"{words}; {AGAIN}", code)


def told(error: Exception) -> str:
    """One line for what a person can do something about; anything else is raised as it is."""
    if isinstance(error, ModuleNotFoundError):
        if error.name is None or error.name.startswith("scoresde"):
            raise error
        return missing(error.name.partition(".")[0])
    if out_of_memory(error):
        words = (str(error).strip().splitlines() or ["no more was given"])[0].rpartition("Allocator: ")[2][:200]
        return f"memory ran out ({words}): try a smaller train.batch_size, batch_size or network; {AGAIN}"
    if not isinstance(error, MISTAKES):
        raise error
    return str(error)


def missing(name: str) -> str:
    """What to do about a module that cannot be imported."""
    if name in sys.stdlib_module_names:
        return f"this Python lacks its own module {name}: it is not for this system, or was built without it"
    return f"the Python package {name} is not installed: pip install {package(name)}"


class Sweep(Callback):
    """Hydra's callback that tells `main` where the sweep's folder is, whichever launcher runs its jobs."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **given) -> None:
        """Keeps the folder."""
        Sweep.folder = Path(config.hydra.sweep.dir)


def end_sweep() -> None:
    """Says how a sweep ended, if there was one; exits with 1 if a job failed."""
    if Sweep.folder is None:
        return
    words, bad = closing(Sweep.folder)
    say(f"\n{words}")
    Sweep.folder = None
    if bad:
        for line in bad:
            say(f"error: {line}", sys.stderr)
        sys.exit(1)


def fail(message: str, code: int = 1) -> None:
    """Prints one line and exits."""
    say(f"error: {' '.join(plain(message).split())}", sys.stderr)
    sys.exit(code)


def run(config: DictConfig) -> None:
    """Runs one composed config."""
    from .run import Run, execute

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
            execute(Run(config, choices, said=tuple(HydraConfig.get().overrides.task)), task)
    except (*TOLD, OmegaConfBaseException) as error:
        if multirun:
            raise
        # Raised, Hydra would add words of its own.
        fail(str(error).splitlines()[0] if isinstance(error, OmegaConfBaseException) else told(error))


def asked(config: DictConfig, sources: list[str]) -> Callable:
    """The task of a config, whose settings of no group are checked, and whose own code can be imported."""
    from .build import import_paths, make
    from .options import checked
    from .run import Task

    checked(config)
    with open_dict(config):
        config.paths = [*config.paths, *(str(Path(p).absolute()) for p in sources)]
    import_paths(config)
    return make(config.task, "task", Task)


def run_job(config: DictConfig, choices: dict[str, str], task: Callable | Exception) -> None:
    """Runs one job of a sweep, unless it is done already; its folder tells how it went.

    `task` is an error where the job's settings are wrong.
    """
    from .run import Run, execute

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
            made = Run(config, choices, job=job, said=overrides)
            execute(made, task)
            job.end(made.made)


def explain(error: Exception, conf: Path) -> str:
    """One line for what Hydra refused, with the nearest name that it knows."""
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is not of the form KEY=VALUE (in the shell quote lists: net.mults='[1,2]')"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        options = sorted(error.options or [])
        for known, package in LAUNCHERS.items():
            if group == "hydra/launcher" and name.startswith(known):
                return f"hydra/launcher={name} needs a package: pip install {package}"
        return f"{group or 'config'}={name} is unknown{_nearest(name, options)}"
    text = str(error)
    cause = str(error.__cause__ or "")
    if "Config group override" in text:
        words = (word for word in sys.argv[1:] if (conf / word.partition("=")[0]).is_dir())
        word = next((w for w in words if not (conf / w.replace("=", "/", 1)).with_suffix(".yaml").exists()), "a group")
        group = word.partition("=")[0]
        return f"{word}: choose one of {', '.join(sorted(p.stem for p in (conf / group).glob('*.yaml')))}"
    if ambiguous := re.search(r"Ambiguous value for argument '([^']+)'", text):
        key, _, value = ambiguous[1].partition("=")
        quoted_value = f"{key}='\"{value}\"'"
        return f"{ambiguous[1]}: several values are for --multirun; one with a comma in it wants quotes: {quoted_value}"
    override = re.search(r"Could not override '([^']+)'", text)
    if override:
        key = override[1]
        known = _keys(conf)
        if any(word.startswith(f"{key.partition('.')[0]}._target_=") for word in sys.argv[1:]):
            return f"{key} is not in the config: a setting of your own target is added by a plus, +{key}=..."
        return f"{key} is not a setting{_nearest(key, known)} ({called()} --cfg job lists all)"
    group = re.search(r"Could not find '([^']+)'", text)
    if group:
        return f"{group[1]} is unknown: {text.splitlines()[0]}"
    return f"{text.splitlines()[0]} {cause.splitlines()[0] if cause else ''}".strip()


def _keys(conf: Path) -> list[str]:
    """Every dotted key of the config, with the file and the groups that this command line chose."""
    words = " ".join(sys.argv[1:])
    name = re.search(r"(?:--config-name|-cn)[ =](\S+)", words)
    folder = re.search(r"(?:--config-dir|-cd)[ =](\S+)", words)
    chosen = [f"hydra.searchpath=[{Path(folder[1]).absolute()}]"] if folder else []
    for word in sys.argv[1:]:
        group, _, choice = word.partition("=")
        if (conf / group / f"{choice}.yaml").exists():
            chosen.append(word)
    GlobalHydra.instance().clear()
    # A file beside the user's folder cannot be the primary config of `conf`: it is composed where it is.
    home, chosen = (folder[1], [f"hydra.searchpath=[{conf}]", *chosen[1:]]) if name and folder else (conf, chosen)
    with initialize_config_dir(str(Path(home).absolute()), version_base="1.3"):
        config = OmegaConf.to_container(compose(name[1] if name else "config", chosen))
    from .description import flatten

    return sorted({*flatten(config), *(str(k) for k in config)})


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.6)
    if close:
        return f"; did you mean {close[0]}?"
    beside = [k for k in known if k.rpartition(".")[0] == name.rpartition(".")[0] and not k.endswith("_target_")]
    beside = beside or [k for k in known if "." not in k]
    return f"; choose one of {', '.join(beside)}"

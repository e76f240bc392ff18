"""The trackers of a command."""

from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from ..config.commands.jobs import fingerprint
from ..tracking.track import Rows, Tracker
from ..tracking.with_tensorboard import TensorBoard
from ..tracking.with_wandb import Wandb
from ..tracking.with_wandb import mode as asked

if TYPE_CHECKING:
    from .base import Run


def trackers(run: "Run") -> list[Tracker]:
    """A job's own rows, and what `tracker` and `wandb` ask for; none on any but the first process."""
    config, job, found = run.config, run.job, []
    if not run.lead:
        return []
    home = job.folder if job else run.folder
    if job:
        found.append(Rows(home / "metrics.jsonl"))
    mode = _wandb(run) if config.tracker in ("wandb", "both") else "disabled"
    if mode != "disabled":
        task, sampler = run.choices.get("task", "task"), run.choices.get("sampler", "sampler")
        options = {"project": config.project, "config": run.plain, "job_type": task}
        options |= {"name": f"{run.folder.name} {sampler}", "group": job.sweep if job else run.folder.name}
        groups = ("sde", "data", "net", "loss", "objective", "sampler", "task", "experiment")
        tags = [f"{g}={run.choices[g]}" for g in groups if run.choices.get(g) not in (None, "default")]
        options["tags"] = list(dict.fromkeys(t[:64] for t in [*tags, *(job.overrides if job else [])]))
        key = fingerprint(config)
        found.append(Wandb(mode, home, key, config.artifacts, run.say, **options))
    if config.tracker in ("tensorboard", "both"):
        found.append(TensorBoard(home, OmegaConf.to_yaml(config, resolve=True)))
    return found


def _wandb(run: "Run") -> str:
    """What is left of `wandb` where the environment was heard, which a line says."""
    here = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    said = run.job.overrides if run.job else here
    mode, words = asked(run.config.wandb, any(word.lstrip("+").startswith("wandb=") for word in said))
    if words:
        run.say(words)
    return mode

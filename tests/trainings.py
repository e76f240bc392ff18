"""What faults happen to: a training of items alone, one with their labels, some by turns; the words of the commands."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import adversarial
import coding
import players

ROOT = Path(__file__).resolve().parent.parent
# Trains in half a second once Python is warm.
_STEPS = {"steps": 60, "batch_size": 32, "warmup": 5, "validate_every": 20, "checkpoint_every": 5, "log_every": 5}
_DRAWS = ["n=40", "likelihood.n=40", "sampler=ddim", "sampler.steps=10", "gif=false", "wandb=disabled", "device=cpu"]
_REST = ["net.width=16", "net.blocks=1", *(f"train.{k}={v}" for k, v in _STEPS.items()), *_DRAWS]
SLOW = "train.steps=200"


def whole_command() -> None:
    """run.py, in the process that calls it."""
    from scoresde.command.main import main

    main(ROOT / "conf")


@dataclass(frozen=True)
class Trained:
    """What is trained: the script, its words, and `main`, which is that script in this process.

    `draws`: it can sample and score; else it only trains, whatever the task.  `label`: its items come with labels.
    `turns`: who moves, and how the names of their weights begin.
    """

    data: list[str]
    rest: list[str]
    script: Path = ROOT / "run.py"
    main: Callable[[], None] = whole_command
    draws: bool = True
    label: bool = False
    turns: tuple[tuple[str, str], ...] = (("", "net."),)

    def words(self, task: str, *data: str) -> list[str]:
        """The words for a task, of its own data or of other."""
        return [*(data or self.data), *self.rest, f"task={task}"]


TRAININGS = {
    "plain": Trained(["data=toy", "data.n=400", "data.test=50"], _REST),
    "label": Trained(["data=digits", "net=mlp"], ["cond=[label]", "drop=0.1", *_REST], label=True),
    "turns": Trained(
        [],
        ["train.steps=60"],
        ROOT / "tests" / "adversarial.py",
        adversarial.main,
        draws=False,
        turns=(("critic", "critic."), ("generator", "mean")),
    ),
    "coder": Trained(
        [],
        ["train.steps=60"],
        ROOT / "tests" / "coding.py",
        coding.main,
        draws=False,
        turns=(("critic", "critic."), ("codec", "net.")),
    ),
}
TRAININGS["codes"] = replace(TRAININGS["coder"], rest=["train.steps=60", "codes=16"])
TRAININGS["players"] = Trained(
    [],
    ["train.steps=60"],
    ROOT / "tests" / "players.py",
    players.main,
    draws=False,
    turns=(("fake", "fake."), ("critic", "critic."), ("student", "net.")),
)

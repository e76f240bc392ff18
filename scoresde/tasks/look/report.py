"""The task that makes the page of a folder again, of what is there."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ... import report
from ...config import build
from ...run import Task
from ...tracking.report import say


@dataclass(frozen=True)
class Report(Task):
    """Writes report.html into the folder of a model, a sweep or a comparison, of what it holds.

    `floor` is whether the loss by noise level is measured beside that of the optimal denoiser of the training set, for
    floor.json: None: if that takes few seconds.
    """

    alone: ClassVar[bool] = True

    floor: bool | None = None

    def __call__(self, config: Any) -> None:
        path = report.write(build.model_folder(config), self.floor, config.trust is True, say)
        say(f"report  {path}")

"""task=selftest."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..run import Task
from .proof import prove


@dataclass(frozen=True)
class SelfTest(Task):
    """Proves the installation on this machine and device."""

    alone: ClassVar[bool] = True

    def __call__(self, config: Any) -> None:
        prove(config.device)

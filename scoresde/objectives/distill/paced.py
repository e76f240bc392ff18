"""What some trainings of few steps remember: how many steps were made, and whose jumps their target is."""

from typing import Literal

import torch

from ...denoiser import FlowMap
from .base import Distilled

Target = Literal["online", "average"]


class Paced(Distilled):
    """`Distilled` that knows how many steps of its training were made, `count`, after a resume too."""

    count: int = 0

    def after(self, step, average):
        self.count = step

    def state(self):
        return super().state() | {"steps": torch.tensor(self.count)}

    def load_state(self, state):
        self.count = int(state["steps"])
        super().load_state({k: v for k, v in state.items() if k != "steps"})


class Targeted(Distilled):
    """`Distilled` whose targets are jumps of its own: of the "online" weights, or of their "average"."""

    target: Target = "online"

    def averaged(self, average):
        self.__dict__["_average"] = average  # no part of the objective, whose weights it follows

    @property
    def other(self) -> FlowMap:
        """Whose jumps the targets are."""
        return self.product if self.target == "online" else self.__dict__.get("_average", self.product)

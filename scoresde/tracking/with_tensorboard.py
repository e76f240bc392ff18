"""A run in TensorBoard, in the folder `tensorboard` of the model or of the job."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ..machine import files
from .track import Tracker


class TensorBoard(Tracker):
    """Event files of torch.utils.tensorboard; rows that a resumed run repeats are written again at the same step."""

    name = "tensorboard"

    def __init__(self, folder: Path, about: str = ""):
        self.folder, self.about, self.writer = Path(folder), about, None

    def start(self) -> None:
        """Opens an event file."""
        from torch.utils.tensorboard import SummaryWriter

        files.check(self.folder / "tensorboard" / "events")
        self.writer = SummaryWriter(str(self.folder / "tensorboard"))
        self.writer.add_text("config", f"```\n{self.about}\n```")

    def log(self, prefix: str, step: int, figures: dict) -> None:
        """Adds the numbers of a row."""
        for name, value in figures.items():
            if isinstance(value, int | float):
                self.writer.add_scalar(prefix + name, value, step)

    def image(self, name: str, path: Path) -> None:
        """Adds a picture; of an animation its last frame."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            picture.seek(getattr(picture, "n_frames", 1) - 1)
            self.writer.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")

    def histogram(self, name: str, values: torch.Tensor) -> None:
        """Adds a histogram."""
        self.writer.add_histogram(name, values)

    def artifact(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Adds where the files are."""
        self.writer.add_text(f"{kind}/{name}", "\n".join(str(f.resolve()) for f in paths))

    def finish(self, failed: bool) -> None:
        """Adds how it ended and closes the file."""
        self.writer.add_text("status", "failed" if failed else "done")
        self.writer.close()

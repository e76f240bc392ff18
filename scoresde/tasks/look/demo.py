"""The task that shows: a page over a trained folder, in a browser on this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...config import build
from ...demo import Desk, Subject, serve
from ...demo.serve import Place, gradio
from ...errors import InputError
from ...machine.devices import best_device
from ...making import placed
from ...model import Model, load
from ...run import Task
from ...tracking.report import say
from ...training.book import check_same


@dataclass(frozen=True)
class Demo(Place, Task):
    """Opens a page over the model in `folder`: samples, walks, likelihoods.

    It writes nothing there and takes no lock: others may work in the folder meanwhile.
    """

    alone: ClassVar[bool] = True

    def __call__(self, config: Any) -> None:
        gradio()  # where it is missing, that is told before a model is read
        try:
            serve(Desk(subject(config)), self, say)
        except InputError as error:
            raise placed(error, "task") if error.setting == "port" else error from None


def subject(config: Any) -> Subject:
    """The model of a config's folder, and its data.  Raises `InputError` where there is none."""
    folder = build.model_folder(config)
    device = best_device() if config.device == "auto" else config.device
    model = load(folder, device, config.trust)
    if not isinstance(model, Model):
        raise InputError(f"folder={folder} holds a {type(model).__name__}: give one of a denoiser", "folder")
    return Subject(model, Path(folder), lambda: _data(config, folder))


def _data(config: Any, folder: Path):
    """The data that the folder says it was trained on."""
    config = config.copy()
    config.folder = str(folder)
    adopted, parts = build.adopt(config, ())
    if adopted.data is None:
        raise InputError(f"{folder} was trained from Python, on data that it does not name")
    data = build.build_data(adopted, config.trust or "data" not in parts)
    check_same(folder, data)
    return data

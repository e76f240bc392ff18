"""Training by any objective."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..answers import derivatives
from ..data import Data
from ..objectives import Objective
from ..settings import checked
from .loop import minimise
from .settings import Training


@checked
@derivatives
def fit(
    objective: Objective,
    data: Data,
    training: Training | None = None,
    folder: str | Path | None = None,
    report: Callable[..., None] | None = None,
    device: str = "auto",
    fresh: bool = False,
    progress: bool | Callable = True,
    say: Callable[[str], None] | None = None,
    made: dict | None = None,
) -> Any:
    """Minimises an objective on the training items of a data set; returns what it makes of the averaged weights.

    A classifier of noisy data, for guidance, with its folder:

        digits = scoresde.data.digits()
        classifier = NoisyClassifier(Encoder((1, 8, 8), 10, channels=32), VP())
        trained = fit(Classify(classifier, digits), digits, Training(steps=500), "classifier")
        model = ClassifierGuided(load("denoiser"), trained, label=3, scale=2.0)

    `train` is this with `objectives.Denoising`, and says what is kept in the folder.

    Arguments:
        objective: what is minimised; its parts are trained in place.
        data: whose items are drawn.
        training: the settings.
        folder, report, device, fresh, progress, say, made: as in `train`.

    Returns:
        What `objective.made` makes: a `Model` of `Denoising`, a `TrainedClassifier` of `Classify`.

    Raises:
        InputError, FloatingPointError: as `train` does.
    """
    return minimise(objective, data, training, folder, report, device, fresh, progress, say, made)

"""Training by denoising score matching."""

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..answers import derivatives
from ..data import as_data
from ..denoiser import Denoiser
from ..errors import InputError, outside
from ..loss import DenoisingLoss
from ..model import load
from ..model.trained.denoiser import Model
from ..objectives import Denoising
from ..objectives.guards import refuse_other_conditions
from ..settings import checked
from .loop import fit
from .settings import Training
from .start import Start, started


@checked
@derivatives
def train(
    denoiser: Denoiser | None = None,
    data: Any = None,
    loss: DenoisingLoss | None = None,
    training: Training | None = None,
    folder: str | Path | None = None,
    report: Callable[..., None] | None = None,
    device: str = "auto",
    fresh: bool = False,
    progress: bool | Callable = True,
    say: Callable[[str], None] | None = None,
    made: dict | None = None,
    start: Start | None = None,
    objective: Mapping[str, Any] | None = None,
    **options,
) -> Model:
    """Minimises the denoising loss E[w(t) |D(x_t, t) - x_0|^2] and returns the averaged denoiser, ready to sample.

    With a `folder`, checkpoint.pt is written there every `checkpoint_every` steps, and a run that finds one continues
    it, or returns it if it is finished: on a CPU the same weights as of one run, to the bit.  The folder knows what
    makes its model (network, SDE, loss, training, data), and refuses another; more `steps` go on from where it is.  The
    command line makes the same folder, and takes the same lock.  SIGTERM, SIGINT and SIGHUP wait for the end of the
    step (of several processes, of the next logged one) and one more checkpoint.  Items are dequantised afresh at each
    step.

    Arguments:
        denoiser: its weights are where training starts; a trained one, of `load` or `train`, is trained further.
        start: a trained model or its folder, with whose weights those of the same names begin: to train it further
            (`denoiser` may then be left out, or with `lora=8` adapters on top of it), or for a network of more
            conditions, other classes or another shape; a line says which weights do not fit.
        data: a `Data`, a dataset, or a tensor (N, *shape) in the model's own units (unit variance): see `as_data`.
        loss: it is not changed: times that learn do so in a copy.
        training: the settings, or give its fields as `options`.
        folder: where the model is kept; None: nowhere.
        report: called as report(step, **figures).
        device: "auto": a GPU if there is one; or torch's name of one.
        progress: show the steps done, the loss and the time left, on standard error, where that takes 2 seconds or
            more; a function (step, words) gets them instead, after every step: words() are for reading.
        fresh: remove the model that is in the folder first.
        say: who gets the lines that there may be to say; by default they are warnings.
        objective: settings of `objectives.Denoising`: {"uncertainty": True}.
        made: more of what makes the model (`model.describe`), for the folder to know.

    Returns:
        A `Denoiser` with the averaged weights, and with `shape`, `encode` and `decode` of the data.

    Raises:
        InputError: wrong settings, or data that cannot be trained on as it is (`check_data`); another model in the
            folder, or another command at work in it; the folder was taken away, or its checkpoint is damaged.
        FloatingPointError: the loss stops being finite.
    """
    if training is not None and options:
        raise InputError(f"train got both `training` and {', '.join(options)}: put all of them into `training`")
    if data is None or (denoiser is None and start is None):
        raise InputError(f"{'data' if data is None else 'denoiser'}=None: give a denoiser (or start=) and data")
    start = load(start) if denoiser is None and not isinstance(start, Model) else start
    model = start if denoiser is None else denoiser
    first = copy.deepcopy(model.denoiser).requires_grad_(True) if isinstance(model, Model) else model
    data, training = as_data(data), training or Training(**options)
    refuse_other_conditions(first.conditions, data)
    loss = copy.deepcopy(loss or DenoisingLoss())  # times may learn, and the next run begins where this one did
    told = say or (lambda words: warnings.warn(words, stacklevel=outside()))
    place = None if folder is None or fresh else Path(folder).expanduser()
    made = (made or {}) | started(first, start, training, place, told)
    target = Denoising(first, loss, data, training.dequantise, **(objective or {}))
    return fit(target, data, training, folder, report, device, fresh, progress, say, made)

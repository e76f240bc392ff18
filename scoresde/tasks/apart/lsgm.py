"""The task that trains an autoencoder and a denoiser of its latents together."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from ... import pictures
from ...config import build
from ...config.latents import of_latents
from ...data import Data, stack
from ...errors import InputError
from ...model import Autoencoder, TrainedAutoencoder
from ...model.named import named, same_items
from ...nets import Codec, Gaussian
from ...objectives import LSGM as Objective
from ...run import Run
from ...settings import Count, Range, Text, Whole
from .base import FEW, Apart


@dataclass(frozen=True)
class LSGM(Apart):
    """Trains an autoencoder and a denoiser of its latents together, in a folder of their own, by the settings `train`.

    The denoiser is that of `net`, `sde` and `rule`, the `weighting` its objective's (`objectives.LSGM`). The
    autoencoder begins as that of a folder, or as `Autoencoder` has it by the other settings, with `components` of
    `nets.Codec`. The folder is that of a model of latents, which is sampled, scored and evaluated as any.
    """

    name = "lsgm"

    mults: tuple[Count, ...] = (1, 2)
    dropout: Annotated[float, Range(0, below=1)] = 0.0
    weighting: Literal["ll", "un", "re"] = "ll"
    autoencoder: Text | None = None
    latent: Count = 4
    patch: Count = 1
    components: Whole = 0

    def place(self, run: Run) -> Path:
        if self.folder is not None:
            return super().place(run)
        known = build.model_config(run.config)
        made = [known[part] for part in ("sde", "net", "rule", "data", "train", "code")]
        names = f"{self.name}-{build.name_of(run.config.sde)}-{build.name_of(run.config.data)}"
        return Path(run.config.out).expanduser() / f"{names}-{build.short_hash([*made, run.plain['task']])}"

    def __call__(self, run: Run) -> None:
        data, training = run.loaded, run.training  # the folder's own data are the latents
        if run.config.cond:
            raise InputError(f"cond={list(run.config.cond)}: a model of task=lsgm takes no conditions", "cond")
        if isinstance(training.ema, tuple | list) or training.lora or training.snapshots:
            raise InputError("train: task=lsgm keeps one average of all weights: one ema, no lora, no snapshots")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            coder = self._coder(data)
        config = of_latents(run.config, coder.latent_shape, run.folder)
        denoiser = build.build_denoiser(config, coder.latent_shape, run.adopted)
        made = build.model_config(config) | {"paths": list(run.config.paths)}
        found = self.fit(run, Objective(coder, denoiser, data, self.weighting), "latents and their model of", made)
        if run.lead:
            self._tell(run, data, found)

    def _coder(self, data: Data) -> Autoencoder:
        if self.autoencoder is None:
            bottleneck = Gaussian(self.latent)
            how = {k: getattr(self, k) for k in ("channels", "mults", "blocks", "patch", "dropout", "components")}
            return Autoencoder(Codec(data.shape, self.latent, bottleneck.features, **how), bottleneck, likelihood=True)
        found = named("task.autoencoder", self.autoencoder, TrainedAutoencoder)
        same_items(f"task.autoencoder={self.autoencoder}", found, data, data.name)
        return copy.deepcopy(found.bare).requires_grad_(True)

    def _tell(self, run: Run, data: Data, found: dict[str, Any]) -> None:
        model, raw = found["trained"], stack(data.test, range(min(FEW, len(data.test))))
        again = model.codec.reconstruct(raw)
        pictures.translations(run.folder / "reconstructions.png", raw, again[:, None], None, data.levels)
        shape = " x ".join(map(str, model.shape))
        run.results += [("LSGM", found["took"]), ("latents", f"{shape}, for {math.prod(data.shape)} numbers")]
        if "bits_per_dim" in found:
            run.results.append(("bits/dim", f"{found['bits_per_dim']:.3f} at most, by the last validation"))
        run.results.append(("use it", f"folder={run.folder} task=sample, task=likelihood, task=evaluate"))

"""The task that trains an autoencoder, and looks at what it gives back."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from ... import metrics, pictures
from ...data import Data, stack
from ...latent import pca
from ...model import Autoencoder as Coder
from ...model import TrainedClassifier
from ...model.named import named, same_items
from ...nets import Codebook, Codec, Gaussian, PatchCritic
from ...objectives import Autoencode, Perceptual
from ...run import Run
from ...settings import LATER, Count, Range, Scale, Text, Whole
from .base import Apart

FEW = 512  # held-out items that are looked at


@dataclass(frozen=True)
class Autoencoder(Apart):
    """Trains an autoencoder in a folder of its own, by the settings `train`; reconstructions.png, and their figures.

    Its latents have `latent` channels at 1 / f of the resolution, f = `patch` 2^(len(mults) - 1); with `codes` each is
    one of so many, else a Gaussian. `loss`, `kl`, `perceptual`, `critic` and `start` are as `objectives.Autoencode` has
    them; the perceptual distance is by the features of a `classifier`'s folder. The others are as `Apart` has them, of
    the codec.
    """

    name = "autoencoder"

    mults: tuple[Count, ...] = (1, 2, 2)
    dropout: Annotated[float, Range(0, below=1)] = 0.0
    latent: Count = 4
    codes: Annotated[int, Range(2, 2**20)] | None = None
    loss: Literal["l1", "l2", "levels"] = "l1"
    kl: Scale | None = None
    patch: Count = 1
    classifier: Text | None = None
    perceptual: Scale = 0.1
    critic: Scale = 0.0
    start: Whole = 500
    pca: Annotated[Annotated[int, Range(1, 4095)] | None, LATER] = None

    def __call__(self, run: Run) -> None:
        data, training = run.data, run.training
        if self.pca is not None:
            if run.lead:
                found = pca(data, self.pca, folder=run.folder, fresh=run.config.fresh)
                run.keep_config(run.folder)
                self._tell(run, data, {"trained": found, "took": "linear, in closed form"})
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            bottleneck = Gaussian(self.latent) if self.codes is None else Codebook(self.latent, self.codes)
            how = {k: getattr(self, k) for k in ("channels", "mults", "blocks", "patch", "dropout")}
            coder = Coder(Codec(data.shape, self.latent, bottleneck.features, **how), bottleneck, self.loss == "levels")
            critic = PatchCritic(data.shape) if self.critic else None
        settings = {"perceptual": self._seen(data), "perceptual_weight": self.perceptual}
        settings |= {"critic": critic, "critic_weight": self.critic, "start": self.start}
        found = self.fit(run, Autoencode(coder, data, self.loss, self.kl, **settings), "an autoencoder of")
        if run.lead:
            self._tell(run, data, found)

    def _seen(self, data: Data) -> Perceptual | None:
        if self.classifier is None:
            return None
        found = named("task.classifier", self.classifier, TrainedClassifier)
        same_items(f"task.classifier={self.classifier}", found, data, data.name)
        return Perceptual(found)

    def _tell(self, run: Run, data: Data, found: dict) -> None:
        model, raw = found["trained"], stack(data.test, range(min(FEW, len(data.test))))
        again = model.reconstruct(raw)
        pictures.translations(run.folder / "reconstructions.png", raw, again[:, None], None, data.levels)
        shape, fewer = " x ".join(map(str, model.latent_shape)), math.prod(data.shape) / math.prod(model.latent_shape)
        run.results.append(("autoencoder", found["took"]))
        run.results.append(("latents", f"{shape}, {fewer:.3g} times fewer numbers"))
        if data.levels and len(raw) > 1:
            of = (again, raw, data.levels - 1)
            for name, e, unit in (("psnr", metrics.psnr(*of), " dB"), ("ssim", metrics.ssim(*of), "")):
                run.tracker.log("autoencoder/", run.training.steps, {name: e.value})
                words = f"{e.value:.4g}{unit} ({e.low:.4g} to {e.high:.4g}) of {e.n} held-out items"
                run.results.append((name, words))
        run.results += health(found)
        run.results.append(("use it", f"data=latents data.autoencoder={run.folder}"))


def health(found: dict) -> list[tuple[str, str]]:
    """What the last validation says of the latents, in words."""
    rows = []
    if "used" in found:
        rows.append(("codes", f"{100 * found['used']:.0f} % are used, as if {found['perplexity']:.0f} were alike"))
    if "kl" in found:
        rows.append(("KL", f"{found['kl']:.1f} nats an item"))
    if found.get("silent"):
        words = f"{found['silent']} channels of the latents say nothing, the posterior collapsed: a smaller task.kl"
        rows.append(("warning", words))
    if "bits_per_dim" in found:
        rows.append(("bits/dim", f"{found['bits_per_dim']:.3f} at most (the bound of the autoencoder alone)"))
    return rows

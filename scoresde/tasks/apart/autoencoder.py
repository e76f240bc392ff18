"""The task that trains an autoencoder, and looks at what it gives back."""

from dataclasses import dataclass, fields
from typing import Annotated, Literal

import torch

from ...data import Data
from ...errors import InputError
from ...latent import pca, pretrained
from ...making import node_of
from ...metrics.features import EXTRACTORS
from ...model import Autoencoder as Coder
from ...model import TrainedClassifier
from ...model.named import named, same_items
from ...nets import Codebook, Codec, Gaussian, PatchCritic
from ...objectives import Autoencode, Perceptual, lpips
from ...run import Run
from ...settings import LATER, Count, OneOf, Range, Scale, Text, Whole
from . import reconstructions
from .base import FEW, Apart


@dataclass(frozen=True)
class Autoencoder(Apart):
    """Trains an autoencoder in a folder of its own, by the settings `train`; reconstructions.png, and their figures.

    Its latents have `latent` channels at 1 / f of the resolution, f = `patch` 2^(len(mults) - 1); with `codes` each is
    one of so many, else a Gaussian. `loss`, `kl`, `perceptual`, `critic` and `start` are as `objectives.Autoencode` has
    them; the perceptual distance is by the features of a `classifier`'s folder, or by `lpips`, files of weights that
    `objectives.lpips` takes. With `pretrained`, a folder of weights
    as `latent.pretrained` takes it, nothing is trained. `items` held-out items are looked at, an `extractor` of
    task=evaluate adds a Frechet distance. The others are as `Apart` has them, of the codec.

    Raises:
        InputError: `pretrained`, and a setting of what would be trained.
    """

    name = "autoencoder"
    looks = ("items", "extractor")

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
    pretrained: Annotated[Text | None, LATER] = None
    items: Annotated[Count, LATER] = FEW
    lpips: Annotated[Text | None, LATER] = None
    extractor: Annotated[Annotated[str, OneOf(EXTRACTORS)] | None, LATER] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classifier is not None and self.lpips is not None:
            raise InputError(f"lpips={self.lpips}: there is one perceptual distance: leave the classifier out", "lpips")
        here = ("folder", "pretrained", *self.looks)
        for field in () if self.pretrained is None else fields(self):
            value = getattr(self, field.name)
            if field.name not in here and node_of(value) != node_of(field.default):
                words = "what others trained (pretrained) is not trained here: leave it out"
                raise InputError(f"{field.name}={value}: {words}", field.name)

    def __call__(self, run: Run) -> None:
        reconstructions.check(run.data, self.items, self.extractor)
        if self.pretrained is not None:
            found = self._others(run)
        else:
            found = self._trained(run) if self.pca is None else self._linear(run)
        if run.lead:
            self._tell(run, run.data, found)

    def _others(self, run: Run) -> dict:
        """Those of others, in a folder of its own."""
        if (run.folder / "checkpoint.pt").exists():
            raise InputError(f"task.folder={run.folder} is of a training: give another, or none", "task")
        try:
            model = pretrained(run.data, self.pretrained, run.folder if run.lead else None)
        except InputError as error:
            raise InputError(str(error).replace("weights=", "task.pretrained=", 1), "task.pretrained") from None
        if run.lead:
            run.keep_config(run.folder)
        return {"took": f"of {self.pretrained}, made by others", "trained": model}

    def _linear(self, run: Run) -> dict:
        """The linear one, in closed form."""
        found = pca(run.data, self.pca, folder=run.folder if run.lead else None, fresh=run.config.fresh)
        if run.lead:
            run.keep_config(run.folder)
        return {"took": "linear, in closed form", "trained": found}

    def _trained(self, run: Run) -> dict:
        data, training = run.data, run.training
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            bottleneck = Gaussian(self.latent) if self.codes is None else Codebook(self.latent, self.codes)
            how = {k: getattr(self, k) for k in ("channels", "mults", "blocks", "patch", "dropout")}
            coder = Coder(Codec(data.shape, self.latent, bottleneck.features, **how), bottleneck, self.loss == "levels")
            critic = PatchCritic(data.shape) if self.critic else None
        settings = {"perceptual": self._seen(data), "perceptual_weight": self.perceptual}
        settings |= {"critic": critic, "critic_weight": self.critic, "start": self.start}
        return self.fit(run, Autoencode(coder, data, self.loss, self.kl, **settings), "an autoencoder of")

    def _seen(self, data: Data) -> Perceptual | None:
        if self.lpips is not None:
            try:
                return lpips(self.lpips, data.shape)
            except InputError as error:
                raise InputError(str(error).replace("weights=", "task.lpips=", 1), "task.lpips") from None
        if self.classifier is None:
            return None
        found = named("task.classifier", self.classifier, TrainedClassifier)
        same_items(f"task.classifier={self.classifier}", found, data, data.name)
        return Perceptual(found)

    def _tell(self, run: Run, data: Data, found: dict) -> None:
        run.results.append(("autoencoder", found["took"]))
        run.results += reconstructions.told(run, data, found["trained"], self.items, self.extractor)
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
    return rows

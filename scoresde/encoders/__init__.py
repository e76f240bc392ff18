"""Frozen encoders that others have trained, as what a condition is made of: text to vectors, kept on disk.

`places.py`: where an encoder lies, a folder, an installed package or the hub's cache; `text.py`: the encoder;
`kept.py`: what it gave, for the next time.  Nothing is downloaded, no code of a folder is run, weights are safetensors.
"""

from .text import TextEncoder, text_encoder

__all__ = ["TextEncoder", "text_encoder"]

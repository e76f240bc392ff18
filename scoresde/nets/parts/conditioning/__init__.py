"""How conditions enter a network: as a vector, as channels, as a sequence.

`conditioner.py`: conditions by name to what a network takes; `sequence.py`: tokens, with a transformer that reads them.
"""

from .conditioner import Conditioner, Embedded, resized, tell

__all__ = ["Conditioner", "Embedded", "resized", "tell"]

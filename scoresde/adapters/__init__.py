"""Low-rank adapters: small weights that are trained on top of a network which stays as it is.

`lora.py`: within a network while it is trained; `adapter.py`: apart from it, to be scaled, added up and merged.
"""

from .adapter import Adapter
from .lora import adapt, adapter_of, merge, own, strip

__all__ = ["Adapter", "adapt", "adapter_of", "merge", "own", "strip"]

"""Conditions: what a model can be told about a sample, as plain tensors with a row for each, which may be missing.

`kinds.py`: the four kinds, how each is checked and written where it is missing.  It knows no model and no network.
"""

from .kinds import KINDS, Kind, Label, Picture, Tokens, Vector, dropped, missing_like

__all__ = ["KINDS", "Kind", "Label", "Picture", "Tokens", "Vector", "dropped", "missing_like"]

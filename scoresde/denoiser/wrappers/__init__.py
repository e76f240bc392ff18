"""Denoisers around another: bound to its conditions, counted, told its own last answer."""

from .conditioned import Conditioned, bind
from .counted import Counted
from .own_answer import SelfConditioned, self_conditioned

__all__ = ["Conditioned", "Counted", "SelfConditioned", "bind", "self_conditioned"]

"""What an examination says: one finding for each check."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

STATES = ("wrong", "suspect", "well", "not looked at")  # the worst first
SURE = 5.0  # standard errors from which on a difference counts


@dataclass(frozen=True)
class Finding:
    """One check, and what came of it.

    Arguments:
        check: what was looked at.
        state: "wrong" or "suspect" only where the effect is large and far beyond chance; "not looked at" where
            something is missing that the check needs.
        words: what is wrong, or what was found.
        sure: how sure that is, as a number of standard errors or a share.
        change: what to do.
        override: what to type after the command.
        figures: numbers, and lists of them by level.
    """

    check: str
    state: Literal["wrong", "suspect", "well", "not looked at"]
    words: str
    sure: str = ""
    change: str = ""
    override: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def ill(self) -> bool:
        """Whether something is wrong, or may be."""
        return self.state in STATES[:2]

    def __str__(self) -> str:
        more = "".join(f"; {part}" for part in (self.sure, self.change, self.override) if part)
        return f"{self.state}: {self.check}: {self.words}{more}"


def well(check: str, words: str, **figures: Any) -> Finding:
    """A finding of what is as it should be."""
    return Finding(check, "well", words, figures=figures)


def unseen(check: str, words: str) -> Finding:
    """A finding of what was not looked at, and why."""
    return Finding(check, "not looked at", words)


def judged(effect: float, suspect: float, wrong: float, z: float = math.inf, sure: float = SURE) -> str:
    """The state for an effect that counts from `suspect` on and is bad from `wrong` on, at z standard errors."""
    if not (z >= sure and effect >= suspect):
        return "well"
    return "wrong" if effect >= wrong else "suspect"


def paired(difference: Tensor) -> tuple[float, float]:
    """The mean of differences (n,), and how many of its standard errors it is away from 0."""
    d = difference.double()
    mean = float(d.mean())
    error = float(d.std()) / math.sqrt(len(d)) if len(d) > 1 else math.inf
    return mean, (0.0 if mean == 0 else math.copysign(math.inf, mean)) if error == 0 else mean / error


def errors(z: float) -> str:
    """A z in words."""
    return f"{min(abs(z), 999):.0f} standard errors"


def near(value: float) -> str:
    """A number as one types it: two digits, rounded."""
    return f"{float(f'{value:.2g}'):g}"


def ordered(findings: Iterable[Finding], causes: Iterable[str], effects: Iterable[str]) -> list[Finding]:
    """The worst first.  Where one of the checks `causes` says wrong, those of `effects` that follow from it are less.

    A network that is told the wrong thing, or gives a multiple of what it should, is worse than a line as well: what
    is said first is what to change.
    """
    found, causes, effects = list(findings), list(causes), set(effects)
    first = next((f for name in causes for f in found if f.check == name and f.state == "wrong"), None)
    if first is not None:
        after = lambda f: f.check in effects and f.state == "wrong" and f.check != first.check
        words = f"it may follow from: {first.check}"
        found = [replace(f, state="suspect", change=words, override="") if after(f) else f for f in found]
    rank = lambda f: (STATES.index(f.state), causes.index(f.check) if f.check in causes else len(causes))
    return sorted(found, key=rank)


def listed(values: Iterable[float] | Tensor) -> list[float]:
    """Plain numbers of four digits."""
    values = values.tolist() if isinstance(values, torch.Tensor) else values
    return [float(f"{v:.4g}") for v in values]

"""Settings: the type, range and choices of each are declared once, as its annotation, and checked and told from there.

    @dataclass(frozen=True)
    class Wobble(Checked):
        steps: Count = 50
        eta: Annotated[float, Range(0, 1)] = 0.0
        last: Literal["tweedie", "none"] = "tweedie"

    Wobble(eta=2)          InputError: eta=2: give a number from 0 to 1

`Checked` does it for dataclasses and `checked` for functions; the command line puts the place in front (`sampler.eta`),
and `docs/reference/settings.md` prints the same words.
"""

import contextlib
import dataclasses
import difflib
import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from .errors import InputError

P = ParamSpec("P")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Range:
    """low <= value <= high, or above < value, or value < below.  An end at infinity that is named includes it."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.low is None or self.low <= value)
            and (self.high is None or value <= self.high)
            and (self.above is None or self.above < value)
            and (self.below is None or value < self.below)
        )

    @property
    def words(self) -> str:
        """' from 1 up', ' above 0 and below 1', ..."""
        if self.low is not None and self.high is not None and math.isfinite(self.high):
            return f" from {_number(self.low)} to {_number(self.high)}"
        ends = [f"above {_number(self.above)}" if self.above is not None else ""]
        ends += [f"from {_number(self.low)} {'up' if self.below is None else 'on'}" if self.low is not None else ""]
        ends += [f"up to {_number(self.high)}" if self.high is not None and math.isfinite(self.high) else ""]
        ends += [f"below {_number(self.below)}" if self.below is not None else ""]
        return "".join(f" {'and ' * bool(i)}{e}" for i, e in enumerate(e for e in ends if e))


@dataclasses.dataclass(frozen=True)
class OneOf:
    """A name among `names`, a registry that may grow, or among those that are given beside it."""

    names: Collection[str]
    more: tuple[str, ...] = ()

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.all

    def __hash__(self) -> int:
        return id(self.names)

    @property
    def all(self) -> list[str]:
        """The names."""
        return [*self.names, *self.more]


@dataclasses.dataclass(frozen=True)
class Filled:
    """A text that is not empty."""

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, str) and bool(value.strip())


class Later:
    """A setting that came when models had been kept without it: at its default it is not told (`making.node_of`)."""


LATER = Later()
Text = Annotated[str, Filled()]
Count = Annotated[int, Range(1, 2**32)]
Whole = Annotated[int, Range(0, 2**32)]
Seed = Annotated[int, Range(0, below=2**63)]
Positive = Annotated[float, Range(above=0)]
Scale = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]


class Checked:
    """A dataclass whose values are checked against the annotations of its fields when it is made, a subclass's against
    those of its bases too.

    A subclass with a `__post_init__` of its own calls this one first.  Raises `InputError`.
    """

    def __post_init__(self) -> None:
        names = {field.name for field in dataclasses.fields(self) if field.init}
        for owner in type(self).__mro__:
            own, hints = names & inspect.get_annotations(owner).keys(), hints_of(owner)
            for name in (n for n in inspect.get_annotations(owner) if n in own):
                check(name, getattr(self, name), hints.get(name, Any))


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose arguments are checked against their annotations when it is called.  Raises `InputError`."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        hints = hints_of(function)
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            kind = signature.parameters[name].kind
            if kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
                check(name, value, hints.get(name, Any))
        return function(*args, **kwargs)

    return called


def check(name: str, value: Any, hint: Any) -> None:
    """Raises `InputError`, in words, unless the value is of the type, in the range or among the choices of `hint`."""
    if matches(value, hint):
        return
    near = difflib.get_close_matches(value, choices(hint), 1, 0.5) if isinstance(value, str) else []
    raise InputError(f"{name}={brief(value)}: give {words(hint)}{f'; did you mean {near[0]}?' if near else ''}", name)


@functools.cache
def hints_of(target: Callable) -> dict[str, Any]:
    """The annotations of the arguments of a class or a function; none where they cannot be made out."""
    found = {}
    made = inspect.isclass(target) and not dataclasses.is_dataclass(target)
    for part in (target, target.__init__) if made else (target,):
        with contextlib.suppress(Exception):  # an annotation that names what is not there is its author's affair
            found |= typing.get_type_hints(part, include_extras=True)
    return found


def matches(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says; one that says nothing known here allows everything."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        marks = [m for m in args[1:] if isinstance(m, Range | OneOf | Filled)]
        open_ended = any(isinstance(m, Range) and math.inf in (m.low, m.high, -(m.low or 0)) for m in marks)
        plain = _is_real(value) if args[0] is float and open_ended else matches(value, args[0])
        return plain and all(value in mark for mark in marks)
    if origin in (Union, types.UnionType):
        return any(matches(value, a) for a in args)
    if origin is Literal:
        return any(type(value) is type(a) and value == a for a in args)
    if hint is None or hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if hint is float:
        return _is_real(value) and math.isfinite(value)
    if origin in (list, tuple, Sequence):
        value = value.tolist() if getattr(value, "ndim", 0) == 1 else value
        return _is_list(value) and _match_each(value, origin, args)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and (len(args) < 2 or all(matches(v, args[1]) for v in value.values()))
    if origin is Callable or hint is Callable:
        return callable(value)
    return isinstance(value, hint) if inspect.isclass(hint) and hint is not Any else True


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _match_each(value: Sequence, origin: Any, args: tuple) -> bool:
    if origin is tuple and args[-1] is not Ellipsis:
        return len(value) == len(args) and all(matches(v, a) for v, a in zip(value, args, strict=True))
    return all(matches(v, args[0]) for v in value)


def words(hint: Any) -> str:
    """What an annotation asks for: 'a whole number from 1 up', 'one of ode, pc', 'true or false', ..."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        names = [m for m in args[1:] if isinstance(m, OneOf)]
        told = [m for m in args[1:] if isinstance(m, str)]
        if told or names:
            return told[0] if told else f"one of {', '.join(names[0].all)}"
        filled = " that is not empty" if any(isinstance(m, Filled) for m in args[1:]) else ""
        return words(args[0]) + filled + "".join(m.words for m in args[1:] if isinstance(m, Range))
    if origin in (Union, types.UnionType):
        return ", or ".join(dict.fromkeys(words(a) for a in args))
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in (list, tuple, Sequence):
        if origin is tuple and args[-1] is not Ellipsis:
            return f"a list [{', '.join(words(a) for a in args)}]"
        return f"a list, each {words(args[0])}"
    if origin is Callable or hint is Callable:
        return "a function"
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "None"}
    if origin in (dict, Mapping) or hint is dict:
        return "a mapping"
    if hint in plain or hint is None:
        return plain.get(hint, "None")
    return f"a {getattr(origin or hint, '__name__', str(hint))}"


def choices(hint: Any) -> list[str]:
    """Every name that an annotation allows."""
    args = get_args(hint)
    if get_origin(hint) is Literal:
        return [a for a in args if isinstance(a, str)]
    found = [name for a in args if isinstance(a, OneOf) for name in a.all]
    return found + [name for a in args if not isinstance(a, OneOf | Range | Filled | str) for name in choices(a)]


def brief(value: Any, most: int = 60) -> str:
    """A value in one short line: of a tensor or an array its type and shape."""
    shape = getattr(value, "shape", None)
    text = repr(value) if shape is None or not len(shape) else f"{type(value).__name__} of shape {tuple(shape)}"
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def nearest(key: str, known: Iterable[str]) -> str:
    """'; did you mean x?', or the list of what is known."""
    known = [str(k) for k in known]
    close = difflib.get_close_matches(str(key), known, 1, 0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _number(value: float) -> str:
    power = math.log2(value) if value > 2**20 else 0.5
    return f"2^{round(power)}" if power == int(power) else f"{value:g}"

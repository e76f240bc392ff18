"""Every public name says what it takes, gives and raises, in one style: `sample` and `train` are its examples."""

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator

import pytest
from torch import Tensor

from scoresde.errors import InputError

ROOMS = (
    "adapters",
    "cascade",
    "conditions",
    "data",
    "demo",
    "denoiser",
    "doctor",
    "encoders",
    "guidance",
    "latent",
    "likelihood",
    "loss",
    "metrics",
    "model",
    "nets",
    "nets.presets",
    "noise",
    "objectives",
    "ode",
    "pictures",
    "plot",
    "report",
    "sampling",
    "sde",
    "spaces",
    "students",
    "training",
    "unclip",
)
FILES = ("exact", "grids", "tuning")  # rooms of one file, which name what is public by no underscore
SECTIONS = ("Arguments", "Returns", "Raises")
OTHERS = r"^(Args|Parameters|Params|Attributes|Fields|Return|Yields|Raise|Notes?|Examples?):"
FILLER = r"(?i)this (function|method|class|module)\b|(?:returns|return) the \w+\.?$"
EMPTY = inspect.Parameter.empty


def ours(thing) -> bool:
    return inspect.isroutine(thing) or inspect.isclass(thing)


def public(room: str) -> dict[str, Callable]:
    """The callables that a room, or the package, makes public."""
    module = importlib.import_module(f"scoresde.{room}" if room != "scoresde" else room)
    names = getattr(module, "__all__", None) or [
        n for n, v in vars(module).items() if n[0] != "_" and getattr(v, "__module__", "") == module.__name__
    ]
    return {n: v for n in names if ours(v := getattr(module, n))}


def bases(owner: type) -> list[type]:
    return [c for c in owner.__mro__ if c.__module__.startswith("scoresde.")]


def methods(owner: type) -> Iterator[tuple[str, Callable]]:
    """What a class itself defines and a user calls; what is stored in it (a field's value) is none."""
    for name, value in vars(owner).items():
        plain = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        plain = plain.fget if isinstance(plain, property) else getattr(plain, "func", plain)
        if inspect.isfunction(inspect.unwrap(plain)) and (name[0] != "_" or name == "__call__"):
            made = inspect.unwrap(plain).__qualname__ == f"{owner.__qualname__}.{name}"
            if made or not dataclasses.is_dataclass(owner) or name not in own_fields(owner):
                yield name, plain


def own_fields(owner: type) -> list[str]:
    return [f.name for f in dataclasses.fields(owner) if f.init and f.name[0] != "_"]


def parameters(thing: Callable) -> list[str]:
    """The names of what a caller gives, of a class what makes it."""
    if inspect.isclass(thing) and dataclasses.is_dataclass(thing) and "__init__" in vars(thing):
        return own_fields(thing)
    if inspect.isclass(thing):
        makers = [c for c in thing.__mro__ if "__init__" in vars(c)]
        if not makers or not makers[0].__module__.startswith("scoresde."):
            return []
        thing = makers[0].__init__
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    given = inspect.signature(inspect.unwrap(thing)).parameters.values()
    return [p.name for p in given if p.kind not in kinds and p.name not in ("self", "cls") and p.name[0] != "_"]


def takes(thing: Callable) -> set[str]:
    """Every name that Arguments may explain: `*args` too, and what the body of a class declares."""
    found = set(inspect.signature(inspect.unwrap(thing)).parameters)
    return found.union(*map(inspect.get_annotations, bases(thing))) if inspect.isclass(thing) else found


def sections(text: str) -> dict[str, str]:
    """The text under each heading, and under "" the text before them."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):[ \t]*$", text, flags=re.M)
    return {"": parts[0]} | dict(zip(parts[1::2], map(textwrap.dedent, parts[2::2]), strict=True))


def entries(section: str) -> dict[str, str]:
    """{name: what is said of it}; `a, b: text` says it of both."""
    found = {}
    for names, said in re.findall(r"^([*\w]+(?:, [*\w]+)*):\s+(\S.*)$", section, flags=re.M):
        found |= dict.fromkeys(names.replace("*", "").split(", "), said)
    return found


@functools.cache
def body(thing: Callable) -> ast.AST | None:
    """The function's own tree, of a class that of what makes it."""
    if inspect.isclass(thing):
        made = [vars(thing)[n] for n in ("__post_init__", "__init__") if n in vars(thing)]
        made = [m for m in made if m.__code__.co_filename == inspect.getsourcefile(thing)]
        thing = made[0] if made else None
    source = thing and inspect.getsource(inspect.unwrap(thing))
    return ast.parse(textwrap.dedent(source)).body[0] if source else None


def raised(thing: Callable) -> set[str]:
    """The exceptions that it raises itself, by name."""
    nodes = ast.walk(body(thing)) if body(thing) else ()
    called = [n.exc.func for n in nodes if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)]
    return {f.id for f in called if isinstance(f, ast.Name)}


def answers(thing: Callable) -> bool:
    """Whether a function returns something."""
    told = inspect.signature(inspect.unwrap(thing)).return_annotation
    if told is not EMPTY:
        return told not in (None, "None")
    return any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(body(thing)))


def says(text: str, name: str) -> bool:
    """Whether a text has a name as a word, a long one in any case (the SDE); the article is no name."""
    found = rf"(?<!\w){re.escape(name)}(?!\w)"
    found = rf"`{found}|{found}[,:=`)(^]|[(,|*+-] ?{found}" if name == "a" else found
    return bool(re.search(found, text, re.IGNORECASE if len(name) > 2 else 0))


def faults(thing: Callable, above: tuple[str, ...] = ()) -> Iterator[str]:
    """What a docstring lacks.  `above` are those of the bases, which explain what is inherited."""
    text = inspect.cleandoc(thing.__doc__ or "")
    if not text:
        if not any(above):
            yield "no docstring"
            return
        text, above = next(t for t in above if t), above[1:]
    first = text.splitlines()[0]
    if first[-1] not in ".:":
        yield f"the first line ends with {first[-8:]!r}: give one sentence"
    if found := re.search(FILLER, first) or re.search(OTHERS, text, flags=re.M):
        yield f"{found.group()!r} is not the style"
    every, names = "\n".join((text, *above)), parameters(thing)
    if missing := [n for n in names if not says(every, n)]:
        yield f"does not name {', '.join(missing)}"
    parts = sections(text)
    if list(parts)[1:] != [s for s in SECTIONS if s in parts]:
        yield f"sections in the order {', '.join(list(parts)[1:])}"
    told = [entries(sections(t).get("Arguments", "")) for t in (text, *above)]
    known = set().union(*told)
    if len(names) > 2 and (missing := [n for n in names if n not in known]):
        yield f"Arguments: does not explain {', '.join(missing)}"
    if thing.__doc__ and not inspect.isabstract(thing) and (stale := told[0].keys() - takes(thing)):
        yield f"Arguments: names {', '.join(sorted(stale))}, which it does not take"
    if not inspect.isclass(thing) and len(names) > 2 and answers(thing) and "Returns:" not in every:
        yield "no Returns:"
    if missing := sorted(e for e in raised(thing) if not (says(every, e) and "Raises" in every)):
        yield f"does not say that it Raises {', '.join(missing)}"


def symbols(room: str) -> Iterator[tuple[str, Callable, tuple[str, ...]]]:
    """(name, what it is, the docstrings of its bases) of all that is public in a room."""
    for name, thing in public(room).items():
        if not inspect.isclass(thing):
            yield name, thing, ()
            continue
        over = bases(thing)[1:]
        yield name, thing, tuple(inspect.cleandoc(c.__doc__ or "") for c in over)
        for part, method in methods(thing):
            there = [vars(c)[part] for c in over if part in vars(c)]
            yield f"{name}.{part}", method, tuple(inspect.cleandoc(m.__doc__ or "") for m in there)


@functools.cache
def explained() -> dict[str, set[str]]:
    """What the Arguments of each public name explain; of one name in two rooms, both."""
    found = {}
    for room in (*ROOMS, *FILES):
        for name, thing, above in symbols(room):
            for text in (inspect.cleandoc(thing.__doc__ or ""), *above):
                found.setdefault(name, set()).update(entries(sections(text).get("Arguments", "")))
    return found


def astray(name: str, thing: Callable) -> Iterator[str]:
    """The arguments that are said to be as in another name, which does not explain them."""
    known, owner = explained(), name.partition(".")[0]
    for argument, said in entries(sections(inspect.cleandoc(thing.__doc__ or "")).get("Arguments", "")).items():
        for other in re.findall(r"as in `([\w.]+)`", said):
            places = {f"{owner}.{other}", other, other.partition(".")[2]} - {name}
            if not any(argument in known.get(place, ()) for place in places):
                yield f"{argument} is said to be as in {other}, which does not explain it"


@pytest.mark.parametrize("room", ["scoresde", *ROOMS, *FILES])
def test_a_public_name_says_what_it_takes_gives_and_raises(room):
    every = [(name, [*faults(thing, above), *astray(name, thing)]) for name, thing, above in symbols(room)]
    assert every or room == "scoresde"
    found = [f"{name}: {fault}" for name, its in every for fault in its]
    assert not found, "\n".join(["", *found])


def plain(x: Tensor, t: float) -> Tensor:
    """x (B, *shape) at the time t."""


def whole(x: Tensor, a: int, b: int = 0) -> Tensor:
    """The sum of all.

    Arguments:
        x: (B, *shape).
        a, b: what is added.

    Returns:
        (B, *shape).

    Raises:
        InputError: a below b.
    """
    if a < b:
        raise InputError("a")
    return x


# What each fault is, by what is done to the docstring of `whole`.
WRONG = {
    "no docstring": lambda text: "",
    "does not name b": lambda text: text.replace("a, b", "a").replace("a below b", "a low one"),
    "Arguments: does not explain x": lambda text: text.replace("    x: (B, *shape).\n", "").replace("of all", "of x"),
    "Arguments: names c": lambda text: text.replace("a, b", "a, b, c"),
    "no Returns": lambda text: text.replace("Returns", "Gives"),
    "does not say that it Raises InputError": lambda text: text.replace("InputError", "ValueError"),
    "the first line ends": lambda text: text.replace("of all.", "of all,"),
    "sections in the order": lambda text: (
        text.replace("Returns", "?").replace("Raises", "Returns").replace("?", "Raises")
    ),
    "is not the style": lambda text: text.replace("The sum", "This function gives the sum"),
    "'Args:'": lambda text: text.replace("Arguments:", "Args:"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_the_law_sees_what_is_wrong(fault, monkeypatch):
    assert not [*faults(plain), *faults(whole)]
    monkeypatch.setattr(whole, "__doc__", WRONG[fault](inspect.cleandoc(whole.__doc__)))
    assert any(fault in found for found in faults(whole)), [*faults(whole)]


def test_an_argument_that_is_as_in_another_is_explained_there(monkeypatch):
    text = "A.\n\nArguments:\n    x, seed: as in `sample`.\n    data: as in `scoresde.nothing`."
    monkeypatch.setattr(whole, "__doc__", text)
    assert [words.split()[0] for words in astray("whole", whole)] == ["x", "data"]

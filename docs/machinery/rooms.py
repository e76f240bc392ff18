"""The pages of the API, one for each room, in docs/reference/api: what `__all__` names, under its shortest name."""

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import scoresde

PLACE = Path(__file__).resolve().parents[1] / "reference" / "api"
FILES = ("exact", "grids", "tuning", "errors")  # rooms of one file
ALL = "__all__"


def rooms() -> dict[str, ModuleType]:
    """The rooms that say what is theirs, by name."""
    found = {}
    for info in pkgutil.iter_modules(scoresde.__path__):
        if info.ispkg or info.name in FILES:
            room = importlib.import_module(f"scoresde.{info.name}")
            if public(room):
                found[info.name] = room
    return found


def public(room: ModuleType) -> dict[str, object]:
    """What a room gives, by name: by its `__all__`, or what a room of one file defines."""
    if hasattr(room, ALL):
        return {name: getattr(room, name) for name in room.__all__}
    if room.__name__.rpartition(".")[2] not in FILES:
        return {}
    own = {k: v for k, v in vars(room).items() if not k.startswith("_") and getattr(v, "__module__", "") == room.__name__}
    return {k: v for k, v in own.items() if inspect.isclass(v) or inspect.isfunction(v)}


def short(room: str, name: str, thing: object) -> str:
    """scoresde.NAME, if that is the same, else scoresde.ROOM.NAME."""
    return f"scoresde.{name}" if vars(scoresde).get(name) is thing else f"scoresde.{room}.{name}"


def home(name: str, thing: object) -> str:
    """The name under which the room that defines it documents it."""
    return short(thing.__module__.split(".")[1], name, thing)


def page(name: str, room: ModuleType) -> str:
    """The page of a room."""
    title = f"scoresde.{name}"
    lines = [title, "=" * len(title), "", f".. automodule:: {title}", "   :no-members:", ""]
    classes, functions, others = [], [], []
    for own, thing in sorted(public(room).items(), key=lambda pair: pair[0].lower()):
        full = short(name, own, thing)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            if not thing.__module__.startswith(room.__name__):
                others.append(f"- ``{full}``: :py:obj:`{home(own, thing)}`.")
            elif own != thing.__name__ and thing.__name__ in public(room):
                others.append(f"- ``{full}``: another name of :py:obj:`{short(name, thing.__name__, thing)}`.")
            elif inspect.isclass(thing):
                classes += [f".. autoclass:: {full}", "   :members:", "   :member-order: bysource", ""]
            else:
                functions += [f".. autofunction:: {full}", ""]
        elif isinstance(thing, dict) and all(isinstance(k, str) for k in thing):
            others.append(f"- ``{full}``: " + ", ".join(f"``{k}``" for k in thing) + ".")
    for head, part in (("Classes", classes), ("Functions", functions), ("Names", others)):
        if part:
            lines += [head, "-" * len(head), "", *part, ""]
    return "\n".join(lines)


def first(room: ModuleType) -> str:
    """The first sentence of a room, as plain text."""
    from .docstrings import text

    return text(" ".join((room.__doc__ or "").split("\n\n")[0].split()))


def index(found: dict[str, ModuleType]) -> str:
    """The page of rooms."""
    lines = ["API", "===", "", "What the code says of itself, a page for each room, from the ground up to the command line.", ""]
    lines += [".. list-table::", "   :widths: 25 75", ""]
    for name, room in found.items():
        lines += [f"   * - :doc:`{name}`", f"     - {first(room)}"]
    lines += ["", ".. toctree::", "   :hidden:", "", *(f"   {name}" for name in found), ""]
    return "\n".join(lines)


def write(app) -> None:
    """The pages, each only where it has changed: what has not is not read again."""
    found = rooms()
    pages = {f"{name}.rst": page(name, room) for name, room in found.items()} | {"index.rst": index(found)}
    PLACE.mkdir(parents=True, exist_ok=True)
    for path in PLACE.glob("*.rst"):
        if path.name not in pages:
            path.unlink()
    for name, words in pages.items():
        path = PLACE / name
        if not path.exists() or path.read_text() != words:
            path.write_text(words)


def setup(app) -> dict:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The pages of the API, one for each room, in docs/reference/api: what `__all__` names, under its shortest name."""

import functools
import importlib.util
import inspect
import os
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import scoresde

PLACE = Path(__file__).resolve().parents[1] / "reference" / "api"
FILES = ("exact", "grids", "tuning", "errors")  # rooms of one file
ALL = "__all__"
BACK = re.compile(r'(<a class="viewcode-back" href=")([^"#]*)#([\w.]+)(">[^<]*</a>)')


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
    things = {k: v for k, v in vars(room).items() if inspect.isclass(v) or inspect.isfunction(v)}
    return {k: v for k, v in things.items() if not k.startswith("_") and v.__module__ == room.__name__}


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
    for own, thing in sorted(public(room).items(), key=lambda pair: (not inspect.isabstract(pair[1]), pair[0].lower())):
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
    lines = ["API", "===", "", "What the code says of itself, a page for each room.", ""]
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


def back(app, error) -> None:
    """Mends the way back from a source to its page: Sphinx takes all names of a file to have one prefix."""
    if error or app.builder.format != "html":
        return
    names = {}
    for name, entry in app.env.get_domain("py").objects.items():
        names.setdefault((entry.docname, bare(name)), entry.node_id)
    for path in (Path(app.outdir) / "_modules").rglob("*.html"):

        def link(match: re.Match, path: Path = path) -> str:
            page = os.path.relpath((path.parent / match[2]).resolve(), app.outdir).removesuffix(".html")
            there = names.get((page, bare(match[3])))
            return f"{match[1]}{match[2]}#{there}{match[4]}" if there else ""

        path.write_text(BACK.sub(link, path.read_text()))


def bare(name: str) -> str:
    """A name without its package and room: SDE.time of scoresde.SDE.time and of scoresde.sde.base.SDE.time."""
    parts = name.split(".")
    modules = [i for i in range(1, len(parts) + 1) if is_module(".".join(parts[:i]))]
    return ".".join(parts[max(modules, default=0) :])


@functools.cache
def is_module(name: str) -> bool:
    try:
        return bool(importlib.util.find_spec(name))
    except (ImportError, ValueError):
        return False


def setup(app) -> dict:
    app.connect("builder-inited", write)
    app.connect("build-finished", back, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

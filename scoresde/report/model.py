"""The page of a model's folder, and which page a folder has."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..machine import files
from ..machine.about import FILE as MACHINE
from ..machine.about import about
from . import floor as loss_floor
from . import sweep
from .drawn.markup import Html, absent, document, section, tag
from .figures import statuses
from .parts import curves, overview, shown, student, way
from .reading import Held

FILE = "report.html"


def page(folder: str | Path, why: str = "") -> str:
    """The report of a folder, as HTML: of a model, of a sweep, or of what `task=compare` wrote.

    Arguments:
        folder: what the page is of; it is read, and nothing of it is run.
        why: what to say where the floor of the loss is not known.

    Returns:
        One file with all its pictures, which makes no request.

    Raises:
        InputError: there is nothing in the folder to report on.
    """
    folder = Path(folder)
    if (folder / "model.json").exists():
        return _model(folder, why)
    if (folder / sweep.FILE).exists() or statuses(folder):
        return sweep.page(folder, version())
    words = "give the folder of a model, of a sweep or of task=compare"
    raise InputError(f"folder={folder} has no model.json and no jobs to report on: {words}", "folder")


def write(
    folder: str | Path,
    floor: bool | None = False,
    trust: bool = False,
    say: Callable[[str], None] = lambda words: None,
    **known: Any,
) -> Path:
    """Writes report.html into a folder, whole or not at all.

    Arguments:
        folder: as of `page`.
        floor: whether to measure the loss by level beside the optimal denoiser's before, and keep it in
            floor.json: None: where it takes few seconds.
        trust: run code of others that the folder names, for the floor.
        say: who is told why there is no floor.
        known: `model` and `data` of the folder, where they are at hand.

    Returns:
        The file's path.

    Raises:
        InputError: as of `page`.
        OSError: the disk is full, or fails.
    """
    folder, why = Path(folder), ""
    if (folder / "model.json").exists() and floor is not False:
        why = loss_floor.keep(folder, floor, trust=trust, **known)
        say(f"the loss of the optimal denoiser is not in the report: {why}") if why and floor else None
    whole = page(folder, why)
    files.write(folder / FILE, lambda file: file.write(whole.encode(errors="replace")))
    return folder / FILE


def note_machine(folder: Path) -> None:
    """Writes machine.json, what the results in a folder were made on, for the page."""
    files.write_json(folder / MACHINE, about(version()))


def version() -> str:
    """Of this package."""
    return importlib.import_module("scoresde").__version__


def _model(folder: Path, why: str) -> str:
    held = Held(folder)
    denoiser = held.known.get("kind", "denoiser") == "denoiser"
    parts: list[tuple[str, str, Callable[[], Html]]] = [("samples", "Samples", lambda: shown.samples(held))]
    parts.append(("way", "From noise to data", lambda: way.way(held)))
    if held.of("distill"):
        parts.append(("student", "Student", lambda: student.student(held)))
    parts.append(("figures", "Figures", lambda: overview.numbers(held)))
    parts.append(("likelihood", "Likelihood", lambda: curves.likelihood(held)))
    parts.append(("extremes", "Extremes", lambda: shown.extremes(held)))
    parts.append(("training", "Training", lambda: curves.training(held, why)))
    parts.append(("tuning", "Evaluations", lambda: curves.tuning(held)))
    parts.append(("classes", "Classes", lambda: shown.classes(held)))
    parts.append(("walks", "Interpolations", lambda: shown.walks(held)))
    parts = parts if denoiser else [p for p in parts if p[0] == "training"]
    parts = [("run", "What was run", lambda: overview.commands(held)), *parts]
    parts.append(("machine", "Hardware", lambda: overview.machines(held, version())))
    links = tag("nav", *(tag("a", title, href=f"#{key}") for key, title, _ in parts))
    body = [part for key, title, make in parts for part in [tried(key, title, make)]]
    first = [overview.head(held), _state(held), tried("cards", "", lambda: overview.cards(held))]
    return document(overview.title(held), *first, links, *body)


def tried(key: str, title: str, make: Callable[[], Html]) -> Html:
    """A part of the page; what of the folder cannot be shown is said in its place, and the others are as they are."""
    try:
        return make()
    except Exception as error:  # of whatever a damaged folder, or a package that is missing, makes of it
        words = f"This could not be shown ({type(error).__name__}: {' '.join(str(error).split())[:200]})."
        return section(key, title, absent(words))


def _state(held: Held) -> list[Html]:
    """What a reader must know before any figure."""
    said = []
    if held.summary.get("finished") is not True:
        said.append("The training has not ended: figures are of what there is so far.")
    if held.earlier:
        said.append(f"Results of earlier weights, which are not shown: {len(held.earlier)}.")
    return [tag("p", words, class_="state") for words in said]

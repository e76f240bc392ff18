"""The page of a sweep, or of runs that `task=compare` put beside each other."""

import os
from pathlib import Path
from urllib.parse import quote

from ..machine import files
from . import again
from .drawn.charts import forest
from .drawn.markup import Html, absent, code, document, image, section, table, tag
from .figures import Figure, Row, direction, drop_constant, floors, label, number, rows, shown, statuses
from .reading import json_of, part, picture_of, yaml_of

FILE = "compare.json"
USUAL = (
    *("likelihood.bits_per_dim", "likelihood.nats", "likelihood.bound_bits_per_dim", "evaluate.frechet"),
    *("evaluate.kid", "evaluate.energy", "evaluate.sliced", "evaluate.precision", "evaluate.recall", "evaluate.c2st"),
    *("evaluate.evaluations", "sample.evaluations", "sample.seconds_per_sample", "likelihood.evaluations"),
    *("train.validation", "train.seconds"),
)
PICTURES = 24  # of samples, on one page


def keep(folder: Path, found: list[Row], names: list[str], level: float) -> None:
    """Writes compare.json: the rows of a comparison, so that its page can be made again."""
    plain = [{"keys": r.keys, "figures": {n: [f.value, f.low, f.high] for n, f in r.figures.items()}} for r in found]
    known = {"rows": plain, "names": names, "level": level, "jobs": _state(folder)}
    files.write_json(folder / FILE, known)


def _state(folder: Path) -> list[list]:
    """How far the jobs of a sweep are: a comparison of before is not this one's."""
    return [[s["job"], s["state"], s.get("ended")] for s in statuses(folder)]


def _rows(folder: Path) -> tuple[list[Row], list[str], float]:
    """The rows, the figures that are shown, and the level of the intervals: of compare.json, or of the jobs."""
    known = json_of(folder / FILE)
    if isinstance(known.get("rows"), list) and known.get("jobs") == _state(folder):
        made = [
            Row({str(k): str(v) for k, v in part(r, "keys").items()}, _figures(part(r, "figures")))
            for r in known["rows"]
            if isinstance(r, dict)
        ]
        level = known["level"] if number(known.get("level")) else 0.95
        return made, [str(n) for n in known.get("names") or []], level
    found = rows(folder)
    drop_constant(found)
    there = list(dict.fromkeys(n for row in found for n in row.figures))
    return found, [n for n in USUAL if n in there] or there[:6], 0.95


def _figures(held: dict) -> dict[str, Figure]:
    good = {n: v for n, v in held.items() if isinstance(v, list) and len(v) == 3 and number(v[0])}
    return {str(n): Figure(*(e if number(e) else None for e in v)) for n, v in good.items()}


def page(folder: Path, version: str) -> str:
    """The whole page."""
    found, names, level = _rows(folder)
    jobs = statuses(folder)
    done = sum(s["state"] == "done" for s in jobs)
    facts = f"{done} of {len(jobs)} jobs done" if jobs else f"{len(found)} rows"
    head = tag("header", tag("h1", folder.name), tag("p", facts, class_="facts"))
    bad = [s for s in jobs if s["state"] != "done"]
    failed = [
        tag(
            "p",
            f"Job {s['job']} ({' '.join(s['overrides'])}) {s['state']}: {s.get('error', 'it has not ended')}",
            class_="state",
        )
        for s in bad
    ]
    floor = floors(found, names)
    words = f"[..]: intervals at {100 * level:g} %; bold: the best of a column and "
    words += "those whose interval holds it, unless all do."
    body = [section("table", "Figures", _table(found, names, floor), tag("p", words, class_="note"))]
    body.append(section("plots", "Figures beside each other", _plots(found, names, floor)))
    body.append(_pictures(folder, jobs))
    body.append(_commands(folder, jobs, version))
    return document(folder.name, head, *failed, *body)


def _table(found: list[Row], names: list[str], floor: dict[str, Figure]) -> Html:
    keys = list(dict.fromkeys(k for row in found for k in row.keys if k not in ("job", "state")))
    heads = [*keys, *(tag("span", *_name(n)) for n in names)]
    best = {n: _best([r.figures[n] for r in found if n in r.figures], n) for n in names}
    lines = []
    for row in found:
        cells = [row.keys.get(k, "") for k in keys] or [label(row)]
        for n in names:
            f = row.figures.get(n)
            cells.append(tag("b", shown(f)) if f is not None and f in best[n] else shown(f))
        lines.append(cells)
    if floor and keys:
        lines.append([tag("i", "real data"), *[""] * (len(keys) - 1), *(shown(floor.get(n)) for n in names)])
    return table(heads, lines, "figures")


def _name(name: str) -> list:
    task, _, figure_ = name.partition(".")
    arrow = {"maximize": " ↑", "minimize": " ↓"}.get(direction(name) or "", "")
    return [tag("small", task), Html("<br>"), f"{figure_}{arrow}"]


def _best(values: list[Figure], name: str) -> list[Figure]:
    """The best of some figures, and those whose interval holds its value."""
    if direction(name) is None or len({f.value for f in values}) < 2:
        return []
    best = (max if direction(name) == "maximize" else min)(values, key=lambda f: f.value)
    good = [f for f in values if f is best or (f.low is not None and f.low <= best.value <= f.high)]
    return good if len(good) < len(values) else []


def _plots(found: list[Row], names: list[str], floor: dict[str, Figure]) -> Html:
    plots = [forest([(label(r), r.figures.get(n)) for r in found], floor.get(n), n) for n in names[:8]]
    return (
        tag("div", *plots, class_="pair") if plots and len(found) <= 60 else absent("Too many rows to draw, or none.")
    )


def _pictures(folder: Path, jobs: list[dict]) -> Html:
    """The samples of each job, once for each folder of them, with the way to its model's own page."""
    cells, seen = [], set()
    shared = set.intersection(*(set(j["overrides"]) for j in jobs)) if len(jobs) > 1 else set()
    for job in jobs:
        results = {k: v for k, v in part(job, "results").items() if isinstance(v, str)}
        place, model = results.get("sample"), results.get("train") or str(Path(results.get("sample", ".")).parent)
        if place in seen:
            continue
        seen.add(place)
        data = picture_of(Path(place) / "samples.png") if place else None
        if data is not None and len(cells) < PICTURES:
            words = " ".join(w for w in job["overrides"] if w not in shared)
            link = quote(os.path.relpath(Path(model) / "report.html", folder))
            inside = [
                image(data, "png", "samples", "paper"),
                tag("figcaption", f"job {job['job']}: {words} ", tag("a", "its model", href=f"./{link}")),
            ]
            cells.append(tag("figure", *inside))
    shown_ = (
        tag("div", *cells, class_="gallery")
        if cells
        else absent("No job has samples: task=full and task=sample keep them.")
    )
    return section("samples", "Samples", shown_)


def _commands(folder: Path, jobs: list[dict], version: str) -> Html:
    said = part(part(yaml_of(folder / "multirun.yaml"), "hydra"), "overrides").get("task")
    words = [str(w) for w in said] if isinstance(said, list) else []
    parts = []
    if words:
        line = again.command(["--multirun", *words])
        parts += [tag("p", "The same again: jobs that are done are left as they are, others go on."), code(line)]
    elif jobs:
        parts.append(code(*(again.command(s["overrides"]) for s in jobs[:20])))
    parts += [
        tag("p", "As a table for other programs:"),
        code(again.command(["task=compare", f"runs={again.value(str(folder))}"])),
    ]
    parts.append(tag("p", f"This page: scoresde {version}.", class_="note"))
    return section("run", "What was run", *parts)

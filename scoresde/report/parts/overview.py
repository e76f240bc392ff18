"""What a page says in words and numbers: what was run, how to do it again, its figures, and on which machine."""

import datetime
import re

from ...machine import progress
from .. import again
from ..drawn.markup import Html, absent, code, section, table, tag
from ..figures import Figure, apart, figures, number
from ..reading import Held, Result, part, short

TITLES = {
    "bits_per_dim": "bits/dim",
    "nats": "log-likelihood, nats",
    "bound_bits_per_dim": "bound, bits/dim",
    "bound_nats": "bound, nats",
    "frechet": "Fréchet distance",
    "kid": "KID",
    "mmd": "MMD",
    "sliced": "sliced Wasserstein",
    "wasserstein": "Wasserstein",
    "energy": "energy distance",
    "c2st": "two-sample test",
    "memorisation": "memorisation",
    "copies": "copies",
    "accuracy": "classified rightly",
    "auroc": "AUROC against other data",
}
OF_DATA = ("evaluate", "likelihood", "interpolate", "classify")  # tasks that look at data
FIRST = ("frechet", "energy", "c2st", "kid", "recall")  # of an evaluation, in the head of the page


def title(held: Held) -> str:
    """VP on digits."""
    kind = held.known.get("kind", "denoiser")
    sde, data = short(held.known.get("sde")) or "a model", str(held.data.get("name") or "data")
    return f"{sde} on {data}" if kind == "denoiser" else f"{kind} of noisy {data} ({sde})"


def head(held: Held) -> list[Html]:
    """The name of the page and a line of facts."""
    facts, summary = [], held.summary
    facts.append(f"{short(held.known.get('net')) or 'a network'}")
    if number(summary.get("parameters")):
        facts.append(f"{summary['parameters']:,} parameters")
    if number(summary.get("step")):
        facts.append(f"{summary['step']:,} steps" + ("" if summary.get("finished") is True else " so far"))
    if held.shape:
        kind = f"{held.levels} levels" if held.levels else "continuous"
        facts.append(f"data {' x '.join(map(str, held.shape))}, {kind}")
    if names := part(held.known, "conditions"):
        facts.append(f"conditional on {', '.join(names)}")
    return [tag("header", tag("h1", title(held)), tag("p", " · ".join(facts), class_="facts"))]


def cards(held: Held) -> Html:
    """The figures that a reader looks for first, with their intervals and what real data has in their place."""
    found = []
    for result in held.of("likelihood")[:1]:
        known = figures({"": result.summary})
        name = "bits_per_dim" if ".bits_per_dim" in known else "nats"
        note = f"{result.summary.get('n')} {result.summary.get('split')} examples"
        found += [_card(TITLES[name], known[f".{name}"], note)] if f".{name}" in known else []
    for result in held.of("evaluate")[:1]:
        known = figures({"": result.summary})
        names = [n for n in (*FIRST, *TITLES) if f".{n}" in known]
        for name in list(dict.fromkeys(names))[:2]:
            floor = known.get(f".{name}_floor")
            note = f"real data {' '.join(apart(floor))}" if floor is not None else ""
            found.append(_card(TITLES.get(name, name), known[f".{name}"], note))
    for result in held.of("sample")[:1]:
        s = result.summary
        if number(s.get("evaluations")) and number(s.get("seconds_per_sample")):
            note = f"evaluations a sample, {1e3 * s['seconds_per_sample']:.1f} ms; {_sampler(result)}"
            found.append(_card("sampling", Figure(round(s["evaluations"])), note))
    if number(loss := held.summary.get("validation")):
        note = f"{held.summary.get('step')} steps"
        if number(seconds := held.summary.get("seconds")):
            note += f" in {progress.duration(seconds)}"
        found.append(_card("held-out loss", Figure(loss), note))
    if number(right := held.summary.get("accuracy")):
        found.append(_card("right at the least noise", Figure(right), "of held-out items"))
    return tag("div", *found, class_="cards") if found else absent("No figures yet.")


def _card(name: str, figure: Figure, note: str) -> Html:
    value, ends = apart(figure)
    return tag("div", tag("b", name), tag("strong", value), tag("span", ends), tag("small", note), class_="card")


def _sampler(result: Result) -> str:
    """The sampler's name, as far as the summary tells."""
    return str(result.summary.get("sampler", "")).partition("(")[0]


def _trained(held: Held) -> bool:
    return bool(held.config) and "train" in str(part(held.config, "train").get("_target_", ""))


def commands(held: Held) -> Html:
    """The command that made the folder, and Python that uses it."""
    parts = []
    if _trained(held):
        parts += [tag("p", "The same again, from nothing:"), code(again.command(again.overrides(held.config)))]
        parts.append(
            _note(
                f"Where {held.folder} is there already, only what is missing is done.  After pip install, "
                "scoresde is the same command as python run.py."
            )
        )
    else:
        parts.append(
            absent("It was trained from Python, or its config.yaml is gone: no command is known that does it again.")
        )
    if held.known.get("kind", "denoiser") == "denoiser":
        lines = again.python(str(held.folder), held.config.get("sampler"), part(held.known, "conditions"))
        parts += [tag("p", "In Python:"), code(*lines)]
    return section("run", "What was run", settings(held), *parts)


def _note(words: str) -> Html:
    return tag("p", words, class_="note")


def settings(held: Held) -> Html:
    """What makes the model, a line for each part."""
    rows = []
    names = {"SDE": "sde", "network": "net", "loss": "loss", "objective": "objective", "training": "train"}
    for name, node in names.items():
        if known := part(held.known, node):
            said = {k: v for k, v in known.items() if k not in ("_target_", "precision") and v not in (None, [])}
            words = ", ".join(f"{k} {_brief(v)}" for k, v in said.items())
            rows.append((name, tag("span", tag("b", short(known)), " " if short(known) else "", words)))
    data = held.data
    if data:
        where = part(data, "settings")
        words = str(data.get("name")) + (f", fingerprint {data['fingerprint']}" if data.get("fingerprint") else "")
        words += f", {held.summary['examples']} training items" if number(held.summary.get("examples")) else ""
        words += f", {', '.join(f'{k} {_brief(v)}' for k, v in where.items() if k != '_target_' and v is not None)}"
        rows.insert(2, ("data", words.rstrip(", ")))
    if "rule" in held.known:
        rows.append(("predicts", _brief(held.known["rule"])))
    return table((), rows, "words")


def _brief(value) -> str:
    """A setting in few letters: a node by its name."""
    if isinstance(value, dict):
        inner = ", ".join(f"{k} {_brief(v)}" for k, v in value.items() if k != "_target_" and v is not None)
        return f"{short(value)}({inner})" if "_target_" in value else "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_brief, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)[:120]


def numbers(held: Held) -> Html:
    """Every figure of the latest evaluation, beside that of real data."""
    found = held.of("evaluate")
    if not found:
        return section("figures", "Samples against held-out data", absent("Not measured yet:", line(held, "evaluate")))
    several = [figures({"": result.summary}) for result in found[:3]]
    names = list(dict.fromkeys(n for known in several for n in known if f"{n}_floor" in known))
    head = ["", *(f"{_sampler(r)}, seed {r.summary.get('seed')}" for r in found[:3]), "real data"]
    rows = []
    for n in names:
        floor = next(known[f"{n}_floor"] for known in several if f"{n}_floor" in known)
        rows.append(
            (TITLES.get(n[1:], n[1:]), *(_both(known[n]) if n in known else "" for known in several), _both(floor))
        )
    parts = [table(head, rows)]
    words = "[..]: intervals at 95 %.  Real data: training items in the place of samples, measured alike: the floor."
    parts.append(_note(words))
    for result in found[:3]:
        s = result.summary
        said = [f"{s.get('n')} samples by {_sampler(result)} against {s.get('reference')} items"]
        said += [f"features: {s.get('extractor')}", f"seed {s.get('seed')}"]
        parts += [_note(", ".join(said)), command_of(result)]
    return section("figures", "Samples against held-out data", *parts, *_left(found, 3))


def _both(figure: Figure) -> Html:
    """A value, and its interval beside or beneath it."""
    value, ends = apart(figure)
    return tag("span", tag("span", value, class_="whole"), " ", tag("small", ends, class_="whole"))


def _left(found: list, shown: int) -> list[Html]:
    return [_note(f"Earlier ones that the folder has: {len(found) - shown}.")] if len(found) > shown else []


def command_of(result: Result) -> Html:
    """The line that makes a result again."""
    if not result.config:
        return Html("")
    words = again.command(again.of_result(result.config, str(result.path.parent), result.task))
    return tag("p", tag("code", words), class_="again")


def line(held: Held, task: str, *words: str) -> str:
    """The command that has a task done on the model; where its folder does not name the data, the command must."""
    data = [] if task not in OF_DATA or part(held.data, "settings") else ["data=..."]
    return again.command([f"folder={again.value(str(held.folder))}", f"task={task}", *words, *data])


def machines(held: Held, version: str) -> Html:
    """On what it was made, as far as the folder knows, and when the page was."""
    known = [("training", held.machine), *((r.path.name, part({"": _machine(r)}, "")) for r in held.results)]
    known = [(name, m) for name, m in known if m]
    same: dict[tuple, list[str]] = {}
    for name, m in known:
        keys = ("cpu", "cores", "threads", "gpu", "system", "python", "torch", "scoresde")
        same.setdefault(tuple((k, str(m.get(k))) for k in keys if m.get(k) is not None), []).append(
            f"{name} ({_day(m.get('date'))})"
        )
    parts = [table((), [("made", ", ".join(names)), *facts], "words") for facts, names in same.items()]
    if not held.machine:
        parts.append(
            absent(
                "On what it was trained is not known: the folder has no machine.json of it, which the "
                "command line writes."
            )
        )
    now = datetime.datetime.now().astimezone().isoformat(timespec="minutes", sep=" ")
    return section("machine", "Hardware and versions", *parts, _note(f"This page: scoresde {version}, {now}."))


def _machine(result: Result) -> dict:
    from ..reading import MACHINE, json_of

    return json_of(result.path / MACHINE)


def _day(date) -> str:
    return str(date)[:16].replace("T", " ") if re.match(r"\d{4}-\d\d-\d\d", str(date)) else "no date"

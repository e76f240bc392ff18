"""HTML from small functions: whatever is not HTML already is escaped where it is put in."""

import base64
import functools
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...tracking.report import plain

# The page may ask nobody for anything, and runs nothing: a browser holds it to that.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value) -> Html:
    """Anything as HTML: text is escaped, without control characters; lists are joined; None is nothing."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("")
    if isinstance(value, list | tuple):
        return Html("".join(map(text, value)))
    return Html(html.escape(plain(str(value)), quote=True))


def tag(name: str, /, *inside, **attributes) -> Html:
    """An element; `class_` is class, underscores are hyphens, attributes that are None are left out."""
    said = {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items() if v is not None}
    words = "".join(f' {k}="{text(v)}"' for k, v in said.items())
    if name in ("img", "meta", "br"):
        return Html(f"<{name}{words}>")
    return Html(f"<{name}{words}>{text(inside)}</{name}>")


def table(head: Sequence, rows: Iterable[Sequence], kind: str = "") -> Html:
    """A table that scrolls in its own box where it is wide; the first column has names, others numbers."""
    top = [tag("thead", tag("tr", *(tag("th", h, scope="col") for h in head)))] if any(head) else []
    line = lambda cells: tag("tr", tag("th", cells[0], scope="row"), *(tag("td", c) for c in cells[1:]))
    return tag("div", tag("table", *top, tag("tbody", *map(line, rows))), class_=f"wide {kind}".strip())


def code(*lines: str) -> Html:
    """Lines to type."""
    return tag("pre", tag("code", "\n".join(lines)))


def absent(words: str, *command: str) -> Html:
    """A grey line in the place of what the folder has not, with the command that makes it."""
    return tag("p", words, *([" ", tag("code", command[0])] if command else []), class_="absent")


def image(data: bytes, kind: str, alt: str, style: str = "") -> Html:
    """A picture within the page."""
    source = Html(f"data:image/{kind};base64,{base64.b64encode(data).decode()}")
    return tag("img", src=source, alt=alt, class_=style or None)


def figure(inside, caption=None, style: str = "") -> Html:
    """Something to look at, and what it is."""
    below = [tag("figcaption", caption)] if caption else []
    return tag("figure", inside, *below, class_=style or None)


def section(name: str, title: str, *inside) -> Html:
    """A part of the page with its heading."""
    return tag("section", tag("h2", title), *inside, id=name)


@functools.cache
def _style() -> str:
    return Path(__file__).with_name("page.css").read_text()


def document(title: str, *inside) -> str:
    """The whole file."""
    head = [
        Html('<meta charset="utf-8">'),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(_style())),
    ]
    body = tag("html", tag("head", *head), "\n", tag("body", tag("main", *inside)), lang="en")
    return f"<!doctype html>\n{body}\n"

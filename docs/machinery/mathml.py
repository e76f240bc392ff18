"""Equations as MathML, made while the site is built: no script, no font and no request when a page is read."""

import html
import re

from docutils import nodes
from latex2mathml.converter import convert

# What latex2mathml leaves out: the space of a function before its argument, and the upright d of an integral.
FUNCTION = re.compile(r"(<mi>(?:log|ln|exp|cos|sin|tan|arctan)</mi>|<mo>tr</mo>)(?=<(?!mo|/|mspace|mrow><mo))")
UPRIGHT = re.compile(r"<mi>(&#x000[4-7][0-9A-F];)</mi>")


def mathml(latex: str, display: str = "inline") -> str:
    """The equation as MathML."""
    made = FUNCTION.sub(r'\1<mspace width="0.17em"/>', convert(latex, display=display))
    return UPRIGHT.sub(r'<mi mathvariant="normal">\1</mi>', made)


def inline(writer, node: nodes.math) -> None:
    writer.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def display(writer, node: nodes.math_block) -> None:
    """An equation of its own; one with a label has its number at the right, which is a link to itself."""
    name = f' id="{node["ids"][0]}"' if node["ids"] else ""
    writer.body.append(f'<div class="equation"{name}>')
    writer.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>')
    if node.get("number"):
        to = html.escape(node["ids"][0]) if node["ids"] else ""
        writer.body.append(f'<a class="eqno" href="#{to}">({node["number"]})</a>')
    writer.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app) -> dict:
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

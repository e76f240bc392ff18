"""Equations as MathML, made while the site is built: no script, no font and no request when a page is read."""

import html

from docutils import nodes
from latex2mathml.converter import convert


def inline(writer, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def display(writer, node: nodes.math_block) -> None:
    """An equation of its own; one with a label has its number at the right, which is a link to itself."""
    name = f' id="{node["ids"][0]}"' if node["ids"] else ""
    writer.body.append(f'<div class="equation"{name}>')
    writer.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    if node.get("number"):
        to = html.escape(node["ids"][0]) if node["ids"] else ""
        writer.body.append(f'<a class="eqno" href="#{to}">({node["number"]})</a>')
    writer.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app) -> dict:
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Links from a page to what lies beside docs/, and from an equation to the test that proves it.

A page is written so that its links are right in the repository; on the site a link to README.md leads to the front
page, one to ARCHITECTURE.md to its copy in docs/reference/repository, which is made here, and one to any other file
gives the file.  The role test, as in {test}`test_sde.py::test_perturb_and_prior`, leads to the test's text, and
warns of one that does not exist.
"""

import ast
import os
import re
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
PLACE = DOCS / "reference" / "repository"
COPIES = {
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "results.md",
    "examples/own_problem/README.md": "own_problem.md",
}
PAGES = {ROOT / name: PLACE / copy for name, copy in COPIES.items()} | {ROOT / "README.md": DOCS / "index.md"}
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
FOLDER = re.compile(r"\[([^\]]+)\]\(([^)\s#:]+)\)")
NAMED = re.compile(r"\{test\}`(\w+\.py)::(\w+)`")


def moved(text: str, source: Path, page: Path) -> str:
    """A text of the file `source` with its links right for the site's page `page`."""

    def link(match: re.Match) -> str:
        target = (source.parent / match[2]).resolve()
        return match[1] + os.path.relpath(PAGES.get(target, target), page.parent) + match[3]

    def folder(match: re.Match) -> str:
        return match[1] if (source.parent / match[2]).is_dir() else match[0]

    return LINK.sub(link, FOLDER.sub(folder, text))


def tests_of(file: str) -> set[str]:
    """The names of the tests in a file of tests/."""
    path = ROOT / "tests" / file
    if not path.exists():
        return set()
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def named_tests() -> list[tuple[str, str]]:
    """(file, test) of all that the pages name, in order."""
    found = set()
    for path in DOCS.rglob("*.md"):
        if "_build" not in path.parts and PLACE not in path.parents:
            found |= set(NAMED.findall(path.read_text()))
    return sorted(found)


def proofs() -> str:
    """The page with the text of each test that another page names."""
    words = "The tests that the other pages name: each is run by ``make test`` or ``make test-slow``."
    lines = ["Proofs", "======", "", words, ""]
    last = None
    for file, test in named_tests():
        if test not in tests_of(file):
            continue  # the role warns
        if file != last:
            lines += [f"tests/{file}", "-" * (len(file) + 6), ""]
        last = file
        lines += [f".. _{anchor(file, test)}:", "", f".. rubric:: {test}", ""]
        lines += [f".. literalinclude:: ../../../tests/{file}", f"   :pyobject: {test}", ""]
    return "\n".join(lines)


def anchor(file: str, test: str) -> str:
    return f"{file.removesuffix('.py')}-{test}".replace("_", "-")


class Test(SphinxRole):
    """FILE::TEST, as a link to its text."""

    def run(self):
        file, _, test = self.text.partition("::")
        if test not in tests_of(file):
            where = self.get_location()
            logging.getLogger(__name__).warning("there is no test tests/%s::%s", file, test, location=where)
            return [nodes.literal(self.rawtext, self.text)], []
        here = Path(self.env.doc2path(self.env.docname)).parent
        to = os.path.relpath(PLACE / "proofs.html", here) + "#" + anchor(file, test)
        shown = nodes.literal("", f"{file}::{test}", classes=["test"])
        return [nodes.reference("", "", shown, refuri=to, internal=True, classes=["test"])], []


def write(app) -> None:
    """The copies, each only where it has changed."""
    pages = {PAGES[ROOT / n]: moved((ROOT / n).read_text(), ROOT / n, PAGES[ROOT / n]) for n in COPIES}
    PLACE.mkdir(parents=True, exist_ok=True)
    for path, words in (pages | {PLACE / "proofs.rst": proofs()}).items():
        if not path.exists() or path.read_text() != words:
            path.write_text(words)


def read(app, docname: str, content: list[str]) -> None:
    page = Path(app.env.doc2path(docname))
    if page.suffix == ".md" and PLACE not in page.parents:
        content[0] = moved(content[0], page, page)


def setup(app) -> dict:
    app.connect("builder-inited", write)
    app.connect("source-read", read)
    app.add_role("test", Test())
    return {"parallel_read_safe": True, "parallel_write_safe": True}

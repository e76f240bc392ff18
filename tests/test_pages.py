"""Every page runs: its blocks of Python, its commands, its links, and the tests that it names."""

import ast
import re

import pages
import pytest
import torch
from commands import ROOT, TINY, Quiet, command

import scoresde
from scoresde import conditions

# Pages whose blocks a test of its own runs, which looks at what they give.
OWN = {
    "README.md": "test_readme.py",
    "docs/start/index.md": "test_readme.py",
    "docs/howto/samplers.md": "test_readme.py",
    "docs/howto/data.md": "test_data_docs.py",
    "docs/howto/tables.md": "test_data_docs.py",
    "docs/howto/conditions.md": "test_given.py",
    "docs/results/metrics.md": "test_evaluation.py",
}
SLOW = {"docs/results/survival.md"}  # its block is the self-test
WITH_BLOCKS = [
    pytest.param(page, marks=pytest.mark.slow) if page in SLOW else page
    for page in pages.pages()
    if pages.blocks(page) and page not in OWN
]
NAMED = re.compile(r"\{test\}`(\w+\.py)::(\w+)`")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model's folder."""
    place = tmp_path_factory.mktemp("pages") / "model"
    with pytest.MonkeyPatch().context() as monkeypatch:
        assert command(monkeypatch, Quiet(), place.parent, *TINY, "task=train", "folder=model")[0] == 0
    return place


@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_its_python_runs(page, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = pages.run(page, FOLDER=repr(str(folder)), STEPS="3, progress=False")
    if "error" in names:  # a figure that the page states a bound of
        (bound,) = re.findall(r"^error = .*# below (\S+)", pages.text(page), re.M)
        assert float(names["error"]) < float(bound)


def test_pages_with_a_test_of_their_own_are_read_there():
    for page, test in OWN.items():
        assert pages.blocks(page) and page.removeprefix("docs/") in (ROOT / "tests" / test).read_text(), page


@pytest.mark.parametrize("page", [page for page in pages.pages() if pages.commands(page)])
def test_its_commands_compose(page):
    pages.composes(pages.commands(page))


def test_every_test_that_a_page_names_is_there():
    named = {pair for page in pages.pages() for pair in NAMED.findall(pages.text(page))}
    assert len(named) > 40
    for file in {file for file, _ in named}:
        there = {n.name for n in ast.walk(ast.parse((ROOT / "tests" / file).read_text())) if hasattr(n, "name")}
        assert {test for other, test in named if other == file} <= there, file


def test_every_equation_has_its_code_and_its_proof():
    page = pages.text("docs/theory/index.md")
    assert len(re.findall(r"^\$\$.*\$\$ \(eq-", page, re.M)) >= 18
    for section in page.split("\n## ")[1:]:
        assert "Code: {py:" in section and "Proof: {test}" in section, section[:40]
    for name in re.findall(r"\{py:\w+\}`(?:[^`<]*<)?([\w.]+)>?`", page):
        thing = scoresde
        for part in name.split(".")[1:]:
            thing = getattr(thing, part, None) or __import__(f"scoresde.{part}", fromlist=["_"])
        assert thing.__doc__, name


@pytest.mark.parametrize("page", pages.pages())
def test_its_links_lead_somewhere(page):
    """Within the repository, where a page is read without the site."""
    here = (ROOT / page).parent
    for to in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", pages.text(page), flags=re.S)):
        path, _, part = to.partition("#")
        if to.startswith(("http:", "https:")):
            continue
        target = (here / path).resolve() if path else ROOT / page
        if not {"api", "repository"} & set(target.parts):  # made with the site, which looks at these
            assert target.exists(), to
            if part and target.suffix == ".md":
                assert part in anchors(target.read_text()), to


def anchors(page: str) -> set[str]:
    """Of its headings, as GitHub and MyST make them, and of its own labels."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.S), re.M)
    heads = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head.lower()) for head in heads]
    plain = [re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in heads]
    return {*plain, *re.findall(r"^\(([\w-]+)\)=$", page, re.M)}


def test_what_other_packages_are_called_here_is_there():
    """Of the table "you wrote, now write" the right side."""
    rows = re.findall(r"^\| (.*) \| (.*) \|$", pages.text("docs/start/switching.md"), re.M)
    rooms = [scoresde, scoresde.sampling, scoresde.guidance, scoresde.nets, scoresde.loss, conditions]
    names = {name for _, right in rows for name in re.findall(r"\b([A-Z]\w+)\(", right)}
    assert len(rows) > 50 and len(names) > 20
    for name in names:
        assert any(hasattr(room, name) for room in rooms), name
    pages.composes([line for _, right in rows for line in re.findall(r"`python run.py ([^`]*)`", right)])


def test_the_own_sde_of_the_page_is_proven(tmp_path, monkeypatch):
    """Its exact mixture's likelihood is the density."""
    names = pages.run("docs/howto/sde.md")
    sde, model = names["sde"], names["model"].double()
    x = model.sample(20, sde.t_min)
    found = scoresde.log_likelihood(model, x).log_prob
    assert float((found - model.log_prob(x, sde.t_min)).abs().max()) < 0.1
    assert names["x"].shape == (500, 2) and names["x"].abs().mean(0)[0] == pytest.approx(2.0, abs=0.15)


def test_the_own_network_of_the_page_takes_conditions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = pages.run("docs/howto/network.md", STEPS="3, progress=False")
    assert names["x"].shape == (100, 2)
    told = scoresde.Preconditioned(names["Told"](2), scoresde.VP())
    x = torch.randn(4, 2)
    apart = [told(x, 0.5, {"label": torch.full((4,), y)}) for y in (0, 1)]
    assert not torch.equal(*apart) and torch.equal(told(x, 0.5), told(x, 0.5, {"label": torch.full((4,), -1)}))

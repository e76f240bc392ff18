"""The site of docs/ builds without a warning, asks nothing of the network, and its search finds what readers ask."""

import html.parser
import importlib.util
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from commands import ROOT
from search import Search

needs_sphinx = pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="pip install 'scoresde[docs]'")
pytestmark = [pytest.mark.slow, needs_sphinx]
TOGETHER = True  # in one part of the slow laws: the site is built once
COPIED = ("docs", "scoresde", "conf", "tests", "examples", "benchmarks")

# What a reader types, and the page that should be among the first three.
WORDS = {
    "sampler": "howto/samplers",
    "guidance": "howto/conditions",
    "likelihood": "howto/likelihood",
    "bits/dim": "howto/likelihood",
    "dequantisation": "howto/likelihood",
    "own data": "howto/data",
    "images": "howto/data",
    "CSV": "howto/tables",
    "conditions": "howto/conditions",
    "label": "howto/conditions",
    "fine-tuning": "howto/finetuning",
    "LoRA": "howto/finetuning",
    "SLURM": "howto/cluster",
    "GPU": "howto/cluster",
    "resume": "howto/training",
    "checkpoint": "howto/training",
    "seed": "howto/training",
    "wandb": "howto/sweeps",
    "Hydra": "start/commands",
    "install": "start/index",
    "diffusers": "start/switching",
    "ODE": "theory/index",
    "score": "theory/index",
    "Tweedie": "theory/index",
    "VE": "theory/index",
    "ELBO": "theory/index",
    "DDIM": "systems/ddpm",
    "EDM": "systems/edm",
    "FID": "results/metrics",
    "inpainting": "not_yet",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages, of a copy, so that nothing in the repository changes."""
    place = tmp_path_factory.mktemp("site")
    left = shutil.ignore_patterns("_build", "__pycache__", "api", "repository", "auto_tutorials", "*.pyc")
    for name in COPIED:
        shutil.copytree(ROOT / name, place / name, ignore=left)
    for path in [*ROOT.glob("*.md"), *(ROOT / n for n in ("LICENSE", "CITATION.cff", "pyproject.toml", "run.py"))]:
        shutil.copy(path, place)
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "docs/make.py", "site"], cwd=place, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr[-4000:]
    assert "WARNING" not in done.stderr and "wrote docs/_build/html" in done.stdout
    assert seconds < 300, "two cores build it in five minutes"
    return place / "docs" / "_build" / "html"


LOADS = dict.fromkeys(("img", "script", "iframe", "source", "video", "audio", "embed"), "src")
LOADS |= {"object": "data", "use": "href"}


class Page(html.parser.HTMLParser):
    """What a page loads, where it links to, and the names in it."""

    def __init__(self, path: Path):
        super().__init__()
        self.loads, self.links, self.names, self.unresolved = [], [], set(), []
        self.within = 0
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.names |= {attrs[k] for k in ("id", "name") if attrs.get(k)}
        if attrs.get(LOADS.get(tag, "-")):
            self.loads.append(attrs[LOADS[tag]])
        if tag == "link" and attrs.get("rel") in ("stylesheet", "icon", "preload", "preconnect", "dns-prefetch"):
            self.loads.append(attrs["href"])
        if "style" in attrs:
            self.loads += re.findall(r"url\(['\"]?([^'\")]+)", attrs["style"] or "")
        if tag == "a":
            self.within += 1
            self.links += [attrs["href"]] if attrs.get("href") else []
        if tag == "code" and "xref" in (attrs.get("class") or "") and not self.within:
            self.unresolved.append(self.getpos())

    def handle_endtag(self, tag):
        self.within -= tag == "a"


def outside(address: str) -> bool:
    return bool(urlsplit(address).netloc)


def test_no_page_asks_anything_of_the_network(site):
    """Counted over all pages, their styles and their scripts: none."""
    pages = sorted(site.rglob("*.html"))
    asked = [(p.name, to) for p in pages for to in Page(p).loads if outside(to)]
    for style in site.rglob("*.css"):
        said = style.read_text()
        asked += [(style.name, to) for to in re.findall(r"(?:url\(|@import )['\"]?([^'\")]+)", said) if outside(to)]
    for script in site.rglob("*.js"):
        calls = r"(?:fetch|import|importScripts|open)\(\s*['\"](https?:[^'\"]+)"
        asked += [(script.name, to) for to in re.findall(calls, script.read_text())]
    assert len(pages) > 60 and asked == []


def test_every_link_within_leads_to_what_is_there(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for to in page.links + page.loads:
            parts = urlsplit(to)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = target.exists() and (not parts.fragment or target not in pages or named(parts, pages[target]))
            broken += [] if there else [(str(path.relative_to(site)), to)]
    assert broken == []


def named(parts, page: Page) -> bool:
    return unquote(parts.fragment) in page.names


def test_every_name_of_the_code_on_a_page_leads_to_it(site):
    for path in (path for room in ("theory", "results", "howto", "systems") for path in site.glob(f"{room}/*.html")):
        assert Page(path).unresolved == [], path.name


@pytest.mark.parametrize("word", WORDS)
def test_a_word_finds_its_page(site, word):
    assert WORDS[word] in Search(site)(word)[:3], Search(site)(word)[:6]


def test_every_sampler_and_sde_has_its_words_in_the_api(site):
    import scoresde

    pages = " ".join(p.read_text() for p in (site / "reference" / "api").glob("*.html"))
    for name in ("scoresde.VP", "scoresde.Denoiser", "scoresde.sample", "scoresde.log_likelihood", "scoresde.train"):
        assert f'id="{name}"' in pages
    for name in set(scoresde.sampling.__all__) - {"encode", "decode"}:  # their names of before
        assert f'id="scoresde.sampling.{name}"' in pages or f'id="scoresde.{name}"' in pages, name

"""The page in a real browser: it opens, samples, scores, asks nobody else, and fits a telephone."""

import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import numpy as np
import pytest
from commands import ROOT, TINY
from PIL import Image

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
MISSING += [] if BROWSER else ["chromium"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"the page is driven where there are {', '.join(MISSING)} too"),
]
TOGETHER = True
WAIT = 90_000  # milliseconds, on a busy machine


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a tiny model of labelled digits, whose classes have names that are code."""
    folder = tmp_path_factory.mktemp("page")
    command = [*TINY, "cond=[label]", "folder=m", "task=train"]
    done = subprocess.run(start(*command), cwd=folder, env=env(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path = folder / "m" / "model.json"
    known = json.loads(path.read_text())
    known["conditions"]["label"]["names"] = ["<img src=x onerror=alert(1)>", *map(str, range(1, 10))]
    known["data"]["name"] = "<script>window.caught = 1</script>"
    path.write_text(json.dumps(known))
    return folder


def env():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}


def start(*words):
    return [sys.executable, str(ROOT / "run.py"), "wandb=disabled", *words]


@pytest.fixture(scope="module")
def address(trained):
    """Where the page of that model is."""
    shown = start("task=demo", "folder=m", "task.port=0")
    with subprocess.Popen(shown, cwd=trained, env=env(), stdout=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        assert lines and found, lines
        yield found[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(params=[1280, 390])
def page(request, browser, address):
    """The open page at a width; in the end nobody else was asked, nothing went wrong, and nothing is cut off."""
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    page, asked, wrong = context.new_page(), [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("dialog", lambda d: (wrong.append(d.message), d.dismiss()))
    page.goto(address)
    page.wait_for_selector("#sample-go", timeout=WAIT)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= request.param
    assert page.evaluate("window.caught") is None and not wrong, wrong
    hosts = {urlsplit(url).hostname for url in asked if urlsplit(url).scheme not in ("data", "blob")}
    assert hosts == {"127.0.0.1"} and len(asked) > 10, hosts
    context.close()


def press(page, button, *shows):
    page.click(button)
    for name in shows:
        page.wait_for_selector(f"{name} img", timeout=WAIT)


def choose(page, name):
    """A class, by its name, in the list that is shown."""
    page.locator("input[aria-label='class']:visible").click()
    page.get_by_role("option", name=name, exact=True).click()


def test_it_samples_and_another_class_gives_other_pictures(page):
    press(page, "#sample-go", "#sample-picture", "#sample-strip")
    words = page.locator("#sample-words")
    words.get_by_text("16 samples by gaussian_adams").wait_for(timeout=WAIT)
    before = page.get_attribute("#sample-picture img", "src")
    choose(page, "3")
    page.click("#sample-go")
    page.wait_for_function("s => document.querySelector('#sample-picture img')?.src != s", arg=before, timeout=WAIT)
    words.get_by_text("16 samples by gaussian_adams").wait_for(timeout=WAIT)
    page.get_by_role("tab", name="Interpolate").click()
    press(page, "#walk-go", "#walk-picture")


def test_an_uploaded_and_a_drawn_picture_have_a_likelihood(page, tmp_path):
    Image.fromarray(np.tri(64, dtype=np.uint8) * 255).save(tmp_path / "corner.png")
    page.get_by_role("tab", name="Likelihood").click()
    page.set_input_files("#upload input[type=file]", tmp_path / "corner.png")
    page.wait_for_selector("#upload img", timeout=WAIT)
    press(page, "#upload-go", "#score-item", "#score-place")
    first = page.inner_text("#score-words")
    assert re.match(r"-?\d+\.\d{3} bits/dim, more likely than \d+ % of \d+ held-out items", first), first
    page.get_by_role("tab", name="Draw").click()
    page.wait_for_selector("#draw canvas", timeout=WAIT)
    page.wait_for_timeout(1500)
    box = page.locator("#draw canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y - 60)
    page.mouse.down()
    page.mouse.move(x, y + 60, steps=8)
    page.mouse.up()
    page.wait_for_timeout(500)
    page.click("#draw-go")
    page.wait_for_function("s => document.querySelector('#score-words').innerText != s", arg=first, timeout=WAIT)
    assert "bits/dim" in page.inner_text("#score-words")


def test_a_mistake_is_words_on_the_page(page):
    page.get_by_role("tab", name="Likelihood").click()
    page.click("#upload-go")
    page.locator("#score-words").get_by_text("there is no picture yet").wait_for(timeout=WAIT)


def test_a_page_of_the_internet_cannot_call_itself_this_machine(address):
    for host, status in (("evil.example", 403), ("127.0.0.1:1", 200), ("localhost", 200)):
        link = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
        link.request("GET", "/", headers={"Host": host})
        answer = link.getresponse()
        assert answer.status == status and answer.read()
        assert status == 403 or "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_port_that_is_taken_is_one_line(trained, address):
    shown = start("task=demo", "folder=m", f"task.port={urlsplit(address).port}")
    done = subprocess.run(shown, cwd=trained, env=env(), capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "task.port=" in done.stderr, done.stderr

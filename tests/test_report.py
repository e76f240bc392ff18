"""report.html: every section of a run, no request, nothing of a stranger's run, and what is missing is said."""

import html
import json
import math
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import FEW, TINY, Quiet, command
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from sweeps import SMALL
from test_every_setting import composed

import scoresde
from scoresde import InputError, report
from scoresde.command.main import quoted
from scoresde.conditions import Label
from scoresde.data import Data, Tensors
from scoresde.exact import Dequantised, Empirical
from scoresde.report import again, floor
from scoresde.report.drawn import charts
from scoresde.report.drawn.markup import POLICY, Html, tag
from scoresde.spaces import Affine, Bins

SECTIONS = ("run", "samples", "way", "figures", "likelihood", "extremes", "training", "tuning", "classes", "walks")
SECTIONS += ("machine",)
TAGS = {"html", "head", "meta", "title", "style", "body", "main", "header", "nav", "section", "a", "p", "h1", "h2"}
TAGS |= {"h3", "h4", "div", "span", "b", "i", "strong", "small", "code", "pre", "table", "thead", "tbody", "tr", "th"}
TAGS |= {"td", "figure", "figcaption", "img", "svg", "path", "circle", "text", "br"}


class Page(HTMLParser):
    """What a browser sees: the elements with their attributes, the words of each section."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.words: dict[str, str] = {}
        self.section, self.open = "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name == "section":
            self.section = dict(attributes)["id"]
            self.words[self.section] = ""

    def handle_data(self, data):
        if self.section:
            self.words[self.section] += data

    def of(self, name: str) -> list[dict]:
        return [attributes for element, attributes in self.elements if element == name]


def requests(page: str) -> list[str]:
    """Whatever of a page a browser would fetch."""
    seen, found = Page(page), []
    for name, attributes in seen.elements:
        for key, value in attributes.items():
            if key in ("src", "srcset", "data", "poster", "action", "background", "xlink:href", "formaction", "ping"):
                found += [] if value.startswith("data:image/") else [f"{name} {key}={value}"]
            if key.startswith("on") or (key == "style" and "url" in value):
                found.append(f"{name} {key}={value}")
        if name in ("script", "link", "iframe", "object", "embed", "base", "video", "audio", "use", "foreignobject"):
            found.append(name)
    style = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    return found + re.findall(r"url\(.*?\)|@import.*?;", style)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny conditional model of digits, with a result of each kind; the tuning's is written by hand."""
    folder, patch = tmp_path_factory.mktemp("report"), pytest.MonkeyPatch()

    try:
        cond = ["cond=[label]", "folder=runs/m"]
        few = ["interpolate", "task.pairs=1", "task.points=2", "task.rtol=0.01", "task.atol=0.01"]
        more = ["evaluate", "n=30", "task.extractor=flatten", "task.metrics=[energy,c2st]", "task.groups=3"]
        for words in (
            [*TINY, *FEW, *cond, "given.label=all", "guidance=cfg", "sampler=adams"],
            ["folder=runs/m", f"task={more[0]}", *more[1:], "sampler=adams", *FEW],
            ["folder=runs/m", f"task={few[0]}", *few[1:]],
            ["folder=runs/m", "task=classify", "task.n=2", "likelihood.rtol=0.1", "likelihood.atol=0.1"],
        ):
            assert command(patch, Quiet(), folder, *words)[0] == 0, words
    finally:
        patch.undo()
    model = folder / "runs" / "m"
    assert floor.keep(model, True) == ""  # of itself only where the machine has time for it
    tuned = model / "tune-search-000000"
    tuned.mkdir()
    weights = scoresde.load(model).weights
    trials = [{"sampler": s, "grid": "angle", "rms": e, "median": e, "error": e} for s, e in (("a", 0.1), ("b", 0.2))]
    (tuned / "trials.json").write_text(json.dumps({"5": trials, "10": trials}))
    (tuned / "summary.json").write_text(json.dumps({"task": "tune", "n": 64, "weights": weights}))
    return model


def test_a_run_leaves_its_report_with_every_section(run):
    page = report.page(run)
    seen = Page(page)
    assert list(seen.words) == list(SECTIONS) and "could not be shown" not in page
    assert {name for name, _ in seen.elements} <= TAGS
    told = Page((run / "report.html").read_text()).words  # of before the tuning
    assert told.keys() == seen.words.keys() and "task=tune" in told["tuning"]
    summary = json.loads((run / "summary.json").read_text())
    assert f"{summary['parameters']:,} parameters" in page and "4 steps" in page
    assert "'cond=[label]'" in page.replace("&#x27;", "'") and "scoresde.load(" in seen.words["run"]
    assert "sigma/alpha" in seen.words["way"] and "classifier-free guidance, scale 3" in seen.words["classes"]
    assert "label 8" in seen.words["classes"] and "held-out items are right" in seen.words["classes"]
    assert "real data" in seen.words["figures"] and "energy distance" in seen.words["figures"]
    assert "the optimum of the training set" in seen.words["training"]
    assert scoresde.__version__ in seen.words["machine"] and "torch" in seen.words["machine"]
    kinds = [source["src"][:16] for source in seen.of("img")]
    assert len([k for k in kinds if k.startswith("data:image/gif")]) == 1 and len(kinds) > 10
    (scored,) = run.glob("likelihood-*")
    bits = json.loads((scored / "summary.json").read_text())["bits_per_dim"]
    values = re.findall(r"test: mean (\d+\.\d+), n 6", seen.words["likelihood"])
    assert [float(v) for v in values] == [round(bits, 3)]  # the histogram's own, of likelihood.npz


def test_no_request_and_nothing_that_runs(run):
    page = report.page(run)
    assert requests(page) == [] and len(page) < 3_000_000
    policy = next(m["content"] for m in Page(page).of("meta") if m.get("http-equiv"))
    assert policy == POLICY and "default-src 'none'" in policy
    assert all(a["href"].startswith(("#", "./")) for a in Page(page).of("a"))
    assert not re.search(r"https?://", re.sub(r"<[^>]*>", "", page))
    bad = '<img src="http://a/b.png"><script src="x"></script><style>p {background: url(http://a)}</style>'
    assert len(requests(bad)) == 4  # what would be seen


def test_the_command_is_that_of_the_run_and_python_imports_no_hydra(run):
    code = f"import sys; from scoresde import report; report.page({str(run)!r}); print('hydra' in sys.modules)"
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    }
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert shown.stdout.strip() == "False"


# What a command may say; each is composed, put into words again, and composed of these.
SAID = [
    [],
    ["sde=ve", "sde.sigma_max=30", "sampler=ode", "seed=3"],
    ["data=toy", "data.kind=moons", "net.width=64", "train.lr=1e-2", "task=train"],
    ["data=array", "data.root='/a b/x=[1].npy'", "net=mlp", "n=10"],
    ["cond=[label]", "given.label=[3,4]", "guidance=cfg", "guidance.interval=[0.1,5]", "drop=0.2"],
    ["guidance=apg", "guidance.how.eta=0.5", "cond=[label]", "given.label=3"],
    ["loss=likelihood", "rule=eps", "net.mults=[1,2,2]", "autocast=bf16", "png=true"],
    ["loss.weight=simple", "loss.times.std=1.0", "sampler=pc", "sampler.predictor=ancestral", "likelihood.probes=null"],
    ["experiment=mnist_likelihood", "data.root=/d", "out=elsewhere"],
    ["task=evaluate", "task.metrics=[kid]", "sampler=sa", "folder=runs/with space"],
    ["task=interpolate", "task.pairs=2", "data.other=shuffled"],
]


@pytest.mark.parametrize("said", SAID, ids=lambda s: " ".join(s) or "nothing")
def test_the_words_of_a_config_compose_it_again(said):
    config = OmegaConf.to_container(composed(*map(quoted, said)))
    words = again.overrides(config)
    made = OmegaConf.to_container(composed(*map(quoted, words)))
    for skipped in again.ASIDE:
        config.pop(skipped), made.pop(skipped)
    if said and "other" in said[-1]:  # of a result's command, not of the model's
        words = again.of_result(config, "runs/m", "interpolate")
        assert "data.other=shuffled" in words and "folder=runs/m" in words
    assert made == config, words
    assert len(words) <= 12 or "experiment=mnist_likelihood" in said


def test_what_is_missing_is_said_with_its_command(tmp_path, run):
    folder = tmp_path / "a folder"
    folder.mkdir()
    shutil.copy(run / "model.json", folder)
    seen = Page(page := report.page(folder))
    assert list(seen.words) == list(SECTIONS) and "could not be shown" not in page
    tasks = {
        "samples": "sample",
        "way": "sample",
        "figures": "evaluate",
        "likelihood": "likelihood",
        "walks": "interpolate",
    }
    tasks |= {"extremes": "likelihood", "tuning": "tune"}
    for name, task in tasks.items():
        line = seen.words[name].partition("python run.py ")[2]
        assert line.endswith(f"task={task}") and f"'folder='\"'\"'{folder}'\"'\"''" in line, line
        for word in ["folder=" + again.value(str(folder)), f"task={task}"]:
            OverridesParser.create().parse_override(word)
    assert "The training has not ended" in page and "machine.json" in seen.words["machine"]
    with pytest.raises(InputError, match="no model.json and no jobs"):
        report.page(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_hostile_folder_is_shown_as_it_is_and_runs_nothing(tmp_path, run):
    folder = tmp_path / "m"
    shutil.copytree(run, folder)
    evil = "<script>alert(1)</script><img src=http://a onerror=x>\x1b[31m"
    known = json.loads((folder / "model.json").read_text())
    known["data"]["name"], known["data"]["settings"] = evil, {"root": evil}
    known["conditions"]["label"]["names"] = [evil] * 10
    known["sde"]["_target_"], known["net"]["_target_"] = "os.system", f"a.{evil}"
    known["rule"] = {"_target_": evil, evil: evil}
    (folder / "model.json").write_text(json.dumps(known))
    for path in [*folder.glob("*/summary.json"), folder / "summary.json"]:
        held = json.loads(path.read_text())
        (path).write_text(json.dumps({k: evil if k in ("sampler", "seed", "split") else v for k, v in held.items()}))
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config + f"\nx: !!python/object/apply:os.system ['touch {tmp_path}/ran']\n")
    (drawn,) = folder.glob("sample-*")
    (drawn / "trajectory.gif").write_bytes(b"<svg onload=alert(1)>")
    (drawn / "trajectory.npz").write_bytes(b"PK\x03\x04 nothing")
    (drawn / "samples.npy").unlink()
    (drawn / "samples.npy").symlink_to("/etc/hostname")
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": "<b>"}\n{"step": 2, "loss": 1e999}\nnot json\n')
    seen = Page(page := report.page(folder))
    assert requests(page) == [] and {name for name, _ in seen.elements} <= TAGS and "\x1b" not in page
    assert not (tmp_path / "ran").exists() and page.count("<script>") == 0 and "&lt;script&gt;" in page
    assert list(seen.words) == list(SECTIONS)
    assert "cannot be read" in seen.words["way"] and "is gone" in seen.words["run"]


def test_numbers_that_are_none_and_arrays_too_large_are_passed_over(tmp_path, run, monkeypatch):
    folder = tmp_path / "m"
    shutil.copytree(run, folder)
    for path in folder.glob("*/summary.json"):
        held = json.loads(path.read_text())
        path.write_text(json.dumps({k: None if isinstance(v, float | int) else v for k, v in held.items()}))
    monkeypatch.setattr("scoresde.report.reading.NUMBERS", 10)
    seen = Page(page := report.page(folder))
    assert list(seen.words) == list(SECTIONS) and "could not be shown" not in page, page[page.find("could not") :][:300]


def test_without_pillow_and_matplotlib_the_page_says_so(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    seen = Page(page := report.page(run))
    assert list(seen.words) == list(SECTIONS) and "could not be shown" not in page
    assert len(seen.of("svg")) >= 4  # the charts are the page's own
    (drawn,) = run.glob("sample-*")
    (drawn / "samples.png").rename(drawn / "away.png")
    try:
        assert "pip install" in Page(report.page(run)).words["samples"]
    finally:
        (drawn / "away.png").rename(drawn / "samples.png")


def test_a_report_that_fails_fails_no_command(run, monkeypatch, capfd):
    def full(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(report, "write", full)
    code, out, _ = command(
        monkeypatch, capfd, run.parents[1], "folder=runs/m", "task=sample", "n=2", *FEW, "sampler=ddim"
    )
    assert code == 0 and "report.html was not written (OSError: the disk is full)" in out


def test_the_task_makes_it_again_of_what_is_there(run, monkeypatch, capfd):
    before = (run / "floor.json").stat().st_mtime_ns
    (run / "report.html").unlink()
    code, out, err = command(monkeypatch, capfd, run.parents[1], "folder=runs/m", "task=report")
    assert code == 0 and "report  runs/m/report.html" in out and (run / "report.html").exists(), err
    assert (run / "floor.json").stat().st_mtime_ns == before  # of the same weights
    code, _, err = command(monkeypatch, capfd, run.parents[1], "folder=runs/none", "task=report")
    assert code == 1 and "folder=runs/none has no model.json" in err and not (run.parent / "none").exists()


def test_a_model_trained_in_python_has_its_report_with_its_floor(tmp_path):
    data = scoresde.data.from_tensor(torch.randn(80, 2))
    denoiser = scoresde.Preconditioned(scoresde.nets.MLP(data.shape, width=8), scoresde.VP())
    scoresde.train(denoiser, data, steps=3, folder=tmp_path / "m", progress=False)
    seen = Page(report.write(tmp_path / "m", floor=True).read_text())
    assert "floor=True, data=data)" in seen.words["training"] and "trained from Python" in seen.words["run"]
    assert seen.words["likelihood"].endswith("task=likelihood data=...")
    seen = Page(report.write(tmp_path / "m", floor=True, data=data).read_text())
    assert "the optimum of the training set" in seen.words["training"]


def test_results_of_earlier_weights_are_not_shown(tmp_path, run):
    folder = tmp_path / "m"
    shutil.copytree(run, folder)
    for path in folder.glob("sample-*/summary.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"weights": "0" * 12}))
    page = report.page(folder)
    assert "Results of earlier weights, which are not shown: " in page and "None were drawn yet" in page


def test_a_sweep_leaves_its_report_and_a_comparison_too(monkeypatch, capfd, tmp_path):
    words = ["--multirun", *SMALL, "sde=vp,ve", "sampler=euler", "sampler.steps=3", "tracker=none"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *words)
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    assert code == 0 and f"report  runs/sweeps/{sweep.name}/report.html" in out, err
    seen = Page(page := (sweep / "report.html").read_text())
    assert requests(page) == [] and "2 of 2 jobs done" in page and "sde=vp,ve" in seen.words["run"]
    assert len(seen.of("circle")) >= 4 and len(seen.of("img")) == 2
    links = [a["href"] for a in seen.of("a")]
    assert len(links) == 2 and all((sweep / link).resolve().exists() for link in links)
    code, out, _ = command(monkeypatch, capfd, tmp_path, "task=compare", f"runs={sweep}", "task.over=sde", "task.to=c")
    assert code == 0 and "report  c/report.html" in out and "n of sde" in (tmp_path / "c" / "report.html").read_text()
    (tmp_path / "c" / "report.html").unlink()
    assert command(monkeypatch, capfd, tmp_path, "task=report", "folder=c")[0] == 0
    assert "n of sde" in (tmp_path / "c" / "report.html").read_text()
    for path in sweep.glob("*/status.json"):
        held = json.loads(path.read_text()) | {"state": "failed", "error": "<script>"}
        path.write_text(json.dumps(held | {"overrides": ["sde=<b>", "x"], "results": {"sample": "/etc"}}))
    page = report.page(sweep)
    assert "<script>" not in page and "&lt;script&gt;" in page and requests(page) == []


def test_text_is_escaped_and_html_is_not():
    assert tag("p", '<b>"', Html("<br>"), 3, None, class_='"x') == '<p class="&quot;x">&lt;b&gt;&quot;<br>3</p>'
    assert charts.label(1e-5) == "1e-5" and charts.label(0.25) == "0.25" and charts.label(0) == "0"
    ticks = charts.Axis([0.0003, 20], 0, 1, log=True).ticks()
    assert len(ticks) <= 6 and all(0.0003 <= t <= 20 for t in ticks)
    assert charts.Axis([0.33, 0.87], 0, 1).ticks() == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8])


@pytest.mark.parametrize("t", [1e-5, 1e-3, 0.03, 0.3, 1.0])
def test_the_dequantised_optimum_is_the_posterior_mean_by_quadrature(t):
    sde, space = scoresde.VP(), Bins(5, torch.tensor([-2.0, 1.0, 3.0]), 1.0)
    raw = torch.randint(0, 5, (7, 3))
    alpha, sigma = (float(a) for a in sde.marginal(torch.tensor(t, dtype=torch.float64)))
    x = alpha * space.encode(raw[:4], 0.3).double() + sigma * torch.randn(4, 3, dtype=torch.float64)
    log_mass, mean = torch.zeros(4, 7, dtype=torch.float64), torch.zeros(4, 7, 3, dtype=torch.float64)
    ends = torch.linspace(-0.5, 0.5, 20001, dtype=torch.float64)
    for i in range(7):
        for d in range(3):
            grid = float(space.first[d]) + float(space.width[d]) * (float(raw[i, d]) + ends)
            log = -((x[:, d, None] - alpha * grid) ** 2) / (2 * sigma**2)
            weight = (log - log.amax(1, keepdim=True)).exp()
            weight[:, [0, -1]] /= 2
            log_mass[:, i] += weight.sum(1).log() + log.amax(1) + math.log(abs(float(space.width[d])))
            mean[:, i, d] = (weight * grid).sum(1) / weight.sum(1)
    expected = (log_mass.softmax(1)[:, :, None] * mean).sum(1)
    assert torch.allclose(Dequantised(raw, space, sde)(x, t), expected, atol=1e-7)


def labelled() -> Data:
    x = torch.randint(0, 4, (60, 2))
    items = Tensors(x, cond={"label": torch.arange(60) % 3})
    return Data("few", items, items, Bins(4), conditions={"label": Label(3)})


def test_no_denoiser_has_less_loss_than_the_optimum_and_the_optimum_is_its_own_floor():
    data, sde, loss = labelled(), scoresde.VP(), scoresde.DenoisingLoss()
    net = scoresde.nets.MLP(data.shape, width=8, conditions=data.conditions)
    model = scoresde.train(scoresde.Preconditioned(net, sde), data, loss, steps=3, progress=False)
    found = floor.measure(model, data, loss, n=60)
    assert len(found["levels"]) == 9 and found["items"] == 60 and found["training_items"] == 60
    assert sum(found["optimum"]) < sum(found["train"])
    best = floor.optimum(data, sde, ("label",))
    x = torch.randn(6, 2, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, -1, 1])
    whole = best(x, 0.2, {"label": labels})
    raw = torch.stack([data.train[i]["x"] for i in range(60)])
    for i, c in enumerate(labels.tolist()):
        own = raw if c < 0 else raw[torch.arange(60) % 3 == c]
        assert torch.allclose(whole[i], Dequantised(own, data.space, sde)(x[i : i + 1], 0.2)[0])


def test_the_optimum_of_continuous_data_is_the_empirical_one_and_what_has_none_is_refused():
    x = torch.randn(50, 2)
    data, sde = Data("plane", Tensors(x), Tensors(x), Affine()), scoresde.VE()
    at = torch.randn(5, 2)
    assert torch.allclose(floor.optimum(data, sde)(at, 0.3), Empirical(x.double(), sde)(at, 0.3))
    large = Data("many", Tensors(torch.zeros(40000, 3, dtype=torch.long)), Tensors(x), Bins(256))
    with pytest.raises(InputError, match="40000 items x 3 dimensions x 256 levels"):
        floor.optimum(large, sde)


def test_figures_of_a_machine_are_known():
    from scoresde.machine.about import about

    found = about("1.2")
    assert found["scoresde"] == "1.2" and found["torch"] == str(torch.__version__) and found["cpu"]
    assert found["threads"] == torch.get_num_threads() and found["date"][:2] == "20"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_scrolls_sideways(run, tmp_path, width):
    """In a frame, as a browser's own window has a least width."""
    inside = html.escape(report.page(run))
    frame = f'<iframe id="f" style="width: {width}px; height: 900px; border: 0" srcdoc="{inside}"></iframe>'
    script = "onload = () => { const d = f.contentDocument.documentElement;"
    script += " document.title = d.scrollWidth + ' of ' + d.clientWidth }"
    (tmp_path / "page.html").write_text(f"<title></title>{frame}<script>{script}</script>")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom"]
    line = ["chromium", *options, "--window-size=1400,1000", f"file://{tmp_path}/page.html"]
    shown = subprocess.run(line, capture_output=True, text=True, timeout=120)
    wide, inner = map(int, re.search(r"<title>(\d+) of (\d+)</title>", shown.stdout).groups())
    assert wide <= inner == width


def test_a_histogram_and_a_cloud_leave_out_what_is_not_finite():
    values = np.array([1.0, 2.0, np.nan, np.inf, 3.0])
    assert "n 3" in charts.histogram({"a": values}, "nats")
    assert charts.scatter(np.array([[0.0, 0.0], [np.nan, 1.0]]), 1.0).count("h0") == 1

"""What the page's buttons do, on exact models: samples, walks, likelihoods and their place; what a visitor gives."""

import json
import threading

import numpy as np
import pytest
import torch
from commands import FEW, ROOT, TINY, command
from omegaconf import OmegaConf
from PIL import Image
from problems import refuses

import scoresde
from scoresde import InputError, exact
from scoresde.conditions import Label, Text
from scoresde.config import build
from scoresde.data import from_tensor
from scoresde.demo import Desk, Place, Subject, draw, given, scores
from scoresde.demo.ways import TOLERANCE, denoising, walk
from scoresde.demo.wishes import SAMPLERS, Walk, Wish
from scoresde.denoiser import FlowMap
from scoresde.guidance import Guided
from scoresde.model import Model
from scoresde.noise import normal
from scoresde.pictures.pixels import save_files
from scoresde.sampling import Jump

SDE = scoresde.VP()
MEANS = torch.tensor([[-3.0, 0.0], [3.0, 0.0]], dtype=torch.float64)


def subject(labels=None, data=True):
    """Two Gaussians in the model's space, which is half of the data's own plus 1."""
    mixture = exact.GaussianMixture(torch.ones(2), MEANS, 0.25, SDE, labels=labels)
    raw = 2 * (mixture.sample(300).float() - 1)
    known = from_tensor(raw, standardize=None) if data else None
    facts = {"name": "pair", "shape": [2], "levels": None, "scale": torch.tensor(0.5), "shift": torch.tensor(1.0)}
    return Subject(Model(mixture, facts, 7), None, (lambda: known) if data else None)


def images(levels=17, shape=(1, 8, 8)):
    """An exact model of images with levels."""
    mixture = exact.GaussianMixture(torch.ones(1), torch.zeros(1, *shape, dtype=torch.float64), 0.4, SDE)
    facts = {"name": "grey", "shape": list(shape), "levels": levels, "scale": 2.0, "shift": -1.0}
    facts |= {k: torch.tensor(facts[k]) for k in ("scale", "shift")}
    return Subject(Model(mixture, facts, 1))


def test_samplers_are_those_of_the_command():
    for name, made in SAMPLERS.items():
        node = OmegaConf.load(ROOT / "conf" / "sampler" / f"{name}.yaml")
        assert build.make(node, "sampler") == made(node.steps), name


@pytest.mark.parametrize("sampler", ["gaussian_adams", "pc", "ode"])
def test_the_way_ends_at_the_samples_of_the_model(sampler):
    shown, wish = subject(), Wish(n=6, seed=3, sampler=sampler, steps=8)
    frames = list(denoising(shown, wish))
    asked = shown.model.generate(6, wish.made(), 3, progress=False)
    assert torch.equal(frames[-1].samples, asked) and all(f.samples is None for f in frames[:-1])
    start = SDE.prior(normal(torch.zeros(6, 2), torch.arange(6), 3, 0, 0))
    assert torch.equal(frames[0].x, start) and frames[0].step == 0 and frames[0].t == 1.0
    times = [f.t for f in frames[:-1]]
    assert times == sorted(times, reverse=True) and len(frames) == frames[0].total + 2


def test_whoever_leaves_stops_the_sampling():
    before = threading.active_count()
    way = denoising(subject(), Wish(n=2, sampler="ddim", steps=1000))
    next(way)
    assert threading.active_count() == before + 1
    way.close()
    assert threading.active_count() == before


def test_a_class_is_where_the_samples_are_and_guidance_leads_further():
    shown = subject(labels=[0, 1])
    desk = Desk(shown)
    last = lambda **wish: list(denoising(shown, Wish(n=200, steps=20, **wish)))[-1].samples
    assert (last(label=0)[:, 0] < -2).all() and (last(label=1)[:, 0] > 1).all()
    both = last(label=-1)
    assert (both[:100, 0] < -2).all() and (both[100:, 0] > 1).all()
    led = last(label=1, scale=3.0)
    assert torch.equal(
        led, shown.model.generate(200, Wish(steps=20).made(), 0, {"label": 1}, shown_guide, progress=False)
    )
    assert desk.choices() == [("none", None), ("all in turn", -1), ("0", 0), ("1", 1)]
    for label in (2, -2):
        with pytest.raises(InputError, match="label"):
            last(label=label)
    with pytest.raises(InputError, match="takes no label"):
        list(denoising(subject(), Wish(label=0)))


@pytest.mark.parametrize("lands", ["data", None])
def test_a_distilled_model_is_told_the_scale(lands):
    """A student of few steps, or a denoiser that is led: the page offers the scales that it has learned."""
    torch.manual_seed(0)
    teacher = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16, blocks=1, conditions={"label": Label(2)}), SDE)
    student = FlowMap.of(teacher, lands, guidance=(1.5, 4.0)).eval()
    for weight in student.parameters():  # the last layer of a new network is 0
        torch.nn.init.normal_(weight, std=0.2)
    facts = {"name": "pair", "shape": [2], "levels": None, "scale": torch.tensor(0.5), "shift": torch.tensor(1.0)}
    shown = Subject(Model(student, facts, 7))
    desk = Desk(shown)
    assert desk.scales == (1.5, 4.0, 1.5) and not shown.free
    wish = {"n": 3, "label": 1, "sampler": "renoise" if lands else "ddim", "steps": 2}
    frames = list(denoising(shown, Wish(scale=3.0, **wish)))
    told = lambda w: shown.model.generate(3, Wish(**wish).made(), 0, {"label": 1, "guidance": w}, progress=False)
    assert torch.equal(frames[-1].samples, told(3.0)) and not torch.equal(told(3.0), told(2.0))
    with pytest.raises(InputError, match="scale is 1: give numbers from 1.5 to 4"):
        list(denoising(shown, Wish(scale=1.0, **wish)))
    latent = SDE.prior(normal(torch.zeros(2, 2).double(), torch.zeros(2).long(), 0, 0, 0))
    found = walk(shown, Walk(first=0, last=0, points=2, label=1, scale=3.0))
    cond = {"label": 1, "guidance": 3.0}
    jump = shown.model.generate(1, Jump(steps=1), 0, cond, progress=False).double()
    ends = jump if lands else shown.model.decode(scoresde.from_latent(shown.model, latent, cond=cond, **TOLERANCE))
    assert torch.allclose(found[0].double(), ends[0].double(), atol=1e-5)
    if lands:
        with pytest.raises(InputError, match="give seeds"):
            walk(shown, Walk(between="items"))
    assert Desk(subject()).scales is None and Desk(subject(labels=[0, 1])).scales == (0.0, 8.0, 1.0)


def shown_guide(model):
    return scoresde.guidance.Guided(model, 3.0)


def test_a_model_that_needs_what_the_page_cannot_give_is_refused():
    shown = subject()
    shown.model.conditions = {"pose": scoresde.conditions.Vector(2, drop=0.0)}
    with pytest.raises(InputError, match="pose"):
        Subject(shown.model)


def test_walks_end_where_they_should():
    shown = subject()
    found = walk(shown, Walk(first=4, last=9, points=5))
    for end, seed in ((0, 4), (-1, 9)):
        latent = SDE.prior(normal(torch.zeros(1, 2).double(), torch.zeros(1).long(), seed, 0, 0))
        here = shown.model.decode(scoresde.from_latent(shown.model, latent))
        assert torch.allclose(found[end], here[0], atol=1e-2)
    items = shown.held_out([2, 5])[0]
    found = walk(shown, Walk(between="items", first=2, last=5, points=4))
    assert torch.allclose(found[[0, -1]].float(), items, atol=1e-2) and found.shape == (4, 2)
    with pytest.raises(InputError, match="give a number from 0"):
        walk(shown, Walk(between="items", first=0, last=10**6))


def test_likelihoods_are_exact_in_the_datas_own_units():
    shown = subject(labels=[0, 1])
    raw = shown.held_out(range(5))[0]
    x = shown.model.encode(raw).double()
    how = scores.How(probes=None, rtol=1e-6, atol=1e-6)
    # x_T of one class alone is not quite the prior: its mean there is 0.02 from 0.
    for cond, near in (({}, 1e-3), ({"label": (x[:, 0] > 0).long()}, 0.05)):
        right = shown.model.denoiser.log_prob(x, SDE.t_min, cond=cond)
        found = scores.score(shown, raw, cond, how)
        assert torch.allclose(found, right + 2 * np.log(0.5), atol=near)


def test_the_place_is_among_held_out_items():
    shown = subject()
    held = scores.held(shown)
    assert held.units == "nats" and "scored now" in held.source
    known = scores.score(shown, shown.held_out(range(len(held.values)))[0], None, scores.How())
    assert torch.equal(held.values, known)
    assert held.place(float("inf")) == 1 and held.place(float("-inf")) == 0
    assert held.place(float(known.median())) == pytest.approx(0.5, abs=0.1)
    bits = scores.Held(torch.tensor([1.0, 2.0, 3.0]), "bits/dim", scores.How(), "")
    assert bits.place(1.5) == pytest.approx(2 / 3)  # fewer bits are more likely
    alone = Desk(subject(data=False))
    item, place, words = alone.likelihood(text="4, -2")
    assert place is None and "nothing to place it among" in words and item.ndim == 3


def test_what_is_said_is_what_the_model_is_told():
    words = Text.fitted(["one on the left", "one on the right"])
    net = scoresde.nets.MLP((2,), width=16, blocks=1, conditions={"caption": words})
    for weight in net.parameters():  # the last layer of a new network is 0
        torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(weight.numel()))
    facts = {"name": "pair", "shape": [2], "levels": None, "scale": torch.tensor(1.0), "shift": torch.tensor(0.0)}
    shown = Subject(Model(scoresde.Preconditioned(net.eval(), SDE), facts, 1))
    last = lambda **wish: list(denoising(shown, Wish(n=5, steps=3, sampler="ddim", **wish)))[-1].samples
    drawn = lambda cond, guide=None: shown.model.generate(5, Wish(steps=3, sampler="ddim").made(), 0, cond, guide)
    left = {"caption": "one on the left"}
    assert torch.equal(last(said="one on the left"), drawn(left)) and not torch.equal(drawn(left), drawn(None))
    assert torch.equal(last(said="  "), drawn(None)) and torch.equal(last(said="", scale=3.0), drawn(None))
    assert torch.equal(last(said="one on the left", scale=3.0), drawn(left, lambda model: Guided(model, 3.0)))
    ends = [walk(shown, Walk(points=2, said=said)) for said in ("", "one on the left")]
    assert not torch.equal(*ends) and shown.text == "caption" and shown.free and not shown.classes
    refuses("the model takes no text", call=lambda: list(denoising(subject(), Wish(said="one"))))


@pytest.mark.slow
def test_a_result_of_the_command_is_used_and_its_items_are_scored_alike(monkeypatch, capfd, tmp_path):
    labels = [*TINY, "cond=[label]", "folder=m", "likelihood.n=6", "likelihood.rtol=1e-3", "likelihood.atol=1e-3"]
    for task in ("train", "likelihood"):
        assert command(monkeypatch, capfd, tmp_path, *labels, f"task={task}")[0] == 0
    from scoresde.tasks.look.demo import subject as of

    shown = of(OmegaConf.merge(OmegaConf.load(tmp_path / "m" / "config.yaml"), {"folder": str(tmp_path / "m")}))
    held = scores.held(shown)
    assert len(held.values) == 6 and "likelihood-test" in held.source and held.units == "bits/dim"
    for i in (0, 4):
        raw, cond = shown.held_out([i])
        assert float(scores.score(shown, raw, cond, held.how, i)[0]) == pytest.approx(float(held.values[i]), abs=1e-3)
    (path,) = tmp_path.glob("m/likelihood-test-*/summary.json")
    said = json.loads(path.read_text())
    assert np.mean(held.values.numpy()) == pytest.approx(said["bits_per_dim"], abs=1e-9)
    for change in ({"weights": "other"}, {"split": "train"}, {"control": "average"}, {"rtol": "much"}):
        path.write_text(json.dumps(said | change))
        assert "scored now" in scores.held(shown).source, change
    path.write_text(json.dumps(said))
    (path.parent / "likelihood.npz").write_bytes(b"no")
    assert "scored now" in scores.held(shown).source
    desk = Desk(shown)
    assert desk.dark and "10 classes" in desk.title
    *_, (picture, strip, words) = desk.sample(n=4, label=-1, steps=3, sampler="ddim")
    assert picture.ndim == strip.ndim == 3 and "4 samples by ddim, 3 steps" in words
    assert desk.interpolate(between="items", points=3)[0].ndim == 3
    pixels = np.full((40, 30, 3), 255, np.uint8)
    item, place, words = desk.likelihood(picture=Image.fromarray(pixels), invert=True, label=3)
    assert item.max() < 128 and place.ndim == 3 and "bits/dim, more likely than" in words


@pytest.mark.parametrize(("levels", "shape"), [(17, (1, 8, 8)), (256, (3, 5, 7))])
def test_a_picture_that_was_saved_of_an_item_is_that_item(levels, shape, tmp_path):
    shown = images(levels, shape)
    raw = torch.randint(0, levels, (1, *shape), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    save_files(tmp_path, raw, levels)
    with Image.open(tmp_path / "0000.png") as picture:
        assert torch.equal(given.from_picture(shown, picture), raw)
        turned = given.from_picture(shown, picture, invert=True)
        assert (turned.int() + raw.int() - (levels - 1)).abs().max() <= 1
        wide = picture.resize((3 * shape[2] + 12, 3 * shape[1]), Image.Resampling.NEAREST)
        assert given.from_picture(shown, wide).shape == raw.shape
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    assert bool((given.from_picture(shown, clear) == levels - 1).all())


def test_what_a_visitor_gives_wrongly_is_told_in_words(tmp_path):
    plane, grey = subject(), images()
    assert torch.equal(given.from_text(plane, " 1.5,\n-2 "), torch.tensor([[1.5, -2.0]], dtype=torch.float64))
    np.save(tmp_path / "x.npy", np.arange(64).reshape(8, 8) % 17)
    with pytest.raises(InputError, match=r"shape \(8, 8\)"):
        given.from_file(grey, tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.arange(64).reshape(1, 8, 8) % 17)
    assert given.from_file(grey, tmp_path / "x.npy").dtype == torch.uint8
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "x.exe").write_text("1")
    for wrong, word in (
        (lambda: given.from_text(plane, "1, two"), "give numbers"),
        (lambda: given.from_text(plane, "1 2 3"), "3 numbers: give 2"),
        (lambda: given.from_text(plane, "1 nan"), "not finite"),
        (lambda: given.from_text(grey, " ".join(["17"] * 64)), "from 0 to 16"),
        (lambda: given.from_file(plane, tmp_path / "o.npy"), "cannot be read"),
        (lambda: given.from_file(plane, tmp_path / "x.exe"), "give an .npy"),
        (lambda: given.from_picture(plane, np.zeros((4, 4, 3))), "no pictures"),
        (lambda: given.from_picture(grey, None), "no picture yet"),
        (lambda: list(denoising(plane, Wish(n=10**6))), "up to 2000"),
        (lambda: Wish(sampler="magic"), "sampler='magic'"),
        (lambda: Wish(steps=0), "steps=0"),
    ):
        with pytest.raises(InputError, match=word) as error:
            wrong()
        assert "\n" not in str(error.value)


SLOW_SHAPES = [pytest.param(shape, marks=pytest.mark.slow) for shape in ((1,), (5,), (2, 16))]


@pytest.mark.parametrize("shape", [(2,), *SLOW_SHAPES])
def test_every_kind_of_data_has_its_pictures(shape):
    mixture = exact.GaussianMixture(torch.ones(1), torch.zeros(1, *shape, dtype=torch.float64), 1.0, SDE)
    data = from_tensor(torch.randn(60, *shape), standardize=None)
    facts = {"name": "x", "shape": list(shape), "levels": None, "scale": torch.tensor(1.0), "shift": torch.tensor(0.0)}
    desk = Desk(Subject(Model(mixture, facts, 1), None, lambda: data))
    *_, (picture, strip, _) = desk.sample(n=3, steps=3)
    found = [picture, strip, *desk.likelihood(number=1)[:2]]
    found += [desk.interpolate(between=between, points=3)[0] for between in ("seeds", "items")]
    assert all(p.dtype == np.uint8 and p.ndim == 3 and p.std() > 0 for p in found)


def test_only_this_machine_reaches_the_page_unless_it_is_said():
    for host in ("127.0.0.1", "127.3.4.5", "localhost", "::1"):
        assert Place(host=host).host == host
    for wrong in ({"host": "0.0.0.0"}, {"host": "::"}, {"host": "example.org"}, {"host": "10.0.0.7"}, {"share": True}):
        with pytest.raises(InputError, match="say public=true"):
            Place(**wrong)
        Place(**wrong, public=True)


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capfd, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    code, out, err = command(monkeypatch, capfd, tmp_path, *FEW, "task=demo", "folder=none")
    assert code == 1 and err.count("\n") == 1 and "scoresde[demo]" in err
    code, _, err = command(monkeypatch, capfd, tmp_path, "task=demo", "task.host=0.0.0.0")
    assert code == 1 and err.count("\n") == 1 and "task.host='0.0.0.0' is open to other machines" in err
    assert not list(tmp_path.iterdir())


def test_the_picture_of_a_place_marks_the_value():
    held = scores.Held(torch.randn(50).double(), "nats", scores.How(), "50 items")
    picture = draw.histogram(held, 0.3)
    assert (np.abs(picture.astype(int) - [214, 39, 40]).max(-1) < 30).sum() > 100

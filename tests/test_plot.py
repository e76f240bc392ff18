"""Pictures of models of one or two numbers: what is drawn is the exact density, score and way."""

import json
import sys

import numpy as np
import pytest
import torch
from commands import command
from PIL import Image
from problems import SDES, each_song_sde

import scoresde
from scoresde import InputError, plot
from scoresde.denoiser import Wrapped
from scoresde.exact import GaussianMixture
from scoresde.guidance import Guided
from scoresde.plot import canvas, values


def line(sde=SDES["vp"], **more):
    return GaussianMixture(
        torch.tensor([1.0, 2.0]), torch.tensor([[-1.5], [1.0]]), torch.tensor([0.3, 0.5]), sde, **more
    )


def plane(sde=SDES["vp"], **more):
    means = torch.tensor([[-2.0, 0.0], [1.0, 1.5], [1.5, -1.5]])
    return GaussianMixture(torch.tensor([1.0, 2.0, 1.0]), means, torch.tensor([0.4, 0.6, 0.4]), sde, **more)


def bare(model):
    """The same, without a density of its own: it comes through the flow, as that of a network does."""
    return Wrapped(model)


# -- densities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [None, 0.2, 1.0])
@pytest.mark.parametrize("log", [False, True])
def test_the_density_of_a_number_is_the_exact_one(t, log):
    model = line()
    x, y = plot.density(model, t, log).axes[0].lines[0].get_data()
    expected = model.log_prob(torch.as_tensor(x)[:, None], t)
    expected = expected.clamp_min(expected.max() - 12) if log else expected.exp()
    assert np.allclose(y, expected, atol=1e-5)
    if not log and t != 1.0:
        assert np.trapezoid(y, x) == pytest.approx(1.0, abs=0.02)  # nearly all is in sight


@pytest.mark.parametrize(("model", "error"), [(plane(), 1e-5), (bare(plane()), 0.01)], ids=["own", "flow"])
def test_the_density_of_the_plane_is_the_exact_one(model, error):
    t, limits = 0.1, ((-4.0, 3.0), (-3.0, 4.0))
    figure = plot.density(model, t, limits=limits, points=20)
    axis = figure.axes[0]
    (image,) = axis.images
    places, x = values.grid(limits, 20)
    expected = plane().log_prob(x, t).exp().reshape(20, 20)
    assert np.abs(image.get_array() - expected.T.numpy()).max() < error * float(expected.max())
    assert image.get_extent() == [-4.0, 3.0, -3.0, 4.0] and axis.get_xlabel() == "$x_1$"
    assert "0.1" in axis.get_title() and r"\sigma/\alpha" in axis.get_title()


def test_a_density_knows_its_conditions_and_draws_samples():
    model = plane(labels=[0, 1, 1])
    figure = plot.density(model, cond={"label": 0}, samples=50)
    x = torch.as_tensor(figure.axes[0].collections[0].get_offsets())
    assert len(x) == 50 and (x - torch.tensor([-2.0, 0.0])).norm(dim=1).max() < 2.0
    own = torch.zeros(7, 2)
    assert len(plot.density(model, samples=own, limits=((-1, 1), (-1, 1))).axes[0].collections[0].get_offsets()) == 7


# -- the score --------------------------------------------------------------------------------------------------------


def test_arrows_point_along_the_score():
    model, t = plane(), 0.15
    figure = plot.score_field(model, t, arrows=9, samples=40)
    points, arrows = figure.axes[0].collections
    x = torch.as_tensor(np.asarray(arrows.XY)).float()
    score = model.score(x, t)
    drawn = torch.tensor(np.stack([arrows.U, arrows.V], 1)).float()
    assert len(x) == 81 and len(points.get_offsets()) == 40
    cosine = torch.cosine_similarity(drawn, score)
    assert cosine.min() > 0.999 and np.allclose(arrows.get_array(), score.norm(dim=1), rtol=1e-4)
    order = score.norm(dim=1).argsort()
    assert (drawn.norm(dim=1)[order].diff() > -1e-6).all()  # longer where the score is


def test_the_score_of_a_number_is_a_curve():
    model, t = line(), 0.3
    curve = next(c for c in plot.score_field(model, t).axes[0].lines if len(c.get_xdata()) == 300)
    x = torch.as_tensor(curve.get_xdata())[:, None].float()
    assert np.allclose(curve.get_ydata(), model.score(x, t)[:, 0], atol=1e-4)


# -- ways -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [None, scoresde.sampling.DDIM(steps=7), scoresde.sampling.PC(steps=5)], ids=str)
def test_ways_start_at_noise_and_end_at_the_samples(sampler):
    model = plane()
    figure = plot.trajectories(model, 9, sampler, seed=3)
    ways, start, end = figure.axes[0].collections
    flow = scoresde.sampling.ProbabilityFlow()
    x = scoresde.sample(model, sampler or flow, (9, 2), seed=3)
    assert np.allclose(end.get_offsets(), x, atol=1e-6 if sampler else 5e-3)
    segments = np.stack(ways.get_segments())
    assert np.allclose(segments[:, 0], start.get_offsets()) and np.allclose(segments[:, -1], end.get_offsets())
    assert segments.shape[1] == (sampler.steps + 1 if sampler else segments.shape[1]) and segments.shape[1] > 5
    told = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert told == ["$x_T$", "$x_0$"]


@pytest.mark.parametrize("name", ["vp", "ve", "edm", "quadratic"])
def test_wide_noise_is_drawn_by_its_own_size(name):
    sde = SDES[name]
    axis = plot.trajectories(line(sde), 20).axes[0]
    y = np.array([way.get_ydata() for way in axis.lines])
    assert np.abs(y).max() < 6 and (r"\sqrt" in axis.get_ylabel()) == (name in ("ve", "edm"))
    assert axis.get_xscale() == ("log" if name == "edm" else "linear") and axis.get_xlabel() == "$t$"


# -- p_t over time ----------------------------------------------------------------------------------------------------


@each_song_sde
@pytest.mark.parametrize("own", [True, False], ids=["own", "flow"])
def test_p_t_of_a_number_over_time(sde, own):
    model = line(sde)
    axis = plot.marginals(model if own else bare(model), n=4, points=90).axes[0]
    (image,) = axis.collections
    mesh = np.asarray(image.get_coordinates())
    t, z, p = mesh[0, :, 0], mesh[:, 0, 1], np.asarray(image.get_array()).reshape(mesh.shape[:2])
    assert np.allclose(p.sum(0) * (z[1] - z[0]), 1.0, atol=0.03) and len(axis.lines) == 4
    scaled = canvas.widens(sde)
    n = np.array([sde.at(float(s)).n if scaled else 1.0 for s in t])
    for i in range(0, len(t), 10):
        x = torch.as_tensor(z * n[i])[:, None]
        expected = model.log_prob(x, float(t[i])).exp().numpy() * n[i]
        assert np.abs(p[:, i] - expected).max() < (1e-4 if own else 0.04) * expected.max()


def test_p_t_of_the_plane_is_a_panel_for_each_time():
    model, times = plane(), [0.4, 0.01, 1.0]
    figure = plot.marginals(model, times, points=15)
    panels = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title().split(",")[0] for axis in panels] == ["$t$ = 0.01", "$t$ = 0.4", "$t$ = 1"]
    for axis, t in zip(panels, sorted(times), strict=True):
        limits = np.reshape(axis.images[0].get_extent(), (2, 2))
        _, x = values.grid(limits, 15)
        expected = model.log_prob(x, t).exp().reshape(15, 15).T
        assert np.allclose(axis.images[0].get_array(), expected, atol=1e-5)
    assert len({tuple(axis.images[0].get_extent()) for axis in panels}) == 1


# -- axes and mistakes ------------------------------------------------------------------------------------------------


def test_what_is_given_is_drawn_into():
    figure, axes = canvas.frame(None, 4)
    assert plot.density(plane(), axes=axes[0], points=9) is figure
    plot.score_field(plane(), 0.1, axes=axes[1], arrows=4)
    plot.trajectories(plane(), 3, axes=axes[2])
    plot.density(line(), axes=axes[3], points=9)
    assert all(axis.get_title(loc) for axis, loc in zip(axes, ("center", "center", "left", "center"), strict=True))
    other, row = canvas.frame(None, 2)
    assert plot.marginals(plane(), [0.1, 0.5], axes=row, points=9) is other


def test_a_network_says_its_shape_and_draws():
    net = scoresde.nets.MLP((2,), width=16, blocks=1)
    model = scoresde.Preconditioned(net, scoresde.VP())
    with pytest.raises(InputError, match=r"does not know the shape .* say shape="):
        plot.density(model)
    for figure in (
        plot.density(model, shape=(2,), points=8),
        plot.score_field(model, 0.5, arrows=4, shape=(2,)),
        plot.trajectories(model, 3, shape=(2,)),
        plot.marginals(model, [0.1, 0.5], points=8, shape=(2,)),
    ):
        assert figure.axes[0].get_title() or figure.axes[0].get_title("left")


def test_mistakes_are_one_line(monkeypatch):
    image = GaussianMixture(torch.ones(1), torch.zeros(1, 1, 4, 4), 1.0, scoresde.VP())
    guided = Guided(plane(labels=[0, 1, 1]), 3.0)
    for wrong, words in (
        (lambda: plot.density(image), r"shape \(1, 4, 4\): plots are of 1 or 2 numbers"),
        (lambda: plot.density(guided), "no posterior mean"),
        (lambda: plot.marginals(guided), "no posterior mean"),
        (lambda: plot.density(plane(), points=1), "points=1: give"),
        (lambda: plot.score_field(plane(), 0.0), "t=0.0: give a number above 0"),
        (lambda: plot.marginals(plane(), [0.1, 0.2], axes=canvas.frame(None)[1]), "axes: give 2 of matplotlib's Axes"),
    ):
        with pytest.raises(InputError, match=words) as error:
            wrong()
        assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="pip install matplotlib"):
        plot.density(plane())


# -- the task ---------------------------------------------------------------------------------------------------------

TOY = ["data=toy", "data.n=100", "data.test=20", "net.width=16", "train.steps=4", "train.batch_size=16"]
SHOW = ["task=show", "task.points=9", "task.arrows=4", "task.ways=5"]


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path):
    return lambda *overrides: command(monkeypatch, capfd, tmp_path, *overrides)


def test_a_model_of_points_is_shown(cli, tmp_path):
    assert cli(*TOY, "task=train")[0] == 0
    code, out, err = cli(*TOY, *SHOW, "sampler=ddim", "sampler.steps=5", "task.times=[0.1,0.5]")
    assert code == 0, err
    (folder,) = (tmp_path / "runs").glob("*/show-ddim-*")
    names = ["density.png", "score.png", "trajectories.png", "marginals.png"]
    assert json.loads((folder / "summary.json").read_text())["names"] == names
    assert all(Image.open(folder / name).width > 300 for name in names) and "marginals.png" in out
    code, _, err = cli(*TOY, *SHOW, "task.times=[2.0]")
    assert code == 1 and "task.times=[2.0]: give times in [1e-05, 1]" in err and err.count("\n") == 1


@pytest.mark.slow
def test_numbers_with_labels_are_shown_as_they_are_given(cli, tmp_path):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 120)
    np.savez(tmp_path / "x.npz", x=(rng.normal(size=120) + 3 * label)[:, None].astype("float32"), label=label)
    words = ["data=array", "data.root=x.npz", "data.test=20", "net=mlp", *TOY[3:], "cond=[label]", "sde=ve"]
    assert cli(*words, "task=train")[0] == 0
    code, _, err = cli(*words, *SHOW, "sampler=ode", "given.label=1")
    assert code == 0, err
    (folder,) = (tmp_path / "runs").glob("*/show-ode-*")
    assert len(list(folder.glob("*.png"))) == 4
    code, out, err = cli(*words, *SHOW, "sampler=ddim", "sampler.steps=4", "given.label=1", "guidance=cfg")
    assert code == 0 and "no density" in out, err
    (folder,) = (tmp_path / "runs").glob("*/show-ddim-*")
    assert {p.name for p in folder.glob("*.png")} == {"score.png", "trajectories.png"}
    code, _, err = cli(*words, *SHOW, "given.label=[0,1]")
    assert code == 1 and "task=show draws one value" in err and err.count("\n") == 1


def test_other_data_is_told_what_there_is(cli, tmp_path):
    tiny = ["net.channels=8", "net.attention=0", *TOY[4:]]
    assert cli(*tiny, "task=train")[0] == 0
    code, _, err = cli(*tiny, "task=show")
    assert code == 1 and "(1, 8, 8): task=sample draws" in err and err.count("\n") == 1
    assert not list((tmp_path / "runs").glob("*/show-*"))

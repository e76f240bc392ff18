"""Image-to-image models (Palette): exact posteriors, regression beside them, and the task that translates pictures."""

import json
import math

import numpy as np
import pytest
import torch
from commands import FEW, TINY, command
from PIL import Image
from problems import SDES

import scoresde
from scoresde.conditions import Picture
from scoresde.data import Border, Data, Grey, Hole, Lower, Tensors, collate, digits, put_back, stack, viewed
from scoresde.denoiser import Denoiser
from scoresde.sampling import DDIM, DPMpp2M
from scoresde.spaces import Affine

SHAPE, DIM = (3, 2, 2), 12


class Told(Denoiser):
    """E[x_0 | x_t, seen] of x_0 ~ N(mean, C) in 12 numbers, and `seen` the rows of a matrix A that are not NaN.

    Both are one Gaussian measurement H x_0 + noise of covariance R: mean + C H^T G^-1 (z - H mean), G = H C H^T + R;
    what is missing is a measurement of nothing.
    """

    def __init__(self, mean, covariance, matrix, sde):
        super().__init__(sde)
        self.mean, self.covariance, self.matrix = mean, covariance, matrix
        self.conditions = {"seen": Picture(SHAPE, drop=0.0)}

    def forward(self, x, t, cond=None):
        n = len(x)
        alpha, sigma = (
            torch.as_tensor(a, dtype=torch.float64).reshape(-1, 1).expand(n, DIM) for a in self.sde.marginal(t)
        )
        seen = cond["seen"].double().flatten(1)
        known = ~seen.isnan()
        h = torch.cat([torch.diag_embed(alpha), known[..., None] * self.matrix], 1)
        noise = torch.cat([sigma**2, torch.full_like(seen, 1e-7)], 1)
        z = torch.cat([x.double().flatten(1), seen.nan_to_num(0.0)], 1)
        g = h @ self.covariance @ h.mT + torch.diag_embed(noise)
        away = torch.linalg.solve(g, z - h @ self.mean)
        return (self.mean + (h.mT @ away[..., None])[..., 0] @ self.covariance).reshape(x.shape).to(x.dtype)


def law():
    """The mean and the covariance of a Gaussian in 12 numbers."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    root = 0.4 * draw(DIM, DIM)
    return draw(DIM), root @ root.T + 0.05 * torch.eye(DIM, dtype=torch.float64)


def given(mean, covariance, matrix, y):
    """The mean and the covariance of x given A x = y, by Schur's complement."""
    cross = covariance @ matrix.T
    gain = cross @ torch.linalg.inv(matrix @ cross)
    return mean + gain @ (y - matrix @ mean), covariance - gain @ cross.T


def measured(view, x):
    """What a view sees of x (1, 3, 2, 2), the matrix of all its pixels, and its rows that are told, once each."""
    seen, eye = view(x, torch.tensor([1]), 0), torch.eye(DIM, dtype=torch.float64)
    if isinstance(view, Grey):
        whole = view(eye.reshape(DIM, *SHAPE), torch.arange(DIM), 0).flatten(1).T
        return seen, whole, whole[:4], seen.flatten()[:4]
    known = ~seen.flatten().isnan()
    return seen, eye, eye[known], seen.flatten()[known]


@pytest.mark.parametrize("view", [Grey(), Hole(), Border()], ids=lambda v: type(v).__name__)
def test_exact_models_of_colours_holes_and_borders_draw_from_the_posterior(view):
    mean, covariance = law()
    x = (mean + 0.5).reshape(1, *SHAPE)
    seen, whole, matrix, y = measured(view, x)
    model, n = Told(mean, covariance, whole, scoresde.VP()), 4000
    how = {"cond": {"seen": seen}, "dtype": torch.float64, "progress": False}
    drawn = put_back(scoresde.sample(model, DPMpp2M(steps=60), (n, *SHAPE), **how), seen.expand(n, *SHAPE))
    drawn, (true, spread) = drawn.flatten(1), given(mean, covariance, matrix, y)
    error = (drawn.mean(0) - true).abs()
    assert bool((error < 4.5 * (spread.diagonal().clamp_min(0) / n).sqrt() + 0.004).all())
    wanted = (spread.square() + spread.diagonal().outer(spread.diagonal())).clamp_min(0).div(n).sqrt()
    assert bool(((drawn.T.cov() - spread).abs() < 4.5 * wanted + 0.004).all())
    assert float(spread.trace()) > 0.5  # there is something to be unsure of


def test_a_missing_view_is_no_view_to_the_bit():
    data = viewed(digits(), Hole(), drop=0.1)
    net = scoresde.nets.UNet(data.shape, channels=8, attention=0, conditions={"seen": data.conditions["seen"]})
    for p in net.parameters():  # the last layer begins at 0
        torch.nn.init.normal_(p, std=0.1)
    model = scoresde.Preconditioned(net, scoresde.VP()).eval()
    shape, sampler = (3, *data.shape), DPMpp2M(steps=3)
    plain = scoresde.sample(model, sampler, shape, progress=False)
    nothing = scoresde.sample(model, sampler, shape, cond={"seen": torch.full(shape, math.nan)}, progress=False)
    assert torch.equal(plain, nothing)
    some = collate(data.test, range(3), ["seen"]).cond
    assert not torch.equal(plain, scoresde.sample(model, sampler, shape, cond=some, progress=False))


@pytest.mark.parametrize("name", ["vp", "ve", "cosine", "linear", "edm"])
def test_at_the_highest_noise_a_denoiser_is_the_regression_on_what_is_told(name):
    mean, covariance = law()
    x = (mean + 0.5).reshape(1, *SHAPE)
    seen, whole, matrix, y = measured(Hole(), x)
    model = Told(mean, covariance, whole, SDES[name])
    once = DDIM(steps=1, t_min=0.0, last="none")
    how = {"cond": {"seen": seen}, "dtype": torch.float64, "progress": False}
    drawn = scoresde.sample(model, once, (50, *SHAPE), **how).flatten(1)
    true = given(mean, covariance, matrix, y)[0]
    # x_T tells of x_0 what alpha / sigma lets it: a deviation of about that.
    alpha, sigma = SDES[name].marginal(torch.tensor(SDES[name].t_max, dtype=torch.float64))
    assert float((drawn - true).abs().max()) < 5 * float(alpha / sigma) * float(covariance.diagonal().max()) + 1e-4


class Straight(torch.nn.Module):
    """A linear network of x and of what is seen, with one number for each."""

    def __init__(self):
        super().__init__()
        self.conditions, self.linear = {"seen": Picture((1, 2), drop=0.0)}, torch.nn.Linear(6, 4)

    def forward(self, x, c, cond=None):
        return self.linear(torch.cat([x.flatten(1), cond["seen"].to(x).flatten(1)], 1)).reshape(x.shape)


def test_a_network_trained_at_the_highest_noise_alone_is_the_conditional_mean():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(4, 4, generator=generator)
    x = (torch.randn(20000, 4, generator=generator) @ root + 0.5).reshape(-1, 1, 4)
    data = viewed(Data("normal", Tensors(x), Tensors(x[:100]), Affine()), Lower(2))
    loss = scoresde.loss.DenoisingLoss(times="highest")
    assert bool((loss.sample_times(scoresde.VP(), 9) == 1.0).all())
    model = scoresde.Preconditioned(Straight(), scoresde.VP(), rule="x0")
    model = scoresde.train(model, data, loss=loss, steps=400, batch_size=512, lr=0.03, ema=0.98, progress=False)
    pairs = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], dtype=torch.float64)
    seen = torch.tensor([[1.0, -1.0], [0.0, 2.0], [-2.0, 0.5]])
    mean, covariance = torch.full((4,), 0.5, dtype=torch.float64), (root.T @ root).double()
    true = torch.stack([given(mean, covariance, pairs, y.double())[0] for y in seen])
    once = DDIM(steps=1, t_min=0.0, last="none")
    found = scoresde.sample(model, once, (3, 1, 4), cond={"seen": seen[:, None]}, progress=False).flatten(1)
    assert float((found - true).abs().max()) < 0.1  # and the spread about it is of order 1
    assert float(given(mean, covariance, pairs, seen[0].double())[1].trace()) > 1


def cli(monkeypatch, capfd, folder, *words):
    code, out, err = command(monkeypatch, capfd, folder, "folder=m", *FEW, *words)
    assert code == 0, out + err
    return max(folder.glob("m/translate-*"), key=lambda path: path.stat().st_mtime_ns)


def test_the_command_translates_held_out_pictures_and_those_of_a_folder(tmp_path, monkeypatch, capfd):
    words = [*TINY, *FEW, "view=hole", "view.seed=2", "folder=m", "task=train"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *words)
    assert code == 0, out + err
    run = lambda *words: cli(monkeypatch, capfd, tmp_path, "task=translate", *words)
    place = run("n=50", "task.k=3", "task.extractor=flatten")
    known = json.loads((place / "summary.json").read_text())
    samples, told = torch.from_numpy(np.load(place / "samples.npy")), np.load(place / "seen.npz")
    data = viewed(digits(), Hole(), seed=2)
    truth, seen = stack(data.test, range(50)), collate(data.test, range(50), ["seen"]).cond["seen"]
    assert samples.shape == (50, 3, 1, 8, 8)
    assert np.array_equal(told["seen"], seen.numpy(), equal_nan=True)
    there = ~seen.isnan()[:, None].expand_as(samples)
    assert torch.equal(samples[there], truth[:, None].expand_as(samples)[there])  # put back, to the level
    error = ((samples[:, 0].double() - truth) ** 2).flatten(1).mean(1)
    assert known["psnr"]["value"] == pytest.approx(float((10 * (256 / error).log10()).mean()), rel=1e-9)
    assert known["psnr_of_mean"]["value"] > known["psnr"]["value"]
    assert known["diversity"]["value"] == pytest.approx(float(samples.double().std(1).mean()), rel=1e-9)
    assert known["frechet"]["value"] > known["frechet_truth"]["value"]
    assert (place / "translate.png").exists() and not (place / "samples").exists()
    # Whatever is drawn beside a sample, it is the same; and without what is known it is another.
    fewer = np.load(run("n=4", "task.k=3", "batch_size=5", "task.frechet=false") / "samples.npy")
    assert np.array_equal(fewer, samples[:4].numpy())
    free = np.load(run("n=4", "task.k=3", "task.put_back=false") / "samples.npy")
    gone = ~there[:4].numpy()
    assert np.array_equal(free[gone], fewer[gone]) and not np.array_equal(free, fewer)
    other = np.load(run("n=4", "task.view=border", "png=true") / "seen.npz")["seen"]
    assert np.isnan(other).any() and not np.array_equal(np.isnan(other), np.isnan(told["seen"][:4]))
    node = "task.view={_target_:scoresde.data.Border,where:frame}"
    frame = np.isnan(np.load(run("n=4", node) / "seen.npz")["seen"])
    assert (frame == frame[:1]).all() and frame.any()
    # Files in a folder, with bytes in the place of levels, and one of another size than the model's.
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        large = np.kron((truth[i, 0].numpy() / 16 * 255).round(), np.ones((1 + i // 2, 1 + i // 2)))
        Image.fromarray(large.astype(np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    own = ["data=images", "data.root=pictures"]
    place = run(*own, "task.k=2")
    assert json.loads((place / "summary.json").read_text())["pictures"] == "pictures"
    assert np.load(place / "samples.npy").shape == (3, 2, 1, 8, 8) and len(list(place.glob("samples/*.png"))) == 6
    place = run(*own, "task.k=1", "task.view=none")
    seen = digits().decode(torch.from_numpy(np.load(place / "seen.npz")["seen"]))
    assert torch.equal(seen[:2], truth[:2]) and "psnr" not in json.loads((place / "summary.json").read_text())
    for wrong, said in (
        (["task.view=grey"], "3 channels"),
        (["task.view=holes"], "task.view=holes"),
        (["task.view=lower"], "(1, 4, 4)"),
        (["task.view=none"], "data.root=FOLDER"),
        (["data=images", "data.root=nowhere"], "data.root=nowhere"),
        (["data=toy"], "data=images"),
        (["given.seen=3"], "task.view"),
        (["given.lable=3"], "lable"),
        (["task.k=0"], "task.k=0"),
        (["folder=nothing"], "folder=FOLDER"),
    ):
        words = ["task=translate", *wrong] + (["folder=m"] if "folder" not in wrong[0] else [])
        code, out, err = command(monkeypatch, capfd, tmp_path, *words)
        assert code == 1 and err.count("\n") == 1 and said in err, (wrong, err)


def test_wrong_views_of_the_command_are_found_before_any_work(tmp_path, monkeypatch, capfd):
    for wrong, said in (
        (["view=jpeg", "view.quality=[30,5]"], "view.quality=[30, 5]"),
        (["view=hole", "view.kind=round"], "view.kind='round'"),
        (["view=border", "view.share=1"], "view.share=1"),
        (["view=mixed", "view.views=[{_target_:scoresde.data.Grey,repeats:1}]"], "repeats"),
        (["view=mixed", "view.views=[]"], "view.views=[]"),
        (["view=grey"], "3 channels"),
    ):
        code, out, err = command(monkeypatch, capfd, tmp_path, *wrong, "task=train")
        assert code == 1 and err.count("\n") == 1 and said in err, (wrong, err)
    assert not list(tmp_path.rglob("model.json"))


def test_a_regression_is_trained_and_asked_by_the_command(tmp_path, monkeypatch, capfd):
    words = [*TINY, "view=mixed", "view.views=[{_target_:scoresde.data.Hole},{_target_:scoresde.data.Border}]"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *words, "loss=regression", "folder=m", "task=train")
    assert code == 0, out + err
    once = ["sampler=ddim", "sampler.steps=1", "sampler.t_min=0", "sampler.last=none"]
    code, out, err = command(monkeypatch, capfd, tmp_path, "folder=m", "task=translate", "n=4", "task.k=2", *once)
    assert code == 0, out + err
    (place,) = tmp_path.glob("m/translate-*")
    model, seen = scoresde.load(tmp_path / "m"), torch.from_numpy(np.load(place / "seen.npz")["seen"])
    cond = {"seen": seen.repeat_interleave(2, 0)}
    x = scoresde.sample(model, DDIM(steps=1, t_min=0.0, last="none"), (8, 1, 8, 8), cond=cond, progress=False)
    wanted = model.decode(put_back(x, cond["seen"])).unflatten(0, (4, 2))
    assert np.array_equal(np.load(place / "samples.npy"), wanted.numpy())
    assert json.loads((place / "summary.json").read_text())["evaluations"] == 1

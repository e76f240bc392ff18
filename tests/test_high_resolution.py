"""Laws of what larger pictures take: errors at several scales, patches of simple diffusion's UViT, JiT's loss."""

import json

import pytest
import torch
from commands import TINY, command
from problems import close, mixture, refuses
from torch.nn import functional as F

from scoresde.data import from_tensor
from scoresde.denoiser import Denoiser, Preconditioned
from scoresde.loss import DenoisingLoss, edm
from scoresde.loss.scales import multiscale, sides
from scoresde.making import canonical
from scoresde.nets import SimpleUViT
from scoresde.objectives import Denoising
from scoresde.sde import VP, Linear


class Off(Denoiser):
    """Another denoiser's answer plus what is given."""

    def __init__(self, denoiser, by):
        super().__init__(denoiser.sde)
        self.denoiser, self.by = denoiser, by

    def forward(self, x, t):
        return self.denoiser(x, t) + self.by


class Levelless(torch.nn.Module):
    """A network that ignores the level."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, c):
        return self.net(x)


@pytest.mark.parametrize("space", [(16,), (8, 16), (8, 4, 8)], ids=str)
def test_an_error_at_several_scales_is_the_sum_over_its_means(space):
    torch.manual_seed(0)
    r, d = torch.randn(3, 2, *space, dtype=torch.float64), max(space)
    found = sides(space, d // 4)
    assert found == [d, d // 2, d // 4] and sides(space, d) == [d] == sides(space, d // 2 + 1)
    pool = getattr(F, f"avg_pool{len(space)}d")
    by_hand = [
        d / s * pool(r, d // s).square().flatten(1).sum(1) * (d // s) ** len(space) / r[0].numel() for s in found
    ]
    close(multiscale(r, found), sum(by_hand), rtol=1e-12)
    close(multiscale(torch.ones_like(r), found), torch.full((3,), 7.0).double(), rtol=1e-12)  # 1 + 2 + 4
    close(multiscale(r, [d]), r.square().flatten(1).mean(1), rtol=1e-12)


def test_with_several_scales_the_minimum_stays_at_the_exact_denoiser():
    torch.manual_seed(0)
    model = mixture(VP(), shape=(1, 4, 4))
    x0, loss = model.sample(3000), DenoisingLoss(multiscale=1)
    t, eps = loss.sample_times(model.sde, 3000), torch.randn_like(x0)
    at = lambda by: loss.at(Off(model, by), x0, t, eps)
    for by in (torch.ones(1, 4, 4), torch.tensor([1.0, -1.0]).repeat(8).reshape(1, 4, 4)):
        more, less = at(0.1 * by) - at(0 * by), at(-0.1 * by) - at(0 * by)
        slope, bend = (more - less) / 0.2, (more + less) / 0.02
        assert abs(float(slope.mean())) < 4 * float(slope.std()) / 3000**0.5
        weight = 7 if bool((by == 1).all()) else 1  # a checkerboard has no means: it counts at the finest scale alone
        close(bend, weight * loss.weight_at(model.sde, t), rtol=1e-6)
    plain = DenoisingLoss().at(model, x0, t, eps)
    close(DenoisingLoss(multiscale=4).at(model, x0, t, eps), plain, rtol=1e-12)


def test_wrong_scales_are_told_before_a_training():
    data = from_tensor(torch.randn(8, 3, 12, 12))
    net = Preconditioned(SimpleUViT(data.shape, 8, (1,), 1, 16, 1, 2), VP())
    make = lambda data, **own: Denoising(net, DenoisingLoss(**own), data)
    refuses("multiscale=16: give at most the 12 pixels", call=lambda: make(data, multiscale=16))
    refuses("(12, 12) cannot be halved 3 times", call=lambda: make(data, multiscale=1))
    refuses(
        "multiscale=2: data needs (channels, *space)", call=lambda: make(from_tensor(torch.randn(8, 3)), multiscale=2)
    )
    refuses("a control variate is of one scale", call=lambda: DenoisingLoss(control=0.1, multiscale=4))
    assert make(data, multiscale=3).loss.multiscale == 3
    node = {"_target_": "scoresde.loss.DenoisingLoss"}
    assert "multiscale" not in canonical(node | {"multiscale": None}, "loss")  # models of before keep their names
    assert canonical(node | {"multiscale": 8}, "loss")["multiscale"] == 8


def test_patches_are_channels_and_the_answer_is_like_x():
    torch.manual_seed(0)
    settings = {"channels": 8, "mults": (1,), "convolutions": 1, "width": 16, "blocks": 1, "heads": 2}
    net, x, c = SimpleUViT((3, 8, 12), patch=2, **settings), torch.randn(2, 3, 8, 12), torch.randn(2)
    assert net.enter.in_channels == net.leave[-1].out_channels == 12 and net.places.shape == (2 * 3, 16)
    assert net(x, c).shape == x.shape and bool((net(x, c) == 0).all())
    close(net.patches.unfolded(net.patches.folded(x)), x, rtol=0)
    close(net.patches.folded(x), F.pixel_unshuffle(x, 2), rtol=0)
    refuses("patch=5: give a divisor", call=lambda: SimpleUViT((3, 8, 12), patch=5, **settings))


def test_the_default_weight_is_jits_loss_up_to_what_lies_between_a_half_and_one():
    """JiT's |v - v*|^2, v = (x_0 - z) / (1 - its time), of a network that predicts the data; its path is sde=linear."""
    torch.manual_seed(0)
    sde, t = Linear(), torch.rand(5, dtype=torch.float64) * 0.9 + 0.05
    (x0, eps), net = torch.randn(2, 5, 3, 8, 8).double(), torch.nn.Conv2d(3, 3, 3, padding=1)
    denoiser = Preconditioned(Levelless(net), sde, "x0")
    z = sde.perturb(x0, t, eps)
    alpha, sigma = (a.reshape(-1, 1, 1, 1) for a in sde.marginal(t))
    jit = ((denoiser(z, t) - z) / sigma - (x0 - z) / sigma).square().flatten(1).mean(1)
    ours = DenoisingLoss(weight=edm(1.0)).at(denoiser, x0, t, eps)
    close(ours, jit * (alpha**2 + sigma**2).flatten(), rtol=1e-6)
    assert bool(((alpha**2 + sigma**2) >= 0.5 - 1e-9).all())


def test_the_recipe_trains_in_small(monkeypatch, capfd, tmp_path):
    few = [word for word in TINY if not word.startswith("net.")]
    words = ["experiment=simple_scenes", *few, "data.n=60", "data.test=12", "tracker=none", "net.channels=8"]
    tiny = ["net.width=16", "net.heads=2", "net.blocks=1", "loss.multiscale=16", "train.batch_size=4", "folder=m"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *words, *tiny)
    assert code == 0, out + err
    known = json.loads((tmp_path / "m" / "model.json").read_text())
    assert known["sde"]["scale"] == 0.25 and known["loss"]["multiscale"] == 16 and known["net"]["patch"] == 2

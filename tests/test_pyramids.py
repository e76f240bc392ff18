"""Laws of pyramids and of the U-Net within U-Nets: what is packed comes back, growing, an exact Gaussian, folders."""

import dataclasses
import json

import pytest
import torch
from commands import TINY, command
from problems import close, refuses
from torch.nn import functional as F

import scoresde
from scoresde.conditions import Label, Tokens
from scoresde.data import from_tensor, pyramid, stack
from scoresde.denoiser import Denoiser, Preconditioned
from scoresde.making import make, node_of
from scoresde.nets import NestedUNet, UNet
from scoresde.report.again import value
from scoresde.sampling import Heun, sample
from scoresde.sde import VP, Cosine, Shifted, expand
from scoresde.spaces import Affine, Pyramid
from scoresde.spaces.folds import folded, unfolded
from scoresde.spaces.pyramid import joined
from scoresde.training.start import begin_with

SHAPES = pytest.mark.parametrize(
    ("shape", "resolutions"), [((3, 8, 16), 3), ((2, 8), 2), ((1, 4, 8, 4), 2), ((3, 5, 7), 1)], ids=str
)
KINDS = {"label": Label(3), "tokens": Tokens(4, 7)}


def awake(net):
    """The network with no layer at zero, as after training."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net.eval()


@SHAPES
def test_a_pyramid_has_each_picture_and_nothing_else(shape, resolutions):
    torch.manual_seed(0)
    codec, x = Pyramid(shape, resolutions), torch.randn(5, *shape)
    z = codec.pack(x)
    parts, pool = codec.unpack(z), getattr(F, f"avg_pool{len(shape) - 1}d")
    assert z.shape[1:] == codec.packed and z.numel() == sum(part.numel() for part in parts)
    assert len(parts) == resolutions and torch.equal(joined(parts), z)
    for k, part in enumerate(reversed(parts)):
        assert torch.equal(part, pool(x, 2**k) if k else x)
    assert torch.equal(z[:, : shape[0]], parts[0])  # the first channels are the pyramid of the smaller alone
    assert torch.equal(codec.restored(z), x)
    if len(shape) == 3 and resolutions == 3:
        assert torch.equal(folded(x, 4), F.pixel_unshuffle(x, 4)) and torch.equal(unfolded(folded(x, 4), 4), x)


@pytest.fixture(scope="module")
def gaussian():
    """Data of pictures (1, 4, 4), the moments of a Gaussian of these, and those of its pyramids to a model."""
    torch.manual_seed(1)
    a = torch.randn(16, 16, dtype=torch.float64) / 4
    mean, cov = torch.randn(16, dtype=torch.float64), a @ a.T + 0.05 * torch.eye(16)
    data = pyramid(from_tensor(torch.randn(16, 1, 4, 4)), 2, scale=0.5)
    packed = data.codec.pack(torch.eye(16, dtype=torch.float64).reshape(16, 1, 4, 4))
    matrix = (data.space.scale * packed).flatten(1).T  # of the pyramid, as the model sees it, of a picture
    return data, mean, cov, matrix @ mean, matrix @ cov @ matrix.T


class Exact(Denoiser):
    """The posterior mean of N(m, C), of a shape."""

    def __init__(self, sde, shape, mean, cov):
        super().__init__(sde)
        self.shape, self.mean, self.cov = shape, mean, cov

    def forward(self, x, t):
        alpha, sigma = (a.reshape(-1, 1, 1) for a in self.sde.marginal(t))
        gain = alpha * self.cov @ torch.linalg.inv(alpha**2 * self.cov + sigma**2 * torch.eye(len(self.cov)).double())
        away = x.flatten(1).double() - expand(alpha.reshape(-1), x.flatten(1).double()) * self.mean
        return (self.mean + (gain @ away[:, :, None])[..., 0]).reshape(x.shape).to(x.dtype)


def test_all_resolutions_are_drawn_with_their_joint_moments(gaussian):
    data, mean, cov, whole, spread = gaussian
    denoiser = Exact(Cosine(), data.shape, whole, spread)
    x = sample(denoiser, Heun(steps=60), (4000, *data.shape), dtype=torch.float64, progress=False)
    flat = x.flatten(1)
    assert ((flat.mean(0) - whole).abs() < 5 * (spread.diagonal() / 4000).sqrt() + 2e-3).all()
    se = ((spread**2 + spread.diagonal()[:, None] * spread.diagonal()) / 4000).sqrt()
    assert ((flat.T.cov() - spread).abs() < 5.5 * se + 2e-3).all()
    small, large = data.codec.unpack(data.space.decode(x))
    close(F.avg_pool2d(large, 2), small, rtol=0, atol=0.02)  # one picture at two resolutions
    assert torch.equal(data.decode(x), data.origin.decode(large))


def test_each_resolution_has_the_schedule_of_the_smallest_shifted(gaussian):
    """z_r = alpha b x_r + sigma eps, brought back to its variance, is x_t under `Shifted(sde, b)`."""
    data, sde, t = gaussian[0], Cosine(), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    for b, scale in zip((1.0, 0.5), (data.space.scale[:1], data.space.scale[1:]), strict=True):
        assert (scale == b).all()
        alpha, sigma = sde.marginal(t)
        n = torch.hypot(alpha * b, sigma)
        for found, expected in zip((alpha * b / n, sigma / n), Shifted(sde, b).marginal(t), strict=True):
            close(found, expected, rtol=1e-10)


def test_at_one_resolution_it_is_the_plain_u_net():
    torch.manual_seed(0)
    settings = {"channels": 8, "mults": (1, 2), "blocks": 1, "attention": 16, "heads": 2, "conditions": KINDS}
    net = awake(NestedUNet((3, 8, 8), outer=(), **settings))
    plain = UNet((3, 8, 8), **settings).eval()
    plain.load_state_dict(net.inner.state_dict())
    x, c = torch.randn(3, 3, 8, 8), torch.randn(3)
    cond = {"label": torch.tensor([0, -1, 2]), "tokens": torch.tensor([[1, 2, -1, -1]] * 3)}
    assert torch.equal(net(x, c, cond), plain(x, c, cond))


@pytest.mark.parametrize("shape", [(21, 8, 8), (14, 6), (73, 2, 4, 4)], ids=str)
def test_growing_keeps_the_answers_of_the_network_within_to_the_bit(shape):
    torch.manual_seed(0)
    settings = {"channels": 8, "mults": (1, 2), "attention": 16, "heads": 2}
    axes, grid = len(shape) - 1, shape[1:]
    of = lambda r: shape[0] // sum(2 ** (axes * k) for k in range(3)) * sum(2 ** (axes * k) for k in range(r))
    nets = [awake(NestedUNet((of(1), *grid), outer=(), **settings))]
    x, c = torch.randn(3, *shape), torch.randn(3)
    for outer in ((8,), (8, 16)):
        net = NestedUNet((of(len(outer) + 1), *grid), outer=outer, **settings).eval()
        fit = begin_with(net, nets[-1].state_dict())
        assert not (fit.grown or fit.cut or fit.left)
        before = nets[-1](x[:, : nets[-1].shape[0]], c)
        assert torch.equal(net(x[:, : net.shape[0]], c)[:, : before.shape[1]], before)
        nets.append(awake(net))
    y = x.clone()
    y[:, -1] += 1  # once trained, each answer knows all pictures
    assert (nets[-1](y, c)[:, 0] != nets[-1](x, c)[:, 0]).any()


def test_every_weight_is_used_once_trained():
    torch.manual_seed(0)
    net = awake(NestedUNet((21, 8, 8), 8, (1, 2), attention=16, heads=2, outer=(8, 16), conditions=KINDS))
    cond = {"label": torch.tensor([0, 1]), "tokens": torch.tensor([[1, 2, -1, -1]] * 2)}
    net(torch.randn(2, 21, 8, 8), torch.randn(2), cond).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters() if p.ndim > 1)
    assert make(node_of(net), "net").state_dict().keys() == net.state_dict().keys()


def test_what_is_wrong_is_told():
    data = from_tensor(torch.randn(8, 3, 6, 6))
    refuses("resolutions=3: (6, 6) cannot be halved 2 times", call=lambda: pyramid(data, 3))
    refuses("(channels, *space)", call=lambda: pyramid(from_tensor(torch.randn(8, 3)), 1))
    refuses("is made of other data: give pictures", call=lambda: pyramid(pyramid(data, 2), 1))
    scaled = dataclasses.replace(data, levels=None, space=Affine(torch.ones(3, 1, 1)))
    refuses("has a scale for each channel", call=lambda: pyramid(scaled, 2))
    refuses("a pyramid of 2 resolutions has a multiple of 5 channels", call=lambda: NestedUNet((3, 8, 8)))
    refuses("outer=[12]: give multiples of 8, not 12", call=lambda: NestedUNet((15, 8, 8), outer=(12,)))


def test_a_folder_draws_pictures_wherever_it_is(tmp_path):
    torch.manual_seed(0)
    digits = scoresde.data.digits()
    data = pyramid(digits, 2)
    net = NestedUNet(data.shape, 8, (1,), attention=0, outer=(8,))
    denoiser = Preconditioned(net, VP(), "v")
    model = scoresde.train(denoiser, data, steps=2, folder=tmp_path / "m", progress=False)
    x = model.generate(3, progress=False)
    assert x.shape == (3, 1, 8, 8) and x.dtype == torch.uint8 and model.outer.levels == 17
    moved = (tmp_path / "m").rename(tmp_path / "elsewhere")
    again = scoresde.load(moved)
    assert again.codec == data.codec and torch.equal(again.generate(3, progress=False), x)
    small, large = again.codec.pictures(again.space.decode(data.space.encode(stack(data.train, range(4)))))
    assert torch.equal(large, stack(digits.train, range(4)))
    close(small.double(), F.avg_pool2d(large.double(), 2), rtol=0, atol=0.5)


def test_the_recipe_begins_with_its_smallest_picture(monkeypatch, capfd, tmp_path):
    few = [*TINY, "data.data.n=60", "data.data.test=12", "tracker=none", "net.mults=[1,1]", "train.batch_size=4"]
    small = value(["experiment=matryoshka_scenes_small", *few, "folder=small"])
    words = ["experiment=matryoshka_scenes", *few, "net.outer=[8,8]", f"train.start={small}", "folder=m"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *words)
    assert code == 0 and "begins with" in out, out + err
    code, _, err = command(monkeypatch, capfd, tmp_path, "folder=m", "task=likelihood")
    assert code == 1 and "scenes64 pyramid has no density, its small pictures follow from the largest" in err
    code, out, err = command(
        monkeypatch, capfd, tmp_path, "folder=m", "task=edit", "n=2", "sampler=ddim", "sampler.steps=2"
    )
    assert code == 0, out + err
    model, raw = scoresde.load(tmp_path / "m"), stack(scoresde.data.scenes(size=64, n=60, test=12).test, range(2))
    assert torch.equal(model.edit(raw, 0.0), raw)  # pictures, their pyramids, and back
    known = json.loads((tmp_path / "m" / "model.json").read_text())
    assert known["codec"]["resolutions"] == 3 and known["data"]["shape"] == [63, 16, 16]

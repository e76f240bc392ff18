"""Laws of scoresde.nets: any shape, every parameter of use, and rows that do not see each other."""

import math

import pytest
import torch
from problems import close, refuses

from scoresde.denoiser import Preconditioned
from scoresde.loss import DenoisingLoss
from scoresde.nets import MLP, Encoder, UNet
from scoresde.nets.parts.attention import attention
from scoresde.nets.parts.blocks import ConvBlock
from scoresde.nets.parts.embedding import LevelEmbedding, Octaves
from scoresde.sde import VP

SPACES = [(1, 16), (2, 4, 4), (1, 7, 9), (3, 5, 4, 3), (1, 1, 3)]


def mlp(shape, **kwargs):
    return MLP(shape, width=16, blocks=2, fourier=4, **kwargs)


def unet(shape, **kwargs):
    return UNet(shape, **{"channels": 8, "mults": (1, 2), "blocks": 1, "heads": 2, **kwargs})


def awake(net):
    """The network with no layer at zero, as after training."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net.eval()


def mlp_octaves(shape):
    return mlp(shape, octaves=(0, 3))


def unet_octaves(shape):
    return unet(shape, octaves=(0, 3))


nets = [(mlp, shape) for shape in [(2,), (1,), (2, 3, 3, 3), *SPACES[:3]]] + [(unet, shape) for shape in SPACES]
nets += [(mlp_octaves, (2,)), *((unet_octaves, shape) for shape in [(1, 16), (2, 4, 4), (3, 5, 4, 3)])]
each_net = pytest.mark.parametrize("make, shape", nets, ids=[f"{make.__name__}{shape}" for make, shape in nets])


@each_net
def test_the_answer_has_the_shape_of_x(make, shape):
    net = awake(make(shape))
    for n in (1, shape[-1]):
        assert net(torch.randn(n, *shape), torch.randn(n)).shape == (n, *shape)
    assert net.double()(torch.randn(2, *shape).double(), torch.randn(2)).dtype == torch.float64


@each_net
def test_the_first_answer_is_zero(make, shape):
    assert make(shape)(torch.randn(3, *shape), torch.randn(3)).abs().max() == 0


@each_net
def test_every_parameter_learns(make, shape):
    """Layers that begin at zero block the gradient of those behind them: after a few steps all have moved."""
    net = make(shape)
    model, loss = Preconditioned(net, VP()), DenoisingLoss()
    before = {name: p.clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    x0 = torch.randn(8, *shape)
    for _ in range(4):
        optimizer.zero_grad()
        loss(model, x0).mean().backward()
        optimizer.step()
    still = [name for name, p in net.named_parameters() if torch.equal(p, before[name])]
    assert not still


@each_net
def test_a_row_does_not_see_its_mates(make, shape):
    net = awake(make(shape)).double()
    x, c = torch.randn(4, *shape).double(), torch.randn(4).double()
    whole = net(x, c)
    for i in range(4):
        close(net(x[i : i + 1], c[i : i + 1]), whole[i : i + 1], rtol=1e-9, atol=1e-11)
    order = torch.tensor([2, 0, 3, 1])
    close(net(x[order], c[order]), whole[order], rtol=1e-9, atol=1e-11)


@each_net
def test_the_answer_depends_on_the_level_and_on_all_of_x(make, shape):
    net = awake(make(shape)).double()
    x = torch.randn(1, *shape).double().requires_grad_()
    out = [net(x, torch.tensor([c])) for c in (-5.0, -4.9, 0.0, 3.0)]
    for a, b in zip(out, out[1:], strict=False):
        assert (a - b).abs().max() > 1e-6
    (gradient,) = torch.autograd.grad((out[2] * torch.randn_like(out[2])).sum(), x)
    assert (gradient.abs() > 1e-12).all()


def test_levels_are_told_apart_over_their_range():
    embed = LevelEmbedding(16)
    c = torch.linspace(-10, 5, 151)
    waves = []
    embed.mlp = torch.nn.Sequential(torch.nn.Linear(64, 64))
    with torch.no_grad():
        embed.mlp[0].weight.copy_(torch.eye(64))
        embed.mlp[0].bias.zero_()
        waves = embed(c)
    apart = torch.cdist(waves, waves) + 1e9 * torch.eye(len(c))
    assert float(apart.min()) > 0.2 and float(waves.abs().max()) <= 1


def test_levels_stay_in_float32_under_autocast():
    embed = LevelEmbedding(16)
    c = torch.tensor([-7.123, 0.01])
    with torch.autocast("cpu", torch.bfloat16):
        low = embed(c)
    close(low, embed(c), rtol=0.05, atol=0.02)  # bfloat16 waves of c = -7 would be off by 0.2


@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 5, 4), (2, 5, 4, 3)], ids=str)
def test_octaves_are_their_waves(shape):
    x = torch.randn(4, *shape, dtype=torch.float64)
    waves = Octaves((0, 2, 8))
    out = waves(x)
    assert out.shape == (4, 7 * shape[0], *shape[1:]) and out.dtype == x.dtype
    expected = [x, *(f(2**n * math.pi * x) for n in (0, 2, 8) for f in (torch.sin, torch.cos))]
    close(out, torch.cat(expected, 1))
    assert Octaves()(x) is x
    refuses("octaves=[0.5]", call=lambda: Octaves([0.5]))


def test_octaves_see_what_bfloat16_hides():
    """Two values a tenth of a level of 256 apart are one number in bfloat16; their waves differ."""
    x = torch.tensor([[-0.998], [-0.9972]])
    assert torch.equal(*x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        waves = Octaves((7, 8))(x)[:, 1:].bfloat16()
    assert float((waves[0] - waves[1]).abs().max()) > 0.2


def test_dropout_is_off_in_evaluation():
    for make, shape in ((mlp, (3,)), (unet, (1, 4, 4))):
        net = awake(make(shape, dropout=0.5))
        x, c = torch.randn(2, *shape), torch.zeros(2)
        assert torch.equal(net(x, c), net(x, c))
        net.train()
        assert not torch.equal(net(x, c), net(x, c))


@pytest.mark.parametrize("mults, blocks", [((1,), 1), ((1, 2, 3), 2)])
@pytest.mark.parametrize("attention", [0, 10**6])
def test_unets_of_any_depth(mults, blocks, attention):
    net = awake(unet((2, 7, 9), mults=mults, blocks=blocks, attention=attention))
    assert net(torch.randn(3, 2, 7, 9), torch.zeros(3)).shape == (3, 2, 7, 9)


def test_attention_follows_its_positions():
    """Attention knows no order: positions that change places take their answers with them."""
    block = awake(ConvBlock(torch.nn.Conv1d, 8, 8, 4, 0.0, heads=2))
    x, order = torch.randn(2, 8, 5), torch.tensor([3, 0, 4, 1, 2])
    close(block._attend(x[..., order]), block._attend(x)[..., order], rtol=1e-4, atol=1e-5)
    assert (block._attend(x) - block._attend(x).roll(1, -1)).abs().max() > 1e-3


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_torch_s_own(heads):
    """With the same weights, over the positions of any space, with as many heads as are asked for."""
    block = awake(ConvBlock(torch.nn.Conv2d, 8, 8, 4, 0.0, heads=heads)).double()
    same = torch.nn.MultiheadAttention(8, heads, batch_first=True).double()
    with torch.no_grad():
        same.in_proj_weight.copy_(block.qkv.weight.flatten(1))
        same.in_proj_bias.copy_(block.qkv.bias)
        same.out_proj.weight.copy_(block.out.weight.flatten(1))
        same.out_proj.bias.copy_(block.out.bias)
    x = torch.randn(2, 8, 3, 5).double()
    y = block.attention_norm(x).flatten(2).mT
    close(block._attend(x), same(y, y, y)[0].mT.reshape(x.shape))


@pytest.mark.parametrize("attention, spaces", [(15, 0), (16, 1), (63, 1), (64, 2)])
def test_attention_is_where_the_positions_number_at_most_so_many(attention, spaces):
    """Of 8 x 8 and 4 x 4 positions; two blocks down, up and in the middle of the second, and three of the first."""
    net = unet((1, 8, 8), blocks=1, attention=attention)
    assert len([name for name, _ in net.named_parameters() if "qkv.weight" in name]) == (0, 5, 8)[spaces]


def test_the_waves_of_an_mlp_have_their_scale():
    """w ~ N(0, scale^2 / D) in sin, cos(2 pi w x)."""
    for scale in (0.5, 3.0):
        net = MLP((5, 4), width=8, blocks=1, fourier=2000, fourier_scale=scale)
        assert float(net.waves.std()) == pytest.approx(2 * math.pi * scale / 20**0.5, rel=0.02)


def test_wrong_networks_are_refused():
    refuses("(2,)", "take an MLP", call=lambda: UNet((2,)))
    refuses("(1, 2, 3, 4, 5)", call=lambda: UNet((1, 2, 3, 4, 5)))
    refuses("channels=12", "multiple of 8", call=lambda: UNet((1, 4, 4), channels=12))
    assert math.prod(MLP((2, 3), width=8, blocks=1, fourier=0)(torch.ones(2, 2, 3), torch.ones(2)).shape) == 12


# -- a vector for each row ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (1,), (30,), *SPACES], ids=str)
def test_an_encoder_s_answer_is_a_vector_of_each_row_alone(shape):
    net = Encoder(shape, 5, channels=8, mults=(1, 2), blocks=1, heads=2, octaves=(0,))
    x, c = torch.randn(4, *shape), torch.randn(4)
    assert net(x, c).shape == (4, 5) and not net(x, c).any()
    found = awake(net).double()(x.double(), c)
    assert found.dtype == torch.float64 and found.std(0).min() > 1e-4
    for i in range(4):
        close(net(x[i : i + 1].double(), c[i : i + 1])[0], found[i])
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())
    again = Encoder(**net.arguments).double()
    again.load_state_dict(net.state_dict())
    close(again.eval()(x.double(), c), found)


def test_an_encoder_refuses():
    refuses("shape=()", "1 to 3 space axes", call=lambda: Encoder((), 3))
    refuses("shape=(1, 2, 2, 2, 2)", call=lambda: Encoder((1, 2, 2, 2, 2), 3))
    refuses("channels=12", "multiple of 8", call=lambda: Encoder((2,), 3, channels=12))
    refuses("outputs=0", call=lambda: Encoder((2,), 0))


@pytest.mark.parametrize("n, keys", [(5, 7), (300, 256)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_half_precision_is_that_of_single(n, keys, masked):
    """On a CPU it is computed otherwise than in single precision, small and large: to half precision it is the same."""
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 2, n, 8), torch.randn(2, 2, keys, 8), torch.randn(2, 2, keys, 8)
    mask = torch.arange(keys) < torch.tensor([[keys], [3]]) if masked else None
    right = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask[:, None, None] if masked else None)
    half = attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
    assert half.dtype == torch.bfloat16
    assert (half.float() - right).abs().max() < 0.03
    assert torch.equal(attention(q, k, v, mask), right)

"""Laws of the field's U-Nets and of RefineNet: the originals' sizes, resampling, what no setting may change."""

import hashlib
import math

import pytest
import torch
from commands import ROOT
from hydra import compose, initialize_config_dir
from problems import close, refuses
from torch import nn

from scoresde.conditions import Label, Picture, Tokens, Vector
from scoresde.config import build
from scoresde.making import canonical, make, node_of
from scoresde.nets import MLP, Encoder, RefineNet, UNet, presets
from scoresde.nets.parts.blocks import ConvBlock
from scoresde.nets.parts.embedding import LevelEmbedding
from scoresde.nets.parts.scales.resampling import Double, Halve

FIR = (1.0, 3.0, 3.0, 1.0)
FEW = {"channels": 8, "mults": (1, 2), "blocks": 1, "dropout": 0.0, "factors": (2,)}
KINDS = {"label": Label(3), "vector": Vector(2), "picture": Picture((1, 4, 4)), "tokens": Tokens(4, 7)}


def adm(shape, **changes):
    return presets.adm(shape, **{"head_channels": 8, **changes})


def pyramids(shape, **changes):
    """NCSN++ as for 256x256."""
    return presets.ncsnpp(shape, **{"progressive_input": "skip", "progressive_output": "skip", **changes})


def residual(shape, **changes):
    """A progressive output by residuals, and resampling without weights."""
    return UNet(
        shape, **{"progressive_output": "residual", "resampling": "mean", "heads": 2, "rescale": True, **changes}
    )


def refinenet(shape, **changes):
    return RefineNet(shape, **{"channels": 8, "mults": (1, 2, 2), "dilated": 1, **changes})


def small(make):
    """A network of the field with few channels."""
    return make if make is refinenet else lambda shape, **changes: make(shape, **FEW | changes)


MAKERS = {f.__name__: f for f in (presets.ddpm, presets.iddpm, presets.ddpmpp, presets.ncsnpp, adm)}
MAKERS |= {"imagen": lambda shape, **changes: presets.imagen(shape, **{"block_mults": (), "heads": 2, **changes})}
MAKERS |= {f.__name__: f for f in (pyramids, residual, refinenet)}
NETS = {name: small(make) for name, make in MAKERS.items()}
each_net = pytest.mark.parametrize("make_net", NETS.values(), ids=NETS)


def awake(net):
    """The network with no layer at zero, as after training."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net.eval()


def cond(rows):
    value = {"label": torch.arange(rows) % 4 - 1, "vector": torch.randn(rows, 2), "picture": torch.randn(rows, 1, 4, 4)}
    value["tokens"] = torch.randint(0, 7, (rows, 4))
    value["tokens"][0] = -1
    return value


def size(net):
    return sum(p.numel() for p in net.parameters())


# -- the originals -----------------------------------------------------------------------------------------------------

CIFAR, IMAGENET = (3, 32, 32), {"label": Label(1000)}
# Of score_sde_pytorch, improved-diffusion, guided-diffusion and ncsnv2, run with their own configurations; DDPM of
# its paper's 35.7 million, counted layer by layer.
ORIGINALS = {
    "ddpm": (lambda: presets.ddpm(CIFAR), 35_746_307),
    "iddpm": (lambda: presets.iddpm(CIFAR, outputs=2), 52_546_438),
    "iddpm 64": (
        lambda: presets.iddpm((3, 64, 64), outputs=2, mults=(1, 2, 3, 4), factors=(4, 8)),
        121_063_942,
    ),
    "ddpm++": (lambda: presets.ddpmpp(CIFAR), 61_804_419),
    "ddpm++ deep": (lambda: presets.ddpmpp(CIFAR, blocks=8), 106_632_579),
    "ncsn++": (lambda: presets.ncsnpp(CIFAR), 62_758_787),
    "ncsn++ deep": (lambda: presets.ncsnpp(CIFAR, blocks=8), 107_586_947),
    "ncsn++ 256": (
        lambda: pyramids((3, 256, 256), blocks=2, mults=(1, 1, 2, 2, 2, 2, 2), factors=(16,)),
        65_574_421,
    ),
    "adm 64": (lambda: presets.adm((3, 64, 64), outputs=2, conditions=IMAGENET), 295_904_454 + 768),  # a missing label
    "ncsnv2": (lambda: RefineNet(CIFAR), 29_694_083),
    "ncsnv2 128": (lambda: RefineNet((3, 128, 128), mults=(1, 2, 2, 4, 4)), 83_445_379),
    "ncsnv2 256": (lambda: RefineNet((3, 256, 256), mults=(1, 2, 2, 2, 4, 4)), 94_132_611),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_as_many_parameters_as_the_original(name):
    make_net, expected = ORIGINALS[name]
    with torch.device("meta"):
        assert size(make_net()) == expected


def test_the_efficient_u_net_is_about_as_large_as_its_paper_says():
    """600 million with text; its blocks stand at a half to a sixteenth of 256, most of them at the coarsest."""
    with torch.device("meta"):
        net = presets.imagen((3, 256, 256), conditions={"text": Tokens(128, 1)})
    assert size(net) == pytest.approx(600e6, rel=0.05)
    net, seen = presets.imagen((1, 16, 16), channels=8), []
    for block in net.modules():
        if isinstance(block, ConvBlock):
            block.register_forward_hook(lambda _, args, out: seen.append(out.shape[-1]))
    net(torch.zeros(1, 1, 16, 16), torch.zeros(1))
    assert {n: seen.count(n) for n in (16, 8, 4, 2, 1)} == {16: 0, 8: 4, 4: 8, 2: 16, 1: 16}


def test_a_config_is_its_preset():
    unets = [name for name in presets.__all__ if getattr(presets, name).__module__.endswith(".unet")]
    assert len(unets) == 6
    for name in unets:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), torch.device("meta"):
            made = build.make(compose("config", [f"net={name}"]).net, "net", shape=(3, 32, 32))
            assert node_of(made) == node_of(getattr(presets, name)((3, 32, 32)))


def test_the_default_is_what_it_was():
    """Weights and their names, in the order that a checkpoint's optimizer knows them by, of before it had so many
    settings; a kept model's description too."""
    torch.manual_seed(0)
    net = UNet((1, 8, 8), channels=8, mults=(1, 2), blocks=1, heads=2)
    names = [" ".join(net.state_dict()), " ".join(name for name, _ in net.named_parameters())]
    assert [hashlib.sha256(n.encode()).hexdigest()[:16] for n in names] == ["6366f83a4e98551f", "d125025486c1f6fb"]
    wave = lambda p: torch.arange(1, p.numel() + 1).double().cos()
    marks = [(i + 1) * float(p.detach().double().flatten() @ wave(p)) for i, p in enumerate(net.parameters())]
    assert sum(marks) == pytest.approx(241.02742805518216, rel=1e-6)
    before = ["shape", "channels", "mults", "blocks", "attention", "heads", "dropout", "octaves", "conditions"]
    assert list(node_of(net)) == ["_target_", *before]


def test_a_setting_that_came_later_is_told_where_it_is_not_its_default():
    net = UNet((1, 8, 8), channels=8, rescale=True, fir=FIR)
    node = node_of(net)
    assert node["rescale"] is True and node["fir"] == list(FIR) and "groups" not in node
    assert canonical(node | {"groups": 8}, "net") == node
    assert node_of(make(node, "net")) == node


# -- resampling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taps", [(), FIR, (1.0, 1.0), (1.0, 2.0, 1.0), (2.0, 5.0, 1.0, 3.0)], ids=str)
@pytest.mark.parametrize("space", [(8,), (7,), (1,), (6, 5), (3, 4, 5)], ids=str)
def test_a_constant_passes_at_any_size(taps, space):
    x = torch.full((2, 3, *space), 0.7, dtype=torch.float64)
    half = Halve(taps).double()(x)
    assert half.shape == (2, 3, *((s + 1) // 2 for s in space))
    again = Double(taps).double()(half, space)
    assert again.shape == x.shape
    for found in (half, again) if taps != (2.0, 5.0, 1.0, 3.0) else (half,):
        close(found, torch.full_like(found, 0.7))


@pytest.mark.parametrize("k", [0, 3, 8, 13, 16])
def test_a_filter_s_gain_is_its_formula(k):
    """[1, 3, 3, 1] of the wave omega: down cos(omega / 2)^3 of it, at the middles of pairs, and nothing at omega = pi;
    up cos(omega / 4)^3 of it, and sin(omega / 4)^3 of its mirror image: a low-pass, down and then up."""
    omega = 2 * math.pi * k / 32
    place = torch.arange(64).double()
    half, double = (layer(FIR).double() for layer in (Halve, Double))
    down = half(torch.cos(omega * place)[None, None])[0, 0]
    wave = torch.cos(omega * (2 * place[:32] + 0.5))
    close(down[4:28], (math.cos(omega / 2) ** 3 * wave)[4:28])
    up = double(torch.cos(omega * place)[None, None], (128,))[0, 0]
    between = torch.arange(128).double() - 0.5
    image = math.sin(omega / 4) ** 3 * torch.cos((omega / 2 + math.pi) * between)
    close(up[8:120], (math.cos(omega / 4) ** 3 * torch.cos(omega / 2 * between) - image)[8:120])
    again = double(down[None, None], (64,))[0, 0, 16:32]
    assert float(again.square().mean()) < math.cos(omega / 2) ** 6 + 1e-9


@pytest.mark.parametrize("taps", [FIR, (1.0, 1.0), (1.0, 2.0, 1.0), (2.0, 5.0, 1.0, 3.0)], ids=str)
def test_up_is_twice_the_adjoint_of_down_on_each_axis(taps):
    x, y = (torch.zeros(1, 2, *space, dtype=torch.float64) for space in ((16, 18), (8, 9)))
    x[..., 4:12, 4:12], y[..., 2:6, 2:6] = torch.randn(1, 2, 8, 8).double(), torch.randn(1, 2, 4, 4).double()
    close((Double(taps).double()(y, x.shape[2:]) * x).sum(), 4 * (Halve(taps).double()(x) * y).sum())


def test_without_a_filter_it_is_the_mean_and_the_nearest():
    x = torch.tensor([[[1.0, 3.0, 5.0]]])
    assert Halve()(x).tolist() == [[[2.0, 5.0]]]
    assert Double()(x, (6,)).tolist() == [[[1.0, 1.0, 3.0, 3.0, 5.0, 5.0]]]


# -- what no setting may change ----------------------------------------------------------------------------------------


@each_net
def test_every_parameter_learns_whatever_is_told(make_net):
    """The first answer is zero; layers that begin there block the gradient of those behind them for a few steps."""
    torch.manual_seed(0)
    net = make_net((1, 8, 8), conditions=KINDS)
    x, c, told = torch.randn(8, 1, 8, 8), torch.randn(8), cond(8)
    assert net(x, c, told).shape == x.shape and not net(x, c, told).any()
    before = {name: p.clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        (net(x, c, told) - torch.randn_like(x)).square().mean().backward()
        optimizer.step()
    assert not [name for name, p in net.named_parameters() if torch.equal(p, before[name])]


@each_net
def test_what_is_missing_is_none_padding_is_nothing_and_rows_are_alone(make_net):
    torch.manual_seed(0)
    net = awake(make_net((1, 8, 8), conditions=KINDS)).double()
    x, c, told = torch.randn(4, 1, 8, 8).double(), torch.randn(4).double(), cond(4)
    none = net(x, c)
    gone = {name: kind.missing(4) for name, kind in KINDS.items()}
    close(net(x, c, gone), none)
    for name in KINDS:
        assert (net(x, c, {name: told[name]}) - none).abs().flatten(1).amax(1)[1:].min() > 1e-9, name
    short = {"tokens": told["tokens"][:, :2]}
    padded = {"tokens": torch.cat([short["tokens"], torch.full((4, 2), -1)], 1)}
    close(net(x, c, padded), net(x, c, short))
    order = torch.tensor([2, 0, 3, 1])
    mixed = net(x[order], c[order], {name: value[order] for name, value in told.items()})
    close(mixed, net(x, c, told)[order], rtol=1e-9, atol=1e-11)


@each_net
def test_an_axis_of_one_is_no_axis(make_net):
    """With the middle of its kernels a network of two axes, the second of size 1, is that of one."""
    torch.manual_seed(0)
    flat, deep = make_net((2, 12)), make_net((2, 12, 1))
    awake(deep)
    middle = {
        name: value[..., value.shape[-1] // 2] if value.ndim == 4 else value
        for name, value in deep.state_dict().items()
    }
    flat.load_state_dict(middle)
    x, c = torch.randn(3, 2, 12), torch.randn(3)
    close(flat.eval()(x, c), deep(x[..., None], c)[..., 0], rtol=1e-4, atol=1e-5)


@each_net
def test_any_size_of_one_to_three_axes_and_bfloat16(make_net):
    for shape in ((2, 11), (1, 7, 10), (1, 3, 5, 4)):
        net = make_net(shape, outputs=2)
        x = torch.randn(2, *shape)
        with torch.autocast("cpu", torch.bfloat16):
            out = net(x, torch.zeros(2))
        assert out.shape == (2, 2 * shape[0], *shape[1:]) and out.isfinite().all()
        if (
            len(shape) == 4
        ):  # torch 2.13's gradient of a small Conv3d's weights in bfloat16 on a CPU is what memory held
            out = net(x, torch.zeros(2))
        out.float().square().sum().backward()
        assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@each_net
def test_on_a_gpu_it_is_the_same(make_net):
    net = awake(make_net((1, 9, 8), conditions=KINDS)).double()
    x, c, told = torch.randn(3, 1, 9, 8).double(), torch.randn(3).double(), cond(3)
    here = net(x, c, told)
    there = net.cuda()(x.cuda(), c.cuda(), {name: value.cuda() for name, value in told.items()})
    close(there.cpu(), here, rtol=1e-5, atol=1e-6)  # the waves of the level are in float32
    with torch.autocast("cuda", torch.bfloat16):
        low = net.float()(x.cuda().float(), c.cuda().float())
    low.float().square().sum().backward()
    assert low.isfinite().all()


# -- settings ----------------------------------------------------------------------------------------------------------


def test_the_level_is_seen_by_all_but_ncsnv2():
    x, c = torch.randn(1, 1, 8, 8), torch.tensor([0.3])
    for name, make_net in NETS.items():
        net = awake(make_net((1, 8, 8)))
        assert torch.equal(net(x, c), net(x, c + 1)) == (name == "refinenet"), name
    net = awake(refinenet((1, 8, 8), level=True))
    assert not torch.equal(net(x, c), net(x, c + 1))


def test_waves_of_the_level_are_those_of_their_papers():
    """DDPM's exp(-log(10^4) i / (n - 1)) for 1000 steps over a range of 20 in c; NCSN++'s 2 pi N(0, 16^2)."""
    expected = 50 * torch.exp(-math.log(1e4) * torch.arange(64) / 63)
    close(LevelEmbedding(8, 64, "sinusoidal").frequencies.flip(0), expected, rtol=1e-4)
    waves = LevelEmbedding(8, 20_000, "fourier").frequencies
    assert float(waves.std()) == pytest.approx(32 * math.pi, rel=0.03) and abs(float(waves.mean())) < 3


def test_a_rescaled_sum_keeps_its_variance():
    torch.manual_seed(0)
    plain, scaled = (ConvBlock(nn.Conv1d, 8, 8, 4, 0.0, 0, rescale=rescale) for rescale in (False, True))
    scaled.load_state_dict(awake(plain).state_dict())
    x, level = torch.randn(2, 8, 5), torch.randn(2, 4)
    close(scaled(x, level, None) * math.sqrt(2), plain(x, level, None), rtol=1e-5, atol=1e-5)
    begin = ConvBlock(nn.Conv1d, 8, 8, 4, 0.0, 0, rescale=True)
    close(begin(x, level, None), x / math.sqrt(2), rtol=1e-6)


def test_the_level_is_added_before_the_norm():
    """So what it adds alike to all channels of a group is taken away again."""
    block = awake(ConvBlock(nn.Conv1d, 8, 8, 4, 0.0, 0, groups=1, add=True))
    x, level = torch.randn(2, 8, 5), torch.randn(2, 4)
    with torch.no_grad():
        block.modulate.weight.copy_(torch.randn(1, 4).expand(8, 4))
    close(block(x, level, None), block(x, 5 * level, None), rtol=1e-3, atol=1e-4)


def test_the_answer_by_skips_is_the_sum_of_pictures():
    """A picture of each resolution, doubled up to the finest: of biases b_i their sum."""
    net = pyramids((2, 8, 8), **FEW | {"mults": (1, 2, 2)})
    for i, head in enumerate(net.out):
        nn.init.constant_(head.head[-1].bias, 10.0**i)
    close(net(torch.randn(1, 2, 8, 8), torch.zeros(1)), torch.full((1, 2, 8, 8), 111.0))


@pytest.mark.parametrize(("attend", "expected"), [("each", 5 + 1), ("last_up", 3 + 1), ("last", 2 + 1)])
def test_attention_is_where_it_is_asked_for(attend, expected):
    """Two blocks down and three up at half the resolution, and between the two of the middle."""
    net = UNet((1, 8, 8), channels=8, mults=(1, 2), factors=(2,), attend=attend, heads=2)
    there = [m for m in net.modules() if isinstance(m, ConvBlock) and m.heads]
    assert len(there) == expected and all(m.heads == 2 and m.norm.num_channels == 16 for m in there)
    net = UNet((1, 8, 8), channels=8, mults=(1, 2), factors=(1, 2), head_channels=4)
    assert {m.heads for m in net.modules() if isinstance(m, ConvBlock) and m.heads} == {2, 4}
    for attention, count in ((3, 0), (4, 5)):  # of 7 positions there are 4 at half the resolution
        net = UNet((1, 7), channels=8, mults=(1, 2), attention=attention, heads=2, blocks=1)
        assert len([m for m in net.modules() if isinstance(m, ConvBlock) and m.heads]) == count


def test_blocks_by_their_factors():
    net = UNet((1, 8, 8), channels=8, mults=(1, 2), blocks=1, block_mults=(1, 3), heads=2)
    assert (len(net.down), len(net.up)) == (1 + 1 + 3, 4 + 1 + 2)


def test_several_outputs_stand_side_by_side():
    torch.manual_seed(0)
    for make_net, shape in ((MLP, (3,)), (MLP, (2, 4)), (UNet, (2, 8, 8))):
        x, c = torch.randn(2, *shape), torch.zeros(2)
        net = awake(make_net(shape, **{"channels": 8} if make_net is UNet else {}, outputs=2))
        assert net(x, c).shape == (2, 2 * shape[0], *shape[1:])
    one, two = MLP((3,), width=8), MLP((3,), width=8, outputs=2)
    state = {
        name: torch.cat([v, v]) if name.startswith("leave.2") else v for name, v in awake(one).state_dict().items()
    }
    two.load_state_dict(state)
    x, c = torch.randn(2, 3), torch.zeros(2)
    close(two(x, c), torch.cat([one(x, c)] * 2, 1))


def test_settings_that_do_not_go_together_are_refused():
    refuses("block_mults=[1]", "each of mults=[1, 2]", call=lambda: UNet((1, 8, 8), block_mults=(1,)))
    refuses("head_channels=12", "a divisor of channels=64", call=lambda: UNet((1, 8, 8), head_channels=12))
    refuses("factors=[2, 3]", "[1, 2]", call=lambda: UNet((1, 8, 8), factors=(2, 3)))
    refuses("factors=[16]", "[2, 4]", call=lambda: presets.imagen((1, 8, 8), mults=(1, 2), block_mults=()))
    refuses("fir=[1.0]", "[1, 3, 3, 1]", call=lambda: UNet((1, 8, 8), fir=(1.0,)))
    refuses("fir=[1.0, -1.0]", call=lambda: UNet((1, 8, 8), fir=(1.0, -1.0)))
    refuses("resampling='bigan'", "did you mean biggan", call=lambda: UNet((1, 8, 8), resampling="bigan"))
    refuses("channels=100", "multiple of 8", call=lambda: presets.ddpm((1, 8, 8), channels=100))
    refuses("(2,)", "take an MLP", call=lambda: RefineNet((2,)))
    refuses("channels=12", call=lambda: RefineNet((1, 8, 8), channels=12))
    assert Encoder((1, 8, 8), 3, channels=8).arguments["outputs"] == 3

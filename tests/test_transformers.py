"""Laws of the transformers, and what they share with EDM2: the papers' sizes, conditions, rows, patches, positions."""

import pytest
import torch
from problems import close, refuses

from scoresde.conditions import Label, Picture, Tokens, Vector, missing_like
from scoresde.denoiser import Preconditioned
from scoresde.loss import DenoisingLoss
from scoresde.nets import EDM2, MLP, DiT, JiT, SimpleUViT, UNet, UViT, presets
from scoresde.nets.parts.attention import SelfAttention
from scoresde.nets.parts.patches import Patches
from scoresde.nets.parts.positions import Rotary, sincos
from scoresde.sde import VP
from scoresde.training import Training
from scoresde.training.running import check, running

NETS = {
    "dit": lambda shape, **own: DiT(shape, **{"patch": 2, "width": 16, "blocks": 2, "heads": 2} | own),
    "uvit": lambda shape, **own: UViT(shape, **{"patch": 2, "width": 16, "blocks": 3, "heads": 2} | own),
    "jit": lambda shape, **own: JiT(
        shape, **{"patch": 2, "width": 16, "blocks": 2, "heads": 2, "bottleneck": 4, "context": 3, "start": 1} | own
    ),
    "simple": lambda shape, **own: SimpleUViT(
        shape, **{"channels": 8, "mults": (1, 2), "convolutions": 1, "width": 16, "blocks": 2, "heads": 2} | own
    ),
    "edm2": lambda shape, **own: EDM2(shape, **{"channels": 8, "blocks": 1, "attention": 12, "head": 4} | own),
}
KINDS = {"label": Label(3), "vector": Vector(2), "tokens": Tokens(4, 7)}
each_net = pytest.mark.parametrize("make", NETS.values(), ids=NETS)
each_shape = pytest.mark.parametrize("shape", [(1, 6), (2, 4, 6), (1, 4, 2, 6)], ids=str)
IMAGENET = {"label": Label(1000)}


def awake(net):
    """The network with no layer at zero, as after training, in float64."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net.eval().double()


def told(n, shape):
    values = {"label": torch.arange(n) % 3, "vector": torch.randn(n, 2), "tokens": torch.randint(0, 7, (n, 4))}
    return values | {"picture": torch.randn(n, *shape)}


def size(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        # With the positions, which the original keeps among its parameters, 675,129,632.
        (lambda: presets.dit((4, 32, 32), outputs=2, conditions=IMAGENET), 675_129_632 - 256 * 1152),
        (lambda: presets.dit((4, 32, 32), "S", outputs=2, conditions=IMAGENET), 32_963_360 - 256 * 384),
        (lambda: presets.uvit((3, 32, 32)), 44_255_328),
        (lambda: presets.uvit((4, 32, 32), "H", conditions=IMAGENET), 500_832_164),
        (lambda: presets.jit((3, 256, 256), conditions=IMAGENET), 131_320_320 - 256 * 768),
        (lambda: presets.simple_uvit((3, 128, 128), conditions=IMAGENET), 2_098_750_979),
        # 280.2 M in the paper; the last row of the table of classes is that of a missing one.
        (lambda: presets.edm2((4, 64, 64), conditions=IMAGENET), 280_212_709 + 768),
        (lambda: presets.edm2((4, 64, 64), "XS", conditions=IMAGENET), 124_713_125 + 512),
    ],
    ids=["DiT-XL/2", "DiT-S/2", "U-ViT-S/2", "U-ViT-H/2", "JiT-B/16", "UViT", "EDM2-S", "EDM2-XS"],
)
def test_the_papers_sizes(make, parameters):
    with torch.device("meta"):
        assert size(make()) == parameters


@each_net
@each_shape
def test_a_row_does_not_see_its_mates(make, shape):
    kinds = KINDS | {"picture": Picture(shape)}
    net = awake(make(shape, outputs=2, conditions=kinds))
    x, c, cond = torch.randn(4, *shape).double(), torch.randn(4), told(4, shape)
    whole = net(x, c, cond)
    assert whole.shape == (4, 2 * shape[0], *shape[1:]) and whole.dtype == torch.float64
    order = torch.tensor([2, 0, 3, 1])
    close(net(x[order], c[order], {k: v[order] for k, v in cond.items()}), whole[order], rtol=1e-8, atol=1e-9)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((net(x, c, cond)[1] * torch.randn(2 * shape[0], *shape[1:])).sum(), x)
    assert not gradient[[0, 2, 3]].any() and (gradient[1].abs() > 1e-12).all()


@each_net
def test_what_is_missing_is_absent_and_all_that_is_told_counts(make):
    shape = (2, 4, 6)
    net = awake(make(shape, conditions=KINDS | {"picture": Picture(shape)}))
    x, c, cond = torch.randn(3, *shape).double(), torch.randn(3), told(3, shape)
    none = net(x, c)
    assert torch.equal(net(x, c, {k: missing_like(v) for k, v in cond.items()}), none)
    for name, value in cond.items():
        assert (net(x, c, {name: value}) - none).flatten(1).norm(dim=1).min() > 1e-5
    assert (net(x, c + 0.1) - none).flatten(1).norm(dim=1).min() > 1e-6


@each_net
def test_what_is_beyond_the_end_of_a_sequence_changes_nothing(make):
    """Neither an embedding nor a place of a token that is not there has any say."""
    net = awake(make((1, 4, 4), conditions={"tokens": Tokens(4, 7)}))
    x, c, cond = torch.randn(2, 1, 4, 4).double(), torch.randn(2), {"tokens": torch.tensor([[3, 1, -1, -1]] * 2)}
    before, order = net(x, c, cond), net(x, c, {"tokens": torch.tensor([[1, 3, -1, -1]] * 2)})
    with torch.no_grad():
        part = net.conditioner.parts[0]
        part.place.weight[2:] += 1
        part.table.weight[[0, 2, 4, 5, 6]] += 1
        if hasattr(net, "places") and len(net.places) > 7:  # of U-ViT: level, pooled, four tokens, four patches
            net.places[4:6] += 1
    close(net(x, c, cond), before, rtol=1e-12, atol=1e-12)
    assert (order - before).abs().max() > 1e-6


@each_net
def test_every_parameter_learns_and_the_first_answer_is_zero(make):
    torch.manual_seed(0)
    shape = (1, 4, 4)
    net = make(shape, conditions=KINDS)
    model, loss, cond = Preconditioned(net, VP()), DenoisingLoss(), told(8, shape)
    del cond["picture"]
    assert not net(torch.randn(2, *shape), torch.randn(2)).any()
    before = {name: p.clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    gone = {k: missing_like(v) for k, v in cond.items()}
    for step in range(6):
        optimizer.zero_grad()
        x0, t, eps = torch.randn(8, *shape), loss.sample_times(model.sde, 8), torch.randn(8, *shape)
        loss(model, x0, t, eps, gone if step == 5 else cond).mean().backward()
        optimizer.step()
    assert not [name for name, p in net.named_parameters() if torch.equal(p, before[name])]


@each_net
def test_bfloat16_under_autocast(make):
    net = awake(make((1, 4, 4), conditions=KINDS)).float()
    x, c, cond = torch.randn(4, 1, 4, 4), torch.randn(4), told(4, (1, 4, 4))
    del cond["picture"]
    with torch.autocast("cpu", torch.bfloat16):
        low = net(x, c, cond)
        low.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    full = net(x, c, cond)
    assert (low - full).norm() < 0.1 * full.norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@each_net
def test_the_same_on_a_gpu(make):
    net = awake(make((1, 4, 4), conditions=KINDS)).float()
    x, c, cond = torch.randn(4, 1, 4, 4), torch.randn(4), told(4, (1, 4, 4))
    del cond["picture"]
    here, net = net(x, c, cond), net.cuda()
    there = net(x.cuda(), c.cuda(), {k: v.cuda() for k, v in cond.items()})
    close(there.cpu(), here, rtol=1e-2, atol=1e-2 * float(here.std()))
    with torch.autocast("cuda", torch.bfloat16):
        net(x.cuda(), c.cuda(), {k: v.cuda() for k, v in cond.items()}).float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


# -- how they run ------------------------------------------------------------------------------------------------------

RUN = NETS | {
    "unet": lambda shape, **own: UNet(shape, channels=8, blocks=1, heads=2, **own),
    "mlp": lambda shape, **own: MLP(shape, width=16, blocks=2, **own),
}


@pytest.mark.parametrize("make", RUN.values(), ids=RUN)
def test_blocks_that_compute_again_give_the_same_gradients(make):
    net = awake(make((1, 4, 4), dropout=0.3)).train()
    x, c = torch.randn(3, 1, 4, 4).double(), torch.randn(3)

    net(x, c)  # EDM2 forces its weights

    def gradients(**how):
        net.zero_grad()
        torch.manual_seed(1)
        seen = []
        with (
            running(Preconditioned(net, VP()), Training(**how)),
            torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t.numel()) or t, lambda t: t),
        ):
            net(x, c).square().sum().backward()
        return [p.grad.clone() for p in net.parameters() if p.grad is not None], sum(seen)

    (plain, kept), (again, fewer) = gradients(), gradients(recompute=True)
    assert fewer < 0.9 * kept
    for a, b in zip(plain, again, strict=True):
        close(a, b, rtol=1e-6, atol=1e-9)  # forced twice, EDM2's weights differ by as much
    assert not any(getattr(m, "recompute", False) for m in net.modules())


def test_the_layout_of_convolutions_changes_rounding_only():
    for shape in ((2, 4, 4), (2, 4, 4, 4)):
        net = awake(RUN["unet"](shape))
        x, c = torch.randn(3, *shape).double(), torch.randn(3)
        before, weight = net(x, c), net.enter.weight
        with running(Preconditioned(net, VP()), Training(channels_last=True)):
            assert not weight.is_contiguous() and net.enter.weight is weight
            close(net(x, c), before, rtol=1e-9, atol=1e-11)
        assert weight.is_contiguous()


def test_a_way_to_run_that_nothing_takes_is_refused():
    refuses(
        "channels_last=True",
        call=lambda: check(Preconditioned(NETS["dit"]((1, 4)), VP()), Training(channels_last=True)),
    )
    refuses("recompute=True", call=lambda: check(torch.nn.Linear(2, 2), Training(recompute=True)))
    refuses("compile=True", call=lambda: check(torch.nn.Linear(2, 2), Training(compile=True)))


# -- parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "patch"), [((2, 6), 3), ((2, 4, 6), 2), ((2, 2, 6), 3), ((1, 4, 2, 6), 2)])
def test_patches_and_back_are_the_identity(shape, patch):
    """A linear layer of patches is the convolution whose stride is the patch."""
    patches, x = Patches(shape, patch), torch.randn(3, *shape).double()
    folded = patches.fold(x)
    assert torch.equal(patches.unfold(folded), x) and folded.shape == (3, patches.count, shape[0] * patches.pixels)
    conv = getattr(torch.nn, f"Conv{len(shape) - 1}d")(shape[0], 5, patches.patch, patches.patch).double()
    close(folded @ conv.weight.flatten(1).T + conv.bias, conv(x).flatten(2).transpose(1, 2))


def test_rotary_attention_depends_on_differences_of_positions_only():
    """Patches that all move by the same steps, along both axes, attend alike; tokens before them are not turned."""
    turn = Rotary((6, 5), 8)
    q, k = torch.randn(2, 1, 1, 1, 8)
    products = turn(q.expand(1, 1, 30, 8)) @ turn(k.expand(1, 1, 30, 8)).mT
    grid = products.reshape(6, 5, 6, 5)
    close(grid[1:, 2:, 1:, 2:], grid[:-1, :-2, :-1, :-2], rtol=1e-4, atol=1e-5)
    assert grid.std() > 0.01
    before = torch.randn(1, 1, 3, 8)
    close(turn(torch.cat([before, q.expand(1, 1, 30, 8)], 2))[:, :, :3], before)
    close(turn(q.expand(1, 1, 30, 8)).norm(dim=-1), q.norm(dim=-1).expand(1, 1, 30), rtol=1e-4, atol=1e-5)


def test_positions_tell_every_patch_apart():
    for grid in ((30,), (6, 5), (3, 2, 5)):
        found = sincos(grid, 22)
        assert found.shape == (30, 22) and (torch.cdist(found, found) + 9 * torch.eye(30)).min() > 0.1
    # One axis: the waves of Vaswani et al.
    angle = torch.arange(5.0)[:, None] / 10000 ** (torch.arange(4) / 4)
    close(sincos((5,), 8), torch.cat([angle.sin(), angle.cos()], 1), rtol=1e-5, atol=1e-6)


def test_attention_is_torch_s_own():
    own, same = SelfAttention(8, 2).double(), torch.nn.MultiheadAttention(8, 2, batch_first=True).double()
    same.in_proj_weight.data, same.in_proj_bias.data = own.qkv.weight.data, own.qkv.bias.data
    same.out_proj.weight.data, same.out_proj.bias.data = own.out.weight.data, own.out.bias.data
    h, mask = torch.randn(3, 5, 8).double(), torch.rand(3, 5) < 0.7
    mask[:, 0] = True
    close(own(h, mask), same(h, h, h, key_padding_mask=~mask)[0])


def test_the_size_of_normed_queries_and_keys_has_no_say():
    own, h = SelfAttention(8, 2, bias=False, normed=True).double(), torch.randn(3, 5, 8).double()
    before = own(h)
    with torch.no_grad():
        own.qkv.weight[:16] *= 100
        close(own(h), before, rtol=1e-4, atol=1e-5)
        own.qkv.weight[16:] *= 2
        assert (own(h) - before).abs().max() > 0.01


@pytest.mark.parametrize("make", [NETS[n] for n in ("dit", "uvit", "jit")], ids=["dit", "uvit", "jit"])
def test_an_axis_of_one_pixel_is_none(make):
    """With the same weights, but that U-ViT's last convolution has the middle of each kernel."""
    flat, deep = awake(make((2, 6))), awake(make((2, 6, 1)))
    state = flat.state_dict()
    if "leave.weight" in state and state["leave.weight"].ndim == 3:
        kernel = torch.randn_like(deep.leave.weight.data)
        kernel[..., 1] = state["leave.weight"]
        state["leave.weight"] = kernel
    deep.load_state_dict(state)
    x, c = torch.randn(3, 2, 6).double(), torch.randn(3)
    close(deep(x[..., None], c)[..., 0], flat(x, c), rtol=1e-10, atol=1e-11)


def test_wrong_settings_are_refused():
    refuses("patch=3", "divisor", "(4, 4)", call=lambda: DiT((1, 4, 4), patch=3))
    refuses("shape=(4,)", call=lambda: DiT((4,)))
    refuses("heads=5", "divisor of width=16", call=lambda: NETS["dit"]((1, 4, 4), heads=5))
    refuses("heads=16", "even width", call=lambda: NETS["jit"]((1, 4, 4), heads=16))
    refuses("start=2", "below blocks=2", call=lambda: NETS["jit"]((1, 4, 4), start=2))
    refuses("blocks=4", "odd", call=lambda: NETS["uvit"]((1, 4, 4), blocks=4))
    refuses("channels=12", "multiple of 8", call=lambda: NETS["simple"]((1, 4, 4), channels=12))
    refuses("mults=[]", call=lambda: NETS["simple"]((1, 4, 4), mults=[]))
    refuses("shape=(4,)", call=lambda: NETS["edm2"]((4,)))
    refuses("size='Q'", "S, B, L, XL", call=lambda: presets.dit((1, 4, 4), "Q"))

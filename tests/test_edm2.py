"""Laws of EDM2: magnitudes are kept by every layer, forced weights go with the average and with a run that goes on."""

import math

import pytest
import torch
from problems import close

import scoresde
from scoresde.nets import EDM2
from scoresde.nets.parts.conditioning import Embedded
from scoresde.nets.parts.magnitude import (
    MPAttention,
    MPFourier,
    MPLayer,
    force,
    mp_cat,
    mp_silu,
    mp_sum,
    normalise,
)
from scoresde.nets.unets.edm2 import MPBlock, half, heads_of


def magnitude(x):
    return float(x.detach().square().mean().sqrt())


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_each_operation_keeps_magnitudes():
    a, b = torch.randn(2, 8, 64, 32, 32)
    level = torch.randn(512, 64)
    assert magnitude(mp_silu(a)) == pytest.approx(1, rel=0.02)
    for t in (0.3, 0.5):
        assert magnitude(mp_sum(a, b, t)) == pytest.approx(1, rel=0.02)
        low = mp_sum(a, b.bfloat16(), t)  # as within autocast
        assert low.dtype == torch.float32 and magnitude(low) == pytest.approx(1, rel=0.02)
        joined = mp_cat(a, 1.0 * b[:, :16], t)
        assert magnitude(joined) == pytest.approx(1, rel=0.02)
        share = joined[:, 64:].square().sum() / joined.square().sum()
        assert float(share) == pytest.approx(t**2 / (t**2 + (1 - t) ** 2), rel=0.02)
    assert magnitude(MPLayer(64, 256)(level)) == pytest.approx(1, rel=0.02)
    assert magnitude(MPLayer(64, 64, 3, 2)(a)[..., 1:-1, 1:-1]) == pytest.approx(1, rel=0.02)
    assert magnitude(MPFourier(2048)(torch.linspace(-2.5, 1.5, 200))) == pytest.approx(1, rel=0.02)
    close(normalise(7 * a, 1).square().mean(1).sqrt(), torch.ones(8, 32, 32), rtol=1e-3)
    assert not normalise(torch.zeros(3, 4), 1).any()


@pytest.mark.parametrize("down", [True, False])
def test_blocks_keep_magnitudes(down):
    """Of random inputs, within 2 %, whatever the size of the weights; inside, where no border has zeros."""
    block = MPBlock(2, 64, 0.0, 64, 128, down=down, joins=0 if down else 64)
    with torch.no_grad():
        for p in block.parameters():
            p.mul_(37.0)
        h, level, skip = torch.randn(2, 64, 48, 48), torch.randn(2, 64), torch.randn(2, 64, 48, 48)
        out = block(h, level, Embedded(), None if down else skip)
    assert magnitude(out[..., 2:-2, 2:-2]) == pytest.approx(1, rel=0.02)


def test_attention_is_by_cosines():
    """The answer does not depend on the sizes of queries, keys and values; a token alone gets its own value."""
    layer, h = MPAttention(32, 2).double(), torch.randn(2, 9, 32).double()
    close(layer(h * torch.rand(2, 9, 1).double().add(0.5)), layer(h), rtol=1e-2, atol=1e-2)
    assert magnitude(MPAttention(64, 4)(torch.randn(4096, 1, 64))) == pytest.approx(1, rel=0.02)


def test_the_size_of_weights_has_no_say():
    net = EDM2((1, 8, 8), channels=8, blocks=1)
    net.gain.data.fill_(1.0)
    x, c = torch.randn(3, 1, 8, 8), torch.randn(3)
    before = net.eval()(x, c)
    weights = [m.weight for m in net.modules() if isinstance(m, MPLayer)]
    for w in weights:
        w.data.mul_(11.0)
    close(net(x, c), before, rtol=1e-2, atol=1e-3)
    assert all(magnitude(w) > 8 for w in weights)
    net.train()(x, c)
    assert all(magnitude(w) == pytest.approx(1, rel=1e-3) for w in weights)


def test_two_passes_of_one_step_have_gradients():
    net = EDM2((1, 4, 4), channels=8, blocks=1)
    x, c = torch.randn(3, 1, 4, 4), torch.randn(3)
    (net(x, c) + net(2 * x, c)).square().sum().backward()
    assert net.gain.grad is not None
    once = MPLayer(6, 5)
    force(once)
    twice = once.weight.detach().clone()
    force(once)
    close(once.weight, twice, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(7,), (5, 1), (3, 4, 7)])
def test_any_size(size):
    net = EDM2((2, *size), channels=8, mults=(1, 2, 2), blocks=1)
    assert net(torch.randn(3, 2, *size), torch.randn(3)).shape == (3, 2, *size)
    ones = torch.ones(1, 1, *size)
    assert (half(ones) == 1).all() and half(ones).shape[2:] == tuple(math.ceil(s / 2) for s in size)
    assert heads_of(192, 64) == 3 and heads_of(8, 64) == 1 and heads_of(100, 30) == 2


@pytest.mark.parametrize("how", [{}, {"channels_last": True, "recompute": True}], ids=["plain", "laid out"])
def test_a_training_goes_on_to_the_bit(tmp_path, how):
    data = torch.randn(40, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    how = dict(steps=6, batch_size=8, checkpoint_every=2, device="cpu", progress=False, lr=1e-2) | how

    def train(**more):
        torch.manual_seed(1)
        model = scoresde.Preconditioned(EDM2((2, 4, 4), channels=8, blocks=1, dropout=0.1), scoresde.VP())
        return scoresde.train(model, data, **how | more)

    class Cut(Exception):
        pass

    def cut(step, words):
        if step == 3:
            raise Cut

    whole = train()
    with pytest.raises(Cut):
        train(folder=tmp_path, progress=cut)
    again = train(folder=tmp_path)
    assert all(map(torch.equal, whole.parameters(), again.parameters()))
    assert all(p.is_contiguous() for p in again.parameters())


@pytest.mark.slow
def test_it_trains_compiled():
    """torch.compile gives the same but for rounding; on a CPU it takes a minute or two to begin."""
    data = torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))

    def train(**more):
        torch.manual_seed(1)
        model = scoresde.Preconditioned(EDM2((1, 4, 4), channels=8, blocks=1), scoresde.VP())
        found = scoresde.train(model, data, steps=3, batch_size=8, device="cpu", progress=False, **more)
        assert model.net._compiled_call_impl is None
        return torch.cat([p.flatten() for p in found.parameters()])

    close(train(compile=True), train(), rtol=1e-2, atol=1e-3)

"""Adapters: nothing at first, little to keep, on top of their base alone; merged they are what they were."""

import shutil

import pytest
import torch
from problems import refuses
from torch import nn

import scoresde
from scoresde import Preconditioned
from scoresde.adapters import Adapter, adapt, adapter_of, merge, own, strip
from scoresde.model import checkpoint
from scoresde.model.folder import step_of, weights_of
from scoresde.model.kept.state import plain_state
from scoresde.nets import MLP, UNet

SMALL = dict(batch_size=16, lr=1e-2, progress=False, validate_every=1000, log_every=50)


class Mixed(nn.Module):
    """A network of one's own, with layers of every kind."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv1d(2, 8, 3, padding=1, groups=2)
        self.back = nn.ConvTranspose1d(8, 2, 3, padding=1)
        self.level = nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Linear(8, 8))
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.normed = torch.nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
        self.table, self.norm = nn.Embedding(3, 8), nn.GroupNorm(2, 8)

    def forward(self, x, c):
        h = self.norm(self.enter(x) + self.level(c[:, None].to(x.dtype))[:, :, None])
        h = (h.transpose(1, 2) + self.table.weight[0]).contiguous()
        h = self.normed(self.attend(h, h, h)[0] + h)
        return self.back(h.transpose(1, 2))


def space(dims):
    return UNet((1, *(4,) * dims), channels=8, blocks=1, mults=(1,))


NETS = {"mlp": (lambda: MLP((2, 5), width=16, blocks=1), (2, 5)), "own": (Mixed, (2, 5))}
NETS |= {f"unet-{d}": (lambda d=d: space(d), (1, *(4,) * d)) for d in (1, 2, 3)}
each_net = pytest.mark.parametrize("name", NETS)


def made(name):
    torch.manual_seed(0)
    make, shape = NETS[name]
    net = make()
    with torch.no_grad():  # layers that begin at 0 hide what is before them
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return net, torch.randn(3, *shape), torch.randn(3)


def stirred(net):
    """The adapters at random."""
    with torch.no_grad():
        for p in own(net).values():
            p.copy_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return net


@each_net
def test_at_first_nothing_has_changed_to_the_bit_and_only_adapters_learn(name):
    net, x, c = made(name)
    before, state = net(x, c).detach(), {k: v.clone() for k, v in plain_state(net).items()}
    answer = adapt(net, 2)(x, c)
    # torch's own attention computes otherwise where its weights ask for no gradient.
    assert torch.equal(answer, before) or (name == "own" and torch.allclose(answer, before, atol=1e-6))
    answer.square().sum().backward()
    moved = {k for k, p in net.named_parameters() if p.grad is not None}
    assert moved == {k for k, p in net.named_parameters() if p.requires_grad}
    assert len(moved) == len(own(net)) and {id(p) for p in own(net).values()} == {
        id(p) for p in net.parameters() if p.requires_grad
    }
    after = plain_state(strip(stirred(net)))
    assert after.keys() == state.keys() and all(torch.equal(after[k], state[k]) for k in state)


@each_net
def test_merged_is_unmerged(name):
    net, x, c = made(name)
    state = {k: v.clone() for k, v in plain_state(net).items()}
    stirred(adapt(net, 2))
    adapter, there = adapter_of(net), net(x, c).detach()
    assert float((there - merge(net)(x, c)).abs().max()) < 1e-6 * float(there.abs().max())
    assert not own(net) and all(torch.equal(v, plain_state(net)[k]) for k, v in adapter.merged(state).items())
    assert max(min(v.shape) for v in adapter.state.values()) <= 2


def test_the_rank_of_a_change_and_its_layers():
    net, _, _ = made("own")
    adapter = adapter_of(stirred(adapt(net, 2)))
    assert set(adapter.layers) == {"enter", "back", "level.0", "level.2", "attend.out_proj"}
    assert adapter.delta("enter").shape == (8, 3) and torch.linalg.matrix_rank(adapter.delta("enter")) == 2
    assert adapter.parameters == sum(v.numel() for v in adapter.state.values())
    refuses("already", call=lambda: adapt(net, 2))
    refuses("lora=2", call=lambda: adapt(nn.LayerNorm(3), 2))
    tied = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)])
    tied[1].weight = tied[0].weight
    assert adapter_of(adapt(tied, 1)).layers == ("2",)


def test_combinations_are_linear():
    """Of adapters of other ranks, and of layers that one of them lacks."""
    state = {"a.weight": torch.randn(6, 2, 3), "b.weight": torch.randn(4, 5)}
    one = Adapter({"a.up": torch.randn(6, 2), "a.down": torch.randn(2, 6)})
    two = Adapter(
        {k: torch.randn(s) for k, s in {"a.up": (6, 1), "a.down": (1, 6), "b.up": (4, 3), "b.down": (3, 5)}.items()}
    )
    delta = lambda adapter: {k: adapter.merged(state)[k] - v for k, v in state.items()}
    both = delta(0.5 * one + two * -2)
    for k in state:
        assert torch.allclose(both[k], 0.5 * delta(one)[k] - 2 * delta(two)[k], atol=1e-5)
    assert torch.equal((0 * one).merged(state)["a.weight"], state["a.weight"])
    refuses("'c'", call=lambda: Adapter({"c.up": torch.ones(6, 1), "c.down": torch.ones(1, 6)}).merged(state))
    refuses("(6, 6)", call=lambda: one.merged({"a.weight": torch.ones(6, 5)}))
    refuses("LAYER.up", call=lambda: Adapter({"a.up": torch.ones(6, 1)}))


@pytest.fixture(scope="module")
def data():
    return scoresde.data.from_tensor(torch.randn(64, 2, generator=torch.Generator().manual_seed(0)).abs())


@pytest.fixture(scope="module")
def base(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora") / "base"
    torch.manual_seed(0)
    scoresde.train(Preconditioned(MLP((2,), width=32), scoresde.VP()), data, steps=30, folder=folder, **SMALL)
    return folder


def other(seed=1):
    return scoresde.data.from_tensor(-torch.randn(64, 2, generator=torch.Generator().manual_seed(seed)).abs())


def test_an_adapter_s_folder_is_small_and_loads_on_top_of_its_base(base, tmp_path):
    folder, x = tmp_path / "small", torch.randn(4, 2)
    model = scoresde.train(data=other(), start=base, lora=2, steps=20, folder=folder, ema=(0.9, 0.5), **SMALL)
    there = scoresde.load(folder)
    assert there.weights == model.weights == weights_of(folder) != weights_of(base) and step_of(folder) == 20
    assert torch.equal(there(x, 0.5), model(x, 0.5)) and not (folder / "model.safetensors").exists()
    size = lambda of: sum(v.numel() for v in of.values())
    state = checkpoint.load(folder / "checkpoint.pt")
    own = size(there.adapter.state)
    assert size(state["model"]) == size(state["ema"]) == own < size(plain_state(there.bare)) / 4
    assert sum(size(s) for s in state["optimizer"]["state"].values()) < 2.1 * own
    assert scoresde.load(folder, ema=0.5).weights != there.weights
    assert scoresde.load(base).adapted(there.adapter).weights == there.weights
    mixed = scoresde.load(base).adapted(0.5 * there.adapter + there.adapter * 0.5)
    scoresde.model.save(tmp_path / "mixed", mixed)
    assert scoresde.load(tmp_path / "mixed").weights == mixed.weights and (tmp_path / "mixed" / "model.json").exists()
    close = plain_state(there.bare)
    assert all(torch.allclose(v, close[k], atol=1e-6) for k, v in plain_state(mixed.bare).items())
    assert scoresde.load(base).adapted(0.0 * there.adapter).weights == weights_of(base)
    again = scoresde.train(data=other(), start=folder, lora=1, steps=5, folder=tmp_path / "higher", **SMALL)
    assert scoresde.load(tmp_path / "higher").weights == again.weights  # on top of an adapter


def test_an_adapter_goes_on_to_the_bit(base, tmp_path):
    class Stop(Exception):
        pass

    def report(step, **figures):
        raise Stop

    options = dict(data=other(), start=base, lora=2, steps=60, checkpoint_every=20, snapshots=10, **SMALL)
    whole = scoresde.train(folder=tmp_path / "whole", **options)
    with pytest.raises(Stop):
        scoresde.train(folder=tmp_path / "parts", report=report, **options)
    assert scoresde.load(tmp_path / "parts").step == 40
    parts = scoresde.train(folder=tmp_path / "parts", **options)
    assert parts.weights == whole.weights == scoresde.load(tmp_path / "parts").weights
    assert (
        scoresde.training.reconstruct(tmp_path / "parts", 0.1, keep=True).weights
        == scoresde.load(tmp_path / "parts", ema="power-0.1").weights
    )


def test_a_base_that_is_gone_or_another_is_told(base, tmp_path):
    place = tmp_path / "base"
    shutil.copytree(base, place)
    scoresde.train(data=other(), start=place, lora=2, steps=2, folder=tmp_path / "small", **SMALL)
    (tmp_path / "away").mkdir()
    moved = shutil.copytree(tmp_path / "small", tmp_path / "away" / "small")
    shutil.move(place, tmp_path / "away" / "base")
    assert scoresde.load(moved).step == 2  # beside it
    refuses("small is an adapter on top of", "is not there", call=lambda: scoresde.load(tmp_path / "small"))
    shutil.copytree(tmp_path / "small", place)  # an adapter on top of itself
    refuses("has other weights now", call=lambda: scoresde.load(tmp_path / "small"))
    shutil.rmtree(place)
    torch.manual_seed(1)
    scoresde.train(Preconditioned(MLP((2,), width=32), scoresde.VP()), other(), steps=1, folder=place, **SMALL)
    refuses("has other weights now", call=lambda: scoresde.load(tmp_path / "small"))


def test_what_adapters_cannot_do_is_refused(base, data, tmp_path):
    wide = Preconditioned(MLP((2,), width=40), scoresde.VP())
    refuses("lora=2", "as it is", call=lambda: scoresde.train(wide, data, start=base, lora=2, **SMALL))
    options = dict(folder=tmp_path / "none", lora=2, **SMALL)
    refuses("say start=FOLDER", call=lambda: scoresde.train(wide, data, **options))

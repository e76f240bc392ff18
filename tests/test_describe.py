"""Laws of what a network costs, and of task=describe, which tells it before a training."""

import re

import pytest
from commands import command
from torch import nn

from scoresde.nets import MLP, UNet
from scoresde.nets.cost import cost


class Plain(nn.Module):
    """A layer and its root, of which all is known."""

    def __init__(self, layer, wake=nn.Identity):
        super().__init__()
        self.layer, self.wake = layer, wake()

    def forward(self, x, c):
        return self.wake(self.layer(x))


def test_operations_and_parameters_of_a_layer_are_those_of_its_formula():
    dense = cost(Plain(nn.Linear(5, 7)), (5,))
    assert (dense.flops, dense.parameters, dense.weights) == (2 * 5 * 7, 42, 4 * 42)
    conv = cost(Plain(nn.Conv2d(3, 4, 3, padding=1)), (3, 6, 5))
    assert (conv.flops, conv.parameters) == (2 * 9 * 3 * 4 * 30, 9 * 12 + 4)
    (layer, wake) = conv.layers
    assert (layer.name, layer.kind, layer.shape, layer.flops) == ("layer", "Conv2d", (4, 6, 5), conv.flops)
    assert (wake.parameters, wake.flops) == (0, 0)


def test_what_waits_for_the_gradient_is_counted_once():
    """A linear layer keeps its input where that has a graph, a sigmoid its answer: the same memory."""
    one, two = nn.Linear(5, 8), nn.Linear(8, 8)
    kept = cost(Plain(nn.Sequential(one, nn.Sigmoid(), two)), (5,)).kept
    assert kept == 4 * (5 + 8)


@pytest.mark.parametrize("net", [MLP((2, 3)), UNet((1, 8, 8), 8, heads=2)], ids=["mlp", "unet"])
def test_the_layers_add_up_to_the_whole(net):
    found = cost(net, net.shape if isinstance(net, MLP) else (1, 8, 8))
    assert (
        sum(layer.parameters for layer in found.layers) == found.parameters == sum(p.numel() for p in net.parameters())
    )
    assert sum(layer.flops for layer in found.layers) in range(found.flops // 2, found.flops + 1)
    assert found.memory(3) == 5 * found.weights + 3 * found.kept and net.training


def test_the_command_tells_and_leaves_nothing(monkeypatch, capfd, tmp_path):
    code, told, _ = command(monkeypatch, capfd, tmp_path, "task=describe", "net.channels=16", "train.steps=7000")
    assert code == 0 and re.search(r"down\.0 +ConvBlock +16x8x8 +[\d,]+", told)
    assert re.search(r"7000 steps: about \d+ \w+.*; net\.channels=8: \d+ \w+", " ".join(told.split()))
    assert not list(tmp_path.iterdir())

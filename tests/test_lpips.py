"""LPIPS by weights of others: its formula, the published layout, a training by it."""

import json

import pytest
import torch
from problems import refuses
from test_codecs import pictures
from torch import nn

import scoresde
from scoresde.nets import Codec, Gaussian
from scoresde.objectives import Autoencode, lpips
from scoresde.objectives.autoencoding.published import ALEX, CONVOLUTIONS, SCALE, SHIFT, VGG


def backbone(kind, wide=4):
    """Random weights in the layout of a network, all of its layers so wide, and of its heads."""
    torch.manual_seed(0)
    state, before = {}, 3
    for k in CONVOLUTIONS[kind]:
        size = 11 if kind == ALEX and k == 0 else 5 if kind == ALEX and k == 3 else 3
        state[f"features.{k}.weight"] = torch.randn(wide, before, size, size) / size / before**0.5
        state[f"features.{k}.bias"] = 0.1 * torch.randn(wide)
        before = wide
    heads = {f"lin{i}.model.1.weight": torch.rand(1, wide, 1, 1) for i in range(5)}
    return state | {"classifier.0.weight": torch.zeros(2, 2)}, heads


@pytest.mark.parametrize("kind", [VGG, ALEX])
def test_lpips_is_its_formula_in_the_published_layout(kind, tmp_path):
    state, heads = backbone(kind)
    torch.save(state, tmp_path / "net.pth")
    torch.save(heads, tmp_path / "lin.pth")
    conv = lambda k, size, **how: nn.Conv2d(3 if k == 0 else 4, 4, size, **how)
    if kind == VGG:  # torchvision's, by its numbers
        layers = []
        for part in (2, 2, 3, 3, 3):
            for _ in range(part):
                layers += [conv(len(layers), 3, padding=1), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
        told = (3, 8, 15, 22, 29)
    else:
        layers = [conv(0, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2), conv(3, 5, padding=2), nn.ReLU()]
        layers += [nn.MaxPool2d(3, 2), *(m for k in (6, 8, 10) for m in (conv(k, 3, padding=1), nn.ReLU()))]
        told = (1, 4, 7, 9, 11)
    net = nn.Sequential(*layers)
    net.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")})
    x, y = torch.rand(2, 3, 3, 40, 36) * 2 - 1
    wanted = torch.zeros(3)
    seen = [(v - torch.tensor(SHIFT).reshape(3, 1, 1)) / torch.tensor(SCALE).reshape(3, 1, 1) for v in (x, y)]
    for k, layer in enumerate(layers):
        seen = [layer(v) for v in seen]
        if k in told:
            a, b = (v / v.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12) for v in seen)
            wanted += (heads[f"lin{told.index(k)}.model.1.weight"] * (a - b) ** 2).sum(1).mean((1, 2)).detach()
    far = lpips(tmp_path)
    torch.testing.assert_close(far(x, y), wanted)
    assert not far.state_dict() and not list(far.parameters()) and far.features.kind == kind
    assert torch.equal(far(x[:, :1], x[:, :1]), torch.zeros(3))
    torch.save(state | heads, tmp_path / "whole.bin")
    assert torch.equal(lpips(tmp_path / "whole.bin")(x, y), far(x, y))
    refuses("two of its files have", call=lambda: lpips(tmp_path))
    (tmp_path / "whole.bin").unlink()
    refuses("pixels a side at least: these are (3, 8, 8)", call=lambda: lpips(tmp_path, (3, 8, 8)))
    torch.save(heads | {"lin2.model.1.weight": torch.zeros(1, 5, 1, 1)}, tmp_path / "lin.pth")
    refuses("lin2.model.1.weight is (1, 5, 1, 1), of a map of 4 channels", call=lambda: lpips(tmp_path))
    torch.save({}, tmp_path / "lin.pth")
    refuses("has no lin0.model.1.weight", call=lambda: lpips(tmp_path))
    torch.save(heads | {"features.6.weight": torch.zeros(1)}, tmp_path / "lin.pth")
    (tmp_path / "net.pth").unlink()
    refuses("has no features.0.weight: LPIPS of AlexNet takes", call=lambda: lpips(tmp_path))


def test_a_training_by_lpips_pulls_the_codec_and_nothing_else(tmp_path):
    state, heads = backbone(VGG)
    torch.save(state | heads, tmp_path / "vgg.pt")
    data, far = pictures(), lpips(tmp_path / "vgg.pt", (3, 16, 16))
    coder = scoresde.Autoencoder(Codec((3, 16, 16), 2, 4, channels=8, mults=(1, 2)), Gaussian(2))
    objective = Autoencode(coder, data, perceptual=far, perceptual_weight=2.0)
    plain = Autoencode(coder, data)
    drawn = objective.draw(scoresde.data.collate(data.train, range(3), []), 3, slice(0, 3))
    x = data.encode(drawn[0])
    torch.testing.assert_close(objective(drawn), plain(drawn) + 2 * far(x, coder(x, drawn[1])[0]))
    training = scoresde.Training(steps=2, batch_size=4)
    scoresde.fit(objective, data, training, tmp_path / "ae", device="cpu")
    assert torch.equal(far.features.weight0, state["features.0.weight"])
    assert json.loads((tmp_path / "ae" / "model.json").read_text())["loss"]["perceptual"] == "Perceptual of VGG16"

"""Autoencoders: the network, what lies between its halves, the losses, the critic, codes that stay in use, folders."""

import copy
import math

import pytest
import torch
from problems import Stop, refuses, stop_at
from torch.distributions import Normal, kl_divergence

import scoresde
from scoresde.data import Bins, from_tensor, stack
from scoresde.nets import Codebook, Codec, Encoder, Gaussian, PatchCritic
from scoresde.objectives import Autoencode, Perceptual
from scoresde.objectives.autoencoding.codes import Upkeep
from scoresde.spaces.folds import folded, unfolded

SHAPE = (1, 8, 8)


def made(bottleneck, shape=SHAPE, likelihood=False, **settings):
    torch.manual_seed(0)
    settings = {"channels": 8, "mults": (1, 2), "blocks": 1} | settings
    net = Codec(shape, bottleneck.latent, bottleneck.features, **settings)
    for p in net.parameters():  # the last layers of blocks begin at 0
        torch.nn.init.normal_(p, std=0.2)
    return scoresde.Autoencoder(net, bottleneck, likelihood)


def few(**settings):
    return scoresde.Training(**{"steps": 4, "batch_size": 8, "validate_every": 2, "checkpoint_every": 2} | settings)


@pytest.mark.parametrize("shape", [(2, 8), (3, 8, 4), (1, 4, 8, 8)], ids=str)
def test_a_codec_goes_down_to_a_grid_and_up_again(shape):
    x = torch.randn(2, *shape)
    assert torch.equal(unfolded(folded(x, 2), 2), x)
    patch = folded(x, 2)[0, :: 2 ** (len(shape) - 1)].flatten()[0]
    assert patch == x[0].flatten()[0]
    coder = made(Gaussian(3), shape, patch=2)
    z = coder.compress(x)
    assert z.shape == (2, 3, *(n // 4 for n in shape[1:])) == (2, *coder.latent_shape)
    assert coder.expand(z).shape == x.shape and PatchCritic(shape)(x).shape[:2] == (2, 1)
    whole, moved = coder.compress(x[:, :, :]), coder.compress(torch.cat([x, x]))
    torch.testing.assert_close(moved[2:], whole)
    refuses("divide sizes by 8, which does not divide 4", call=lambda: made(Gaussian(3), (3, 8, 4), mults=(1, 1, 1, 1)))
    refuses("give (channels, *space)", call=lambda: Codec((5,)))
    refuses("4 channels of latents and the bottleneck 2", call=lambda: scoresde.Autoencoder(Codec(SHAPE), Gaussian(2)))


def test_the_gaussian_is_torchs_and_its_mean_is_drawn_without_noise():
    bottleneck, h, eps = Gaussian(2), torch.randn(3, 4, 5), torch.randn(3, 2, 5)
    mean, log_std = bottleneck.posterior(h)
    q = Normal(mean, log_std.exp())
    found = bottleneck(h, eps)
    torch.testing.assert_close(found.cost, kl_divergence(q, Normal(0.0, 1.0)).flatten(1).sum(1))
    torch.testing.assert_close(found.z, q.loc + q.scale * eps)
    assert torch.equal(bottleneck(h).z, mean) and found.codes is None


def test_a_code_is_the_nearest_and_gradients_pass_it():
    book, h = Codebook(3, 20), torch.randn(2, 3, 4, 5, requires_grad=True)
    found = book(h)
    on_sphere, codes = book.sphere(h), book.sphere(book.book, 1)
    far = torch.cdist(on_sphere.movedim(1, -1).flatten(0, 2), codes)
    assert torch.equal(found.codes.flatten(), far.argmin(1))
    torch.testing.assert_close(found.z, book.vectors(found.codes))
    torch.testing.assert_close(found.z.norm(dim=1), torch.full((2, 4, 5), math.sqrt(3)))
    torch.testing.assert_close(found.cost, 1.25 * (on_sphere - found.z).square().flatten(1).mean(1))
    weight = torch.randn_like(found.z)
    (through,) = torch.autograd.grad((found.z * weight).sum(), h, retain_graph=True)
    (plain,) = torch.autograd.grad((on_sphere * weight).sum(), h)
    torch.testing.assert_close(through, plain)


def test_codes_that_are_not_used_begin_anew_on_what_the_encoder_gives():
    book = Codebook(2, 8)
    with torch.no_grad():
        book.book[:] = torch.tensor([1.0, 0.0])
        book.book[0] = torch.tensor([-1.0, 0.0])
    upkeep, h = Upkeep(book), torch.randn(16, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    anew = 0
    for k in range(200):
        found = book(h)
        upkeep.saw(found.h, found.codes, torch.rand(8, generator=torch.Generator().manual_seed(k)))
        anew += upkeep.step()
    assert anew >= 6 and len(book(h).codes.unique()) == 8
    before = book.book.detach().clone()
    assert upkeep.step() == 0 and torch.equal(book.book, before)  # nothing was seen since


def test_codes_of_several_processes_begin_anew_as_those_of_one():
    generator = torch.Generator().manual_seed(0)
    book, h = Codebook(2, 16), torch.randn(6, 2, 3, 5, generator=generator)
    found, u = book(h), torch.rand(16, generator=generator)

    def seen(part):
        upkeep = Upkeep(book)
        upkeep.saw(found.h[part], found.codes[part], u, part)
        return upkeep.seen

    whole, parts = seen(slice(0, None, 1)), [seen(slice(rank, None, 3)) for rank in range(3)]
    for a, b in zip(whole, map(sum, zip(*parts, strict=True)), strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(whole[1].norm(dim=1), torch.full((16,), math.sqrt(2)))


def test_the_loss_of_levels_is_the_evidence_lower_bound():
    """Of a decoder that does not look at z and an encoder that says the prior, minus log P(v) of a Gaussian's bins."""
    raw = torch.randint(0, 17, (40, *SHAPE), generator=torch.Generator().manual_seed(0))
    data = from_tensor(raw, levels=17)
    coder = made(Gaussian(2), likelihood=True)
    with torch.no_grad():
        for p in (*coder.net.encoder[-1].parameters(), *coder.net.decoder[-1].parameters()):
            p.zero_()
        coder.log_std.fill_(-0.5)
    objective = Autoencode(coder, data, "levels")
    drawn = objective.draw(scoresde.data.collate(data.train, range(8), []), 8, slice(0, 8))
    value = objective(drawn)
    edges = torch.linspace(-1, 1, 18)
    edges[0], edges[-1] = -math.inf, math.inf
    mass = Normal(0.0, math.exp(-0.5)).cdf(edges).diff()
    torch.testing.assert_close(value, -mass.log()[drawn[0].long()].flatten(1).mean(1), rtol=1e-4, atol=1e-5)
    objective.begin(torch.device("cpu"))
    figures = objective.check(coder)
    assert figures["bits_per_dim"] == pytest.approx(figures["validation"] / math.log(2), rel=1e-4)
    assert figures["silent"] == 2 and figures["kl"] == pytest.approx(0, abs=1e-5)
    refuses(
        "loss=levels: make the autoencoder with likelihood=True",
        call=lambda: Autoencode(made(Gaussian(2)), data, "levels"),
    )
    other = from_tensor(torch.randn(10, 2, 8, 8))
    refuses("is of items (1, 8, 8)", call=lambda: Autoencode(coder, other))
    plain = from_tensor(torch.randn(10, *SHAPE))
    refuses("the data has none", call=lambda: Autoencode(coder, plain, "levels"))


def test_the_critic_pulls_as_hard_as_the_rest_and_only_from_its_step_on():
    data = scoresde.data.digits()
    coder = made(Gaussian(2))
    objective = Autoencode(coder, data, critic=PatchCritic(SHAPE, 8), critic_weight=0.5, start=10)
    batch = scoresde.data.collate(data.train, range(6), [])
    drawn = objective.draw(batch, 6, slice(0, 6), "codec")
    rest = objective(drawn, "codec")
    assert not bool(objective(drawn, "critic").any())
    objective.after(10, coder)
    whole = objective(drawn, "codec")
    last = coder.net.last
    length = lambda value: torch.autograd.grad(value.sum(), last, retain_graph=True)[0].norm()
    torch.testing.assert_close(length(whole - rest), 0.5 * length(rest), rtol=1e-4, atol=0)
    x = data.encode(batch.x)
    again, _ = coder(x, drawn[1])
    true, false = (objective.critic(y).flatten(1) for y in (x, again))
    torch.testing.assert_close(objective(drawn, "critic"), ((1 - true).relu() + (1 + false).relu()).mean(1))
    assert all(p.grad is None for p in coder.parameters())


@pytest.mark.parametrize("kind", ["gaussian", "codebook"])
def test_a_training_that_was_stopped_goes_on_to_the_bit_and_its_folder_gives_it_back(kind, tmp_path):
    data = scoresde.data.digits()

    def trained(folder, report=None):
        torch.manual_seed(1)
        bottleneck = Gaussian(2) if kind == "gaussian" else Codebook(2, 16)
        coder = made(bottleneck, likelihood=True)
        objective = Autoencode(coder, data, "levels", critic=PatchCritic(SHAPE, 8), start=2)
        return scoresde.fit(objective, data, few(log_every=1), folder, report=report)

    whole = trained(tmp_path / "whole")
    with pytest.raises(Stop):
        trained(tmp_path / "parts", stop_at(3))
    parts = trained(tmp_path / "parts")
    raw = stack(data.test, range(5))
    assert whole.weights == parts.weights and torch.equal(whole.reconstruct(raw), parts.reconstruct(raw))
    again = scoresde.load(tmp_path / "parts")
    assert torch.equal(again.reconstruct(raw), whole.reconstruct(raw)) and again.latent_shape == (2, 4, 4)
    assert again.codes == (None if kind == "gaussian" else 16) and isinstance(again.space, Bins)
    x = again.encode(raw)
    assert torch.equal(again.expand(again.compress(x)), again(x)[0])


def test_a_perceptual_distance_is_of_features_and_trains_none_of_them():
    torch.manual_seed(0)
    net = Encoder(SHAPE, 10, channels=8, mults=(1, 2), blocks=1, attention=0)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    classifier = scoresde.NoisyClassifier(net, scoresde.VP())
    far = Perceptual(classifier)
    x, y = torch.randn(2, 4, *SHAPE)
    assert torch.equal(far(x, x), torch.zeros(4)) and bool((far(x, y) > 0).all())
    whole = net(x, torch.zeros(4))
    torch.testing.assert_close(net.leave(net.before(net.maps(x, torch.zeros(4))[-1]).flatten(2).mean(2)), whole)
    data, before = scoresde.data.digits(), copy.deepcopy(net.state_dict())
    coder = made(Gaussian(2))
    found = scoresde.fit(Autoencode(coder, data, perceptual=far), data, few(steps=2))
    assert found.step == 2 and all(
        torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True)
    )
    refuses("has no maps", call=lambda: Perceptual(scoresde.NoisyClassifier(torch.nn.Linear(2, 2), scoresde.VP())))


@pytest.mark.parametrize("shape", [(3, 16, 20), (1, 28, 28)], ids=str)
def test_structural_similarity_against_torchmetrics(shape):
    image = pytest.importorskip("torchmetrics.functional.image")
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(6, *shape, generator=generator).double()
    y = (x + 0.1 * torch.randn(6, *shape, generator=generator)).clamp(0, 1).double()
    how = {"data_range": 1.0, "reduction": "none", "return_full_image": True}
    _, theirs = image.structural_similarity_index_measure(y, x, **how)
    theirs = theirs[..., 5:-5, 5:-5]  # of windows within the picture
    assert scoresde.metrics.ssim(y, x).value == pytest.approx(float(theirs.mean()), abs=1e-9)
    bright = scoresde.metrics.ssim(255 * y, 255 * x, 255.0)
    assert bright.value == pytest.approx(scoresde.metrics.ssim(y, x).value, abs=1e-9)
    assert scoresde.metrics.ssim(x, x).value == pytest.approx(1)
    small = torch.rand(4, 1, 4, 3, generator=generator)
    assert scoresde.metrics.ssim(small, small.flip(0)).value < 1
    refuses("axes of space", call=lambda: scoresde.metrics.ssim(torch.rand(4, 3), torch.rand(4, 3)))

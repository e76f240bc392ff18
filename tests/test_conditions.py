"""Laws of conditions: what each kind takes, how it is bound, and that networks learn what it tells."""

import math

import numpy as np
import pytest
import torch
from problems import SDES, close, mixture, refuses

import scoresde
from scoresde.conditions import Features, Label, Picture, Tokens, Vector, dropped, missing_like
from scoresde.denoiser import Conditioned, Counted, Preconditioned, bind
from scoresde.exact import GaussianMixture
from scoresde.nets import MLP, UNet
from scoresde.sampling import DDIM, Adams, sample
from scoresde.sde import VP
from scoresde.training.start import begin_with

KINDS = {
    "label": Label(3, ("cat", "dog", "eel")),
    "vector": Vector(2, mean=(1.0, 2.0), std=(3.0, 4.0)),
    "picture": Picture((1, 4, 4)),
    "tokens": Tokens(3, 7),
    "features": Features(3, 4),
}
each_kind = pytest.mark.parametrize("name", KINDS)


def values(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {
        "label": torch.randint(0, 3, (n,), generator=g),
        "vector": torch.randn(n, 2, generator=g),
        "picture": torch.randn(n, 1, 4, 4, generator=g),
        "tokens": torch.randint(0, 7, (n, 3), generator=g),
        "features": torch.randn(n, 3, 4, generator=g),
    }


def networks(kinds):
    torch.manual_seed(0)
    nets = [MLP((2,), width=16, conditions=kinds), UNet((1, 4, 4), channels=16, conditions=kinds)]
    nets.append(UNet((2, 6, 5, 3), channels=8, blocks=1, conditions={k: v for k, v in kinds.items() if k != "picture"}))
    for net in nets:
        for p in net.parameters():
            p.data.normal_(0, 0.2)
    shapes = ((2,), (1, 4, 4), (2, 6, 5, 3))
    return [(Preconditioned(net, VP()).eval(), shape) for net, shape in zip(nets, shapes, strict=True)]


# -- the kinds --------------------------------------------------------------------------------------------------------


@each_kind
def test_rows_of_a_kind(name):
    """One row is that of all; what is missing is -1 or NaN, and found again; rows are dropped one by one."""
    kind, value = KINDS[name], values(5)[name]
    assert torch.equal(kind.rows(name, value, 5), value)
    one = kind.rows(name, value[0], 5)
    assert one.shape == value.shape and torch.equal(one[3], value[0])
    gone = kind.missing(5)
    assert gone.shape == value.shape and kind.absent(gone).all() and not kind.absent(value).any()
    assert torch.equal(kind.absent(dropped(value, torch.arange(5) % 2 == 0)), torch.arange(5) % 2 == 0)
    assert kind.absent(missing_like(value)).all() and torch.equal(kind.rows(name, gone, 5).isnan(), gone.isnan())


def test_labels_by_name_and_short_sequences():
    assert KINDS["label"].rows("label", "dog", 2).tolist() == [1, 1]
    assert KINDS["label"].rows("label", ["eel", "cat"], 2).tolist() == [2, 0]
    assert KINDS["tokens"].rows("tokens", [4], 2).tolist() == [[4, -1, -1]] * 2
    assert KINDS["vector"].rows("y", [1, math.nan], 2).isnan().tolist() == [[False, True]] * 2


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("label", 3, "class 3"),
        ("label", -2, "class -2"),
        ("label", 0.5, "float64"),
        ("label", torch.zeros(4, dtype=torch.long), "4 rows"),
        ("label", "dug", "did you mean dog"),
        ("label", object(), "give a tensor"),
        ("vector", [1.0, 2.0, 3.0], "(3,)"),
        ("vector", [1.0, math.inf], "infinite"),
        ("vector", torch.zeros(4, 2), "4 rows"),
        ("picture", torch.zeros(2, 4, 4), "(2, 4, 4)"),
        ("picture", torch.zeros(1, 4, 4, dtype=torch.long), "int64"),
        ("tokens", [7], "token 7"),
        ("tokens", [0, 0, 0, 0], "(4,)"),
        ("tokens", [0.5], "float64"),
        ("features", np.zeros((4, 4)), "(4, 4)"),
        ("features", "a text", "no encoder"),
    ],
)
def test_wrong_values_are_refused_by_name(name, value, words):
    model, _ = networks(KINDS)[0]
    refuses(f"condition {name}", words, call=lambda: sample(model, DDIM(steps=2), (5, 2), cond={name: value}))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Label(0), "classes=0"),
        (lambda: Label(2, ("a",)), "names="),
        (lambda: Vector(2, mean=(1.0,)), "mean"),
        (lambda: Vector(2, std=(1.0, 0.0)), "std"),
        (lambda: Picture((3,)), "shape"),
        (lambda: Tokens(0, 5), "length=0"),
        (lambda: Label(3, drop=1.0), "drop=1.0"),
        (lambda: Features(2, 0), "size=0"),
    ],
)
def test_wrong_kinds_are_refused(make, words):
    refuses(words, call=make)


# -- bound once -------------------------------------------------------------------------------------------------------


def test_what_is_bound_is_what_is_given():
    model, shape = networks(KINDS)[1]
    x, cond = torch.randn(5, *shape), values(5)
    known = bind(model, cond, 5)
    assert isinstance(known, Conditioned) and torch.equal(known(x, 0.3), model(x, 0.3, cond)) and not known.conditions
    some = torch.tensor([4, 1])
    close(known.select(some)(x[some], 0.3), known(x, 0.3)[some], rtol=1e-5, atol=1e-5)
    for what in ("score", "eps", "velocity"):
        assert torch.equal(getattr(known, what)(x, 0.3), getattr(model, what)(x, 0.3, cond))
    counted = Counted(known)
    counted.select(some)(x[some], 0.3)
    assert (counted.calls, counted.rows) == (1, 2)
    assert bind(model, None, 5) is model is bind(model, {}, 5)


def test_what_a_model_does_not_take_is_refused():
    model = mixture(VP())
    refuses("'label'", "takes none", call=lambda: sample(model, DDIM(), (2, 2), cond={"label": 1}))
    model, _ = networks(KINDS)[0]
    refuses("'lable'", "did you mean label", call=lambda: sample(model, DDIM(), (2, 2), cond={"lable": 1}))
    refuses("cond", "a mapping", call=lambda: sample(model, DDIM(), (2, 2), cond=3))
    refuses("'lable'", call=lambda: model(torch.zeros(2, 2), 0.5, {"lable": torch.zeros(2)}))
    refuses("bound", "5 samples", "2", call=lambda: sample(bind(model, values(5), 5), DDIM(), (2, 2)))
    always = Preconditioned(MLP((2,), width=8, conditions={"label": Label(3, drop=0.0)}), VP())
    refuses("condition label is missing", "drop 0", call=lambda: sample(always, DDIM(), (2, 2)))
    refuses("condition label is missing", call=lambda: sample(always, DDIM(), (2, 2), cond={"label": [0, -1]}))


@pytest.mark.parametrize("i", range(3))
def test_missing_in_all_rows_is_absent_to_the_bit(i):
    model, shape = networks(KINDS)[i]
    x = torch.randn(5, *shape)
    cond = {name: value for name, value in values(5).items() if name in model.conditions}
    gone = {name: missing_like(value) for name, value in cond.items()}
    assert torch.equal(model(x, 0.5, gone), model(x, 0.5)) and model(x, 0.5, cond).isfinite().all()
    for name in cond:
        one, none = model(x, 0.5, {name: cond[name]}), model(x, 0.5)
        assert (one - none).abs().flatten(1).amax(1).min() > 1e-6, name  # each is seen
        half = torch.arange(5) % 2 == 0
        both = model(x, 0.5, {name: dropped(cond[name], half)})
        rows = half.reshape(-1, *[1] * len(shape))
        close(both, torch.where(rows, none, one), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sde", ["vp", "ve", "edm", "linear"])
def test_the_labelled_mixture_is_that_of_its_classes(sde):
    means, labels = torch.tensor([[0.0, 3.0], [2.0, 0.0], [-2.0, 0.0], [0.0, -2.0]]).double(), [0, 1, 0, 1]
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    model = GaussianMixture(weights, means, 0.4, SDES[sde], labels)
    x = model.sample(6)
    t = SDES[sde].time(torch.tensor(0.5))
    for label in (0, 1):
        own = [k for k in range(4) if labels[k] == label]
        alone = GaussianMixture(weights[own], means[own], 0.4, SDES[sde])
        cond = {"label": torch.full((6,), label)}
        close(model(x, t, cond), alone(x, t), rtol=1e-9, atol=1e-10)
        close(model.log_prob(x, t, cond), alone.log_prob(x, t), rtol=1e-9, atol=1e-10)
        end = lambda z, alone=alone: alone.log_prob(z, alone.sde.t_max)
        found = scoresde.log_likelihood(model, x, terminal=end, cond={"label": label})
        close(found.log_prob, alone.log_prob(x, alone.sde.t_min), rtol=0, atol=2e-3)
    assert torch.equal(model(x, t, {"label": torch.full((6,), -1)}), model(x, t))
    with pytest.raises(scoresde.InputError, match="'lable' is unknown: the mixture has label"):
        model.log_prob(x, t, {"lable": 0})


# -- learned ----------------------------------------------------------------------------------------------------------


def _told(name, n, seed):
    """Conditions of a kind, and the mean of x that they tell: x = mean + 0.2 noise."""
    cond = values(n, seed)[name]
    if name == "label":
        return cond, torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.0, -1.2]])[cond]
    if name == "vector":
        return cond, 0.5 * cond @ torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    if name == "picture":
        return cond, torch.stack([cond[:, 0, :2].mean((1, 2)), cond[:, 0, 2:].mean((1, 2))], 1) * 2
    if name == "features":
        seen = torch.nn.functional.layer_norm(cond, (4,))  # whose order tells too
        return cond, 0.6 * seen[:, 0, :2] - 0.3 * seen[:, 2, :2]
    place = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.3, -0.3]])  # the order of the tokens tells
    return cond, (cond / 3 - 1) @ place


@each_kind
def test_a_network_learns_what_a_condition_tells(name):
    """The moments of samples, given a condition, are those that it tells; without it those of all the data."""
    cond, mean = _told(name, 4000, 1)
    x = mean + 0.2 * torch.randn(4000, 2, generator=torch.Generator().manual_seed(2))
    data = scoresde.data.from_tensor(x, standardize=None)
    part = lambda i: scoresde.data.Tensors(x[i], cond={name: cond[i]})
    data = scoresde.data.Data(
        "told", part(slice(100, None)), part(slice(100)), data.space, conditions={name: KINDS[name]}
    )
    torch.manual_seed(0)
    net = MLP((2,), width=64, blocks=2, conditions={name: KINDS[name]})
    options = {"steps": 500, "batch_size": 256, "lr": 5e-3, "progress": False, "say": lambda words: None}
    model = scoresde.train(Preconditioned(net, VP()), data, **options)
    cond, mean = _told(name, 400, 5)
    y = sample(model, Adams(steps=20), (400, 2), cond={name: cond}, progress=False)
    away = (y - mean).double()
    # 0.2 of noise, and what 500 steps leave of the network's own error.
    assert away.mean(0).abs().max() < 0.04 and 0.15 < float(away.std()) < 0.27, (away.mean(0), away.std())
    free = sample(model, Adams(steps=20), (400, 2), progress=False)
    close(free.std(0), x.std(0), rtol=0.2, atol=0)


def test_a_model_is_trained_further_with_more_conditions():
    """The weights of a start are taken where names and shapes agree; what a picture adds to the input begins as 0."""
    x = torch.randn(200, 1, 4, 4)
    part = lambda i: scoresde.data.Tensors(x[i], cond={"low": x[i]})
    data = scoresde.data.Data(
        "x", part(slice(20, None)), part(slice(20)), scoresde.data.Affine(), conditions={"low": Picture((1, 4, 4))}
    )
    options = {"batch_size": 8, "progress": False, "say": lambda words: None}
    model = scoresde.train(Preconditioned(UNet((1, 4, 4), channels=8, blocks=1), VP()), data, steps=3, **options)
    net = UNet((1, 4, 4), channels=8, blocks=1, conditions={"low": Picture((1, 4, 4))})
    wide = Preconditioned(net, VP())
    begin_with(wide, model)
    close(wide.eval()(x[:5], 0.5, {"low": x[:5]}), model(x[:5], 0.5), rtol=1e-5, atol=1e-5)
    on = scoresde.train(data=data, start=model, steps=1, lr=1e-9, ema=0.0, **options)
    close(on(x[:5], 0.5), model(x[:5], 0.5), rtol=1e-4, atol=1e-4)
    other = torch.nn.ParameterDict({"odd": torch.ones(3)})
    refuses("start=", call=lambda: begin_with(other, model))
    refuses("data=None", call=lambda: scoresde.train(Preconditioned(net, VP())))


def test_a_model_generates_in_the_data_s_own_values():
    model = scoresde.train(
        Preconditioned(MLP((2,), width=8, conditions={"label": Label(2)}), VP()),
        scoresde.data.from_tensor(torch.randn(50, 2) * 9 + 100, cond={"label": torch.arange(50) % 2}),
        steps=2,
        batch_size=8,
        progress=False,
        say=lambda words: None,
    )
    x = model.generate(5, seed=3, cond={"label": 1}, progress=False)
    plain = sample(model, scoresde.sampling.DPMpp2M(), (5, 2), 3, cond={"label": 1}, progress=False)
    assert torch.equal(x, model.decode(plain)) and abs(float(x.mean()) - 100) < 30
    guided = model.generate(
        5, DDIM(steps=2), 3, {"label": 1}, lambda m: scoresde.guidance.Guided(m, 2.0), progress=False
    )
    other = model.generate(5, DDIM(steps=2), 3, {"label": 1}, progress=False)
    assert guided.shape == (5, 2) and not torch.equal(guided, other) and scoresde.Trained is scoresde.Model

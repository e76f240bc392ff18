"""Laws of the divergence estimators, their control variates, the fixed grid, probes on demand, and gradients."""

import math

import pytest
import torch
from problems import SDES, Around, close, each_song_sde, mixture, moments, refuses
from torch import nn

from scoresde.denoiser import Preconditioned
from scoresde.exact import GaussianMixture
from scoresde.likelihood import (
    AdaptivePath,
    Auto,
    AverageJacobian,
    Exact,
    FixedPath,
    GaussianPart,
    Hutchinson,
    HutchPP,
    average_jacobian,
    log_likelihood,
)
from scoresde.likelihood.nodes import predictors, quadrature
from scoresde.nets import UNet
from scoresde.sde import VP

COARSE = {"rtol": 1e-3, "atol": 1e-3}


def start(model, n, seed=1):
    return model.sample(n, model.sde.t_min, seed=seed), lambda x: model.log_prob(x, model.sde.t_max)


def gaussian(sde, dims=4):
    g = torch.Generator().manual_seed(0)
    return GaussianMixture(
        torch.ones(1).double(),
        torch.randn(1, dims, generator=g).double(),
        torch.linspace(0.2, 1.5, dims)[None].double(),
        sde,
    )


def unbiased(estimates, exact, error):
    """Independent estimates (n,) have the mean `exact` within 4 standard errors, and the spread `error` within 15 %."""
    spread = float(estimates.std())
    assert abs(float(estimates.mean()) - exact) < 4 * spread / math.sqrt(len(estimates)) + 1e-9
    assert error == pytest.approx(spread, rel=0.15)


# -- estimators -------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("dims", [1, 20])
@pytest.mark.parametrize("chunk", [7, 64])
def test_exact_by_either_mode_is_the_trace(dims, chunk):
    a = torch.randn(dims, dims).double()
    z = torch.randn(3, dims).double()
    for mode in ("auto", "reverse", "forward"):
        v, d = Exact(mode, chunk)(lambda y: torch.sin(y) @ a.T, z, None)
        close(d[:, 0], (a.diagonal() * z.cos()).sum(1))
        close(v, z.sin() @ a.T)
        assert not d.requires_grad


@torch.no_grad()
def test_every_estimator_agrees_on_a_network():
    """Exact both ways, Hutchinson over unit vectors, and Hutch++ with a basis of the whole space."""
    net = Preconditioned(UNet((1, 4, 4), channels=8, blocks=1, attention=16), VP())
    for p in net.parameters():
        nn.init.normal_(p, std=0.1)
    net = net.double().eval()
    z, index = torch.randn(2, 1, 4, 4).double(), torch.arange(2)
    exact = Exact()(lambda y: net.velocity(y, 0.4), z, None)[1].mean(1)
    unit = 4 * torch.eye(16).double().reshape(1, 16, 1, 4, 4).expand(2, -1, -1, -1, -1)
    for divergence, probes in (
        (Exact("forward"), None),
        (Hutchinson(16), unit),
        (HutchPP(48), HutchPP(48).probes(z, index, 0)),
    ):
        close(divergence(lambda y: net.velocity(y, 0.4), z, probes)[1].mean(1), exact, rtol=1e-8)


ESTIMATORS = [
    *(Hutchinson(k, kind) for k in (1, 4, 16) for kind in ("rademacher", "gaussian")),
    HutchPP(3),
    HutchPP(12),
]


@torch.no_grad()
@pytest.mark.parametrize("divergence", ESTIMATORS, ids=str)
def test_estimates_are_unbiased_and_know_their_error(divergence):
    """For a fixed matrix, over many samples: the mean is the trace, the mean reported variance that of the mean."""
    n, dims = 4000, 20
    a = torch.randn(dims, dims, generator=torch.Generator().manual_seed(3)).double()
    a = a + a.T
    z = torch.zeros(n, dims).double()
    v, d = divergence(lambda y: y @ a.T, z, divergence.probes(z, torch.arange(n), 5))
    assert d.shape == (n, divergence.estimates)
    mean = d.mean(1)
    error = divergence.variance(d).mean().sqrt() if divergence.estimates > 1 else mean.std()
    unbiased(mean, float(a.trace()), float(error))
    if isinstance(divergence, Hutchinson):
        of = a - torch.diag(a.diagonal()) if divergence.kind == "rademacher" else a
        assert float(mean.std()) == pytest.approx(math.sqrt(2 / divergence.k) * float(of.norm()), rel=0.1)


@torch.no_grad()
def test_hutchpp_is_exact_for_a_matrix_of_low_rank():
    a = torch.randn(20, 2).double() @ torch.randn(2, 20).double()
    z = torch.zeros(5, 20).double()
    divergence = HutchPP(6)
    d = divergence(lambda y: y @ a.T, z, divergence.probes(z, torch.arange(5), 0))[1]
    close(d, a.trace().expand(5, 2))


def test_probes_are_of_the_sample_and_its_number():
    z, index = torch.zeros(6, 3, 2).double(), torch.arange(6)
    for kind in ("rademacher", "gaussian"):
        whole = Hutchinson(4, kind).probes(z, index, 1)
        close(Hutchinson(4, kind).probes(z[2:3], index[2:3], 1), whole[2:3])
        close(Hutchinson(2, kind).probes(z, index, 1, first=2), whole[:, 2:])
        assert not torch.equal(Hutchinson(4, kind).probes(z, index, 1, draw=1), whole)


# -- control variates -------------------------------------------------------------------------------------------------


@each_song_sde
@pytest.mark.parametrize("steps", [None, 10])
def test_one_probe_is_exact_for_a_gaussian(sde, steps):
    """The flow of N(m, C) is known in closed form: with it as control one probe does what the exact divergence does."""
    model = gaussian(sde)
    x, terminal = start(model, 4)
    control = GaussianPart(moments(model)[1])
    options = {"terminal": terminal, "steps": steps, "rtol": 1e-8, "atol": 1e-8}
    exact = log_likelihood(model, x, **options)
    for kind in ("rademacher", "gaussian"):
        out = log_likelihood(model, x, 1, divergence=kind, control=control, **options)
        close(out.log_prob, exact.log_prob, rtol=0, atol=1e-6)
    if steps is None:
        close(exact.log_prob, model.log_prob(x, sde.t_min), rtol=0, atol=1e-5)


def test_the_gaussian_part_is_the_jacobian_of_its_flow():
    c = torch.cov(torch.randn(4, 50).double())
    control, phi, sde = GaussianPart(c), 0.6, VP()
    noisy = math.cos(phi) ** 2 * c + math.sin(phi) ** 2 * torch.eye(4).double()
    eye = torch.eye(4).double()
    close(control.jacobian(phi), math.cos(phi) * math.sin(phi) * (eye - c) @ noisy.inverse())
    grid = torch.linspace(0.1, 1.5, 2001, dtype=torch.float64)
    values = torch.stack([control.jacobian(float(p)) for p in grid])
    close(control.integral(0.1, 1.5), torch.trapezoid(values, grid, dim=0), rtol=1e-5, atol=1e-6)
    assert control.strength == 1 and sde.angle(0.5) > 0


def test_average_jacobian_is_the_flows_own():
    model = gaussian(VP())
    x, _ = start(model, 3)
    control, exact = average_jacobian(model, x, steps=40), GaussianPart(moments(model)[1])
    for phi in (0.3, 0.9, 1.4):
        close(control.jacobian(phi), exact.jacobian(phi), rtol=0, atol=2e-2)
    close(control.integral(0.2, 1.5), exact.integral(0.2, 1.5), rtol=0, atol=1e-2)
    grid = AverageJacobian([0.0, 1.0, 3.0], torch.tensor([0.0, 2.0, 0.0]).reshape(3, 1, 1))
    for a, b, area in ((0.0, 3.0, 3.0), (0.5, 1.0, 0.75), (2.0, 3.0, 0.5), (0.2, 0.4, 0.12)):
        close(grid.integral(a, b), torch.tensor([[area]]), atol=1e-6)


@pytest.mark.parametrize("steps", [None, 12])
def test_a_wrong_control_is_unbiased_and_a_right_one_pays(steps):
    n, model = 300, mixture(VP(), (3,))
    x, terminal = start(model, 1, seed=4)
    options = {"terminal": terminal, "steps": steps, **COARSE}
    exact = float(log_likelihood(model, x, **options).log_prob)
    rows = x.expand(n, 3)
    own = average_jacobian(model, x, steps=20)
    wrong = GaussianPart(2 * torch.eye(3) + 1)
    spread = {}
    for name, control in (("none", None), ("own", own), ("wrong", wrong)):
        out = log_likelihood(model, rows, 2, control=control, **options)
        unbiased_within = 4 * float(out.log_prob.std()) / math.sqrt(n) + 3e-3
        assert abs(float(out.log_prob.mean()) - exact) < unbiased_within
        if name != "own":  # whose error is that of interpolating J in phi
            assert float(out.stderr.square().mean().sqrt()) == pytest.approx(float(out.log_prob.std()), rel=0.2)
        spread[name] = float(out.log_prob.std())
    assert spread["own"] < 0.1 * spread["none"] < spread["wrong"]


# -- fixed grid -------------------------------------------------------------------------------------------------------


def test_weights_integrate_polynomials():
    angles = torch.tensor([0.1, 0.2, 0.4, 0.5, 0.9, 1.3, 1.5], dtype=torch.float64)
    for points in (2, 3, 4):
        for p in range(points):
            area = (1.5 ** (p + 1) - 0.1 ** (p + 1)) / (p + 1)
            assert float(quadrature(angles, points) @ angles**p) == pytest.approx(area)
    for j, (ahead, both) in enumerate(predictors(angles, 3)):
        assert len(ahead) == min(3, j + 1) and len(both) == len(ahead) + 1
        assert sum(ahead) == pytest.approx(float(angles[j + 1] - angles[j])) == pytest.approx(sum(both))


@each_song_sde
def test_the_fixed_grid_converges_with_its_order(sde):
    model = mixture(sde)
    x, terminal = start(model, 12)
    exact = model.log_prob(x, sde.t_min)
    errors = {}
    for order in (1, 3):
        errors[order] = [
            float((log_likelihood(model, x, steps=n, order=order, terminal=terminal).log_prob - exact).abs().mean())
            for n in (60, 120, 240)
        ]
    for order, least in ((1, 1.6), (3, 3.0)):
        a, b, c = errors[order]
        assert math.log2(a / b) > least - 0.5 and math.log2(b / c) > least - 0.5, errors
    assert errors[3][-1] < 1e-5


@pytest.mark.parametrize("k", [1, 2, 4])
def test_fresh_probes_know_their_error(k):
    n, model = 200, mixture(VP(), (3,))
    x, terminal = start(model, 1, seed=4)
    exact = float(log_likelihood(model, x, steps=30, terminal=terminal).log_prob)
    out = log_likelihood(model, x.expand(n, 3), k, steps=30, terminal=terminal)
    spread = float(out.log_prob.std())
    assert abs(float(out.log_prob.mean()) - exact) < 4 * spread / math.sqrt(n)
    reported = float(out.stderr.square().mean().sqrt())
    assert reported == pytest.approx(spread, rel=0.15) or (k == 1 and spread < reported < 1.5 * spread)
    assert (out.nfe == 31).all()
    frozen = log_likelihood(model, x.expand(n, 3), k, terminal=terminal, **COARSE)
    assert spread < 0.6 * float(frozen.log_prob.std())


# -- terms, rows, probes on demand ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"steps": 8, "probes": 2}], ids=str)
def test_the_terms_add_up(options):
    model = mixture(SDES["ve"], (1, 2, 2))
    x, _ = start(model, 3)
    out = log_likelihood(model, x, **COARSE, **options)
    close(out.prior + out.volume + out.divergence, out.log_prob)
    close(out.prior, model.sde.prior_log_prob(out.latent))
    n = [float(torch.hypot(*model.sde.marginal(t))) for t in (model.sde.t_min, model.sde.t_max)]
    close(out.volume, torch.full((3,), 4 * math.log(n[1] / n[0])).double(), atol=1e-6)


ROWS = {
    "control": {"probes": 2, "control": GaussianPart(2 * torch.eye(20) + 1)},
    "auto": {"probes": "auto", "target_stderr": 0.3, "max_probes": 16},
    "hutchpp": {"probes": 6, "divergence": "hutchpp", "steps": 8},
    "grid": {"probes": 2, "steps": 10, "control": GaussianPart(2 * torch.eye(20) + 1)},
    "auto on a grid": {"probes": "auto", "steps": 10, "target_stderr": 0.1, "max_probes": 16},
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_does_not_depend_on_its_batch(name):
    model = mixture(VP(), (20,))
    x, _ = start(model, 5)
    whole = log_likelihood(model, x, seed=3, **COARSE, **ROWS[name])
    for a, b in ((0, 1), (2, 4)):
        part = log_likelihood(model, x[a:b], seed=3, offset=a, **COARSE, **ROWS[name])
        for field in ("log_prob", "stderr", "latent", "divergence"):
            close(getattr(part, field), getattr(whole, field)[a:b], rtol=0, atol=1e-10)
        assert torch.equal(part.nfe, whole.nfe[a:b]) and torch.equal(part.probes, whole.probes[a:b])


@pytest.mark.parametrize("steps", [None, 10])
def test_auto_spends_probes_where_the_error_is(steps):
    model = mixture(VP(), (20,))
    x, terminal = start(model, 40)
    target = 0.25 if steps is None else 0.15
    options = {"steps": steps, "terminal": terminal, **COARSE}
    out = log_likelihood(model, x, "auto", target_stderr=target, max_probes=64, **options)
    assert ((out.stderr < target) | (out.probes == 64)).all() and set(out.probes.tolist()) <= {4, 8, 16, 32, 64}
    assert len(set(out.probes.tolist())) > 1
    error = float((out.log_prob - log_likelihood(model, x, **options).log_prob).square().mean().sqrt())
    assert error < 1.3 * target
    one = log_likelihood(model, x, "auto", target_stderr=100.0, **options)
    first = 8 if steps is None else 4
    assert (one.probes == first).all()
    close(one.log_prob, log_likelihood(model, x, first, **options).log_prob)


@pytest.mark.parametrize("steps", [None, 8])
def test_conditions_go_with_the_rows_that_need_more_probes(steps):
    means = torch.tensor([[0.0, 1.0, 0.5], [2.0, -3.0, 0.0], [9.0, 9.0, 1.0]]).double()
    x = means + 0.3 * torch.randn(3, 3, dtype=torch.float64)
    options = {"divergence": "gaussian", "steps": steps, "target_stderr": 0.5, "max_probes": 32, **COARSE}
    whole = log_likelihood(Around(VP(), size=3), x, "auto", cond={"mean": means}, **options)
    assert len(set(whole.probes.tolist())) > 1 or (whole.probes == 32).all()
    for i in range(3):
        row = slice(i, i + 1)
        part = log_likelihood(Around(VP(), size=3), x[row], "auto", offset=i, cond={"mean": means[row]}, **options)
        close(part.log_prob, whole.log_prob[row], atol=1e-10)


def test_auto_is_exact_in_few_dimensions():
    model = mixture(VP())
    x, _ = start(model, 3)
    out = log_likelihood(model, x, "auto", **COARSE)
    assert (out.stderr == 0).all() and torch.equal(out.log_prob, log_likelihood(model, x, **COARSE).log_prob)


# -- gradients --------------------------------------------------------------------------------------------------------


def test_the_gradient_is_that_of_the_sum():
    """d log p / dx and d log p / d parameters against central differences of the same discrete sum."""
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).double()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, c):
            return self.net(x) * torch.tanh(c)[:, None]

    model = Preconditioned(Net(), VP(t_min=0.01))
    x, h = torch.randn(3, 2).double(), 1e-5
    for probes in (None, 2):
        options = {"probes": probes, "steps": 8}
        y = x.clone().requires_grad_()
        out = log_likelihood(model, y, differentiable=True, **options)
        weight = net[0].weight
        dx, dw = torch.autograd.grad(out.log_prob.sum(), (y, weight))
        for i in range(2):
            e = h * torch.eye(2).double()[i]
            plus, minus = (log_likelihood(model, x + s * e, **options).log_prob for s in (1, -1))
            close(dx[:, i], (plus - minus) / (2 * h), rtol=1e-6, atol=1e-6)
        with torch.no_grad():
            ends = []
            for s in (1, -2):
                weight[3, 1] += s * h
                ends.append(float(log_likelihood(model, x, **options).log_prob.sum()))
            weight[3, 1] += h
        assert float(dw[3, 1]) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5, abs=1e-7)
        close(out.log_prob.detach(), log_likelihood(model, x, **options).log_prob)


@each_song_sde
def test_the_gradient_is_the_exact_score(sde):
    model = mixture(sde)
    t = float(sde.time(4.0))
    x = model.sample(5, t).requires_grad_()
    out = log_likelihood(
        model, x, steps=100, t_min=t, differentiable=True, terminal=lambda x: model.log_prob(x, sde.t_max)
    )
    (gradient,) = torch.autograd.grad(out.log_prob.sum(), x)
    close(gradient, model.score(x.detach(), t), rtol=1e-3, atol=1e-3)


def test_the_gradient_passes_through_attention():
    """Along one direction in x and one in the weights of a U-Net, by central differences."""
    net = Preconditioned(UNet((1, 4, 4), channels=8, blocks=1, attention=16), VP(t_min=0.01)).eval().double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.1)
    x, h = torch.randn(2, 1, 4, 4).double(), 1e-5

    def log_prob(x):
        return log_likelihood(net, x, 1, steps=3, differentiable=True).log_prob.sum()

    inputs = [x.requires_grad_(), *net.parameters()]
    ways = [torch.randn_like(a) for a in inputs]
    gradients = torch.autograd.grad(log_prob(x), inputs)
    by_name = dict(zip(["x", *(name for name, _ in net.named_parameters())], range(len(inputs)), strict=True))
    attention = [i for name, i in by_name.items() if "qkv" in name]
    assert len(attention) > 2
    for some in ([0], attention, range(1, len(inputs))):
        slope = sum(float((gradients[i] * ways[i]).sum()) for i in some)
        ends = []
        for step in (h, -2 * h):
            with torch.no_grad():
                for i in some:
                    inputs[i] += step * ways[i]
            ends.append(float(log_prob(x).detach()))
        with torch.no_grad():
            for i in some:
                inputs[i] += h * ways[i]
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-4, abs=1e-6) and abs(slope) > 1e-6


def test_ascent_climbs_to_a_mode():
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0]]).double()
    model = GaussianMixture(torch.ones(2), means, 0.5, VP())
    x = torch.tensor([[1.0, 0.8], [-1.5, 0.0]]).double()
    for _ in range(7):
        y = x.clone().requires_grad_()
        out = log_likelihood(model, y, steps=16, t_min=0.01, differentiable=True)
        (g,) = torch.autograd.grad(out.log_prob.sum(), y)
        x = x + 0.2 * g
    close(x, float(model.sde.marginal(0.01)[0]) * means, rtol=0, atol=0.03)


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"divergence": "hutch"}, ("'hutch'", "rademacher")),
        ({"divergence": "exact", "probes": 3}, ("probes=3", "exact")),
        ({"divergence": Hutchinson(2), "probes": 3}, ("probes=3",)),
        ({"divergence": "hutchpp", "probes": 4}, ("probes=4", "multiple of 3")),
        ({"divergence": "hutchpp", "probes": 9}, ("probes=9", "3 D = 6")),
        ({"probes": "auto", "target_stderr": 0}, ("target_stderr=0",)),
        ({"probes": "auto", "max_probes": 2}, ("max_probes=2",)),
        ({"probes": "auto", "divergence": Exact()}, ("auto", "Exact")),
        ({"probes": "all"}, ("'all'",)),
        ({"control": GaussianPart(torch.eye(2))}, ("control", "Hutchinson")),
        ({"probes": 1, "control": GaussianPart(torch.eye(3))}, ("3 dimensions", "2")),
        ({"steps": 1}, ("steps=1",)),
        ({"steps": 10, "order": 0}, ("order=0",)),
        ({"differentiable": True}, ("differentiable", "steps")),
    ],
    ids=str,
)
def test_refusals(options, words):
    refuses(*words, call=lambda: log_likelihood(mixture(VP()), torch.zeros(2, 2), **options))


def test_controls_refuse_what_they_cannot_be():
    refuses("(2, 3)", call=lambda: GaussianPart(torch.ones(2, 3)))
    refuses("4096", call=lambda: GaussianPart.fit(torch.zeros(2, 4097)))
    refuses("(1, 2)", call=lambda: GaussianPart.fit(torch.zeros(1, 2)))
    refuses("1024", call=lambda: average_jacobian(mixture(VP()), torch.zeros(2, 1025)))
    for name in ("mode", "chunk"):
        refuses(name, call=lambda name=name: Exact(**{name: 0}))
    refuses("'normal'", call=lambda: Hutchinson(1, "normal"))


def test_a_path_is_an_object_or_its_fields():
    """To the bit; not both, not a bit of each, and no name of neither."""
    model = mixture(VP())
    x, _ = start(model, 3)
    for path, short in ((AdaptivePath(1e-3, 1e-3), {"rtol": 1e-3, "atol": 1e-3}), (FixedPath(6), {"steps": 6})):
        one, two = (log_likelihood(model, x, 4, **given) for given in ({"path": path}, short))
        assert torch.equal(one.log_prob, two.log_prob) and torch.equal(one.stderr, two.stderr)
        refuses(
            "path=", next(iter(short)), call=lambda path=path, short=short: log_likelihood(model, x, path=path, **short)
        )
    refuses("rtl=1e-05", "did you mean rtol", call=lambda: log_likelihood(model, x, rtl=1e-5))
    wide = mixture(VP(), (20,))
    y, _ = start(wide, 2)
    by = {"steps": 6, "seed": 1}
    auto = log_likelihood(wide, y, Auto(target_stderr=0.3, max_probes=16), **by)
    assert torch.equal(auto.log_prob, log_likelihood(wide, y, "auto", target_stderr=0.3, max_probes=16, **by).log_prob)

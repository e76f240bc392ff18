"""Every fixed-step sampler converges with the order it claims, to the right limit."""

import pytest
import torch
from orders import flow_error, order, weak_error
from problems import SDES, SONG, close, mixture
from samplers import DETERMINISTIC, STOCHASTIC

from scoresde.sampling import Adams, DPMpp, DPMpp2M, SASolver, UniPC, sample
from scoresde.sampling.steps.polynomials import lagrange, quadrature

OTHERS = [n for n in SDES if n not in SONG]


def every(names):
    cells = [(n, s) for n in names for s in SONG]
    cells += [pytest.param(n, s, marks=pytest.mark.slow) for n in names for s in OTHERS]
    return pytest.mark.parametrize(("name", "sde"), cells)


def uneven(sde, steps, start, end):
    """Steps in log-SNR that are long and short by turns: a multistep method must know the ratio of its steps."""
    length = 1.0 + torch.arange(steps, dtype=torch.float64) % 2
    u = torch.cat([torch.zeros(1), (length / length.sum()).cumsum(0)])
    high, low = sde.log_snr(start), sde.log_snr(end)
    return sde.time(high + (low - high) * u)


@every(DETERMINISTIC)
def test_order_and_limit(name, sde):
    entry = DETERMINISTIC[name]
    errors = [flow_error(sde, entry, k * entry.steps, grid=entry.on) for k in (1, 2)]
    assert abs(order(*errors) - entry.order) < 0.25, errors
    assert errors[1] < {1: 1e-2, 2: 1e-3, 3: 2e-4, 4: 1e-5, 5: 1e-6}[entry.order], errors


@every(["dpmpp_2m", "dpmpp_3m", "adams", "unipc2", "ab3"])
def test_order_on_uneven_steps(name, sde):
    entry = DETERMINISTIC[name]
    errors = [flow_error(sde, entry, n, grid=uneven) for n in (400, 800)]
    assert abs(order(*errors) - entry.order) < 0.25, errors


@every([name for name in STOCHASTIC if name != "pc"])
def test_weak_order(name, sde):
    """The mean and the variance for Gaussian data, exactly: no draws."""
    entry = STOCHASTIC[name]
    errors = [weak_error(sde, entry, n, grid=entry.on) for n in (200, 400)]
    assert abs(order(*errors) - entry.order) < 0.25, errors
    assert errors[1] < {1: 1e-2, 2: 1e-3}[entry.order]


def test_weights_are_those_of_the_polynomial():
    """Adams-Bashforth's textbook weights on equal steps; DPM-Solver++(2M) with its first-order first step."""
    textbook = {2: [3 / 2, -1 / 2], 3: [23 / 12, -16 / 12, 5 / 12], 4: [55 / 24, -59 / 24, 37 / 24, -9 / 24]}
    for weights in textbook.values():
        u, w = quadrature(0.0, 1.0)
        close(
            lagrange([-float(j) for j in range(len(weights))], u) @ w,
            torch.tensor(weights, dtype=torch.float64),
            rtol=0,
            atol=1e-12,
        )


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_one_method_under_two_names(sde):
    """Without noise the SA-solver is DPM-Solver++, and corrected UniPC; order 1 of it is DDIM, 2 nearly 2M."""
    model = mixture(sde)

    def run(sampler):
        return sample(model, sampler, (8, 2), dtype=torch.float64)

    still = {"eta": 0.0, "steps": 12, "grid": "log_snr"}
    close(run(SASolver(order=3, correct=False, **still)), run(DPMpp(order=3, steps=12)), rtol=1e-9)
    close(run(SASolver(order=2, correct=True, **still)), run(UniPC(order=2, steps=12)), rtol=1e-9)
    close(run(DPMpp(order=1, steps=12)), run(DETERMINISTIC["ddim"](12, grid="log_snr")), rtol=1e-9)
    fine = {"steps": 300, "last": "none"}
    assert (run(DPMpp(order=2, **fine)) - run(DPMpp2M(**fine))).abs().max() < 1e-2
    euler = run(Adams(order=1, correct=False, **fine)) - run(Adams(order=1, **fine))
    assert 0 < euler.abs().max() < 0.3

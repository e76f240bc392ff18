"""Drafts refined by a teacher: laws on exact mixtures, whose drafts are wrong in known ways."""

import pytest
import torch
from flow_maps import Affine, Solved
from problems import Around, close, each_sde, mixture, refuses

from scoresde.conditions import Vector
from scoresde.denoiser import Counted, FlowMap
from scoresde.exact import GaussianMixture
from scoresde.metrics import energy
from scoresde.nets import MLP
from scoresde.noise import Draws, Stream, normal
from scoresde.sampling import DDIM, Corrected, Jump, Renoise, refine, sample
from scoresde.sampling.edit import time_of
from scoresde.sde import VP

KINDS = ("gibbs", "flow", "langevin")


def ring(std=0.1, weights=None):
    """Eight modes on a circle."""
    a = torch.arange(8, dtype=torch.float64) * torch.pi / 4
    means = 1.4 * torch.stack([a.cos(), a.sin()], 1)
    return GaussianMixture(torch.ones(8) if weights is None else weights, means, std, VP())


@pytest.mark.parametrize("kind", KINDS)
def test_no_level_is_the_draft_and_all_of_it_forgets_it(kind):
    teacher, draft = ring(), torch.randn(6, 2, dtype=torch.float64)
    assert torch.equal(refine(teacher, draft, 0.0, 4, kind), draft)
    options = {"seed": 4, "dtype": torch.float64}
    assert torch.equal(
        refine(teacher, draft, 1.0, 4, kind, **options), refine(teacher, -draft, 1.0, 4, kind, **options)
    )
    assert not torch.equal(refine(teacher, draft, 0.5, 4, kind, **options), draft)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refinement_takes_its_evaluations_and_no_more(kind):
    for steps in (2, 6):
        counted = Counted(ring())
        refine(counted, torch.randn(7, 2, dtype=torch.float64), 0.4, steps, kind, dtype=torch.float64)
        assert counted.rows == 7 * steps
    refuses("steps=3", "even", call=lambda: refine(ring(), torch.randn(7, 2), 0.4, 3, "langevin"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("wrong", "level", "steps"), [("variance", 0.2, 4), ("weights", 0.8, 8)])
def test_a_wrong_draft_gets_closer(kind, wrong, level, steps):
    """Modes that are too wide by a low level, the wrong shares of modes by a high one."""
    teacher = ring()
    off = ring(std=0.3) if wrong == "variance" else ring(weights=torch.arange(1, 9.0))
    exact, draft = teacher.sample(1000, seed=1), off.sample(1000, seed=2)
    found = refine(teacher, draft, level, steps, kind, seed=3, dtype=torch.float64)
    before, after = energy(draft, exact), energy(found, exact)
    assert before.low > 0 and after.value < before.value / 4, (before, after)


@each_sde
def test_one_step_of_gibbs_is_the_corrector_s_sweep(sde):
    """One sweep over the pair of t_min and the level, by the same noise."""
    teacher, draft = mixture(sde), torch.randn(5, 2, dtype=torch.float64)
    t = time_of(sde, 0.5, sde.t_min)
    first = normal(draft, torch.arange(5), 7, *Stream.SAMPLING())
    draws, found = Draws(7, torch.arange(5), 1), refine(teacher, draft, 0.5, 1, seed=7, dtype=torch.float64)
    alpha, sigma = (float(a) for a in sde.marginal(t))
    # of data at t_min the sweep makes x_t; the draft stands for x_0, which is as near as t_min is to 0
    x_t = alpha * draft + sigma * first
    close(found, DDIM(eta=1.0).step(teacher, x_t, sde.at(t), sde.at(sde.t_min), None, draws)[0])


def drafts(sampler, model, n, **options):
    """Samples in double precision."""
    return sample(model, sampler, (n, 2), dtype=torch.float64, **options)


def test_corrected_is_the_draft_refined():
    """At level 0 the draft to the bit, by jumps and by renoising; above it closer to the data than the draft is."""
    teacher = ring()
    student = Solved(ring(std=0.3), 16)  # the exact flow map of the wrong data
    for name, sampler in (("jump", Jump(steps=2)), ("renoise", Renoise(steps=2))):
        still = Corrected(steps=2, draft=name, level=0.0, teacher=teacher)
        assert torch.equal(drafts(still, student, 9, seed=3), drafts(sampler, student, 9, seed=3))
    exact, own = teacher.sample(1000, seed=1), drafts(Jump(steps=1), student, 1000)
    found = drafts(Corrected(level=0.2, refine=4, teacher=lambda: teacher), student, 1000)
    assert energy(found, exact).value < energy(own, exact).value / 4
    right = Affine(VP(), torch.tensor([0.5, -1.0]).double(), torch.tensor([0.4, 1.2]).double())
    kept = drafts(Corrected(level=0.6, refine=10, kind="flow", teacher=right.mixture()), right, 2000)
    close(kept.std(0) / right.std, torch.ones(2), rtol=0, atol=0.07)  # right drafts stay so
    chunks = drafts(Corrected(level=0.2, refine=4, teacher=teacher), student, 1000, batch_size=300)
    close(found, chunks)
    refuses("teacher=None", call=lambda: drafts(Corrected(), student, 2))


def test_a_teacher_is_told_what_the_samples_are_told_and_counted_with_them():
    sde = VP()
    torch.manual_seed(0)
    student = FlowMap(MLP((2,), width=8, blocks=1, conditions={"mean": Vector(2, drop=0.0)}), sde, "v").eval()
    teacher, means = Around(sde, std=0.1), torch.tensor([[3.0, 0.0], [0.0, -3.0]]).repeat(20, 1)
    counted = Counted(student)
    sampler = Corrected(steps=1, level=1.0, refine=12, kind="flow", teacher=teacher)
    found = sample(counted, sampler, (40, 2), cond={"mean": means})
    assert float((found - means).abs().max()) < 0.5
    assert counted.rows == 40 * 13

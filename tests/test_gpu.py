"""The same numbers on a GPU, and no waiting for it in a fixed-step loop: pytest -m gpu on a machine that has one."""

import pytest
import torch

import scoresde
from scoresde import noise
from scoresde.sampling import DDIM, PC, DPMpp2M, Heun, ProbabilityFlow

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def model() -> scoresde.Preconditioned:
    torch.manual_seed(0)
    return scoresde.Preconditioned(scoresde.nets.UNet((1, 8, 8), channels=16), scoresde.VP()).eval()


def test_noise_is_the_same():
    x, index = torch.empty(5, 3, 7), torch.arange(5)
    for draw in (noise.normal, noise.uniform, noise.rademacher):
        here, there = draw(x, index, 1, 2, 3), draw(x.cuda(), index.cuda(), 1, 2, 3)
        assert torch.allclose(here, there.cpu(), atol=1e-6)


@pytest.mark.parametrize("sampler", [PC(steps=5), DDIM(steps=5, eta=1.0), Heun(steps=5), DPMpp2M(steps=5)], ids=repr)
def test_fixed_steps_do_not_wait_and_give_the_same_samples(sampler):
    here = scoresde.sample(model(), sampler, (4, 1, 8, 8))
    device = model().cuda()
    waits = []

    def callback(step, t, x, x0):
        torch.cuda.set_sync_debug_mode("error" if step < sampler.steps - 1 else "default")
        waits.append(step)

    try:
        there = scoresde.sample(device, sampler, (4, 1, 8, 8), callback=callback)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(waits) == sampler.steps and torch.allclose(here, there.cpu(), atol=1e-3)


def test_flow_and_likelihood_agree():
    x = torch.randn(3, 1, 8, 8)
    flow = ProbabilityFlow(rtol=1e-4, atol=1e-4)
    here, there = (scoresde.sample(m, flow, (3, 1, 8, 8)) for m in (model(), model().cuda()))
    assert torch.allclose(here, there.cpu(), atol=1e-2)
    options = {"probes": 2, "rtol": 1e-4, "atol": 1e-4}
    here, there = (
        scoresde.log_likelihood(model(), x, **options),
        scoresde.log_likelihood(model().cuda(), x.cuda(), **options),
    )
    assert torch.allclose(here.log_prob, there.log_prob.cpu(), atol=1e-2)


def test_training_runs():
    trained = scoresde.train(model(), torch.randn(64, 1, 8, 8), steps=3, batch_size=16, precision="bf16")
    assert next(trained.parameters()).is_cuda

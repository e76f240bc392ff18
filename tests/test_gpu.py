"""The same numbers on a GPU, and no waiting for it in a fixed-step loop: pytest -m gpu on a machine that has one."""

import pytest
import torch
from samplers import DETERMINISTIC, STOCHASTIC

import scoresde
from scoresde import noise
from scoresde.conditions import Label
from scoresde.denoiser import levels
from scoresde.noise import counter
from scoresde.sampling import DDIM, PC, Jump, ProbabilityFlow, Renoise
from scoresde.students import METHODS, student_of, taught_by

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


# Fixed-step samplers: none may wait for the device within its loop.
FIXED = {
    "pc": PC(steps=5),
    "pc-gibbs": PC(steps=5, predictor="ancestral", corrector="gibbs"),
    **{name: entry(5) for name, entry in {**DETERMINISTIC, **STOCHASTIC}.items() if name != "pc"},
    "jump": Jump(steps=5),
    "renoise": Renoise(steps=5),
}
each_fixed = pytest.mark.parametrize("sampler", FIXED.values(), ids=FIXED)


def model() -> scoresde.Preconditioned:
    torch.manual_seed(0)
    return scoresde.Preconditioned(scoresde.nets.UNet((1, 8, 8), channels=16), scoresde.VP()).eval()


def test_noise_is_the_same():
    x, index = torch.empty(5, 3, 7), torch.arange(5)
    for draw in (noise.normal, noise.uniform, noise.rademacher):
        here, there = draw(x, index, 1, 2, 3), draw(x.cuda(), index.cuda(), 1, 2, 3)
        assert torch.allclose(here, there.cpu(), atol=1e-6)


@pytest.mark.parametrize("spread", [True, False])
def test_the_mean_of_levels_is_the_same_and_does_not_wait(spread):
    torch.manual_seed(0)
    rule, x, answer = levels(17, spread=spread), torch.randn(6, 3), torch.randn(6, 51)
    far, there = (x.cuda(), answer.cuda()), torch.linspace(-9, 9, 6).exp()
    for sigma in (1e-3, 0.1, 2.0, there.cuda()):
        wanted = rule.mean(x, 0.8, sigma.cpu() if torch.is_tensor(sigma) else sigma, answer)
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = rule.mean(far[0], 0.8, sigma, far[1])
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.allclose(found.cpu(), wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_the_triton_kernel_gives_the_same_numbers(dtype):
    """The same words, so equal up to the last bits of log and cos; and it is taken where triton is installed."""
    pytest.importorskip("triton")
    counter._kernel.cache_clear()
    kernel, rows = counter._kernel(), torch.arange(7, device="cuda")
    assert kernel is not None
    for shape in ((1,), (5,), (3, 7), (3, 32, 32)):
        x, index = torch.empty(7, *shape, dtype=dtype, device="cuda"), rows * 2**30
        for seed in (0, 2**40 + 5):
            for step, draw in ((0, 0), (1, 16), (2**31, 2**32 - 1), (rows - 2, rows)):
                expected = counter._normal(x, index, seed, step, draw)
                here = noise.normal(x, index, seed, step, draw)
                tolerance = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 0.05}[dtype]
                assert here.dtype == dtype and torch.allclose(here, expected, 0, tolerance)


@each_fixed
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


@each_fixed
def test_graphs_replay_the_same(sampler):
    device = model().cuda()
    plain = scoresde.sample(device, sampler, (7, 1, 8, 8), batch_size=4)
    graphed = scoresde.sample(device, sampler, (7, 1, 8, 8), batch_size=4, cuda_graphs=True)
    assert torch.allclose(plain, graphed, atol=1e-4)
    assert isinstance(device.net, scoresde.nets.UNet)


@pytest.mark.parametrize("options", [{"autocast": "bf16"}, {"autocast": "fp16"}, {"compile": True}], ids=str)
@pytest.mark.parametrize("cuda_graphs", [False, True], ids=["calls", "graphs"])
def test_options_come_together(options, cuda_graphs):
    device = model().cuda()
    plain = scoresde.sample(device, DDIM(steps=5), (4, 1, 8, 8))
    other = scoresde.sample(device, DDIM(steps=5), (4, 1, 8, 8), cuda_graphs=cuda_graphs, **options)
    assert other.dtype == torch.float32 and torch.allclose(plain, other, atol=0.05)


def test_batches_shrink_until_they_fit_the_memory():
    """A network that asks for 1/16 of the free memory for each row: 16 rows fit, or at least 4."""

    class Greedy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.free = torch.nn.Parameter(torch.zeros((), device="cuda")), torch.cuda.mem_get_info()[0]

        def forward(self, x, c):
            torch.empty(len(x) * (self.free // 16), dtype=torch.uint8, device="cuda")
            return x

    greedy = scoresde.Preconditioned(Greedy(), scoresde.VP())
    with pytest.warns(UserWarning, match="batch_size=64 ran out of memory: (4|8|16) fits"):
        x = scoresde.sample(greedy, DDIM(steps=2), (64, 2))
    assert torch.allclose(x, scoresde.sample(greedy, DDIM(steps=2), (64, 2), batch_size=2))
    torch.cuda.empty_cache()  # cuDNN takes its memory beside that of torch, which holds all of it by now


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


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_few_steps_trains(name):
    x, label = torch.randn(64, 1, 8, 8), torch.randint(3, (64,))
    net = scoresde.nets.UNet((1, 8, 8), channels=16, conditions={"label": Label(3)})
    few = {"knowledge": {"n": 16, "steps": 4}, "dmd": {"pairs": 16}, "progressive": {"first": 4, "stage": 1}}
    few["reflow"] = few["knowledge"]
    student = scoresde.distill(
        scoresde.Preconditioned(net, scoresde.VP()),
        scoresde.data.from_tensor(x, cond={"label": label}),
        name,
        guidance=(1, 4) if name in ("guidance", "lcm") else None,
        training={"steps": 3, "batch_size": 16, "validate_every": 3, "warmup": 0},
        device="cuda",
        progress=False,
        **few.get(name, {}),
    )
    assert next(student.parameters()).is_cuda and all(p.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize("name", ["consistency", "scm", "meanflow", "shortcut", "ctm", "dmd2", "add"])
def test_the_loss_of_a_method_is_the_same(name):
    """Of the same numbers and weights; each step of sCM and of MeanFlow is a jvp through the network."""
    how, teacher = METHODS[name], model()
    data = scoresde.data.as_data(torch.randn(64, 1, 8, 8))
    objective = how.objective(student_of(how, teacher), data, taught_by(how, teacher), **how.settings)
    turn = objective.turns[-1]
    batch = scoresde.data.collate(data.train, range(16))
    objective.begin(torch.device("cpu"))
    drawn = objective.draw(batch, 16, slice(None), turn)
    here = objective(drawn, turn)
    there = objective.cuda()(type(drawn)(*({} if isinstance(part, dict) else part.cuda() for part in drawn)), turn)
    assert here.isfinite().all() and torch.allclose(here, there.cpu(), 1e-2, 1e-3)


def test_the_self_test_passes():
    from scoresde.selftest.proof import selftest

    checks = selftest("cuda")
    assert checks and all(check.passed for check in checks), [c for c in checks if not c.passed]

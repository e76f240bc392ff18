"""Memory, compilation, precision and processes change how samples are computed, and not which."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from commands import ROOT, TINY, command
from problems import Around, close, mixture, refuses
from torch import nn

import scoresde
from scoresde.denoiser import Denoiser, Preconditioned
from scoresde.model import checkpoint
from scoresde.sampling import (
    DDIM,
    PC,
    Adams,
    DPMpp2M,
    DPMpp2MSDE,
    Heun,
    ProbabilityFlow,
    hardware,
    joined,
    sample,
    share,
)
from scoresde.sde import VP

# The samplers whose samples must not depend on batches and processes, by the expression that makes them.
SAMPLERS = {
    "pc": PC(steps=6),
    "ode": ProbabilityFlow(rtol=1e-4, atol=1e-4),
    "ancestral": DDIM(steps=6, eta=1.0),
    "dpmpp_2m_sde": DPMpp2MSDE(steps=6),
    "adams": Adams(steps=6),
}


def tiny() -> Preconditioned:
    """A U-Net whose samples depend on its weights, and that is as smooth as a trained one.

    Weights as large as in a wild network (0.5 for 0.2) let the adaptive solver carry the last bits of float32, which
    depend on the batch, to 1e-5 and a little over.
    """
    torch.manual_seed(0)
    net = scoresde.nets.UNet((1, 8, 8), channels=8, mults=(1,), blocks=1, attention=0)
    for p in net.parameters():
        if p.ndim > 1 and not p.any():
            nn.init.normal_(p, std=0.2 / p[0].numel() ** 0.5)
    return Preconditioned(net, VP()).eval()


# -- memory -----------------------------------------------------------------------------------------------------------


class Small(Denoiser):
    """The exact denoiser of a mixture that runs out of memory for over k rows, from the `after`th call on."""

    def __init__(self, k: int, after: int = 0, error=hardware.OutOfMemory):
        super().__init__(VP())
        self.inner, self.k, self.after, self.error = mixture(VP()), k, after, error
        self.calls, self.largest = 0, 0

    def forward(self, x, t):
        self.calls += 1
        if len(x) > self.k and self.calls > self.after:
            raise self.error("CUDA out of memory. Tried to allocate 20 GiB\nmore words")
        self.largest = max(self.largest, len(x))
        return self.inner(x, t)


@pytest.mark.parametrize("error", [hardware.OutOfMemory, RuntimeError, MemoryError])
@pytest.mark.parametrize("k, fits", [(1, 1), (2, 2), (3, 2), (7, 5), (10, 10)])
def test_batches_shrink_until_they_fit(k, fits, error):
    model, whole = Small(k, error=error), sample(mixture(VP()), DDIM(steps=4), (23, 2), dtype=torch.float64)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        x = sample(model, DDIM(steps=4), (23, 2), batch_size=10, dtype=torch.float64)
    close(x, whole)
    assert model.largest == fits
    if k == 10:
        assert not said
    else:
        (one,) = said
        assert f"batch_size=10 ran out of memory: {fits} fits" in str(one.message) and one.filename == __file__


def test_one_row_too_many_is_an_error_that_says_so():
    with pytest.raises(hardware.OutOfMemory, match="a single sample.*Tried to allocate 20 GiB$"):
        sample(Small(0), DDIM(steps=2), (5, 2))
    with pytest.raises(ZeroDivisionError):
        sample(Small(0, error=lambda _: ZeroDivisionError()), DDIM(steps=2), (5, 2))
    with pytest.raises(RuntimeError, match="^another reason$"):
        sample(Small(0, error=lambda _: RuntimeError("another reason")), DDIM(steps=2), (5, 2))


@pytest.mark.parametrize("after", [0, 1, 3, 5, 8])
def test_each_step_of_each_sample_is_reported_once(after):
    """`after` calls succeed; the rest of the first chunk, of 16 rows, is drawn in parts of 4."""
    seen = {}

    def callback(step, t, x, x0):
        for row in x:
            seen.setdefault(step, []).append(tuple(row.tolist()))

    with pytest.warns(UserWarning, match="batch_size=16 ran out of memory: 4 fits"):
        x = sample(
            Small(5, after), DDIM(steps=9, last="none"), (21, 2), batch_size=16, callback=callback, dtype=torch.float64
        )
    assert sorted(seen) == list(range(9)) and all(len(rows) == 21 for rows in seen.values())
    for rows in seen.values():
        assert len({tuple(round(v, 9) for v in row) for row in rows}) == 21
    assert sorted(seen[8]) == sorted(tuple(row.tolist()) for row in x)


def test_conditions_go_with_their_samples_when_batches_shrink():
    class Picky(Around):
        def forward(self, x, t, cond):
            if len(x) > 3:
                raise hardware.OutOfMemory("out of memory")
            return super().forward(x, t, cond)

    means = torch.arange(10.0).double()[:, None] + torch.zeros(2).double()
    whole = sample(Around(VP()), DDIM(steps=4), (10, 2), dtype=torch.float64, cond={"mean": means})
    with pytest.warns(UserWarning, match="2 fits"):
        close(sample(Picky(VP()), DDIM(steps=4), (10, 2), dtype=torch.float64, cond={"mean": means}), whole)


def test_samples_may_be_stored_elsewhere():
    x = sample(mixture(VP(), dtype=torch.float32), DDIM(steps=2), (5, 2), batch_size=2, store="cpu")
    assert x.device.type == "cpu" and x.shape == (5, 2)
    assert sample(mixture(VP()), DDIM(steps=2), (5, 2), store="meta").device.type == "meta"


# -- how the network runs ---------------------------------------------------------------------------------------------


class Watched(nn.Module):
    """A network that keeps what it was given, and under which autocast."""

    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, x, c):
        out = self.net(x, c)
        self.seen.append((x.dtype, c.dtype, torch.is_autocast_enabled("cpu"), out.dtype))
        return out


@pytest.mark.parametrize("precision, near", [("bf16", 0.1), ("fp16", 0.02)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_autocast_is_the_network_s_alone(precision, near, dtype):
    model = tiny()
    model.net = watched = Watched(model.net)
    states = []
    shape, sampler = (6, 1, 8, 8), Heun(steps=6)
    plain = sample(model, sampler, shape, dtype=dtype)
    watched.seen.clear()
    cast = sample(model, sampler, shape, dtype=dtype, autocast=precision, callback=lambda *a: states.append(a[2:]))
    assert set(watched.seen) == {(torch.float32, torch.float32, True, hardware.AUTOCAST[precision])}
    assert cast.dtype == dtype and all(part.dtype == dtype for state in states for part in state)
    assert 1e-7 < (cast - plain).abs().max() < near * plain.abs().max()
    assert model.net is watched and not torch.is_autocast_enabled("cpu")
    sample(model, sampler, shape)
    assert watched.seen[-1][2] is False


def test_nothing_is_left_behind_after_an_error():
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, x, c):
            raise ZeroDivisionError

    net = Failing()
    outer = scoresde.Counted(Preconditioned(net, VP()))
    names = list(outer.state_dict())
    with pytest.raises(ZeroDivisionError):
        sample(outer, DDIM(steps=2), (3, 2), autocast="bf16")
    assert outer.denoiser.net is net and list(outer.state_dict()) == names


def test_a_network_in_two_denoisers_is_dressed_in_both():
    class Twice(Denoiser):
        def __init__(self, first, second):
            super().__init__(first.sde)
            self.first, self.second = first, second

        def forward(self, x, t):
            return (self.first(x, t) + self.second(x, t)) / 2

    model = tiny()
    net = model.net = Watched(model.net)
    both = Twice(model, Preconditioned(net, VP()))
    sample(both, DDIM(steps=2), (3, 1, 8, 8), autocast="bf16")
    assert len(net.seen) == 6 and all(autocast for _, _, autocast, _ in net.seen)
    assert both.first.net is net and both.second.net is net


def test_options_that_are_refused():
    refuses("autocast='fp8'", "bf16, fp16", call=lambda: sample(tiny(), DDIM(), (2, 1, 8, 8), autocast="fp8"))
    refuses("cuda_graphs=True", "cpu", call=lambda: sample(tiny(), DDIM(), (2, 1, 8, 8), cuda_graphs=True))
    refuses("compile='yes'", call=lambda: sample(tiny(), DDIM(), (2, 1, 8, 8), compile="yes"))
    refuses("GaussianMixture", "Preconditioned", call=lambda: sample(mixture(VP()), DDIM(), (2, 2), compile=True))


def test_graphs_are_captured_once_a_shape_and_fed_by_buffers(monkeypatch):
    """What a CUDA graph does, without one: replaying runs the same work on the same buffers into the same result."""
    captured = []

    def capture(run):
        out = run()
        captured.append(out.shape)
        return lambda: out.copy_(run()), out

    monkeypatch.setattr(hardware, "capture", capture)
    monkeypatch.setattr(hardware, "check", lambda *_: None)
    model, shape = tiny(), (7, 1, 8, 8)
    for sampler in (DPMpp2M(steps=5), Heun(steps=4), PC(steps=4)):
        captured.clear()
        whole = sample(model, sampler, shape, batch_size=4)
        assert torch.equal(sample(model, sampler, shape, batch_size=4, cuda_graphs=True), whole)
        assert captured == [(4, 1, 8, 8), (3, 1, 8, 8)]
    graphed = hardware._Graphed(Around(VP()).forward)
    x = torch.randn(3, 2)
    with torch.no_grad():
        for k in (0.0, 1.0, 2.0, 3.0):
            for size in (1, 2):
                cond = {"mean": torch.full((3, size), k)}
                assert torch.equal(graphed(x, torch.tensor(0.5), cond), graphed.net(x, torch.tensor(0.5), cond))
    before = len(captured)
    graphed(x.requires_grad_(), torch.tensor(0.5), {"mean": torch.ones(3, 2)}).sum().backward()
    assert x.grad is not None and len(captured) == before


@pytest.mark.slow
def test_compiled_networks_are_compiled_once_and_give_the_same():
    from torch._dynamo.utils import counters

    model = tiny()
    net = model.net
    counters.clear()
    for sampler in (DDIM(steps=8), ProbabilityFlow(rtol=1e-2, atol=1e-2)):
        x = sample(model, sampler, (5, 1, 8, 8), batch_size=3, compile=True)
        close(x, sample(model, sampler, (5, 1, 8, 8)), rtol=1e-3, atol=1e-3)
    assert model.net is net
    assert counters["stats"]["unique_graphs"] <= 3  # a batch of 3, of any size, and of one


# -- several processes ------------------------------------------------------------------------------------------------


def work(folder: str) -> None:
    """What each of two processes does, in `torchrun tests/test_hardware.py FOLDER`: its answers, in a file."""
    from scoresde.machine.processes import join

    torch.set_num_threads(1)
    join("cpu")
    rank, out = joined()[0], {}
    for name, sampler in SAMPLERS.items():
        out[name] = sample(tiny(), sampler, (64, 1, 8, 8), batch_size=10, processes=True)
    steps = []
    exact, options = mixture(VP()), {"dtype": torch.float64, "processes": True}
    for n in (1, 2, 5):
        out[f"n={n}"] = sample(exact, DDIM(steps=4), (n, 2), seed=3, offset=7, **options)
        sample(exact, DDIM(steps=2), (n, 2), callback=lambda i, t, x, x0: steps.append(len(x)), **options)
    means = torch.arange(7.0).double()[:, None] + torch.zeros(2).double()
    out["means"] = sample(Around(VP()), DDIM(steps=4), (7, 2), batch_size=2, cond={"mean": means}, **options)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        out["small"] = sample(Small(2 if rank else 99), DDIM(steps=4), (9, 2), **options)
    out |= {"steps": steps, "warnings": len(said), "errors": []}
    diverged = FloatingPointError("it diverged")
    for failing, error in ((0, diverged), (1, diverged), (1, ValueError("no"))):
        try:
            sample(Small(0 if rank == failing else 99, error=lambda _, e=error: e), DDIM(steps=2), (6, 2), **options)
        except Exception as caught:
            out["errors"].append(f"{type(caught).__name__}: {caught}")
    torch.save(out, f"{folder}/{rank}.pt")


def launch(*command, **options) -> subprocess.CompletedProcess:
    """Two processes on this machine's CPU."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*torchrun, *map(str, command)], env=env, capture_output=True, text=True, timeout=240, **options
    )


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    done = launch(__file__, folder)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_are_the_same_from_any_batches_and_processes(answers, name):
    sampler, shape = SAMPLERS[name], (64, 1, 8, 8)
    whole = sample(tiny(), sampler, shape, batch_size=64)
    blank = tiny()
    nn.init.zeros_(blank.net.leave[-1].weight)
    assert (whole - sample(blank, sampler, shape)).abs().flatten(1).amax(1).min() > 0.1 and whole.std(0).min() > 0.1
    for batch_size in (10, 1):
        close(sample(tiny(), sampler, shape, batch_size=batch_size), whole, rtol=0, atol=1e-5)
    close(answers[0][name], whole, rtol=0, atol=1e-5)
    assert torch.equal(answers[0][name], answers[1][name])


def test_shares_are_consecutive_and_even():
    for n in (1, 2, 5, 64, 65):
        for ranks in (1, 2, 3, 8):
            shares = [share(n, rank, ranks) for rank in range(ranks)]
            assert [i for part in shares for i in part] == list(range(n))
            assert len(shares[0]) == max(map(len, shares)) <= min(map(len, shares)) + 1


def test_uneven_shares_conditions_and_memory_of_one_process(answers):
    options = {"dtype": torch.float64}
    means = torch.arange(7.0).double()[:, None] + torch.zeros(2).double()
    for out in answers:
        for n in (1, 2, 5):
            close(out[f"n={n}"], sample(mixture(VP()), DDIM(steps=4), (n, 2), seed=3, offset=7, **options))
        close(out["means"], sample(Around(VP()), DDIM(steps=4), (7, 2), cond={"mean": means}, **options))
        close(out["small"], sample(mixture(VP()), DDIM(steps=4), (9, 2), **options))
    first, second = answers
    assert (first["warnings"], second["warnings"]) == (0, 1)
    assert first["steps"] == [1, 1, 1, 1, 3, 3] and second["steps"] == [1, 1, 2, 2]  # of 1, 2 and 5 samples


def test_an_error_of_one_process_is_an_error_of_all(answers):
    own = ["FloatingPointError: it diverged", "FloatingPointError: it diverged", "ValueError: no"]
    told = [
        "FloatingPointError: process 0 failed with FloatingPointError: it diverged",
        "FloatingPointError: process 1 failed with FloatingPointError: it diverged",
        "RuntimeError: process 1 failed with ValueError: no",
    ]
    assert answers[0]["errors"] == [own[0], *told[1:]] and answers[1]["errors"] == [told[0], *own[1:]]


def test_processes_that_were_not_joined_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refuses("2 processes", "processes.join()", call=lambda: sample(mixture(VP()), DDIM(), (2, 2), processes=True))
    monkeypatch.delenv("WORLD_SIZE")
    close(sample(mixture(VP()), DDIM(), (2, 2), processes=True), sample(mixture(VP()), DDIM(), (2, 2)))


@pytest.mark.slow
def test_a_process_that_dies_ends_all():
    code = "import os, test_hardware as t; os._exit(3) if os.environ['RANK'] == '1' else t.work('/nowhere')"
    done = launch("--no-python", sys.executable, "-c", code)
    assert done.returncode != 0


def test_the_group_ends_before_python_does():
    """What still holds it keeps threads that now and then abort the process at its very end."""
    code = """
import weakref
import torch
from scoresde.machine import processes
processes.join("cpu")
torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
group = weakref.ref(torch.distributed.group.WORLD)
assert group() is not None
processes._leave()
assert group() is None
"""
    done = launch("--no-python", sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


VECTORS = [*TINY[2:], "data=toy", "data.n=100", "data.test=20", "net.width=16", "n=13", "sampler.steps=4"]


@pytest.mark.slow
def test_the_command_gives_the_same_from_two_processes(monkeypatch, capfd, tmp_path):
    """Training, sampling and scoring by two processes; then one process draws the same samples of that model."""
    done = launch(ROOT / "run.py", *VECTORS, "wandb=disabled", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    (path,) = folder.glob("sample-*/samples.npy")
    assert len(list(folder.glob("likelihood-*/summary.json"))) == 1 and "seen" not in done.stdout
    two = np.load(path)
    path.unlink()
    code, _, err = command(monkeypatch, capfd, tmp_path, *VECTORS, "task=sample", "batch_size=3")
    assert code == 0, err
    assert two.shape == (13, 2) and np.abs(np.load(path) - two).max() < 1e-5
    done = launch(ROOT / "run.py", *VECTORS, "wandb=disabled", "task=sample", "sampler.grid=foo", cwd=tmp_path)
    assert done.returncode != 0 and "grid='foo'" in done.stderr


WAYS = {
    "default": VECTORS,
    "likelihood": [*VECTORS, "loss=likelihood", "train.batch_size=15"],
    "label": [*TINY[2:], "net=mlp", "net.width=16", "cond=[label]", "drop=0.3", "train.batch_size=15"],
}


SHORT = ["task=train", "train.steps=20", "train.log_every=1"]


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """The folder of what two processes have trained in all ways, one after the other."""
    folder = tmp_path_factory.mktemp("two")
    code = """
import sys
import test_hardware as test
from hydra.core.global_hydra import GlobalHydra
from scoresde.command.main import main
for way, words in test.WAYS.items():
    sys.argv[1:] = [*words, *test.SHORT, "wandb=disabled", f"out={way}"]
    GlobalHydra.instance().clear()
    main(test.ROOT / "conf")
    assert test.joined()[1] == 2
"""
    done = launch("--no-python", sys.executable, "-c", code, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_as_one(by_two, monkeypatch, capfd, tmp_path, way):
    """The same global batch, whoever holds which of its rows: the same weights and the same figures."""
    code, _, err = command(monkeypatch, capfd, tmp_path, *WAYS[way], *SHORT, f"out={way}")
    assert code == 0, err
    (two,), (one,) = (list((place / way).iterdir()) for place in (by_two, tmp_path))
    assert two.name == one.name
    states = [checkpoint.load(folder / "checkpoint.pt") for folder in (one, two)]
    for part in ("model", "ema", "loss"):
        for name, value in states[0][part].items():
            close(states[1][part][name], value, rtol=0, atol=1e-5)
    rows = [[json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (one, two)]
    assert len(rows[0]) == len(rows[1]) == 20
    for a, b in zip(*rows, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_takes_the_options(monkeypatch, capfd, tmp_path):
    run = lambda *overrides: command(monkeypatch, capfd, tmp_path, *VECTORS, *overrides)
    code, out, err = run("autocast=bf16", "task=train")
    assert code == 0, err
    for options in ((), ("autocast=bf16",)):
        assert run("task=sample", *options)[0] == 0
    plain, cast = sorted(tmp_path.glob("runs/*/sample-*/samples.npy"), key=os.path.getmtime)
    difference = np.abs(np.load(plain) - np.load(cast)).max()
    assert 0 < difference < 0.1
    for option, words in (
        ("autocast=fp8", "bf16, fp16"),
        ("compile=1", "true or false"),
        ("cuda_graphs=true", "CUDA device"),
    ):
        code, _, err = run("task=sample", "device=cpu", option)
        assert code == 1 and words in err and err.count("\n") == 1, err


def test_accelerate_launch_on_a_cpu_starts_one_process_and_the_command_says_so(monkeypatch):
    from scoresde.machine import processes

    for name in ("ACCELERATE_USE_CPU", "MASTER_PORT", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert not processes.missed()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert processes.missed()


if __name__ == "__main__":
    work(sys.argv[1])


def test_an_execution_is_an_object_or_its_fields():
    model, how = mixture(VP()), {"batch_size": 2, "dtype": torch.float64}
    whole = sample(model, DDIM(steps=4), (5, 2), execution=hardware.Execution(**how))
    assert torch.equal(whole, sample(model, DDIM(steps=4), (5, 2), **how)) and whole.dtype == torch.float64
    refuses(
        "execution=", "batch_size", call=lambda: sample(model, DDIM(), (2, 2), execution=hardware.Execution(), **how)
    )
    refuses("batchsize=2", "did you mean batch_size", call=lambda: sample(model, DDIM(), (2, 2), batchsize=2))


FAULTS = """
import resource, torch
from scoresde.machine import memory
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def tensors(n):
    before = faults()
    for _ in range(n):
        torch.empty(2**24).fill_(1.0)  # 64 MiB
    return faults() - before
tensors(2)
lost = tensors(10)
kept = memory.keep_freed()
tensors(2)
print(lost, tensors(100) if kept else 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_is_freed_is_kept_for_the_next_tensor():
    found = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, cwd=ROOT)
    lost, kept = map(int, found.stdout.split())  # pages that the system handed out anew, for 10 tensors and for 100
    assert kept <= 10 * lost / 20, found  # a heap that grows once or twice more is no tensor lost each time

"""What the samplers cost beside the network: wall time over (evaluations x the time of one bare `net(x, c)`).

    python benchmarks/sampling/samplers.py                      # on a CPU, under 3 minutes on two cores
    python benchmarks/sampling/samplers.py --device cuda --steps 50

The goal is 1.05, and 1.10 for the adaptive sampler.  Each run of a sampler is timed between two runs of its floor: as
many bare evaluations under no_grad as the sampler made, on a batch of the same size.  `min` is the ratio of the fastest
run to the fastest floor, the figure to read on a machine with other work; `median` is over the repeats, each against
the two floors beside it.  The adaptive sampler's rows leave the batch as they arrive: it counts rows / batch
evaluations, at a tolerance that parts the rows.  `beside` is the time an evaluation of the same sampler takes with a
network that returns its input: what the toolkit itself does, free of the noise of a difference of two long times.
`inside` (not on a GPU, where it would have to wait) is wall time over the time spent within the network during the same
run, the median over the runs: floor and run share whatever else the machine does.
"""

import argparse
import datetime
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import scoresde
from scoresde import noise
from scoresde.sampling import DDIM, PC, DPMpp2M, Heun, ProbabilityFlow

SHAPE = (1, 28, 28)


def model(device: str) -> scoresde.Preconditioned:
    """A random U-Net by the rule v; layers that start at zero get small weights, so that the samples depend on it."""
    torch.manual_seed(0)
    net = scoresde.nets.UNet(SHAPE, channels=32, mults=(1, 2, 2), blocks=1)
    for p in net.parameters():
        if p.ndim > 1 and not p.any():
            nn.init.normal_(p, std=0.5 / p[0].numel() ** 0.5)
    return scoresde.Preconditioned(net, scoresde.VP(), "v").to(device).eval()


class Echo(nn.Module):
    """The network that costs nothing."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))  # says the type and the device

    def forward(self, x, c):
        return x


class Timed(nn.Module):
    """A network that adds up the time spent in it."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.seconds = net, 0.0

    def forward(self, x, c):
        began = time.perf_counter()
        out = self.net(x, c)
        self.seconds += time.perf_counter() - began
        return out


def inside(denoiser: scoresde.Preconditioned, sampler: scoresde.sampling.Sampler, batch: int) -> float:
    """Wall time over the time within the network, of one run."""
    timed = Timed(denoiser.net)
    watched = scoresde.Preconditioned(timed, denoiser.sde, denoiser.rule).eval()
    return seconds(lambda: scoresde.sample(watched, sampler, (batch, *SHAPE)), "cpu") / timed.seconds


def samplers(steps: int) -> dict[str, scoresde.sampling.Sampler]:
    """The samplers by name; `steps` evaluations or a few more each."""
    return {
        "pc": PC(steps=max(1, steps // 2)),
        "pc, no corrector": PC(steps=steps, corrector="none"),
        "pc, ancestral, no corrector": PC(steps=steps, predictor="ancestral", corrector="none"),
        "ddim": DDIM(steps=steps),
        "ddim, eta=1": DDIM(steps=steps, eta=1.0),
        "heun": Heun(steps=max(1, steps // 2)),
        "dpmpp_2m": DPMpp2M(steps=steps),
        "ode": ProbabilityFlow(rtol=9e-3, atol=9e-3),
    }


def seconds(work, device: str) -> float:
    """The wall time of work()."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began


def overhead(denoiser: scoresde.Denoiser, sampler: scoresde.sampling.Sampler, batch: int, device: str) -> float:
    """The time of one evaluation of `sampler`, rows / batch of them in all."""
    counted = scoresde.Counted(denoiser)
    return seconds(lambda: scoresde.sample(counted, sampler, (batch, *SHAPE)), device) * batch / counted.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps (default: cpu)")
    parser.add_argument("--steps", type=int, default=6, help="evaluations of the fixed samplers, about (default: 6)")
    parser.add_argument("--repeats", type=int, default=6, help="runs of each sampler (default: 6)")
    parser.add_argument("--batch", type=int, default=64, help="samples at a time (default: 64)")
    parser.add_argument("--only", default="", help="only samplers with this in their name")
    args = parser.parse_args()
    device, batch = args.device, args.batch
    denoiser = model(device)
    echo = scoresde.Preconditioned(Echo(), denoiser.sde, "v").to(device)
    x, c = torch.randn(batch, *SHAPE, device=device), torch.zeros(batch, device=device)

    def bare(n: int) -> None:
        with torch.no_grad():
            for _ in range(n):
                denoiser.net(x, c)

    size = sum(p.numel() for p in denoiser.parameters())
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{threads} thread{'s' * (threads > 1)}"
    print(f"{datetime.date.today()}  torch {torch.__version__}  python {platform.python_version()}  {device}, {name}")
    print(f"U-Net of {size:,} parameters, {batch} x {SHAPE}, VP, {args.repeats} repeats")
    bare(3)
    one = min(seconds(lambda: bare(1), device) for _ in range(5))
    index = torch.arange(batch, device=device)
    noise.normal(x, index, 0, 0, 0)
    draw = min(seconds(lambda: noise.normal(x, index, 0, 0, 0), device) for _ in range(20))
    print(f"one evaluation {1e3 * one:.1f} ms, one draw of noise {1e3 * draw:.2f} ms ({draw / one:.1%})\n")
    print(
        f"{'sampler':30}{'evaluations':>12}{'seconds':>10}{'floor':>10}{'min':>8}{'median':>8}{'inside':>8}{'beside':>11}"
    )
    for label, sampler in samplers(args.steps).items():
        if args.only not in label:
            continue

        def draw_samples(denoiser=denoiser, sampler=sampler) -> None:
            scoresde.sample(denoiser, sampler, (batch, *SHAPE))

        counted = scoresde.Counted(denoiser)
        draw_samples(counted)  # the warm-up
        evaluations = counted.rows / batch
        n = round(evaluations)
        scale = evaluations / n
        floors, times, within = [scale * seconds(lambda n=n: bare(n), device)], [], []
        for _ in range(args.repeats):
            times.append(seconds(draw_samples, device))
            floors.append(scale * seconds(lambda n=n: bare(n), device))
            within.append(inside(denoiser, sampler, batch) if device == "cpu" else float("nan"))
        pairs = [2 * t / (a + b) for t, a, b in zip(times, floors, floors[1:], strict=False)]
        ratios = f"{min(times) / min(floors):8.3f}{statistics.median(pairs):8.3f}{statistics.median(within):8.3f}"
        beside = min(overhead(echo, sampler, batch, device) for _ in range(5))
        print(
            f"{label:30}{evaluations:12.1f}{min(times):10.3f}{min(floors):10.3f}{ratios}{1e3 * beside:8.2f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""What learned variances and learned schedules change of a digits model's bounds.

    python benchmarks/likelihood/variances.py chain --model FOLDER [--steps 10 50 250 4000] [--grid log_snr]
    python benchmarks/likelihood/variances.py samples --model FOLDER --steps 10 --out PICTURE
    python benchmarks/likelihood/variances.py schedule --model FOLDER [--seeds 3] [--out PICTURE]

`chain`: bits/dim of the variational bound of chains of so many steps with the variance beta~, with beta, and with the
learned one, of a model of objective=hybrid or vlb.  +- is the standard error of the mean over the images.  `samples`:
20 samples with each of them.

`schedule`: the standard deviation of one draw of the likelihood's loss (the bound, in bits/dim) for a row, at times
uniform in the log-SNR, of `Adaptive` and of VDM's `Schedule`, each taught by so many batches of training images.
"""

import argparse
import math
import time
from pathlib import Path

import torch

import scoresde
from scoresde import grids, pictures
from scoresde.data import digits, stack
from scoresde.likelihood import Uniform, bits_per_dim, vlb
from scoresde.loss import Adaptive, DenoisingLoss, Schedule
from scoresde.loss.times import named_times
from scoresde.sampling import Ancestral

VARIANCES = ("posterior", "beta", "learned")


def chain(model, args):
    data, sde = digits(), model.sde
    index = torch.arange(min(args.n, len(data.test)))
    raw = stack(data.test, index.tolist())
    x = Uniform().draw(raw, data, index, 0, 0)[0]
    print(f"{len(x)} held-out digits, grid {args.grid}\n")
    print("| steps | beta~ | beta | learned | seconds |\n|---:|---|---|---|---:|")
    for steps in args.steps:
        times, cells, began = grids.times(args.grid, sde, steps, sde.t_max, sde.t_min), [], time.perf_counter()
        for variance in VARIANCES:
            how = {"n": 64} if steps > 250 else {"draws": max(2, 100 // steps)}
            found = vlb(model, x, times, variance=variance, density="adaptive", **how)
            bits = bits_per_dim(found.log_prob, x[0].numel(), data.levels, data.log_det)
            cells.append(f"{bits.total:.3f} +- {bits.stderr:.3f}")
        print(f"| {steps} | {' | '.join(cells)} | {time.perf_counter() - began:.0f} |", flush=True)


def samples(model, args):
    """A row of 20 samples of DDPM's chain with each variance, in that order."""
    chains = [Ancestral(steps=args.steps[0], variance=v) for v in VARIANCES]
    drawn = [model.decode(scoresde.sample(model, chain, (20, *model.shape))) for chain in chains]
    pictures.samples(Path(args.out), torch.cat(drawn), model.levels, columns=20)


def rows_of(model, loss, data, items):
    """One draw of the loss of each item, in bits/dim up to the bound's constants: (B,)."""
    x0 = data.dequantize(stack(data.train, items))
    sde = model.sde
    length = float(sde.log_snr(sde.t_min) - sde.log_snr(sde.t_max))
    return loss(model, x0) * length / (2 * math.log(2))


def schedule(model, args):
    data = digits()
    makers = {
        "uniform in the log-SNR": lambda: "log_snr",
        "adaptive, by loss": lambda: Adaptive("simple", "log_snr", follows="loss"),
        "VDM's schedule": lambda: Schedule("simple", "log_snr"),
    }
    print("| times | standard deviation of a row, bits/dim | mean | seeds |\n|---|---|---|---|")
    for name, make in makers.items():
        stds, means = [], []
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            loss = DenoisingLoss("simple", make(), base="log_snr", draw="even")
            pick = lambda n: torch.randint(len(data.train), (n,)).tolist()
            if loss.learner is not None:
                for _ in range(args.batches):
                    rows_of(model, loss, data, pick(64))
            with torch.no_grad():
                rows = torch.cat([rows_of(model, loss, data, pick(512)) for _ in range(4)])
            stds.append(float(rows.std()))
            means.append(float(rows.mean()))
        draw(loss, model.sde, name, args.out)
        words = ", ".join(f"{s:.2f}" for s in stds)
        print(
            f"| {name} | {sum(stds) / len(stds):.2f} ({words}) | {sum(means) / len(means):.2f} | {args.seeds} |",
            flush=True,
        )


def draw(loss, sde, name, out):
    """Adds the density of the times over log(sigma / alpha) to the picture."""
    if not out:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    t = sde.time(torch.linspace(float(sde.log_snr(sde.t_min)), float(sde.log_snr(sde.t_max)), 800).double())[1:-1]
    axes = pyplot.figure("times", figsize=(8, 3), layout="constrained").gca()
    axes.plot(-sde.log_snr(t) / 2, named_times(loss.times).log_density(sde, t, sde.t_min).exp(), label=name)
    axes.set_xlabel("log(sigma / alpha)")
    axes.set_ylabel("density of times")
    axes.legend()
    axes.figure.savefig(out, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["chain", "samples", "schedule"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 50, 250, 4000])
    parser.add_argument("--grid", default="log_snr")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--out", help="of samples and schedule, their picture")
    args = parser.parse_args()
    {"chain": chain, "samples": samples, "schedule": schedule}[args.what](scoresde.load(args.model), args)


if __name__ == "__main__":
    main()

"""The variance of the gradient of the likelihood-weighted loss, by where its times are drawn and how.

    python benchmarks/likelihood/gradient_variance.py [--model FOLDER] [--repeats 16]

All rows estimate the same gradient, that of E over the log-SNR of e^log_snr |D - x_0|^2, on the same 64 images of
digits, each batch with new times and noise.  The figure is E|g - E g|^2 / |E g|^2, summed over all parameters: how many
such batches have to be averaged before the gradient's error is its own size.  With the control variate a batch costs
a second call for the rows below its level.  Without --model a small network is trained first.
"""

import argparse
import time

import torch

import scoresde
from scoresde.data import digits, stack
from scoresde.loss import Adaptive, DenoisingLoss, by_weight

TIMES = {
    "uniform in t": "uniform",
    "uniform in log-SNR": "log_snr",
    "by weight (of v)": by_weight("simple", "log_snr", "v"),
    "adaptive, by loss": Adaptive("simple", "log_snr", follows="loss"),
    "adaptive, by gradient": Adaptive("simple", "log_snr", follows="gradient"),
}
DRAWS = ("iid", "antithetic", "stratified", "even")


def model_and_images(folder, n):
    """A trained denoiser of digits, its parameters with gradients, and n images in its space."""
    data = digits()
    if folder:
        model = scoresde.load(folder).denoiser
    else:
        torch.manual_seed(0)
        net = scoresde.nets.UNet(data.shape, channels=32, mults=(1, 1), blocks=1, attention=16)
        model = scoresde.train(scoresde.Preconditioned(net, scoresde.VP()), data, steps=300, batch_size=64)
    raw = stack(data.train, range(n))
    return model.requires_grad_(True), data.dequantize(raw, torch.Generator().manual_seed(1))


def gradient(model, loss, x0):
    """The gradient (P,) of one batch, the images in a new order, so that no image keeps its stratum."""
    parameters = list(model.parameters())
    value = loss(model, x0[torch.randperm(len(x0))]).mean()
    parts = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([p.flatten() for p in parts]).double()


def moments(model, loss, x0, repeats):
    """The mean (P,), the variance summed over parameters, and seconds a batch."""
    total, square, began = 0, 0.0, time.perf_counter()
    for _ in range(repeats):
        g = gradient(model, loss, x0)
        total, square = total + g, square + float(g.square().sum())
    mean = total / repeats
    variance = (square - repeats * float(mean.square().sum())) / (repeats - 1)
    return mean, variance, (time.perf_counter() - began) / repeats


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None)
    parser.add_argument("--repeats", type=int, default=16)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--control", type=float, default=0.03)
    parser.add_argument("--draws", nargs="+", default=DRAWS, choices=DRAWS)
    args = parser.parse_args()
    torch.manual_seed(0)
    model, x0 = model_and_images(args.model, args.images)
    found = {}
    for name, times in TIMES.items():
        if isinstance(times, Adaptive):
            for _ in range(30):
                DenoisingLoss("simple", times, base="log_snr")(model, x0)
        for draw in args.draws:
            for control in (None, args.control):
                loss = DenoisingLoss("simple", times, base="log_snr", draw=draw, control=control)
                found[name, draw, control] = moments(model, loss, x0, args.repeats)
                print(".", end="", flush=True)
    print()
    # |E g|^2 from the mean of the ten steadiest, less what their own variance adds to it.
    best = sorted(found.values(), key=lambda f: f[1])[:10]
    mean = sum(m for m, _, _ in best) / len(best)
    norm = float(mean.square().sum()) - sum(v for _, v, _ in best) / (args.repeats * len(best) ** 2)
    rounds = f"{args.repeats} batches of {args.images} images, |E g|^2 = {norm:.3g}"
    print(f"relative variance of the gradient, {rounds}; control below sigma/alpha = {args.control:g}\n")
    print(f"| times | control | {' | '.join(args.draws)} | ms a batch |")
    print("|---|---|" + "---|" * (len(args.draws) + 1))
    for name in TIMES:
        for control in (None, args.control):
            row = [found[name, draw, control] for draw in args.draws]
            cells = " | ".join(f"{v / norm:.3g}" for _, v, _ in row)
            ms = min(s for _, _, s in row) * 1e3
            print(f"| {name} | {'no' if control is None else 'yes'} | {cells} | {ms:.0f} |")


if __name__ == "__main__":
    main()

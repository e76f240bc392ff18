"""Fine-tuning by adapters beside fine-tuning of all weights: digits, then digits inverted or turned.

    python benchmarks/training/finetune.py [--net mlp] [--width 256] [--steps 1500] [--more 500]

A network is trained on digits; from there, on changed digits, all of its weights or adapters of some ranks are.  Each
learning rate of a list is tried, and the best by validation is told: the loss on the 300 held-out digits, changed.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

import scoresde
from scoresde.data import Data, Tensors, stack
from scoresde.objectives.validation import Validation

CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "inverted": lambda x: 16 - x,
    "rotated": lambda x: x.rot90(1, (-2, -1)),
}
RATES = {"all": (1e-3, 3e-3, 1e-2), "lora": (3e-3, 1e-2, 3e-2)}


def changed(data: Data, change: Callable[[Tensor], Tensor]) -> Data:
    parts = (Tensors(change(stack(part, range(len(part))))) for part in (data.train, data.test))
    return Data("changed", *parts, data.space)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in {"width": 256, "steps": 1500, "more": 500, "batch": 64}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--net", choices=("mlp", "unet"), default="mlp")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8])
    parser.add_argument("--folder", default="runs/finetune")
    asked, data = parser.parse_args(), scoresde.data.digits()
    torch.manual_seed(0)
    if asked.net == "mlp":
        net = scoresde.nets.MLP((1, 8, 8), width=asked.width, dropout=0.1)
    else:
        net = scoresde.nets.UNet((1, 8, 8), channels=asked.width, mults=(1, 1), blocks=1, attention=16, dropout=0.1)
    options = {"batch_size": asked.batch, "validate_every": 10**6, "progress": False}
    start = Start(scoresde.Preconditioned(net, scoresde.VP()), data, asked, options)
    for name, change in CHANGES.items():
        other = changed(data, change)
        loss = Validation(other, start.loss, start.model, torch.device("cpu"))
        print(f"{name}: {loss(start.model)[0]:.4f} before")
        whole = start.best(other, loss, None)
        for rank in asked.ranks:
            start.best(other, loss, rank, whole)


class Start:
    """The trained model, and trainings from there."""

    def __init__(self, denoiser: scoresde.Denoiser, data: Data, asked: argparse.Namespace, options: dict):
        began, self.asked, self.options, self.loss = time.perf_counter(), asked, options, scoresde.DenoisingLoss()
        steps = {"steps": asked.steps, "lr": 3e-3}
        self.model = scoresde.train(denoiser, data, folder=asked.folder, **steps, **options)
        self.size = sum(p.numel() for p in self.model.parameters())
        value = Validation(data, self.loss, self.model, torch.device("cpu"))(self.model)[0]
        print(f"{self.size:,} parameters, validation {value:.4f}, {time.perf_counter() - began:.0f} s", flush=True)

    def best(self, data: Data, loss: Validation, rank: int | None, whole: float | None = None) -> float:
        """The least validation loss over the rates, with a line of it."""
        found, began = [], time.perf_counter()
        for rate in RATES["lora" if rank else "all"]:
            steps = {"steps": self.asked.more, "lr": rate, "lora": rank, "ema": 0.99}
            model = scoresde.train(data=data, start=self.model, **steps, **self.options)
            found.append((loss(model)[0], rate, model.adapter.parameters if rank else self.size))
        value, rate, size = min(found)
        words = f"  {f'rank {rank}' if rank else 'all weights'}: {value:.4f} (lr {rate:g}), {size:,} parameters"
        words += f" ({100 * size / self.size:.1f} %), {100 * (value / whole - 1):+.1f} %" if whole else ""
        print(f"{words}, {(time.perf_counter() - began) / len(found):.0f} s each", flush=True)
        return value


if __name__ == "__main__":
    main()

"""How near samples of adversarial and distribution-matching students are to the data: mixtures with an exact teacher.

    OMP_NUM_THREADS=1 python benchmarks/few_steps/matching.py --problem ring --sde vp --out matching.json
    OMP_NUM_THREADS=1 python benchmarks/few_steps/matching.py --problem 64d --sde vp ve --method dmd2 --out more.json
    python benchmarks/few_steps/matching.py --table --out matching.json

`ring` is the toy of that name, eight Gaussians of deviation 0.07 on a circle of radius 1.41; `64d` are eight Gaussians
of 64 numbers, of unit variance a coordinate together. Student and fake denoiser are MLPs beside a multiple of their
input, of each entry and level its own (`Passing`): without it the noise that an MLP of width 128 fails to hand on in 64
numbers stays in the samples. The critic is a network of its own. As the teacher is no network, a denoiser is trained
for `START` steps, as which student and fake denoiser begin; and those of DMD2 and ADD go on for `begin` steps of
consistency distillation, without which they find a few components alone; `consistency` is where they begin. The seconds
are those of all. A student is measured with its averaged weights, by `Renoise`. A figure is the energy distance
(squared, without bias) of 4000 samples to 4000 of the data, with its 95 % interval; the share of samples that are
within a component, by the 0.999 quantile of chi^2; and how many of the 8 components are recovered, within which there
is at least half of their share of all samples. The row `data` is the floor: other samples of the data.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from maps import PROBLEMS, SDES
from scipy.stats import chi2
from torch import Tensor, nn

import scoresde
from scoresde.data import Data
from scoresde.denoiser import Denoiser, FlowMap, Preconditioned
from scoresde.exact import GaussianMixture
from scoresde.loss import DenoisingLoss
from scoresde.metrics import energy
from scoresde.nets import MLP, Encoder
from scoresde.nets.parts.embedding import LevelEmbedding
from scoresde.objectives import ADD, DMD, DMD2, Consistency, Denoising
from scoresde.sampling import Jump, Renoise, sample

N = 4000
START = 1000  # steps of a denoiser that stands for the teacher's network
QUIET = {"device": "cpu", "progress": False}


class Method(NamedTuple):
    """An objective, its settings, those of its training, and the steps of consistency before."""

    objective: type
    settings: dict[str, Any]
    training: dict[str, Any]
    begin: int = 0


OWN = {"gan": "softplus", "r1": 1e-3, "noise": (0.0, 0.6)}  # of a critic that is a network of its own
METHODS = {
    "consistency": Method(Consistency, {}, {"steps": 0}, 2500),
    "dmd2": Method(DMD2, {"fakes": 3, "pace": 3.0, **OWN}, {"steps": 300, "lr": 3e-4}, 2500),
    "add": Method(ADD, {"distillation": 0.0, "pace": 5.0, **OWN}, {"steps": 600, "lr": 2e-4}, 2500),
    "dmd": Method(DMD, {"pairs": 5000, "fakes": 3}, {"steps": 800, "lr": 1e-3}),
}
begins: dict[tuple, tuple[Any, float]] = {}  # what several methods begin as, by what it is, and its seconds


def kept(key: tuple, make: Callable[[], Any]) -> tuple[Any, float]:
    """A copy of what is made once, and the seconds that it took."""
    if key not in begins:
        began = time.perf_counter()
        begins[key] = (make(), time.perf_counter() - began)
    return copy.deepcopy(begins[key][0]), begins[key][1]


class Passing(nn.Module):
    """An MLP, and a multiple of the input beside it, which the level tells for each entry: net(x, c)."""

    def __init__(self, size: int, width: int):
        super().__init__()
        self.net, self.embed, self.share = MLP((size,), width=width), LevelEmbedding(64), nn.Linear(64, size)
        nn.init.zeros_(self.share.weight)
        nn.init.zeros_(self.share.bias)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.net(x, c) + self.share(self.embed(c)) * x


def begun(net: nn.Module, data: Data, exact: GaussianMixture, steps: int, how: dict) -> Denoiser:
    """A denoiser of the data by a network, which students and fake denoisers begin as."""
    objective = Denoising(Preconditioned(net, exact.sde, "v"), DenoisingLoss(), data)
    options = {"batch_size": 256, "lr": 2e-3, "ema": 0.98, "validate_every": steps, "log_every": steps}
    return scoresde.fit(objective, data, scoresde.Training(steps=steps, **options | how), **QUIET).bare


def consistent(student: FlowMap, data: Data, exact: GaussianMixture, steps: int, how: dict) -> FlowMap:
    """The student after so many steps of consistency distillation."""
    objective = Consistency(student, data, exact, first=8, last=16, huber=0.0, grows=steps)
    options = {"batch_size": 256, "lr": 2e-3, "ema": 0.98, "validate_every": steps, "log_every": steps}
    model = scoresde.fit(objective, data, scoresde.Training(steps=steps, **options | how), **QUIET)
    return model.bare.requires_grad_(True).train()


def trained(method: Method, exact: GaussianMixture, seed: int, more: dict, how: dict) -> tuple[Denoiser, float]:
    """The student of a method, and the seconds of its training."""
    kind, settings, teacher = method.objective, method.settings | more, copy.deepcopy(exact).float()
    shape, data = tuple(exact.means.shape[1:]), scoresde.data.as_data(exact.sample(20000, seed=1).float())
    width, how = settings.pop("width", 128), method.training | {"begin": method.begin} | how
    steps, first, seeded = how["steps"], how.pop("begin"), {"seed": seed}
    torch.manual_seed(seed)
    key = (type(exact.sde), shape, width, seed)
    begin, seconds = kept(key, lambda: begun(Passing(*shape, width), data, teacher, START, seeded))
    student = kind.student(begin)
    if first and kind is not DMD:
        student, more_seconds = kept((*key, first), lambda: consistent(student, data, teacher, first, seeded))
        seconds += more_seconds
    if kind is Consistency:
        return student.eval(), seconds
    torch.manual_seed(seed)
    began, players = time.perf_counter(), {} if kind is ADD else {"fake": begin}
    if kind is not DMD:
        players["critic"] = Encoder(shape, 1, channels=width)
    objective = kind(student, data, teacher, **players, **settings)
    own = {"batch_size": 256, "lr": 5e-4, "betas": (0.0, 0.99), "weight_decay": 0.0, "ema": 0.98, "warmup": 20}
    own |= {"validate_every": steps, "log_every": max(steps // 5, 1)} | seeded | how
    model = scoresde.fit(objective, data, scoresde.Training(**own), **QUIET)
    return model, seconds + time.perf_counter() - began


def measured(x: Tensor, exact: GaussianMixture) -> dict[str, Any]:
    """The figures of samples."""
    x, y = x.double(), exact.sample(N, seed=7).double()
    found = energy(x, y)
    within = (((x[:, None] - exact.means) / exact.stds) ** 2).sum(2)
    near, which = within.min(1)
    inside = near < chi2.ppf(0.999, x.shape[1])
    share = torch.bincount(which[inside], minlength=len(exact.means)) / len(x)
    modes = int((share > exact.log_weights.exp() / 2).sum())
    return {
        "energy": [found.value, found.low, found.high],
        "modes": modes,
        "inside": float(inside.double().mean()),
        "shares": share.tolist(),
    }


def table(rows: list[dict]) -> str:
    """The newest row of each method, for each problem and SDE."""
    newest = {(r["problem"], r["sde"], r["method"]): r for r in rows}
    out = []
    for problem, sde in dict.fromkeys(key[:2] for key in newest):
        out += [f"\n**{problem}, {sde}**\n", "| method | steps | energy distance | within | modes | seconds |"]
        out += ["|---|---:|---:|---:|---:|---:|"]
        for (a, b, name), row in newest.items():
            for steps, found in row["steps"].items() if (a, b) == (problem, sde) else ():
                value, low, high = found["energy"]
                cells = [f"`{name}`", steps, f"{value:.4f} ({low:.4f} to {high:.4f})", f"{found['inside']:.3f}"]
                out.append(f"| {' | '.join(cells)} | {found['modes']} of 8 | {row['seconds']:.0f} |")
    return "\n".join(out)


def rows_of(name: str, exact: GaussianMixture, seed: int, more: dict, how: dict) -> dict[str, Any]:
    """The row of a method, or of data."""
    if name == "data":
        return {"seconds": 0.0, "steps": {"–": measured(exact.sample(N, seed=8), exact)}}
    method = METHODS[name]
    model, seconds = trained(method, exact, seed, more, how)
    most = 1 if method.objective is DMD else (method.settings | more).get("steps", 4)
    shape = (N, *exact.means.shape[1:])
    found = {}
    for steps in (k for k in (1, 2, 4) if k <= most):
        sampler = Jump(steps=1) if steps == 1 else Renoise(steps=steps)
        found[str(steps)] = measured(sample(model, sampler, shape, seed=5, progress=False), exact)
    return {"seconds": seconds, "steps": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", nargs="+", default=["ring"], choices=PROBLEMS)
    parser.add_argument("--sde", nargs="+", default=["vp"], choices=SDES)
    parser.add_argument("--method", nargs="+", default=["data", *METHODS], choices=["data", *METHODS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="settings of the method, fakes=5")
    parser.add_argument("--train", nargs="*", default=[], help="settings of the training, steps=500 begin=0")
    parser.add_argument("--out", type=Path, default=Path("matching.json"))
    parser.add_argument("--table", action="store_true", help="print the table of --out")
    args = parser.parse_args()
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    if args.table:
        print(table(rows))
        return
    more, how = ({k: json.loads(v) for k, v in (word.split("=") for word in part)} for part in (args.set, args.train))
    for problem in args.problem:
        for sde in args.sde:
            exact = PROBLEMS[problem](SDES[sde])
            for name in args.method:
                row = {"problem": problem, "sde": sde, "method": name, "seed": args.seed, "set": more, "train": how}
                row |= rows_of(name, exact, args.seed, more, how)
                print(json.dumps(row), flush=True)
                rows = json.loads(args.out.read_text()) if args.out.exists() else []
                args.out.write_text(json.dumps([*rows, row], indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()

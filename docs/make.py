"""Makes the pages of docs/: python docs/make.py [settings] [matrix] [orders] [samplers --model FOLDER] [site]."""

import argparse
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import matrix
import orders
import torch
from machinery import settings_page
from problems import SONG
from samplers import DETERMINISTIC, SAMPLERS, STOCHASTIC

import scoresde
from scoresde.data import stack


def orders_table() -> str:
    """The measured order of every fixed-step sampler, and its error, for VP, VE and sub-VP."""
    lines = [
        "# Orders of convergence",
        "",
        "Made by `python docs/make.py orders`; tests/test_orders.py holds every sampler to within 0.25 of its order.",
        "",
        "Deterministic samplers: the root-mean-square distance from the exact end point of the flow of a 2-D mixture "
        "of three components (float64, log-SNR up to 10, reference at a tolerance of 1e-12), with N and with 2 N "
        "steps, and the order log2 of their ratio.",
        "",
    ]
    head = "| sampler | order | grid | N | " + " | ".join(f"{s}: error at 2 N, order" for s in SONG) + " |"
    for entries, measure in ((DETERMINISTIC, orders.flow_error), (STOCHASTIC, orders.weak_error)):
        if entries is STOCHASTIC:
            lines += [
                "",
                "Stochastic samplers, in the weak sense: the error of the mean and of the variance for Gaussian data, "
                "both exactly, as the coefficients of a linear recursion (log-SNR up to 6).",
                "",
            ]
        lines += [head, "|---|---|---|---|" + "---|" * len(SONG)]
        for name, entry in entries.items():
            if name == "pc":
                continue
            steps = 200 if entry.noise else entry.steps
            cells = []
            for sde in SONG:
                coarse, fine = (measure(sde, entry, n, grid=entry.on) for n in (steps, 2 * steps))
                cells.append(f"{fine:.1e}, {orders.order(coarse, fine):.2f}")
            settings = ", ".join(f"{k}={v}" for k, v in entry.settings.items())
            label = f"{name}: `{entry.kind.__name__}({settings})`"
            lines.append(f"| {label} | {entry.order} | {entry.on} | {steps} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    return "\n".join([*lines, ""])


def energy(x: torch.Tensor, y: torch.Tensor) -> float:
    """The energy distance 2 E|x - y| - E|x - x'| - E|y - y'|, without bias: about 0, either side, for equal laws."""
    x, y = x.flatten(1).double(), y.flatten(1).double()
    within = sum(torch.cdist(a, a).sum() / (len(a) * (len(a) - 1)) for a in (x, y))
    return float(2 * torch.cdist(x, y).mean() - within)


def gallery(folder: str, n: int) -> str:
    """A grid of digits by every sampler, with its evaluations, seconds and distance to held-out digits."""
    from scoresde import pictures

    model = scoresde.load(folder)
    data = scoresde.data.digits()
    levels = model.levels - 1
    held_out = stack(data.test, range(len(data.test))).float() / levels
    train = stack(data.train, range(len(data.train))).float() / levels
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    floors = torch.tensor([energy(train[some], held_out) for some in order.split(n) if len(some) == n])
    floor = f"{1e3 * float(floors.mean()):.0f} +- {1e3 * float(floors.std()):.0f} over {len(floors)} draws"
    chosen = {**{k: e.kind(**e.settings) for k, e in SAMPLERS.items()}}
    chosen |= {"ode": scoresde.sampling.ProbabilityFlow(rtol=1e-3, atol=1e-3), "edm_churn": SAMPLERS["edm_churn"](50)}
    chosen["gaussian_adams"] = scoresde.sampling.GaussianAdams()
    chosen["ancestral"] = SAMPLERS["ancestral"](200)
    chosen |= {f"pc_{c}": scoresde.sampling.PC(predictor="ancestral", corrector=c) for c in ("ald", "gibbs")}
    (HERE / "pictures" / "samplers").mkdir(exist_ok=True)
    lines = [
        "# Samplers on trained digits",
        "",
        f"Made by `python docs/make.py samplers --model FOLDER --n {n}` from the model of `python run.py sde=vp`: the "
        f"first 20 of {n} samples of each, with the settings of tests/samplers.py, a Tweedie step last.  The "
        f"distance is the energy distance, times 1000, of the {n} samples to the {len(held_out)} held-out digits, "
        f"pixels in 0..1; for as many training digits it is {floor}, for uniform noise "
        f"{1e3 * energy(torch.rand(n, *model.shape), held_out):.0f}.  "
        f"Seconds for {n} samples on {torch.get_num_threads()} threads of a CPU.",
        "",
        "| sampler | evaluations | seconds | distance | |",
        "|---|---:|---:|---:|---|",
    ]
    for name, sampler in chosen.items():
        counted = scoresde.Counted(model)
        began = time.perf_counter()
        raw = model.decode(scoresde.sample(counted, sampler, (n, *model.shape)))
        seconds = time.perf_counter() - began
        pictures.samples(HERE / "pictures" / "samplers" / f"{name}.png", raw[:20], model.levels, columns=20)
        row = f"{name} | {counted.rows / n:.0f} | {seconds:.1f} | {1e3 * energy(raw / levels, held_out):.0f}"
        lines.append(f"| {row} | ![{name}](../pictures/samplers/{name}.png) |")
        print(row, flush=True)
    return "\n".join([*lines, ""])


def site() -> int:
    """Builds docs/_build/html, where a warning is an error.  Returns Sphinx's exit code."""
    if importlib.util.find_spec("sphinx") is None:
        print("error: the site needs sphinx: pip install 'scoresde[docs]'", file=sys.stderr)
        return 1
    built = HERE / "_build"
    words = ["-b", "html", "-W", "--keep-going", "-q", "-E", "-d", str(built / "doctrees")]
    began = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", "sphinx", *words, str(HERE), str(built / "html")]).returncode
    if code == 0:
        print(f"wrote docs/_build/html/index.html in {time.perf_counter() - began:.0f} s")
    return code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="+", choices=["settings", "matrix", "orders", "samplers", "site"])
    parser.add_argument("--model", help="the folder of a trained digits model, for samplers")
    parser.add_argument("--n", type=int, default=200, help="samples of each sampler (default: 200)")
    args = parser.parse_args()
    for what in args.what:
        if what == "site":
            if code := site():
                sys.exit(code)
            continue
        if what == "samplers" and not args.model:
            parser.error("samplers needs --model FOLDER (python run.py task=train prints it)")
        file, make = {
            "settings": ("settings.md", settings_page.page),
            "matrix": ("compatibility.md", matrix.table),
            "orders": ("orders.md", orders_table),
            "samplers": ("samplers.md", lambda: gallery(args.model, args.n)),
        }[what]
        (HERE / "reference" / file).write_text(make())
        print(f"wrote docs/reference/{file}")


if __name__ == "__main__":
    main()

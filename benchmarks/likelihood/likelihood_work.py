"""What makes a log-likelihood exact: its error against the work, for tolerances, probes, steps and control variates.

    python run.py task=train sde=vp                                # prints the folder of the digits model
    python benchmarks/likelihood/likelihood_work.py --model FOLDER --out docs/pictures/likelihood.png

Two exact mixtures (2-D, 3 components; 64-D, 10 components; error against the exact log-density) and a trained digits
model (held-out digits; error against its exact divergence at a tolerance of 1e-6).  The error is the mean of
|log p - reference| in nats over the rows and over `--seeds` seeds of the probes; the work of a row is its evaluations
times (1 + 2 products), a vector-Jacobian product costing about two forward passes.  The control variate is the flow's
Jacobian averaged over 8 other rows; its own cost, 20 x D products for each of them, is paid once and not counted.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import scoresde
from benchmarks.sampling.flows import mixture
from scoresde import noise
from scoresde.data import stack
from scoresde.likelihood import AverageJacobian, average_jacobian, log_likelihood


class Problem:
    """A denoiser, rows with their reference, and a control variate from other rows."""

    def __init__(self, model: scoresde.Denoiser, x: Tensor, others: Tensor, exact: Tensor | None, terminal=None):
        self.model, self.x, self.terminal = model, x, terminal
        self.control = average_jacobian(model, others)
        self.exact = self.run(rtol=1e-6, atol=1e-6)[0] if exact is None else exact

    @classmethod
    def of_mixture(cls, dims: int, components: int, rows: int) -> "Problem":
        model = mixture(scoresde.VP(), dims, components)
        sde = model.sde
        x, others = model.sample(rows, sde.t_min, seed=1), model.sample(8, sde.t_min, seed=2)
        return cls(model, x, others, model.log_prob(x, sde.t_min), lambda x: model.log_prob(x, sde.t_max))

    @classmethod
    def of_digits(cls, folder: str, rows: int) -> "Problem":
        model, data = scoresde.load(folder).eval(), scoresde.data.digits()
        index = torch.arange(rows)
        encode = lambda raw, i: data.encode(raw, noise.uniform(raw.float(), i, 0, 1)).double()
        x, others = encode(stack(data.test, index), index), encode(stack(data.train, range(8)), torch.arange(8))
        return cls(model, x, others, None)

    def run(self, **options) -> tuple[Tensor, float]:
        """log p and the work of a row."""
        found = log_likelihood(self.model, self.x, terminal=self.terminal, **options)
        products = options.get("probes") or self.x[0].numel()
        return found.log_prob, float(found.nfe.double().mean()) * (1 + 2 * products)


def ways(control: AverageJacobian, dims: int, steps: list[int], probes: list[int]) -> dict[str, list[dict]]:
    """Series of options of `log_likelihood`, by name, from little work to much."""
    tight = [10.0**-k for k in range(1, 6)]
    loose = {"rtol": 1e-2, "atol": 1e-2}
    frozen = [{"probes": k, **loose} for k in probes]
    sketched = [{"probes": 3 * k, "divergence": "hutchpp", **loose} for k in probes if 3 * k <= dims]
    fresh = [{"probes": 1, "steps": n} for n in steps]
    return {
        "one frozen probe, tolerance 1e-1 to 1e-5": [{"probes": 1, "rtol": r, "atol": r} for r in tight],
        "frozen probes, more of them": frozen,
        "frozen, control variate": [{**o, "control": control} for o in frozen],
        "Hutch++": sketched,
        "one fresh probe a step": fresh,
        "fresh, control variate": [{**o, "control": control} for o in fresh],
        "exact divergence": [{"rtol": r, "atol": r} for r in tight[:4]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="the folder of a trained digits model (left out without it)")
    parser.add_argument("--rows", type=int, default=32, help="rows of each problem (default: 32)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the probes (default: 3)")
    parser.add_argument("--steps", nargs="+", type=int, default=[10, 20, 50, 100, 300, 1000], help="of the fixed grids")
    parser.add_argument("--probes", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32], help="their numbers")
    parser.add_argument("--out", type=Path, help="the picture")
    args = parser.parse_args()
    problems = {"mixture, 2-D": (2, 3), "mixture, 64-D": (64, 10)}
    cases = {name: Problem.of_mixture(*how, args.rows) for name, how in problems.items()}
    if args.model:
        cases["digits, trained U-Net"] = Problem.of_digits(args.model, args.rows)
    results: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, case in cases.items():
        results[name] = {}
        for way, series in ways(case.control, case.x[0].numel(), args.steps, args.probes).items():
            results[name][way] = []
            for options in series:
                random = range(args.seeds) if "probes" in options else [0]
                found = [case.run(seed=s, **options) for s in random]
                error = sum(float((log_prob - case.exact).abs().mean()) for log_prob, _ in found) / len(found)
                work = sum(w for _, w in found) / len(found)
                results[name][way].append((work, error))
                shown = {k: v for k, v in options.items() if k != "control"}
                print(f"{name:22} {way:42} {json.dumps(shown):52} work {work:9.0f}  error {error:.2e}", flush=True)
    if args.out:
        plot(args.out, results)


def plot(path: Path, results: dict[str, dict[str, list[tuple[float, float]]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure((5 * len(results), 4.6), layout="constrained")
    axes = figure.subplots(1, len(results), squeeze=False)[0]
    for axis, (name, series) in zip(axes, results.items(), strict=True):
        for i, (way, points) in enumerate(series.items()):
            style = {"marker": "osv^D*Px"[i], "color": f"C{i}", "markersize": 5}
            axis.loglog([w for w, _ in points], [e for _, e in points], **style, label=way)
        axis.set(title=name, xlabel="work of a row, forward passes", ylabel="mean error of log p, nats")
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()

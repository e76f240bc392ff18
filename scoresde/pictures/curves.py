"""Plots of figures: losses, tuning, histograms of scores, and many runs beside each other."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..tracking.track import read_rows
from .kinds import literal
from .plots import figure


def losses(path: Path, metrics: Path, levels: list[float] | None = None) -> None:
    """Plots the loss in training and on fixed test data, and the latter's last values by noise level.

    Arguments:
        path: of the PNG.
        metrics: metrics.jsonl of a training.
        levels: sigma / alpha at the ends of the bins that the values by level belong to: see `objectives.noise_levels`.
    """
    rows = read_rows(metrics)

    def draw(axes) -> None:
        for name, style in (
            ("loss", {"linewidth": 0.7, "alpha": 0.7}),
            ("validation", {"marker": "o", "markersize": 3}),
        ):
            points = [(r["step"], r[name]) for r in rows if isinstance(r.get(name), int | float)]
            if points:
                axes[0, 0].plot(*zip(*points, strict=True), label=name, **style)
        axes[0, 0].set(xlabel="step", ylabel="loss (mean over dimensions)", yscale="log")
        if axes[0, 0].lines:
            axes[0, 0].legend()
        by_level = [r["validation_by_level"] for r in rows if isinstance(r.get("validation_by_level"), list)]
        if by_level:
            _by_level(axes[0, 1], by_level[-1], levels)
        axes[0, 1].set(ylabel="validation loss")

    figure(path, 2, draw, 4.5)


def _by_level(axis, values: list[float], levels: list[float] | None) -> None:
    """A bar for each equal part of the training times, between its noise levels."""
    axis.stairs(values, range(len(values) + 1), fill=True)
    axis.set_title("by equal parts of the training times", fontsize=10)
    if levels is not None and len(levels) == len(values) + 1:
        axis.set_xticks(range(len(levels)), [f"{float(f'{level:.2g}'):g}" for level in levels], rotation=45)
        axis.set_xlabel("noise level sigma / alpha")
    else:
        axis.set_xticks([])
        axis.set_xlabel("low noise to high")


def front(path: Path, rows: dict[int, list[dict]]) -> None:
    """Plots error against evaluations: every sampler with its best grid at each budget, the best of all in black.

    `path` is of the PNG; `rows` are the trials by their budget, the best first, with sampler and error.
    """

    def draw(axes) -> None:
        axis = axes[0, 0]
        names = dict.fromkeys(r["sampler"] for trials in reversed(rows.values()) for r in trials)
        for i, name in enumerate(names):
            errors = {b: [r["error"] for r in trials if r["sampler"] == name] for b, trials in rows.items()}
            points = [(b, min(e)) for b, e in errors.items() if e and np.isfinite(min(e))]
            if points:
                style = {"marker": "osv^D"[i % 5], "color": f"C{i % 10}", "markersize": 4, "linewidth": 0.6}
                axis.plot(*zip(*points, strict=True), label=name, **style)
        least = [(b, trials[0]["error"]) for b, trials in sorted(rows.items())]
        axis.plot(*zip(*least, strict=True), color="black", linewidth=2, zorder=0, label="tuned")
        axis.set(xlabel="evaluations", ylabel="sqrt(rms x median) distance from the flow", xscale="log", yscale="log")
        axis.set_xticks(list(rows), [str(b) for b in rows])
        axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        axis.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))

    figure(path, 1, draw, 6.0)


def histogram(path: Path, values: dict[str, Tensor], units: str) -> None:
    """Plots the figures of single examples, a histogram for each data set, with its mean; those not finite are counted.

    Arguments:
        path: of the PNG.
        values: (N,) by the name of a data set.
        units: their word.
    """

    def draw(axes) -> None:
        axis = axes[0, 0]
        known = {name: v[v.isfinite()] for name, v in values.items()}
        whole = torch.cat([*known.values()])
        edges = np.histogram_bin_edges(whole.numpy(), 50 if len(whole) > 200 else 20)
        for i, (name, v) in enumerate(known.items()):
            lost = len(values[name]) - len(v)
            said = literal(name)
            words = [f"{said}: {float(v.mean()):.3f}"] if len(v) else [f"{said}:"]
            words += [f"{lost} of {len(values[name])} not finite"] if lost else []
            axis.hist(v.numpy(), edges, density=len(v) > 0, alpha=0.6, color=f"C{i}", label=", ".join(words))
            if len(v):
                axis.axvline(float(v.mean()), color=f"C{i}")
        axis.set(xlabel=f"{units} of an example", ylabel="density")
        axis.legend(loc="upper right")

    figure(path, 1, draw, 4.5)


def intervals(
    path: Path, labels: list[str], figures: dict[str, list], floor: dict, states: list[str] | None = None
) -> None:
    """Plots a panel for each figure, four in a line, with a row for each label: its value with its confidence interval.

    Arguments:
        path: of the PNG.
        labels: of the rows.
        figures: by name a value for each label, with low and high where there is an interval, or None: the row then
            says its state, if that is not "done", or "none".
        floor: by name the value of real data, a grey line and band.
        states: of the rows; None: all are done.
    """
    columns = min(4, max(1, len(figures)))
    states = states or ["done"] * len(labels)

    def draw(axes) -> None:
        for axis in axes.flat[len(figures) :]:
            axis.set_visible(False)
        for i, (axis, (name, values)) in enumerate(zip(axes.flat, figures.items(), strict=False)):
            if name in floor:
                axis.axvline(floor[name].value, color="0.6", linewidth=1)
                if floor[name].low is not None:
                    axis.axvspan(floor[name].low, floor[name].high, color="0.92")
            for y, (value, state) in enumerate(zip(values, states, strict=True)):
                if value is None:
                    place = {"transform": axis.get_yaxis_transform(), "ha": "center", "va": "center"}
                    word, colour = ("none", "0.5") if state == "done" else (state, "C3")
                    axis.text(0.5, y, word, color=colour, fontsize=8, **place)
                    continue
                axis.plot(value.value, y, "o", color="C0", markersize=4)
                if value.low is not None:
                    axis.plot([value.low, value.high], [y, y], color="C0")
            axis.set(ylim=(len(labels) - 0.5, -0.5), yticks=range(len(labels)))
            axis.set_title(literal(name, 40), fontsize=10)
            axis.set_yticklabels([] if i % columns else [literal(label, 80) for label in labels])
            axis.locator_params(axis="x", nbins=4)
            axis.grid(alpha=0.3)

    figure(path, columns, draw, size=max(3.2, 0.22 * len(labels)), rows=-(-len(figures) // columns) or 1)


def errors_by_level(path: Path, figures: dict) -> None:
    """Draws the error |D - x_0|^2 of a model by noise level r, times (1 + r^2) / r^2, to `path`.

    On held-out and training items, against those of the best affine denoiser and of the optimum on the training items.
    `figures` are those of the doctor's finding on the score.
    """
    styles = {
        "model": ("model, held-out", {"color": "C0", "marker": "o"}),
        "train": ("model, training items", {"color": "C0", "linestyle": ":"}),
        "gaussian": ("best affine denoiser, held-out", {"color": "0.4", "linestyle": "--"}),
        "empirical": ("optimum on the training items, on them", {"color": "C2", "linewidth": 0.9}),
        "empirical_test": ("the same, held-out", {"color": "C1", "linewidth": 0.9}),
    }

    def draw(axes) -> None:
        axis, r = axes[0, 0], np.array(figures["levels"])
        for name, (label, style) in styles.items():
            axis.plot(r, np.array(figures[name]) * (1 + r**2) / r**2, label=label, **style)
        axis.set(
            xlabel="noise level sigma / alpha", ylabel="error of v (mean over dimensions)", xscale="log", yscale="log"
        )
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)

    figure(path, 1, draw, 6.0, height=4.2)

"""The task that says what a training would be: layers, parameters, operations, memory, and how long it takes here."""

import copy
import statistics
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from ...config import build, objective, settle
from ...errors import InputError
from ...machine.progress import duration
from ...nets.cost import Cost, cost
from ...objectives.guards import prepare
from ...run import Run, Task
from ...settings import Count
from ...tracking.report import columns
from ...training import fit

SIZES = ("channels", "width")  # of a network's config, of which half is a smaller one
FAR = 10**9  # steps


@dataclass(frozen=True)
class Describe(Task):
    """Says what the network is and what its training takes on this machine; trains and writes nothing.

    `steps` are those that are timed, after two that are not.
    """

    leaves: ClassVar[bool] = False

    steps: Count = 5

    def __call__(self, run: Run) -> None:
        describe(run, self.steps)


def describe(run: Run, timed: int) -> None:
    """Prints the network's layers, and what a row, a step and the whole training take."""
    net, training, shape = _denoiser(run, run.config).net, run.training, run.data.shape
    found = cost(net, shape, getattr(net, "conditions", None))
    columns(run.console, ("layer", "kind"), ("gives", "parameters", "FLOP a row"), _layers(found))
    rows, precision = training.batch_size, "" if training.precision == "no" else f" in {training.precision}"
    words = f"{type(net).__name__}, {found.parameters:,} parameters, {_count(found.flops)}FLOP a row forward"
    run.results.append(("network", f"{words}, for {run.data.name} {tuple(shape)}"))
    memory = f"about {_count(found.memory(rows))}B for {rows} rows: 5 times the weights, {_count(found.weights)}B"
    run.results.append(("memory", f"{memory}, and {_count(found.kept)}B a row"))
    seconds = _seconds(run, run.config, timed)
    rate = f"{_count(3 * rows * found.flops / seconds)}FLOP a second"
    run.results.append(("a step", f"{_time(seconds)} for {rows} rows{precision}, {rate}"))
    lengths = [f"{training.steps} steps: about {duration(seconds * training.steps)}"]
    for key in SIZES:
        if isinstance(size := run.config.net.get(key), int) and (smaller := _with(run.config, key, size // 2)):
            with_half = _seconds_or_none(run, smaller, timed)
            if with_half is not None:
                lengths.append(f"net.{key}={size // 2}: {duration(with_half * training.steps)}")
    run.results.append(("training", "; ".join(lengths)))


def _layers(found: Cost) -> list[tuple[str, ...]]:
    rows = []
    for layer in found.layers:
        shape = "" if layer.shape is None else "x".join(map(str, layer.shape))
        rows.append((layer.name, layer.kind, shape, f"{layer.parameters:,}", _count(layer.flops)))
    return rows


def _count(number: float) -> str:
    """A number for reading, before its unit: "16.2 M", "35 k"."""
    for size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:.3g} "


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _with(config: Any, key: str, size: int) -> Any:
    if size < 1:
        return None
    other = copy.deepcopy(config)
    other.net[key] = size
    return other


def _denoiser(run: Run, config: Any):
    kinds = objective.conditions(config, run.data)
    config = settle.settled(config, run.data, kinds)
    denoiser = build.build_denoiser(config, run.data.shape, run.adopted, kinds)
    prepare(denoiser, run.data)
    return denoiser


def _seconds(run: Run, config: Any, timed: int) -> float:
    """The median time of a step of the training of a config."""
    denoiser, began = _denoiser(run, config), []
    target = objective.build(config, denoiser, copy.deepcopy(run.loss), run.data, run.trusts("objective"))
    few = replace(run.training, steps=timed + 2, log_every=1, validate_every=FAR, checkpoint_every=FAR)

    def report(step: int, seconds: float = 0.0, **figures) -> None:
        began.append(seconds)

    with torch.random.fork_rng(devices=[]):
        fit(target, run.data, few, None, report, run.config.device, progress=False, say=lambda words: None)
    return statistics.median(b - a for a, b in zip(began[1:], began[2:], strict=False))


def _seconds_or_none(run: Run, config: Any, timed: int) -> float | None:
    try:
        return _seconds(run, config, timed)
    except InputError:  # half of it is no size for this network
        return None

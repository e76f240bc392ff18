"""What a page draws of numbers: losses, the terms and the spread of the likelihood, error against evaluations."""

import math

import numpy as np

from ..drawn.charts import Series, histogram, label, plot
from ..drawn.markup import Html, absent, figure, section, table, tag
from ..figures import apart, figures, number
from ..reading import Held, Result, arrays_of, json_of, part
from .overview import command_of, line

TERMS = {
    "prior": "of x_T under the Gaussian that sampling starts from",
    "volume": "of the SDE's own contraction",
    "divergence": "of the network along the flow",
    "transform": "of the data's scaling",
    "levels": "log2 of the number of levels",
    "dequantisation": "of values to points within their bins",
    "truncation": "of the decoder's levels",
    "reconstruction": "of the items given their latents",
    "latents": "of the latents, under the model",
    "entropy": "of the latents given the items, taken back",
}
LN2 = math.log(2)


def training(held: Held, why: str = "") -> Html:
    """The loss in training and on held-out data, and by noise level beside the floor."""
    rows = [r for r in held.rows if isinstance(r.get("step"), int)]
    points = {n: [(r["step"], r[n]) for r in rows if number(r.get(n))] for n in ("loss", "validation", "accuracy")}
    if not points["loss"]:
        return section("training", "Training", absent("No losses are kept here (metrics.jsonl)."))
    thin = points["loss"][:: -(-len(points["loss"]) // 600)]
    shown = [Series("training", thin, 0, "faint"), Series("held-out", points["validation"], 1, "both")]
    values = [v for s in shown for _, v in s.points]
    curve = plot(shown, "step", "loss, mean over dimensions", ylog=0 < 4 * min(values) < max(values))
    return section(
        "training",
        "Training",
        tag("div", figure(curve, "The loss against steps."), _levels(held), class_="pair"),
        *_floor_words(held, why),
    )


def _good(values, n: int | None = None) -> bool:
    return isinstance(values, list) and len(values) > 1 and all(map(number, values)) and n in (None, len(values))


def _levels(held: Held) -> Html:
    """The loss by noise level: a stair for the model on training and on held-out items, and for the optimum."""
    floor = held.floor if held.floor.get("weights") == held.weights else {}
    edges, series = floor.get("levels"), []
    if _good(edges):
        for i, (key, name) in enumerate(
            (("train", "on training items"), ("held_out", "held-out"), ("optimum", "the optimum of the training set"))
        ):
            if _good(floor.get(key), len(edges) - 1):
                series.append(_stairs(name, floor[key], i, floor.get(f"{key}_stderr")))
    else:
        last = next(
            (r["validation_by_level"] for r in reversed(held.rows) if _good(r.get("validation_by_level"))), None
        )
        if last is None:
            return Html("")
        series = [_stairs("held-out", last, 1, None)]
    n = len(series[0].points) - 1
    marks = [(i, label(float(f"{edges[i]:.2g}"))) for i in range(1, n)] if _good(edges) else []
    marks = marks or [(0.8, "little noise"), (n - 0.8, "much noise")]
    drawn = plot(series, "noise level sigma / alpha" if _good(edges) else "", "loss", zero=True, marks=marks)
    return figure(drawn, "The loss by noise level, in equal parts of the training times.")


def _stairs(name: str, values: list[float], colour: int, errors) -> Series:
    points = [*enumerate(values), (len(values), values[-1])]
    wide = [1.96 * e if number(e) else 0.0 for e in errors] + [0.0] if _sized(errors, values) else None
    return Series(name, points, colour, "stairs", wide)


def _sized(errors, values) -> bool:
    return isinstance(errors, list) and len(errors) == len(values)


def _floor_words(held: Held, why: str) -> list[Html]:
    floor = held.floor
    if held.known.get("kind", "denoiser") != "denoiser":
        return []
    if floor.get("weights") != held.weights or not _good(floor.get("train")):
        words = "The loss of the optimal denoiser of the training set is not here"
        if part(held.data, "settings"):
            return [absent(f"{words}{f' ({why})' if why else ''}:", line(held, "report", "task.floor=true"))]
        python = f"scoresde.report.write({str(held.folder)!r}, floor=True, data=data)"
        return [absent(f"{words}, as the folder does not name its data; in Python:", python)]
    means = {k: sum(floor[k]) / len(floor[k]) for k in ("train", "held_out", "optimum") if _good(floor.get(k))}
    said = ", ".join(f"{TITLES[k]} {v:.4f}" for k, v in means.items())
    words = f"Means over the levels: {said}.  The optimum is the posterior mean over the {floor.get('training_items')} "
    words += "training items, in closed form, on the same items, times and noise as the model's: no denoiser has less "
    words += "training loss, and one that reaches it gives training items back.  Bars: 95 %, "
    words += f"{floor.get('items')} items of either split."
    return [tag("p", words, class_="note")]


TITLES = {"train": "the model on training items", "held_out": "on held-out items", "optimum": "the optimum"}


def likelihood(held: Held) -> Html:
    """Terms and histogram of the latest scorings."""
    found, name = held.of("likelihood"), "Likelihood"
    if not found:
        return section("likelihood", name, absent("Not scored yet:", line(held, "likelihood")))
    parts = []
    for result in found[:3]:
        parts.append(tag("h3", result.path.name) if len(found) > 1 else Html(""))
        parts.append(tag("div", _terms(held, result), figure(_spread(held, result)), class_="pair"))
        parts.append(_how(result))
        parts.append(command_of(result))
    return section("likelihood", name, *parts)


def _terms(held: Held, result: Result) -> Html:
    """The whole figure and what it is the sum of."""
    known, s = figures({"": result.summary}), result.summary
    rows = []
    for name, words in (
        ("bits_per_dim", "bits/dim"),
        ("bound_bits_per_dim", "bound, bits/dim"),
        ("nats", "nats"),
        ("bound_nats", "bound, nats"),
        ("auroc", f"AUROC against {s.get('other')}"),
    ):
        if f".{name}" in known:
            value, ends = apart(known[f".{name}"])
            rows.append((tag("b", words), tag("b", value), ends))
        if name == "bits_per_dim":
            terms = [(k, s.get(f"{name}_{k}")) for k in TERMS if number(s.get(f"{name}_{k}")) and s[f"{name}_{k}"]]
            rows += [(tag("span", tag("span", k), tag("small", f" {TERMS[k]}")), f"{v:+.3f}", "") for k, v in terms]
    if ".bits_per_dim" not in known:
        columns = arrays_of(result.path / "likelihood.npz")
        for k in ("prior", "volume", "divergence"):
            if k in columns and np.abs(columns[k]).max() > 0:
                words = tag("span", tag("span", k), tag("small", f" {TERMS[k]}"))
                rows.append((words, f"{float(columns[k].mean()):+.3f}", ""))
        if held.space is not None and held.shape:
            words = tag("span", "transform", tag("small", f" {TERMS['transform']}"))
            rows.append((words, f"{held.space.log_det(held.shape):+.3f}", ""))
    return table(("", "mean", "95 %"), rows, "terms")


def per_example(held: Held, columns: dict[str, np.ndarray]) -> tuple[np.ndarray, str] | None:
    """Bits/dim of each example where the data has levels, else nats in the data's units; and the units."""
    for name, units in (("bits_per_dim", "bits/dim"), ("nats", "nats")):
        if name in columns:  # of a bound by way of latents
            return columns[name].astype(float), units
    if "log_prob" not in columns or held.space is None or not held.shape:
        return None
    nats = columns["log_prob"].astype(float) + held.space.log_det(held.shape)
    if held.levels is None:
        return nats, "nats"
    nats = nats + columns.get("dequantisation", 0.0) + columns.get("decoder", 0.0)
    return math.log2(held.levels) - nats / (math.prod(held.shape) * LN2), "bits/dim"


def _spread(held: Held, result: Result) -> Html:
    """The histogram of single examples, over that of other data where there is one."""
    found = {}
    for name, file in (
        (str(result.summary.get("split")), "likelihood"),
        (str(result.summary.get("other")), "likelihood_other"),
    ):
        values = per_example(held, arrays_of(result.path / f"{file}.npz"))
        if values is not None:
            found[name], units = values
    if not found or not any(np.isfinite(v).any() for v in found.values()):
        return absent("The figures of single examples cannot be read (likelihood.npz).")
    return histogram(found, units)


def _how(result: Result) -> Html:
    s = result.summary
    kind = s.get("divergence") or ("exact" if s.get("probes") is None else "rademacher")
    probes = "" if s.get("probes") is None else f"{s['probes']} x "
    words = [f"{s.get('n')} {s.get('split')} examples", f"divergence {probes}{kind}"]
    through = s.get("bound_of") == "latents"
    words += [f"dequantisation {s.get('dequantiser')}"] if "bits_per_dim" in s and not through else []
    words += ["an upper bound, by one draw of the latents of each example"] if through else []
    if number(s.get("evaluations")) and number(s.get("seconds")):
        words += [f"{s['evaluations']:.0f} evaluations an example", f"{s['seconds']:.1f} s in all"]
    return tag("p", ", ".join(words) + f", seed {s.get('seed')}, t_min {s.get('t_min')}.", class_="note")


def tuning(held: Held) -> Html:
    """Error against evaluations, and each budget's best."""
    found, name = held.of("tune"), "Error against evaluations"
    trials = {int(b): v for b, v in json_of(found[0].path / "trials.json").items() if b.isdecimal()} if found else {}
    trials = {
        b: [t for t in v if isinstance(t, dict) and number(t.get("error"))]
        for b, v in trials.items()
        if isinstance(v, list)
    }
    trials = {b: sorted(v, key=lambda t: t["error"]) for b, v in sorted(trials.items()) if v}
    if not trials:
        return section("tuning", name, absent("No samplers were compared yet:", line(held, "tune")))
    series, names = [], list(dict.fromkeys(str(t.get("sampler")) for v in reversed(trials.values()) for t in v))
    for i, sampler in enumerate(names):
        points = [
            (b, min((t["error"] for t in v if str(t.get("sampler")) == sampler), default=math.nan))
            for b, v in trials.items()
        ]
        points = [p for p in points if math.isfinite(p[1]) and p[1] > 0]
        series.append(Series(sampler if i < 6 else "", points, min(i, 6) if i < 6 else 7, "both" if i < 6 else "faint"))
    series = series[::-1]  # the best on top
    drawn = plot(
        series, "evaluations a sample", "distance from the flow", True, True, marks=[(b, str(b)) for b in trials]
    )
    rows = []
    for b, v in trials.items():
        own = next((t for t in v if not str(t.get("sampler")).startswith("fitted")), v[0])
        rows.append(
            (
                b,
                v[0].get("sampler"),
                v[0].get("grid"),
                f"{v[0]['error']:.3g}",
                f"{own.get('sampler')}, {own.get('grid')}: {own['error']:.3g}",
            )
        )
    head = ("evaluations", "best", "grid", "error", "best that is not fitted")
    use = f"sampler=tuned sampler.budget={next(iter(trials))}"
    words = (
        f"Error: sqrt(rms x median) distance of a coordinate from the model's own flow, of {found[0].summary.get('n')} "
    )
    words += f"samples from the same noise.  Use it: {use}"
    body = tag("div", figure(drawn), table(head, rows), class_="pair")
    return section("tuning", name, body, tag("p", words, class_="note"), command_of(found[0]))

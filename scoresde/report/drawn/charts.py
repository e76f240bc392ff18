"""Charts as SVG in the page's own colours, which a screen, the dark and a printer each have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .markup import Html, tag

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 42


@dataclass
class Series:
    """Points (x, y) with a name, drawn in colour number `colour` as a line, dots, both, or stairs between edges."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    kind: str = "line"
    errors: Sequence[float] | None = None  # half the length of a bar at each point


class Axis:
    """Numbers to places, in proportion or by their logarithm."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool = False, zero: bool = False):
        known = [float(v) for v in values if math.isfinite(v) and (v > 0 or not log)]
        low, high = (min(known), max(known)) if known else (1.0, 2.0)
        self.log, self.start, self.end = log, start, end
        if log:
            low, high = (low / 1.6, high * 1.6) if high <= low * 1.01 else (low, high)
        else:
            low = min(low, 0.0) if zero else low
            pad = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
            low, high = low if zero and low == 0 else low - pad, high + pad
        self.low, self.high = low, high

    def __call__(self, value: float) -> float:
        a, b, v = (
            math.log(u) if self.log else u for u in (self.low, self.high, max(value, 1e-300) if self.log else value)
        )
        return self.start + (v - a) / (b - a) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers, from `low` to `high`."""
        if self.log and self.high > 10 * self.low:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = [m * 10.0**p for p in range(first, last + 1) for m in steps]
                found = [v for v in found if self.low * 0.999 <= v <= self.high * 1.001]
                if len(found) <= most:
                    break
            return found[:: -(-len(found) // most)] if found else []
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def label(value: float) -> str:
    """A number at a tick."""
    if value and not 1e-3 <= abs(value) < 1e5:
        number, _, power = f"{value:.1e}".partition("e")
        return f"{number.removesuffix('.0')}e{int(power)}"
    return f"{float(f'{value:.6g}'):g}"


def chart(inside: Sequence[Html], alt: str, height: float = HEIGHT, names: Sequence[tuple[str, int]] = ()) -> Html:
    """An SVG, its legend of (name, colour) above it in words."""
    shown = tag("svg", tag("title", alt), *inside, viewBox=f"0 0 {WIDTH} {height:g}", role="img")
    keys = [tag("span", tag("i", class_=f"k{colour}"), name) for name, colour in names]
    return tag("div", *([tag("div", *keys, class_="legend")] if keys else []), shown, class_="chart")


def frame(x: Axis, y: Axis, xlabel: str, ylabel: str, marks: Sequence[tuple[float, str]] | None = None) -> list[Html]:
    """The grid, the numbers at it and what they are; `marks` are (place, words) in place of the x axis's ticks."""
    out, bottom = [], y.start
    for v in y.ticks():
        out.append(tag("path", d=f"M{LEFT} {y(v):.1f}H{WIDTH - RIGHT}", class_="grid"))
        out.append(tag("text", label(v), x=LEFT - 5, y=f"{y(v) + 3.5:.1f}", class_="end"))
    places = [(x(v), label(v)) for v in x.ticks()] if marks is None else marks
    for place, words in places:
        out.append(tag("path", d=f"M{place:.1f} {bottom}v4", class_="rule"))
        out.append(tag("text", words, x=f"{place:.1f}", y=bottom + 15, class_="mid"))
    out.append(tag("path", d=f"M{LEFT} {bottom}H{WIDTH - RIGHT}", class_="rule"))
    out.append(tag("text", xlabel, x=(LEFT + WIDTH - RIGHT) / 2, y=bottom + 33, class_="mid name"))
    middle = (TOP + bottom) / 2
    out.append(tag("text", ylabel, x=-middle, y=11, transform="rotate(-90)", class_="mid name"))
    return out


def plot(
    series: Sequence[Series],
    xlabel: str,
    ylabel: str,
    xlog: bool = False,
    ylog: bool = False,
    zero: bool = False,
    marks: Sequence[tuple[float, str]] | None = None,
) -> Html:
    """Lines, dots and stairs over two axes; `marks` are (x, words) at the x axis."""
    series = [s for s in series if len(s.points)]
    xs = [p[0] for s in series for p in s.points]
    ys = [v for s in series for i, p in enumerate(s.points) for v in _ends(s, i, p[1])]
    x, y = Axis(xs, LEFT + 4, WIDTH - RIGHT - 4, xlog), Axis(ys, HEIGHT - BOTTOM, TOP, ylog, zero)
    if marks is not None:
        x.low, x.high = min(xs), max(xs)
    out = frame(x, y, xlabel, ylabel, None if marks is None else [(x(v), words) for v, words in marks])
    for s in series:
        good = [(px, py) for px, py in s.points if math.isfinite(py) and (py > 0 or not ylog)]
        places = [(x(px), y(py)) for px, py in good]
        out += _drawn(s, places)
        for i, (px, py) in enumerate(s.points):
            low, high = _ends(s, i, py)
            if s.errors is not None and high > low and (low > 0 or not ylog):
                at = x(px) if s.kind != "stairs" else x(px + 0.5)
                out.append(tag("path", d=f"M{at:.1f} {y(low):.1f}V{y(high):.1f}", class_=f"s{s.colour} bar"))
    return chart(out, f"{ylabel} against {xlabel}", names=[(s.name, s.colour) for s in series if s.name])


def _ends(s: Series, i: int, value: float) -> tuple[float, float]:
    error = s.errors[i] if s.errors is not None and math.isfinite(s.errors[i]) else 0.0
    return value - error, value + error


def _drawn(s: Series, places: list[tuple[float, float]]) -> list[Html]:
    out = []
    if s.kind in ("line", "both", "faint") and len(places) > 1:
        d = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
        out.append(tag("path", d=d, class_=f"s{s.colour}{' faint' if s.kind == 'faint' else ''}"))
    if s.kind == "stairs" and len(places) > 1:
        d = f"M{places[0][0]:.1f} {places[0][1]:.1f}"
        for _, (nx, ny) in zip(places, places[1:], strict=False):
            d += f"H{nx:.1f}V{ny:.1f}"
        out.append(tag("path", d=d, class_=f"s{s.colour}"))
    if s.kind in ("dots", "both"):
        for (px, py), (a, b) in zip(places, s.points, strict=False):
            spot = tag("title", f"{s.name} {label(a)}: {b:.4g}".strip())
            out.append(tag("circle", spot, cx=f"{px:.1f}", cy=f"{py:.1f}", r=2.6, class_=f"f{s.colour}"))
    return out


def histogram(values: dict[str, np.ndarray], units: str) -> Html:
    """How often each value comes, as a density, of one or several data sets, with their means."""
    known = {name: v[np.isfinite(v)] for name, v in values.items()}
    known = {name: v for name, v in known.items() if len(v)}
    whole = np.concatenate([*known.values()])
    edges = np.histogram_bin_edges(whole, 40 if len(whole) > 200 else 20)
    counts = {name: np.histogram(v, edges, density=True)[0] for name, v in known.items()}
    x = Axis(edges, LEFT + 4, WIDTH - RIGHT - 4)
    y = Axis([0, max(c.max() for c in counts.values())], HEIGHT - BOTTOM, TOP, zero=True)
    out = frame(x, y, f"{units} of an example", "density")
    for i, (name, c) in enumerate(counts.items()):
        d = f"M{x(edges[0]):.1f} {y(0):.1f}"
        for j, value in enumerate(c):
            d += f"V{y(value):.1f}H{x(edges[j + 1]):.1f}"
        out.append(tag("path", d=f"{d}V{y(0):.1f}Z", class_=f"a{i} s{i}"))
        mean = float(known[name].mean())
        out.append(tag("path", d=f"M{x(mean):.1f} {y.start}V{y.end}", class_=f"s{i} dash"))
    names = [(f"{name}: mean {float(v.mean()):.3f}, n {len(v)}", i) for i, (name, v) in enumerate(known.items())]
    return chart(out, f"histogram of {units}", names=names)


def forest(rows: Sequence[tuple[str, object]], floor, title: str) -> Html:
    """A line for each row: its value with its interval, over a band with that of real data."""
    step, top = 20, 8
    height = top + step * len(rows) + 24
    known = [f for _, f in rows if f is not None] + ([floor] if floor is not None else [])
    ends = [v for f in known for v in (f.value, f.low, f.high) if v is not None]
    left = 16 + min(170, 6.2 * max(len(name[:28]) for name, _ in rows))
    x = Axis(ends, left, WIDTH - RIGHT)
    out = []
    if floor is not None:
        if floor.low is not None:
            out.append(
                tag(
                    "path",
                    d=f"M{x(floor.low):.1f} {top}H{x(floor.high):.1f}V{height - 24}H{x(floor.low):.1f}Z",
                    class_="band",
                )
            )
        out.append(tag("path", d=f"M{x(floor.value):.1f} {top}V{height - 24}", class_="rule dash"))
    for v in x.ticks(5):
        out.append(tag("path", d=f"M{x(v):.1f} {top}V{height - 24}", class_="grid"))
        out.append(tag("text", label(v), x=f"{x(v):.1f}", y=height - 9, class_="mid"))
    for i, (name, f) in enumerate(rows):
        at = top + step * (i + 0.5)
        out.append(tag("text", name if len(name) <= 28 else f"{name[:27]}...", x=left - 8, y=at + 3.5, class_="end"))
        if f is None:
            out.append(tag("text", "none", x=(left + WIDTH) / 2, y=at + 3.5, class_="mid"))
            continue
        if f.low is not None:
            out.append(tag("path", d=f"M{x(f.low):.1f} {at}H{x(f.high):.1f}", class_="s0"))
        out.append(
            tag("circle", tag("title", f"{name}: {f.value:.5g}"), cx=f"{x(f.value):.1f}", cy=at, r=3, class_="f0")
        )
    return tag("div", tag("h4", title), chart(out, title, height), class_="cell")


def scatter(points: np.ndarray, reach: float, colour: int = 0, most: int = 800) -> Html:
    """Points of the plane (N, 2) within -reach..reach, all axes to one scale."""
    size = 120
    keep = points[np.isfinite(points).all(1)][:most]
    at = (np.clip(keep / reach, -1.05, 1.05) * [1, -1] + 1) * size / 2
    d = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in at.tolist())
    frame = tag("path", d=f"M0 0H{size}V{size}H0Z", class_="box")
    dots = tag("path", d=d, class_=f"s{colour} dot")
    return tag("svg", frame, dots, viewBox=f"-2 -2 {size + 4} {size + 4}", role="img", class_="scatter")

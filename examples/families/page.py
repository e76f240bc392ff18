"""What is made of all figures: a table, a picture, a file."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import numpy as np
import torch
from members import MEMBERS
from torch import Tensor

from scoresde import pictures
from scoresde.machine import files

# A figure, its words in the table, and its digits after the point.
ROWS = [
    ("bits", "bits/dim of held-out digits, lower is better", 3),
    ("bits_several_draws", "the same by the mean of 32 draws in the bins", 3),
    ("frechet", "Frechet distance", 2),
    ("precision", "precision", 2),
    ("recall", "recall", 2),
    ("c2st", "two-sample test, 0.5 is best", 2),
    ("classes", "classes of 10", 1),
    ("least", "least class, of its share", 2),
    ("shares", "classes' shares off by", 3),
    ("memorisation", "nearer to training digits, 0.5 is best", 2),
    ("parameters", "parameters, thousands", 0),
    ("sampling_parameters", "of which to sample", 0),
    ("steps", "steps of training", 0),
    ("training_seconds", "training, processor s", 0),
    ("sampling_seconds", "1000 samples, processor s", 2),
]
DIGITS = {key: digits for key, _, digits in ROWS}
THOUSANDS = ("parameters", "sampling_parameters")
COLUMNS, LEVELS = 16, 17  # samples in a row of the picture, and the grey levels of digits


def line(out: Path, name: str, seed: int) -> str:
    """A training's figures in one line."""
    figures = files.read_json(out / f"{name}-{seed}" / "figures.json")
    if "failed" in figures:
        return f"{name} {seed}: {figures['failed']}"
    known = {
        k: figures[k] for k in ("bits", "frechet", "precision", "recall", "c2st", "training_seconds") if k in figures
    }
    return f"{name} {seed}: " + ", ".join(f"{k} {v:.{DIGITS[k]}f}" for k, v in known.items() if v is not None)


def write(out: Path, names: list[str], seeds: int, plan: dict, floor: dict, real: Tensor) -> str:
    """Writes table.md, figures.json and samples.png; returns the table."""
    found = {n: [files.read_json(out / f"{n}-{s}" / "figures.json") for s in range(seeds)] for n in names}
    rows, kinds = {}, {}
    for name in names:
        whole = [f for f in found[name] if "failed" not in f]
        lost = f", {len(whole)} of {seeds} seeds" if len(whole) < seeds else ""
        title = f"{MEMBERS[name].title}{lost}"
        rows[title], kinds[title] = whole, MEMBERS[name].kind
        if name == "vae":
            rows["VAE, means of the pixels"] = [f["means"] for f in whole]
    table = tabled(rows, floor, kinds)
    spread = {title: summary(figures) for title, figures in rows.items()}
    facts = {"date": datetime.date.today().isoformat(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    facts |= {"torch": torch.__version__, "machine": platform.machine(), **plan}
    files.write_json(out / "figures.json", facts | {"kinds": kinds, "floor": floor, "families": spread, "seeds": found})
    files.write(out / "table.md", lambda file: file.write(table.encode()))
    draw(out, names, real)
    return table


def summary(figures: list[dict]) -> dict[str, dict]:
    """Of each number its mean, the least and the greatest over the seeds."""
    out = {}
    for name in figures[0] if figures else ():
        values = [f[name] for f in figures if isinstance(f.get(name), int | float)]
        if values:
            out[name] = {"mean": float(np.mean(values)), "low": min(values), "high": max(values)}
    return out


def tabled(rows: dict[str, list[dict]], floor: dict, kinds: dict[str, str]) -> str:
    """Markdown, a family a column: of each figure the mean over the seeds and, in brackets, the least and the most."""
    known = {title: summary(figures) for title, figures in rows.items()}
    lines = [["", "real digits", *rows], ["---", *["---:"] * (len(rows) + 1)]]
    lines.append(["what the bits/dim are", "", *(kinds.get(title, "") for title in rows)])
    for key, words, digits in ROWS:
        unit = 1000 if key in THOUSANDS else 1
        real = f"{floor[key]:.{digits}f}" if key in floor else ""
        lines.append([words, real, *(cell(figures.get(key), digits, unit) for figures in known.values())])
    return "".join(f"| {' | '.join(parts)} |\n" for parts in lines)


def cell(known: dict | None, digits: int, unit: int = 1) -> str:
    """mean (low to high), the bracket left out where nothing varies, in so large a unit."""
    if known is None:
        return ""
    mean, low, high = (f"{known[k] / unit:.{digits}f}" for k in ("mean", "low", "high"))
    return mean if low == high else f"{mean} ({low} to {high})"


def draw(out: Path, names: list[str], real: Tensor) -> None:
    """samples.png: the first samples of seed 0, two rows for each family."""
    rows = {"real digits": real}
    for name in names:
        path = out / f"{name}-0" / "samples.npy"
        if path.exists():
            with files.reading(path) as file:
                rows[MEMBERS[name].title] = torch.from_numpy(np.load(file))
    sheets = []
    for title, raw in rows.items():
        parts = raw[: 2 * COLUMNS].split(COLUMNS)
        sheets.append(pictures.sheet([pictures.as_bytes(part, LEVELS) for part in parts], title))
    pictures.save_png(out / "samples.png", np.concatenate(sheets))

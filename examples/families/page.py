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

DIGITS = {"bits": 3, "frechet": 2, "precision": 2, "recall": 2, "c2st": 2, "classes": 0, "shares": 3, "memorisation": 2}
DIGITS |= {"training_seconds": 0, "sampling_seconds": 2}
HEADS = ["", "bits/dim", "Frechet", "precision", "recall", "two-sample test", "classes of 10", "shares off by"]
HEADS += ["memorisation", "training, s", "1000 samples, s"]
COLUMNS = 16  # samples in a row of the picture


def line(out: Path, name: str, seed: int) -> str:
    """A training's figures in one line."""
    figures = files.read_json(out / f"{name}-{seed}" / "figures.json")
    if "failed" in figures:
        return f"{name} {seed}: {figures['failed']}"
    known = {k: figures[k] for k in ("bits", "frechet", "precision", "recall", "c2st", "training_seconds") if k in figures}
    return f"{name} {seed}: " + ", ".join(f"{k} {v:.{DIGITS[k]}f}" for k, v in known.items() if v is not None)


def write(out: Path, names: list[str], seeds: int, plan: dict, floor: dict, real: Tensor) -> str:
    """Writes table.md, figures.json and samples.png; returns the table."""
    found = {n: [files.read_json(out / f"{n}-{s}" / "figures.json") for s in range(seeds)] for n in names}
    rows = {}
    for name in names:
        whole = [f for f in found[name] if "failed" not in f]
        lost = f", {len(whole)} of {seeds} seeds" if len(whole) < seeds else ""
        rows[f"{MEMBERS[name].title}{lost}"] = whole
        if name == "vae":
            rows["VAE, means of the pixels"] = [f["means"] for f in whole]
    table = tabled(rows, floor)
    spread = {title: summary(figures) for title, figures in rows.items()}
    facts = {"date": datetime.date.today().isoformat(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    facts |= {"torch": torch.__version__, "machine": platform.machine(), **plan}
    facts |= {"kinds": {n: MEMBERS[n].kind for n in names}}
    files.write_json(out / "figures.json", facts | {"floor": floor, "families": spread, "seeds": found})
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


def tabled(rows: dict[str, list[dict]], floor: dict) -> str:
    """Markdown: of each figure the mean over the seeds and, in brackets, from the least to the greatest."""
    lines = [HEADS, ["---", *["---:"] * (len(HEADS) - 1)]]
    lines.append(["real digits", *(f"{floor[k]:.{d}f}" if k in floor else "" for k, d in DIGITS.items())])
    for title, figures in rows.items():
        known = summary(figures)
        lines.append([title, *(cell(known.get(k), d) for k, d in DIGITS.items())])
    return "".join(f"| {' | '.join(parts)} |\n" for parts in lines)


def cell(known: dict | None, digits: int) -> str:
    """mean (low to high), the bracket left out where nothing varies."""
    if known is None:
        return "none"
    mean, low, high = (f"{known[k]:.{digits}f}" for k in ("mean", "low", "high"))
    return mean if low == high else f"{mean} ({low} to {high})"


def draw(out: Path, names: list[str], real: Tensor) -> None:
    """samples.png: the first samples of seed 0, a row or two for each family."""
    rows = {"real digits": real}
    for name in names:
        path = out / f"{name}-0" / "samples.npy"
        if path.exists():
            with files.reading(path) as file:
                rows[MEMBERS[name].title] = torch.from_numpy(np.load(file))
    levels = 17
    images, titles = [], []
    for title, raw in rows.items():
        for part in range(2):
            images.append(pictures.as_bytes(raw[part * COLUMNS : (part + 1) * COLUMNS], levels))
            titles.append("" if part else title)
    pictures.save_png(out / "samples.png", pictures.sheet(images, over=titles))

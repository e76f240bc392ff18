"""Whether a training came to its end, and whether its average is that of its weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import InputError
from ..machine import files
from ..model import checkpoint
from ..model.kept.averages import decays
from ..model.kept.state import load_state
from ..model.trained.denoiser import Model
from ..tracking.track import read_rows
from .finding import SURE, Finding, errors, judged, listed, paired, unseen, well
from .material import Material

FALL = 0.04, 0.1  # by which the loss fell in the last third: suspect, wrong
NOISY = 0.1, 0.2  # by which that of single batches did
LAG = 0.05, 0.15  # by which the average is worse than the raw weights


@dataclass(frozen=True)
class Course:
    """How a training went.

    Arguments:
        step: what the weights have seen.
        steps: what was asked for; None: unknown.
        rows: the figures of metrics.jsonl.
        ema: the decay of the average; None: unknown.
    """

    step: int
    steps: int | None = None
    rows: Sequence[dict[str, Any]] = ()
    ema: float | None = None


def course_of(folder: Path, model: Model) -> Course:
    """What a model's folder tells of it."""
    known = files.read_json(folder / "model.json", default={}).get("train")
    known = known if isinstance(known, dict) else {}
    whole = lambda v: v if isinstance(v, int) and not isinstance(v, bool) else None
    decay = next(map(float, decays(known.get("ema"))), None)
    rows = read_rows(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else []
    return Course(model.step, whole(known.get("steps")), rows, decay)


def raw_of(folder: Path, model: Model) -> Denoiser | None:
    """The model with the raw weights of the folder's checkpoint; None where there is none, or it is of another step."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return None
    try:
        state = checkpoint.load(path, "cpu", ("step", "model"))
        own = copy.deepcopy(model.bare)
        load_state(own, state["model"])
    except (InputError, RuntimeError):
        return None
    return own.eval().requires_grad_(False) if state["step"] == model.step else None


def average(material: Material, answers: Tensor, raw: Denoiser | None, course: Course | None) -> Finding:
    r"""The loss of the averaged weights against that of the raw ones, on the same items and noise.

    theta_ema <- d theta_ema + (1 - d) theta looks back over 1 / (1 - d) steps: an average over more than the training
    had is still at its start.  Morales-Brotons, Vogels, Hendrikx (2024), arXiv 2411.18704.
    """
    if raw is None:
        return unseen("average", "there is no checkpoint with the raw weights of the same step")
    name = "test" if len(material.test) >= 8 else "train"
    some, line = getattr(material, name), material.linear[name].mean(1)
    mine, theirs = material.error(answers, some), material.error(material.answers(raw, some), some)
    found = [paired(d) for d in mine - theirs]
    share = [mean / float(e.mean()) for (mean, _), e in zip(found, theirs, strict=True)]
    sure = [i for i, (_, z) in enumerate(found) if z > SURE]
    figures = {"levels": listed(material.r), "average": listed(mine.mean(1)), "raw": listed(theirs.mean(1))}
    if not sure or (state := judged(max(share[i] for i in sure), *LAG)) == "well":
        whole = 100 * float((mine * material.weight).mean() / (theirs * material.weight).mean() - 1)
        return well("average", f"the averaged weights' loss is {whole:+.1f} % from the raw ones'", **figures)
    k = max(sure, key=share.__getitem__)
    never = bool((mine.mean(1) > 0.95 * line).all())
    words = "the averaged weights were hardly ever updated" if never else "the averaged weights lag behind the raw ones"
    words += f": their error is {100 * share[k]:.0f} % above at noise {material.r[k]:.2g}"
    words += ", and at no level below the best affine denoiser's" if never else ""
    steps = course.steps if course else None
    decay = max(0.9, 1 - 10 / steps) if steps else 0.99
    change = f"update the average after every step, with a decay that looks back over a tenth of them ({decay:.3g})"
    return Finding("average", state, words, errors(found[k][1]), change, f"train.ema={decay:.3g} fresh=true", figures)


def ended(course: Course | None) -> Finding:
    r"""Whether all steps were made, and whether the loss still fell when they ended.

    With losses l_i at the steps of the last third, by least squares on log(step): the share by which the line falls
    there.  A training whose learning rate went to 0 has a flat end, unless it had too few steps.
    """
    if course is None:
        return unseen("end of the training", "nothing is known of it: give a folder, or course=")
    step, steps = course.step, course.steps
    again = "the same command goes on from the checkpoint"
    if steps and step < steps:
        words = f"the training was cut short: the weights have seen {step} of {steps} steps"
        state = "wrong" if step < 0.9 * steps else "suspect"
        return Finding(
            "end of the training", state, words, f"{100 * step / steps:.0f} % of the steps", again, "task=train"
        )
    fall, z, name = _fall(course.rows)
    more = 4 * (steps or step)
    figures = {"step": step, "steps": steps, "fall": fall}
    bounds = FALL if name == "validation" else NOISY  # each of the latter is that of one batch
    state = judged(fall, *bounds, z, 3.0 if name == "validation" else SURE)
    if name and state != "well":
        words = f"the training was cut short: the {name} loss still fell by {100 * fall:.0f} % in its last third"
        return Finding("end of the training", state, words, errors(z), "train longer", f"train.steps={more}", figures)
    if not name:
        return well("end of the training", f"{step} steps; no curve of the loss is kept", **figures)
    return well(
        "end of the training", f"{step} steps, the {name} loss fell by {100 * fall:.1f} % in the last third", **figures
    )


def _fall(rows: Sequence[dict[str, Any]]) -> tuple[float, float, str]:
    """The share of the fall in the last third of the steps, in how many standard errors, and of which loss."""
    for name, shown in (("validation", "validation"), ("loss", "training")):
        points = [(r["step"], r[name]) for r in rows if isinstance(r.get(name), int | float) and r["step"] > 0]
        points = [(s, v) for s, v in points if math.isfinite(v) and v > 0]
        last = points[-1][0] if points else 0
        late = points[-max(3, sum(s >= 2 * last / 3 for s, _ in points)) :]
        if len(late) < 3:
            continue
        x, y = torch.tensor(late, dtype=torch.float64).log().T
        x = x - x.mean()
        slope = float((x * y).sum() / x.square().sum())
        rest = y - y.mean() - slope * x
        error = math.sqrt(float(rest.square().sum()) / max(1, len(late) - 2) / float(x.square().sum()))
        fall = 1 - math.exp(slope * math.log(1.5))
        return fall, -slope / max(error, 1e-12), shown
    return 0.0, 0.0, ""

"""Whether samples are what they were told to be, by a CLIP: similarity, and R-precision."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ... import metrics
from ...conditions import Kind
from ...data import Data, collate
from ...errors import InputError
from ...metrics import Estimate
from ...model import TrainedClip
from ...model.named import named, same_items
from ...run import Run

REAL = 1000  # held-out items that it sees too
BATCH = 128  # pictures that it looks at at once


def loaded(
    run: Run, folder: str | None, setting: str = "clip", told: Sequence[str] | None = None
) -> TrainedClip | None:
    """The CLIP of a folder; `told` are the conditions of the samples, None: those of the run.

    Raises `InputError` for one that cannot judge the samples of this run, before any work.
    """
    if folder is None:
        return None
    clip, said = named(f"task.{setting}", folder, TrainedClip, run.device), f"task.{setting}={folder}"
    same_items(said, clip, run.data.outer, run.data.name)
    told = [*run.config.cond, *(run.plain["given"] or {})] if told is None else told
    if clip.condition not in told or clip.condition not in run.data.conditions:
        words = f"it reads {clip.condition!r}, which the samples are not told (they are told {list(told)})"
        raise InputError(f"{said}: {words}", setting)
    return clip


@torch.no_grad()
def seen(clip: TrainedClip | None, raw: Tensor, cond: Mapping[str, Tensor], kinds: Mapping[str, Kind]) -> dict:
    """Embeddings (B, E) of raw items and of what they were told, by "picture" and "text"; nothing without a CLIP."""
    if clip is None:
        return {}
    x, name = clip.encode(raw), clip.condition
    device = clip.bare.log_scale.device
    picture = torch.cat([clip.of_picture(part.to(device)) for part in x.split(BATCH)])
    return {"picture": picture.cpu(), "text": clip.of_text(cond[name], kinds[name]).cpu()}


def figures(
    clip: TrainedClip | None, data: Data, found: Mapping[str, Tensor], r: int, seed: int
) -> tuple[dict, list[tuple[str, str]]]:
    """The mean cosine and the R-precision of samples among r captions of held-out items, and the rows of a table.

    Beside them stand those of held-out items, and the cosine of these with the captions of others.
    """
    if clip is None:
        return {}, []
    batch = collate(data.test, range(min(REAL, len(data.test))), [clip.condition])
    real = _told(seen(clip, batch.x, batch.cond, data.conditions))
    ours, texts = _told(found), real["text"]
    # By two, as items may differ by turns.
    shuffled = metrics.similarity(real["picture"], texts.roll(2, 0))
    cosine = [metrics.similarity(pair["picture"], pair["text"]) for pair in (ours, real)]
    share = [metrics.r_precision(pair["picture"], pair["text"], texts, r, seed) for pair in (ours, real)]
    chance = 1 / share[0].m
    numbers = _flat("clip", (*cosine, shuffled), ("", "_real", "_shuffled"))
    numbers |= _flat("r_precision", share, ("", "_real")) | {"r_precision_chance": chance}
    rows = [
        ("", f"by a CLIP of {clip.name}, {clip.weights}: of samples (95 % interval); of {len(texts)} real items"),
        ("clip similarity", f"{_words(cosine[0])}; real {_words(cosine[1])}; shuffled {_words(shuffled)}"),
        (f"R-precision of {share[0].m}", f"{_words(share[0])}; real {_words(share[1])}; chance {chance:.3f}"),
    ]
    return numbers, rows


def _told(pair: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The pairs of which something was said."""
    there = ~pair["text"].isnan().any(1)
    return {name: value[there] for name, value in pair.items()}


def _flat(name: str, found: Sequence[Estimate], ends: Sequence[str]) -> dict[str, float]:
    return {
        f"{name}{end}{part}": getattr(one, field)
        for one, end in zip(found, ends, strict=True)
        for part, field in (("", "value"), ("_low", "low"), ("_high", "high"))
    }


def _words(found: Estimate) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"

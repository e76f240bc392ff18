"""Whether the network gives a posterior mean: against the closed forms, the size of its output, what it remembers."""

from __future__ import annotations

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..sde import SDE
from .finding import Finding, errors, judged, listed, paired, unseen, well
from .material import LEVELS, Material

WORSE = 0.1, 0.25  # shares by which a network is worse than a line: suspect, wrong
OFF = 0.06, 0.12  # of a factor on its output


def score(material: Material, answers: dict[str, Tensor]) -> Finding:
    r"""Whether the model denoises held-out items better than the best affine denoiser, level by level.

        e(D) = E |D(x_t) - x_0|^2,    e(model) <= e(affine)    for any model that has learned more than two moments

    The same items and noise for both, so that the difference of each item is what is tested.  Vincent (2011).
    """
    name = "test" if len(material.test) >= 8 else "train"
    model, line = material.error(answers[name], getattr(material, name)), material.linear[name]
    excess = [paired(d) for d in model - line]
    share = [m / float(e.mean()) for (m, _), e in zip(excess, line, strict=True)]
    k = max(range(LEVELS), key=lambda i: share[i] if excess[i][1] > 5 else -1.0)
    state = judged(share[k], *WORSE, excess[k][1])
    figures = {
        "levels": listed(material.r),
        "model": listed(model.mean(1)),
        "train": listed(material.error(answers["train"], material.train).mean(1)),
        "gaussian": listed(line.mean(1)),
        "empirical": listed(material.optimal["train"].mean(1)),
        "empirical_test": listed(material.optimal["test"].mean(1)),
    }
    said = "held-out" if name == "test" else "training"
    if state == "well":
        gain = float(((1 - model.mean(1) / line.mean(1)).max()))
        words = f"on {said} items up to {100 * gain:.0f} % below the best affine denoiser's error, at no level above it"
        return well("score", words, **figures)
    words = f"the network is worse than a line through the data: its error is {100 * share[k]:.0f} % above the best "
    words += f"affine denoiser's at noise {material.r[k]:.2g}"
    bad = sum(judged(s, *WORSE, z) != "well" for s, (_, z) in zip(share, excess, strict=True))
    change = "train longer, or look at the findings above: it has not learned the data it is given"
    return Finding(
        "score", state, f"{words} ({bad} of {LEVELS} levels)", errors(excess[k][1]), change, "", figures
    )


def scale(material: Material, denoiser: Denoiser, answers: Tensor) -> Finding:
    r"""Whether what the network gives is a multiple of what it should give.

    A posterior mean is orthogonal to its own error, in any parametrisation F = (D - c_skip x) / c_out with its target:

        E[(F^* - F) F] = 0,    so the slope of F^* on F,  b = E[F^* F] / E[F^2],  is 1 at every level

    and an output that is k times too large has b = 1/k at all of them.  On training items, as a network that knows them
    by heart is no multiple of anything.  D, eps, v and the network's own output are looked at; what counts is where the
    slopes agree.  (The orthogonality of the conditional mean; for the loss at a stationary point, that of its last
    layer.)
    """
    best: tuple[float, str, float, float, list[float]] | None = None
    shown: dict[str, list[float]] = {}
    for name, rule in _forms(denoiser, material.sde).items():
        slopes, se = _slopes(material, answers, rule)
        shown[name] = listed(slopes)
        fit = se < 0.05
        if int(fit.sum()) < 4:
            continue
        w = 1 / (se[fit] ** 2 + 1e-4)
        mean = float((w * slopes[fit]).sum() / w.sum())
        spread = float(((w * (slopes[fit] - mean) ** 2).sum() / w.sum()).sqrt())
        z = abs(mean - 1) / float(w.sum() ** -0.5)
        if best is None or spread / abs(mean - 1) < best[0]:
            best = spread / max(abs(mean - 1), 1e-9), name, mean, z, listed(slopes)
    if best is None:
        return unseen("scale of the output", "too few items, or an output of almost nothing: no slope can be told")
    ratio, name, b, z, _ = best
    state = judged(abs(b - 1), *OFF, z) if ratio < 0.4 else "well"
    figures = {"slope": b, "of": name, "slopes": shown}
    if state == "well":
        return well("scale of the output", f"the slope of the target on the network's {name} is {b:.3f}", **figures)
    k = 1 / b if b else float("inf")
    words = f"the network's {name} is {k:.2f} times what it should be, alike at all noise levels"
    change = f"multiply {name} by {b:.3f} (its last layer, or the rule of its preconditioning), or train again"
    return Finding("scale of the output", state, words, errors(z), change, "fresh=true", figures)


def _forms(denoiser: Denoiser, sde: SDE) -> dict:
    """(c_skip, c_out) by the marginal, of what may be scaled."""
    forms = {
        "x_0": lambda a, s: (0.0, 1.0),
        "eps": lambda a, s: (1 / a, -s / a),
        "v": lambda a, s: (a / (a * a + s * s), -s / (a * a + s * s) ** 0.5),
    }
    rule = getattr(getattr(denoiser, "bare", denoiser), "rule", None)
    if rule is not None:
        own = lambda a, s: tuple(map(float, rule(*torch.tensor([[a], [s]], dtype=torch.float64))[:2]))
        forms = {"output": own} | forms
    return forms


def _slopes(material: Material, answers: Tensor, rule) -> tuple[Tensor, Tensor]:
    """b by level, and its standard error by the spread of items: (L,) each."""
    some, b, se = material.train, [], []
    for k, level in enumerate(material.levels):
        skip, out = rule(level.alpha, level.sigma)
        x = material.noisy(some, k)[0].double() * skip
        found, target = ((v.double() - x).flatten(1) / out for v in (answers[k], some.x0))
        power, cross = found.square().sum(1), ((target - found) * found).sum(1)
        total = float(power.sum())
        away = float(cross.sum()) / total if total > 0 else 0.0
        b.append(1 + away)
        se.append(float((cross - away * power).square().sum().sqrt()) / total if total > 0 else float("inf"))
    return torch.tensor(b), torch.tensor(se)


def memory(material: Material, answers: dict[str, Tensor], samples: Tensor | None) -> Finding:
    r"""Whether the network knows its training items by heart.

    The optimum of the loss on N items returns them: its error on them is that of a lookup, on others it is far off.
    How much of that gap the network has, beyond what the affine denoiser of the same items has,

        share = (e_test - e_train)(model - affine) / (e_test - e_train)(optimum),

    and whether its samples are nearer to training items than held-out items are: A = P(a < b) + P(a = b) / 2.
    Yoon et al. (2023); Kadkhodaie et al. (2024), arXiv 2310.02557; Meehan et al. (2020), arXiv 2004.05675.
    """
    if min(len(material.test), len(material.train)) < 8:
        return unseen("memorisation", "it takes 8 held-out items")
    own = {name: material.error(answers[name], getattr(material, name)) for name in ("test", "train")}
    gap = lambda e: (e["test"].mean(1) - e["train"].mean(1)) * material.weight[:, 0]
    own_gap, lookup = gap(own) - gap(material.linear).clamp_min(0), gap(material.optimal)
    noise = sum((e * material.weight).var(1) / e.shape[1] for e in own.values()).sqrt()
    share = float(own_gap.clamp_min(0).sum() / lookup.clamp_min(1e-12).sum())
    z = float(own_gap.sum() / noise.square().sum().sqrt())
    z = z if z == z else 0.0
    ratio = own["train"].mean(1) / own["test"].mean(1).clamp_min(1e-300)
    worst = float(ratio.min())
    figures = {"share": share, "z": z, "ratio": listed(ratio), "levels": listed(material.r)}
    near = _nearness(material, samples) if samples is not None else None
    figures |= {"nearness": near} if near else {}
    state = judged(share, 0.15, 0.4, z) if worst < 0.7 else "well"
    if near and near["auc"] > 0.95 and near["copies"] > 0.3 + near["copies_of_held_out"]:
        state = "wrong"
    said = f"; samples are nearer to training items than held-out ones are: {near['auc']:.2f} (0.5: as near)" if near else ""
    if state == "well":
        return well("memorisation", f"{100 * max(share, 0):.0f} % of the gap of a lookup table{said}", **figures)
    words = f"the network repeats its {len(material.data.train)} training items: its error on them is {worst:.2g} of "
    words += f"that on held-out ones, {100 * share:.0f} % of the gap of a lookup table{said}"
    change = "more data, fewer steps, a smaller network or dropout; and keep the step whose validation loss is least"
    return Finding("memorisation", state, words, errors(z), change, "net.dropout=0.1 fresh=true", figures)


def _nearness(material: Material, samples: Tensor) -> dict[str, float]:
    from ..metrics import copies, memorisation, nearest

    points = material.points
    if len(points) < 3:
        return {}
    a, b = (nearest(v.cpu(), points) for v in (samples, material.test.x0))
    found, real = memorisation(a[:, 0], b[:, 0]), copies(a, b)
    return {"auc": found.value, "p": found.p_value, "copies": real.value, "copies_of_held_out": real.plain}

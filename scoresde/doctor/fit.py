"""Whether the network gives a posterior mean: against the closed forms, the size of its output, what it remembers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..sde import SDE
from .finding import SURE, Finding, errors, judged, listed, paired, unseen, well
from .material import LEVELS, Material

WORSE = 0.15, 0.3  # shares by which a network is worse than a line: suspect, wrong
OFF = 0.06, 0.12  # of a factor on its output
Rule = Callable[[float, float], tuple[float, float]]  # (alpha, sigma) -> (c_skip, c_out)


def score(material: Material, answers: dict[str, Tensor]) -> Finding:
    r"""Whether the model denoises held-out items as well as two denoisers that take no training, level by level:

        e(D) = E |D(x_t) - x_0|^2,    e(model) <= e(affine), e(model) <= e(lookup)

    the best affine one, and the optimum on the training items (`Gaussian`, `Points`).  The same items and noise for
    all, so that the difference of each item is what is tested.  Vincent (2011).
    """
    name = "test" if len(material.test) >= 8 else "train"
    model, line = material.error(answers[name], getattr(material, name)), material.linear[name]
    floors = {"a line through the data": line}
    if name == "test":  # on training items nothing is better than a lookup
        floors["a lookup of the training items"] = material.optimal["test"]
    share, z, than, bad = -1.0, 0.0, "", set()
    worst = 0
    for words, floor in floors.items():
        for k in range(LEVELS):
            mean, sure = paired(model[k] - floor[k])
            effect = mean / float(floor[k].mean())
            if judged(effect, *WORSE, sure) != "well":
                bad.add(k)
                if effect > share:
                    share, z, than, worst = effect, sure, words, k
    figures = {
        "levels": listed(material.r),
        "model": listed(model.mean(1)),
        "train": listed(material.error(answers["train"], material.train).mean(1)),
        "gaussian": listed(line.mean(1)),
        "empirical": listed(material.optimal["train"].mean(1)),
        "empirical_test": listed(material.optimal["test"].mean(1)),
    }
    said = "held-out" if name == "test" else "training"
    if not bad:
        gain = 100 * float((1 - model.mean(1) / line.mean(1)).max())
        words = f"on {said} items up to {gain:.0f} % below the best affine denoiser's error, at no level far above it"
        return well("score", words, **figures)
    words = f"the network is worse than {than}: its error is {100 * share:.0f} % above that at noise "
    words += f"{material.r[worst]:.2g} ({len(bad)} of {LEVELS} levels)"
    change = "it has not learned the data that it is given: train longer, or look at the other findings"
    return Finding("score", judged(share, *WORSE, z), words, errors(z), change, "", figures)


def scale(material: Material, denoiser: Denoiser, answers: dict[str, Tensor]) -> Finding:
    r"""Whether what the network gives is a multiple of what it should give.

    A posterior mean is orthogonal to its own error, in any parametrisation F = (D - c_skip x) / c_out with its target:

        E[(F^* - F) F] = 0,    so the slope of F^* on F,  b = E[F^* F] / E[F^2],  is 1 at every level

    and an output that is k times too large has b = 1/k at all of them.  On training items, as a network that knows them
    by heart is no multiple of anything.  D, eps, v and the network's own output are looked at, at the levels where it
    says something (|F|^2 from 3 % of |F^*|^2 on).  It counts where one factor accounts for three quarters of what the
    slopes are off by, and where b F is better on held-out items and no worse than the affine denoiser there.  (The
    orthogonality of a conditional mean.)
    """
    check, found, shown = "scale of the output", [], {}
    for name, rule in _forms(denoiser, material.sde).items():
        slopes, se, power = _slopes(material, answers["train"], rule)
        shown[name] = listed(slopes)
        fit = (power > 0.03) & se.isfinite()
        if int(fit.sum()) < 4:
            continue
        b, w = slopes[fit], 1 / (se[fit] ** 2 + 4e-4)
        mean = float((w * b).sum() / w.sum())
        alike = 1 - float((w * (b - mean) ** 2).sum() / (w * (b - 1) ** 2).sum().clamp_min(1e-12))
        found.append((alike, name, rule, mean, abs(mean - 1) * float(w.sum() ** 0.5)))
    if not found:
        return unseen(check, "too few items, or an output of almost nothing: no slope can be told")
    alike, name, rule, b, z = max(found, key=lambda f: f[0])
    figures = {"slope": b, "of": name, "alike": alike, "slopes": shown}
    state = judged(abs(b - 1), *OFF, z) if alike > 0.75 and 1 / 4 < b < 4 else "well"
    if state == "well" or not _better(material, answers, rule, b):
        return well(check, f"the slope of the target on the network's {name} is {b:.3f}", **figures)
    words = f"the network's {name} is {1 / b:.2f} times what it should be, alike at all noise levels"
    change = f"multiply {name} by {b:.3f} (its last layer, or the rule of its preconditioning), or train again"
    return Finding(check, state, words, errors(z), change, "fresh=true", figures)


def _better(material: Material, answers: dict[str, Tensor], rule: Rule, b: float) -> bool:
    """Whether the model is better with its F multiplied by b."""
    name = "test" if len(material.test) >= 8 else "train"
    some, mended = getattr(material, name), []
    for k, level in enumerate(material.levels):
        skip = rule(level.alpha, level.sigma)[0] * material.noisy(some, k)[0].double()
        mended.append(skip + b * (answers[name][k].double() - skip))
    after = material.error(torch.stack(mended), some)
    _, z = paired(((material.error(answers[name], some) - after) * material.weight).mean(0))
    line = (after / material.linear[name].mean(1, keepdim=True)).mean(1)
    return z > 2 and bool((line < 1.1).double().mean() > 0.7)


def _forms(denoiser: Denoiser, sde: SDE) -> dict[str, Rule]:
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


def _slopes(material: Material, answers: Tensor, rule: Rule) -> tuple[Tensor, Tensor, Tensor]:
    """b by level, its standard error by the spread of items, and |F|^2 / |F^*|^2: (L,) each."""
    some, b, se, share = material.train, [], [], []
    for k, level in enumerate(material.levels):
        skip, out = rule(level.alpha, level.sigma)
        x = material.noisy(some, k)[0].double() * skip
        found, target = ((v.double() - x).flatten(1) / out for v in (answers[k], some.x0))
        power, cross = found.square().sum(1), ((target - found) * found).sum(1)
        total = float(power.sum())
        away = float(cross.sum()) / total if total > 0 else 0.0
        share.append(total / max(float(target.square().sum()), 1e-300))
        b.append(1 + away)
        se.append(float((cross - away * power).square().sum().sqrt()) / total if total > 0 else float("inf"))
    return torch.tensor(b), torch.tensor(se), torch.tensor(share)


def memory(material: Material, answers: dict[str, Tensor], samples: Tensor | None) -> Finding:
    r"""Whether the network knows its training items by heart.

    The optimum of the loss on N items returns them: its error on them is that of a lookup, on others it is far off.
    How much of that gap the network has at a level, beyond what the affine denoiser of the same items has,

        share = (e_test - e_train)(model - affine) / (e_test - e_train)(optimum),

    where its error on training items is under 0.7 of that on others; and whether its samples are nearer to training
    items than held-out items are: A = P(a < b) + P(a = b) / 2.
    Yoon et al. (2023); Kadkhodaie et al. (2024), arXiv 2310.02557; Meehan et al. (2020), arXiv 2004.05675.
    """
    if min(len(material.test), len(material.train)) < 8:
        return unseen("memorisation", "it takes 8 held-out items")
    own = {name: material.error(answers[name], getattr(material, name)) for name in ("test", "train")}
    gap = lambda e: e["test"].mean(1) - e["train"].mean(1)
    excess, lookup = gap(own) - gap(material.linear).clamp_min(0), gap(material.optimal)
    z = excess / sum(e.var(1) / e.shape[1] for e in own.values()).sqrt().clamp_min(1e-300)
    ratio = own["train"].mean(1) / own["test"].mean(1).clamp_min(1e-300)
    shares = torch.where(lookup > 0.2 * material.optimal["test"].mean(1), excess / lookup.clamp_min(1e-300), 0.0)
    k = int(torch.where((z > SURE) & (ratio < 0.7), shares.clamp(0, 1) * (1 - ratio), 0.0).argmax())
    share = float(shares[k]) if z[k] > SURE and ratio[k] < 0.7 else 0.0
    near = _nearness(material, samples) if samples is not None else {}
    figures = {"levels": listed(material.r), "ratio": listed(ratio), "shares": listed(shares), "nearness": near}
    state = judged(share, 0.15, 0.4)
    if near and near["auc"] > 0.95 and near["copies"] > 0.3 + near["copies_of_held_out"]:
        state = "wrong"
    said = ""
    if near:
        said = f"; a sample is nearer to them than a held-out one with chance {near['auc']:.2f} (0.5: as near)"
    if state == "well":
        words = f"the error on training items is at least {float(ratio.min()):.2f} of that on held-out ones{said}"
        return well("memorisation", words, **figures)
    words = (
        f"the network repeats its {len(material.data.train)} training items: at noise {material.r[k]:.2g} its error on "
    )
    words += f"them is {ratio[k]:.2g} of that on held-out ones, {100 * share:.0f} % of the gap of a lookup table{said}"
    change = "more data, fewer steps, a smaller network or dropout; and keep the step whose validation loss is least"
    return Finding("memorisation", state, words, errors(float(z[k])), change, "net.dropout=0.1 fresh=true", figures)


def _nearness(material: Material, samples: Tensor) -> dict[str, float]:
    from ..metrics import copies, memorisation, nearest

    points = material.points
    if len(points) < 3:
        return {}
    a, b = (nearest(v.cpu(), points) for v in (samples, material.test.x0))
    found, real = memorisation(a[:, 0], b[:, 0]), copies(a, b)
    return {"auc": found.value, "p": found.p_value, "copies": real.value, "copies_of_held_out": real.plain}

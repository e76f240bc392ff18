"""Whether a label matters to the model, and whether it is the label that it was trained with."""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..conditions import Label, missing_like
from ..data import stack
from ..data.items import column
from ..denoiser import Denoiser
from .finding import SURE, Finding, errors, paired, unseen, well
from .material import Material, Some

MIDDLE = (4, 5, 6, 7)  # levels at which a label tells most
CLASSES = 20  # up to which a renumbering is looked for
LEAST = 0.005  # of the loss: a model that moves by less is told nothing
KNOWN = 2000  # training items that the nearest is looked for among


def information(material: Material, name: str) -> tuple[float, float, float]:
    r"""What the labels of the data tell of its items: (accuracy, chance, z).

    The accuracy of the nearest of up to 2000 training items, or of the nearest class mean if that is better, on
    held-out items, against a guess by the shares of the classes, \sum_c p_c q_c.
    """
    some, train = material.test, material.data.train
    index = torch.arange(k := min(KNOWN, len(train))) * len(train) // k
    y = column(train, name, index.numpy())
    x = material.data.encode(stack(train, index)).flatten(1).double()
    known = y >= 0
    x, y = x[known], y[known]
    own = some.cond[name].cpu()
    q, own = some.x0.cpu().flatten(1).double()[own >= 0], own[own >= 0]
    if len(own) < 30 or len(x) < 30:
        return 0.0, 0.0, 0.0
    classes = y.unique()
    means = torch.stack([x[y == c].mean(0) for c in classes])
    guesses = (y[torch.cdist(q, x).argmin(1)], classes[torch.cdist(q, means).argmin(1)])
    right = max(float((g == own).double().mean()) for g in guesses)
    most = int(max(y.max(), own.max())) + 1
    share = [torch.bincount(v, minlength=most).double() / len(v) for v in (y, own)]
    chance = float((share[0] * share[1]).sum())
    return right, chance, (right - chance) / math.sqrt(max(chance * (1 - chance), 1e-12) / len(own))


def unrelated(material: Material, name: str) -> Finding:
    """Whether the data's labels say anything of its items, which a nearest neighbour would find."""
    check = f"condition {name}"
    if len(material.test) < 30:
        return unseen(check, "it takes 30 held-out items")
    right, chance, z = information(material, name)
    figures = {"accuracy": right, "chance": chance, "z": z}
    if z > 4:
        return well(
            check,
            f"the nearest training item has the label of {100 * right:.0f} % (chance {100 * chance:.0f} %)",
            **figures,
        )
    words = (
        f"the labels say nothing of the items that their neighbours would know: {100 * right:.0f} % agree, by chance "
    )
    words += f"{100 * chance:.0f} %: are they shuffled?"
    change = "look at some items with their labels: is the file of labels in the order of the items?"
    return Finding(check, "suspect", words, errors(z), change, "", figures)


def told(material: Material, denoiser: Denoiser, name: str, answers: Tensor) -> Finding:
    r"""Whether the model does better with an item's own label c than with another item's c', and than with none.

        E |x_0 - D(x_t, c')|^2 - E |x_0 - D(x_t, c)|^2 = E |D(x_t, c') - D(x_t, c)|^2    for a posterior mean D

    in the error of v, at levels where a label tells most: what a wrong label costs is as far as it moves the answer
    (the orthogonality of a conditional mean, as c' is independent of x_0).  A model whose answers do not move ignores
    the label; one that moves, and loses nothing by it, was trained with other labels: the renumbering that fits, if
    there is one, is found on half of the items (Kuhn, 1955, the assignment problem) and tested on the others.
    """
    check, some, kind = f"condition {name}", material.test, denoiser.conditions[name]
    if len(some) < 32 or name not in some.cond:
        return unseen(check, "it takes 32 held-out items with it")
    own = some.cond[name]
    base = unrelated(material, name) if isinstance(kind, Label) else None
    shuffled = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(material.seed)).to(own.device)]
    mine, other = _loss(material, some, answers[list(MIDDLE)]), _told(material, denoiser, some, name, shuffled)
    cost, moves = _loss(material, some, other) - mine, _loss(material, some, other, answers[list(MIDDLE)])
    size, moved = float(mine.mean()), float(moves.mean() / mine.mean())
    figures = {
        "cost": float(cost.mean()) / size,
        "moved": moved,
        "fit": float(cost.mean() / moves.mean().clamp_min(1e-12)),
    }
    figures |= base.figures if base else {}
    if moved < LEAST:
        return _deaf(check, name, base, figures)
    words = f"another item's {name} raises the loss by {100 * figures['cost']:.1f} %"
    if kind.drop:  # then without it is what it is held against: to be told a class beside the own is better than any
        other = _told(material, denoiser, some, name, missing_like(own))
        cost, moves = _loss(material, some, other) - mine, _loss(material, some, other, answers[list(MIDDLE)])
        figures["cost_of_missing"] = float(cost.mean()) / size
        words += f", none by {100 * figures['cost_of_missing']:.1f} %"
    if (sure := _misfit(cost, moves, own.cpu() if base else None)) > SURE:
        return _strange(material, denoiser, some, name, figures | {"z": sure})
    return well(check, words, **figures)


def _misfit(cost: Tensor, moves: Tensor, own: Tensor | None) -> float:
    """By how many standard errors another label, or none, costs less than it moves the answer, where it costs under a
    third of that: of all items, or of those of a class."""
    groups = [torch.ones(len(cost), dtype=torch.bool)]
    groups += [own == c for c in own.unique().tolist() if int((own == c).sum()) >= 8] if own is not None else []
    away = [-paired(cost[g] - moves[g])[1] for g in groups if float(cost[g].mean()) < float(moves[g].mean()) / 3]
    return max(away, default=0.0)


def _deaf(check: str, name: str, base: Finding | None, figures: dict) -> Finding:
    """The model answers alike whatever it is told."""
    if base is None:
        return well(check, "the model answers alike whatever it is told", **figures)
    if base.ill:
        return Finding(check, "suspect", f"the model ignores {name}; {base.words}", base.sure, base.change, "", figures)
    words = f"the model ignores {name}: its answers move by {100 * figures['moved']:.2g} % of the loss, "
    words += f"though neighbours know {100 * figures['accuracy']:.0f} % of the labels "
    words += f"(chance {100 * figures['chance']:.0f} %)"
    change = "were the labels shuffled in training, or was it too short? check their order and train again"
    return Finding(check, "wrong", words, errors(figures["z"]), change, f"cond=[{name}] fresh=true", figures)


def _strange(material: Material, denoiser: Denoiser, some: Some, name: str, figures: dict) -> Finding:
    """Labels that move the model and do not help: shuffled, or renumbered."""
    check, kind = f"condition {name}", denoiser.conditions[name]
    if isinstance(kind, Label) and kind.classes <= CLASSES:
        order, better, sure = _renumbered(material, denoiser, some, name, kind.classes)
        if order is not None and better > 0.01 and sure > SURE:
            said = ", ".join(f"{a} is its {b}" for a, b in enumerate(order) if a != b)
            words = f"the labels are renumbered: the data's class {said} (the loss is {100 * better:.1f} % less so)"
            figures = figures | {"order": order}
            return Finding(check, "wrong", words, errors(sure), f"map the labels by {order}", "", figures)
    words = f"the labels are not those of the model, shuffled or renumbered: the {name} moves its answers by "
    words += f"{100 * figures['moved']:.0f} % of the loss, and another item's costs {100 * figures['cost']:+.0f} %"
    change = "give the labels in the order of the items, numbered as in training"
    return Finding(check, "wrong", words, errors(figures["z"]), change, "", figures)


def _renumbered(material, denoiser, some: Some, name: str, classes: int) -> tuple[list[int] | None, float, float]:
    """The model's class for each of the data's, what it saves of the loss on items that it was not chosen by, and z.

    None where the own numbers fit best, or labels are missing.
    """
    losses, own = [], some.cond[name].cpu()
    if bool((own < 0).any()):
        return None, 0.0, 0.0
    for c in range(classes):
        said = torch.full_like(some.cond[name], c)
        losses.append(_loss(material, some, _told(material, denoiser, some, name, said)))
    losses, half = torch.stack(losses, 1), torch.arange(len(own)) % 2 == 0
    table = torch.stack([losses[half & (own == c)].sum(0) for c in range(classes)])
    table -= 1e-9 * torch.eye(classes)  # a class of which there is nothing keeps its number
    order = torch.as_tensor(linear_sum_assignment(table.numpy())[1])
    rest, held = losses[~half], own[~half]
    mapped = rest.gather(1, order[held][:, None])[:, 0]
    mean, z = paired(rest.gather(1, held[:, None])[:, 0] - mapped)
    return (order.tolist() if mean > 0 else None), mean / float(mapped.mean()), z


def _told(material: Material, denoiser: Denoiser, some: Some, name: str, value: Tensor) -> Tensor:
    return material.answers(denoiser, some, {**some.cond, name: value}, MIDDLE)


def _loss(material: Material, some: Some, answers: Tensor, to: Tensor | None = None) -> Tensor:
    """The error of v (n,) at the middle levels, or the distance of two answers in its units."""
    weight = material.weight[list(MIDDLE)]
    if to is None:
        return (material.error(answers, some) * weight).mean(0)
    return ((answers.double() - to.double()).flatten(2).square().mean(2).cpu() * weight).mean(0)

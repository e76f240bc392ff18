"""Whether a label matters to the model, and whether it is the label that it was trained with."""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..conditions import Label, missing_like
from ..denoiser import Denoiser
from .finding import Finding, errors, paired, unseen, well
from .material import Material, Some

MIDDLE = (4, 5, 6, 7)  # levels at which a label tells most
CLASSES = 20  # up to which a renumbering is looked for
KNOWN = 2000  # training items that the nearest is looked for among


def information(material: Material, name: str) -> tuple[float, float, float]:
    r"""What the labels of the data tell of its items: (accuracy, chance, z).

    The accuracy of the nearest of up to 2000 training items, or of the nearest class mean if that is better, on
    held-out items, against a guess by the shares of the classes, \sum_c p_c q_c.
    """
    some, train = material.test, material.data.train
    from ..data.items import column

    index = torch.arange(k := min(KNOWN, len(train))) * len(train) // k
    y = column(train, name, index.numpy())
    from ..data import stack

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
    r"""Whether the model does better with an item's own label than with another item's, and than with none.

        gain = E [e(D told another's label) - e(D told its own)] of the error of v at levels where it tells most

    by the difference of each held-out item.  A model that answers alike whatever it is told ignores the label; one that
    answers otherwise, and no better with the own label, was trained with other labels: the renumbering that fits, if
    there is one, is found on half of the items (Kuhn, 1955) and tested on the others.
    """
    check, some = f"condition {name}", material.test
    if len(some) < 32 or name not in some.cond:
        return unseen(check, "it takes 32 held-out items with it")
    own = some.cond[name]
    base = unrelated(material, name) if isinstance(denoiser.conditions[name], Label) else None
    shuffled = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(material.seed)).to(own.device)]
    mine = _loss(material, some, answers[list(MIDDLE)])
    other_answers = _told(material, denoiser, some, name, shuffled)
    gain, z = paired(_loss(material, some, other_answers) - mine)
    drop = denoiser.conditions[name].drop
    blind = (
        paired(_loss(material, some, _told(material, denoiser, some, name, missing_like(own))) - mine) if drop else None
    )
    size = float(mine.mean())
    moves = _loss(material, some, other_answers, answers[list(MIDDLE)]).mean()
    figures = {"gain": gain / size, "z": z, "moved": float(moves) / size}
    figures |= {"gain_over_missing": blind[0] / size, "z_missing": blind[1]} if blind else {}
    figures |= base.figures if base else {}
    if gain / size > 0.005 and z > 5:
        words = f"another item's {name} raises the loss by {100 * gain / size:.1f} %"
        words += f", none by {100 * blind[0] / size:.1f} %" if blind else ""
        return well(check, words, **figures)
    if float(moves) / size < 0.005:
        if base is not None and base.ill:
            return Finding(
                check, "suspect", f"the model ignores {name}, and {base.words}", base.sure, base.change, "", figures
            )
        if base is None:
            return well(check, "the model answers alike whatever it is told", **figures)
        words = f"the model ignores {name}: its answers move by {100 * float(moves) / size:.2g} % of the loss, "
        words += f"though neighbours know {100 * base.figures['accuracy']:.0f} % of the labels "
        words += f"(chance {100 * base.figures['chance']:.0f} %)"
        change = "were the labels shuffled in training, or was it too short? check their order and train again"
        return Finding(check, "wrong", words, errors(base.figures["z"]), change, f"cond=[{name}] fresh=true", figures)
    return _strange(material, denoiser, some, name, figures)


def _strange(material: Material, denoiser: Denoiser, some: Some, name: str, figures: dict) -> Finding:
    """Labels that move the model and do not help: shuffled, or renumbered."""
    check, kind = f"condition {name}", denoiser.conditions[name]
    words = f"the labels are not those of the model, shuffled or renumbered: it answers otherwise for another {name}, "
    words += f"and another item's changes its loss by {100 * figures['gain']:+.1f} %"
    change = "give the labels in the order of the items, numbered as in training"
    z = figures["z"]
    if isinstance(kind, Label) and kind.classes <= CLASSES:
        order, better, sure = _renumbered(material, denoiser, some, name, kind.classes)
        if order is not None and better > 0.01 and sure > 5:
            said = ", ".join(f"{a} is its {b}" for a, b in enumerate(order) if a != b)
            words = f"the labels are renumbered: the data's class {said} (the loss is {100 * better:.1f} % less so)"
            return Finding(
                check, "wrong", words, errors(sure), f"map the labels by {order}", "", figures | {"order": order}
            )
    sure = f"{100 * figures['moved']:.0f} % of the loss moves with the label, {errors(z)} "
    sure += f"{'for' if z > 0 else 'against'} the own one"
    return Finding(check, "wrong", words, sure, change, "", figures)


def _renumbered(material, denoiser, some: Some, name: str, classes: int) -> tuple[list[int] | None, float, float]:
    """The model's class for each of the data's, what it saves of the loss on items that it was not chosen by, and z."""
    losses = []
    for c in range(classes):
        said = torch.full_like(some.cond[name], c)
        losses.append(_loss(material, some, _told(material, denoiser, some, name, said)))
    losses, own = torch.stack(losses, 1), some.cond[name].cpu()
    half = torch.arange(len(own)) % 2 == 0
    if not bool((own >= 0).all()):
        return None, 0.0, 0.0
    table = torch.stack([losses[half & (own == c)].sum(0) for c in range(classes)])
    order = torch.as_tensor(linear_sum_assignment(table.numpy())[1])
    rest = losses[~half]
    mapped = rest.gather(1, order[own[~half]][:, None])[:, 0]
    mean, z = paired(rest.mean(1) - mapped)
    return order.tolist(), mean / float(mapped.mean()), z


def _told(material: Material, denoiser: Denoiser, some: Some, name: str, value: Tensor) -> Tensor:
    return material.answers(denoiser, some, {**some.cond, name: value}, MIDDLE)


def _loss(material: Material, some: Some, answers: Tensor, to: Tensor | None = None) -> Tensor:
    """The error of v (n,) at the middle levels, or the distance of two answers in its units."""
    weight = material.weight[list(MIDDLE)]
    if to is None:
        return (material.error(answers, some) * weight).mean(0)
    return ((answers.double() - to.double()).flatten(2).square().mean(2).cpu() * weight).mean(0)

"""Views: a picture that is computed of an item, and told to a model as a condition."""

import json
import pickle
from dataclasses import dataclass

import numpy as np
import torch
from commands import FEW, TINY, command
from problems import refuses
from torch.utils.data import Subset

import scoresde
from scoresde.conditions import Label, Picture
from scoresde.data import (
    Affine,
    Data,
    Lower,
    Tensors,
    View,
    as_data,
    check_data,
    collate,
    condition_prints,
    digits,
    viewed,
)
from scoresde.data.views import lowered
from scoresde.guidance import Guided
from scoresde.nets import MLP


@dataclass(frozen=True)
class Numbered(View):
    """The item's own number and the seed, in every pixel."""

    def of(self, shape):
        return shape

    def __call__(self, x, index, seed):
        return (index + 1000.0 * seed).reshape(-1, *[1] * (x.ndim - 1)).expand_as(x).float()


def means(x, k):
    cells = x.reshape(*x.shape[:-2], x.shape[-2] // k, k, x.shape[-1] // k, k)
    return cells.mean((-3, -1))


def test_a_view_comes_with_an_item_whichever_way_it_is_asked_for():
    data = viewed(digits(), Lower(2))
    assert data.conditions == {"label": Label(10), "seen": Picture((1, 4, 4), drop=0.0)}
    plain = collate(digits().train, [7, 3, 7], ["label"])
    batch = collate(data.train, [7, 3, 7], data.conditions)
    assert torch.equal(batch.x, plain.x) and torch.equal(batch.cond["label"], plain.cond["label"])
    torch.testing.assert_close(batch.cond["seen"], means(data.encode(batch.x), 2))
    one = data.train[3]
    assert torch.equal(one["seen"], batch.cond["seen"][1]) and one["label"] == batch.cond["label"][1]
    inner = collate(Subset(data.train, [0, 3]), [1], data.conditions)
    assert torch.equal(inner.cond["seen"], batch.cond["seen"][1:2])
    assert torch.equal(
        pickle.loads(pickle.dumps(data.train))[3]["seen"], one["seen"]
    )  # as a process that reads gets it
    assert torch.equal(data.labels[0], digits().labels[0]) and data.fingerprint == digits().fingerprint
    assert check_data(data) == []
    prints = condition_prints(data, ["seen"]), condition_prints(viewed(digits(), Lower(4)), ["seen"])
    assert prints[0] != prints[1]


def test_a_view_is_a_function_of_the_seed_and_of_an_items_own_number():
    x = torch.randn(10, 1, 2, 2)
    data = viewed(Data("some", Tensors(x[:6]), Tensors(x[6:]), Affine()), Numbered(), seed=3)
    held = [collate(part, range(len(part)), ["seen"]).cond["seen"][:, 0, 0, 0] for part in (data.train, data.test)]
    assert torch.equal(torch.cat(held), 3000.0 + torch.arange(10))  # of both splits no two are alike


def test_items_of_any_dataset_and_of_any_space_have_views():
    class Own(torch.utils.data.Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, i):
            return {"x": torch.full((3, 4), float(i)), "label": i % 3}

    base = Data("own", Own(), Own(), Affine(0.5, 1.0), conditions={"label": Label(3)})
    data = viewed(as_data(base), Lower(4), "low")
    found = collate(data.test, np.array([2, 11]), data.conditions).cond
    assert torch.equal(found["low"], torch.tensor([2.0, 6.5]).reshape(2, 1, 1).expand(2, 3, 1))
    assert found["label"].tolist() == [2, 2]
    cubes = [Tensors(torch.ones(n, 1, 4, 4, 4)) for n in (2, 1)]
    volume = viewed(Data("cubes", *cubes, Affine()), Lower())
    assert volume.conditions["seen"].shape == (1, 2, 2, 2)


def test_wrong_views_are_refused():
    vectors = Data("v", Tensors(torch.randn(4, 2)), Tensors(torch.randn(2, 2)), Affine())
    refuses("factor=2", "(2,)", "no space", call=lambda: viewed(vectors, Lower()))
    refuses("factor=3", "(1, 8, 8)", call=lambda: viewed(digits(), Lower(3)))
    refuses("name='label'", "digits", call=lambda: viewed(digits(), Lower(), "label"))
    refuses("size=3", "[1, 2, 4]", call=lambda: digits(size=3))


def test_pictures_of_a_smaller_side_are_rounded_means():
    small, whole = digits(size=4), digits()
    assert small.shape == (1, 4, 4) and small.levels == 17
    x = collate(whole.train, range(50)).x
    assert torch.equal(collate(small.train, range(50)).x, means(x.float(), 2).round().to(torch.uint8))
    assert lowered(x, None) is x and lowered(x, 8) is x


def test_a_model_of_a_view_is_trained_sampled_and_scored_by_the_command(tmp_path, monkeypatch, capfd):
    words = [*TINY, *FEW, "view=lower", "cond=[label]"]
    code, out, err = command(monkeypatch, capfd, tmp_path, *words)
    assert code == 0, out + err
    (folder,) = (p for p in (tmp_path / "runs").iterdir() if p.name.startswith("vp"))
    known = json.loads((folder / "model.json").read_text())
    assert known["view"] == {"_target_": "scoresde.data.Lower", "factor": 2, "name": "seen", "seed": 0, "drop": 0.0}
    assert known["cond"] == {"label": 0.1, "seen": 0.0}
    # Its folder says all that a command need know; another view is another model.
    code, out, err = command(monkeypatch, capfd, tmp_path, f"folder={folder}", "task=sample", "n=3", *FEW)
    assert code == 0, out + err
    assert np.load(next(folder.glob("sample-*/given.npz")))["seen"].shape[1:] == (1, 4, 4)
    code, out, err = command(monkeypatch, capfd, tmp_path, *words, "view.factor=4", "task=describe")
    assert code == 0 and folder.name not in out
    for wrong, said in (
        ("view.factor=3", "factor=3"),
        ("view.name=label", "name='label'"),
        ("view.seed=-1", "seed=-1"),
    ):
        code, out, err = command(monkeypatch, capfd, tmp_path, "view=lower", wrong, "task=train")
        assert code == 1 and err.count("\n") == 1 and f"error: view.{said}" in err, err


def test_a_guided_model_is_never_without_its_picture():
    data = viewed(digits(), Lower())
    net = MLP(data.shape, width=8, blocks=1, conditions=data.conditions)
    guided = Guided(scoresde.Preconditioned(net, scoresde.VP()), 2.0)
    sampler = scoresde.sampling.DDIM(steps=2)
    refuses("seen is missing", call=lambda: scoresde.sample(guided, sampler, (2, *data.shape), cond={"label": 1}))

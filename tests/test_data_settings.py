"""Laws of the settings of data sets: each says its type and range, and a wrong value is one line with its place."""

import inspect

import numpy as np
import pytest
from commands import ROOT
from omegaconf import OmegaConf
from PIL import Image

from scoresde import InputError
from scoresde import data as D
from scoresde.making import make
from scoresde.settings import hints_of, words

WRONG = {  # by the words of what a setting asks for
    "path": [None, 3, True, "/no/such", ["a"], ""],
    "a count": [0, -1, 1.5, 2.0, "x", None, True, float("nan"), 10**9, [1]],
    "a whole number": [-1, 1.5, "x", True, ["x"], 10**30],
    "one of": ["x", 3.5, True, ["a"]],
    "a number": ["x", None, True, float("inf"), float("nan"), [1.0]],
    "true or false": ["x", 3, 1.5, None, ["a"]],
    "a text": [1.5, ["a"], True],
    "a list": ["abc", 3, {"a": 1}],
}


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "x.npy", np.random.RandomState(0).randn(20, 3))
    for i in range(4):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def nodes():
    """(file, node) of the data sets that stand alone: those made of others (`defaults`) are looked at with these."""
    for path in sorted((ROOT / "conf" / "data").glob("*.yaml")):
        node = OmegaConf.to_container(OmegaConf.load(path))
        if "defaults" not in node:
            yield path, node.get("data", node)


def cases():
    for path, node in nodes():
        hints = hints_of(make_target(node))
        for key in node:
            if key != "_target_":
                kind = next((k for k in WRONG if k in words(hints[key])), None)
                assert kind is not None, f"{path.name}: {key} asks for {words(hints[key])!r}"
                either = "a list" in words(hints[key])  # such a value is right
                yield from ((path.stem, key, value) for value in WRONG[kind] if not either or value != [1])


def lists(value):
    return [lists(v) for v in value] if isinstance(value, tuple) else value


def make_target(node):
    return getattr(D, node["_target_"].rpartition(".")[2])


@pytest.mark.parametrize(("name", "key", "value"), [*cases()], ids=str)
def test_a_wrong_value_is_one_line_with_its_place(files, name, key, value):
    node = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "data" / f"{name}.yaml"))
    node = node.get("data", node)
    if "root" in node:
        node["root"] = str({"array": files / "x.npy"}.get(name, files))
    if name == "images":
        node["size"] = 4
    if key == "test" and value == 10**9 and name == "toy":
        return  # so many test points may be drawn
    with pytest.raises(InputError) as caught:
        make(node | {key: value}, "data")
    text = str(caught.value)
    assert text.startswith(f"data.{key}=") and "\n" not in text and len(text) < 250, text


@pytest.mark.parametrize(
    "function", [D.array, D.from_tensor, D.from_table, D.images, D.custom, D.digits, D.mnist, D.toy, D.scenes]
)
def test_every_setting_is_declared(function):
    hints = hints_of(function)
    for name, parameter in inspect.signature(function).parameters.items():
        assert name in hints, f"{function.__name__}: {name} has no annotation"
        assert parameter.annotation is not parameter.empty


def test_configs_list_every_setting_with_the_defaults_of_the_code():
    for path, node in nodes():
        parameters = inspect.signature(make_target(node)).parameters
        assert set(node) - {"_target_"} == set(parameters), path.name
        for key, parameter in parameters.items():
            assert key == "root" or node[key] == lists(parameter.default), f"{path.name}: {key}"


def test_strange_paths_are_one_line(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.npy")
    for root in (tmp_path / "pipe.npy", "x" * 5000, "~nobody-of-this-name/x.npy", "a\0b.npy", "/dev/zero"):
        with pytest.raises(InputError) as caught:
            D.array(root)
        assert str(caught.value).startswith("root=") and "\n" not in str(caught.value)

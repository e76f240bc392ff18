"""The slow laws in parts: each law is in one of them, whatever else there is, and other laws are in all."""

from types import SimpleNamespace

import pytest
from conftest import pytest_collection_modifyitems


def chosen(words, laws, together=False):
    """The laws that are left of some, and those that pytest is told of as left out."""
    gone = []
    hook = SimpleNamespace(pytest_deselected=lambda items: gone.extend(items))
    file = SimpleNamespace(TOGETHER=together)
    items = [SimpleNamespace(nodeid=n, module=file, get_closest_marker=lambda mark, n=n: mark in n) for n in laws]
    config = SimpleNamespace(getoption=lambda name: words, hook=hook)
    pytest_collection_modifyitems(config, items)
    return [i.nodeid for i in items], [i.nodeid for i in gone]


LAWS = [f"tests/test_laws.py::test_slow[{i}]" for i in range(60)] + ["tests/test_laws.py::test_quick"]


def test_every_slow_law_is_in_one_part():
    parts = [chosen(f"{k}/3", LAWS) for k in (1, 2, 3)]
    assert sorted(law for left, _ in parts for law in left if "slow" in law) == sorted(LAWS[:-1])
    for left, gone in parts:
        assert LAWS[-1] in left and 10 < len(left) < 32 and sorted(left + gone) == sorted(LAWS)
        assert all(law in left for law in chosen(f"{parts.index((left, gone)) + 1}/3", LAWS[::2])[0])
    assert chosen(None, LAWS) == (LAWS, [])


def test_laws_of_one_thing_that_takes_long_are_in_one_part():
    slow = [sum("slow" in law for law in chosen(f"{k}/3", LAWS, together=True)[0]) for k in (1, 2, 3)]
    assert sorted(slow) == [0, 0, 60]


@pytest.mark.parametrize("words", ["4/3", "0/3", "2", "a/b"])
def test_what_is_no_part_is_refused(words):
    with pytest.raises(pytest.UsageError, match=f"--slow-part {words}: give K/N"):
        chosen(words, LAWS)

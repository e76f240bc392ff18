"""Every test starts from the same global random state, on one thread: more cost time on tensors this small."""

import hashlib
import itertools

import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--slow-part", metavar="K/N", help="of the slow laws only part K = 1..N of N; the others as ever")


def pytest_collection_modifyitems(config, items):
    words = config.getoption("--slow-part")
    if words is None:
        return
    part, _, parts = words.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise pytest.UsageError(f"--slow-part {words}: give K/N with 1 <= K <= N, such as 2/3")
    mine = [not i.get_closest_marker("slow") or part_of(whole(i), int(parts)) == int(part) for i in items]
    config.hook.pytest_deselected(items=list(itertools.compress(items, [not m for m in mine])))
    items[:] = itertools.compress(items, mine)


def whole(item) -> str:
    """What a law stays with: the laws of its file, if all look at one thing that takes long to make, or itself."""
    return item.nodeid.partition("::")[0] if getattr(item.module, "TOGETHER", False) else item.nodeid


def part_of(name: str, parts: int) -> int:
    """The part 1..parts of a law, by its name alone: it stays there when others come and go."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % parts + 1

"""Settings: each type, range and choice is checked where it is declared, and an error says what would be right."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest
import torch
from problems import refuses

from scoresde import VP, InputError
from scoresde.making import make
from scoresde.settings import Checked, Count, OneOf, Positive, Range, Seed, brief, checked, matches, words

NAMES = {"angle": 1, "log_snr": 2}
Grid = Annotated[str, OneOf(NAMES)] | Callable | Sequence[float]

CASES = [  # an annotation, what it says, what it takes, what it refuses
    (Count, "a whole number from 1 to 2^32", [1, np.int64(3)], [0, True, 1.0, "1", None, 2**33, [1]]),
    (Seed, "a whole number from 0 on and below 2^63", [0, 2**63 - 1], [-1, 2**63, 1.5]),
    (Positive, "a number above 0", [1, 0.1, np.float32(2)], [0, -1.0, math.nan, math.inf, True, "1", None]),
    (Annotated[float, Range(0, math.inf)], "a number from 0 up", [0, math.inf], [-1, math.nan, -math.inf]),
    (Annotated[float, Range(0, below=1)], "a number from 0 on and below 1", [0, 0.5], [1, -0.1]),
    (float, "a number", [1, -2.5], [math.inf, math.nan, "x", None]),
    (bool, "true or false", [True, False], [0, 1, "yes", "no", None]),
    (Literal["a", "b"] | None, "one of a, b, or None", ["a", None], ["c", 1, True]),
    (Literal[1, 2], "one of 1, 2", [1], [True, 1.0, 3]),
    (
        Grid,
        "one of angle, log_snr, or a function, or a list, each a number",
        ["angle", [1.0, 0.5], (1,), abs],
        ["x", ["a"]],
    ),
    (
        Sequence[float],
        "a list, each a number",
        [np.array([1.0]), torch.tensor([0.5])],
        ["ab", 3, np.ones((2, 2)), {1: 2}],
    ),
    (tuple[float, float] | None, "a list [a number, a number], or None", [(1, 2), [1, 2], None], [[1], [1, 2, 3], 1]),
    (tuple[Count, ...], "a list, each a whole number from 1 to 2^32", [[], [1, 2]], [[0], 1, None]),
    (dict[str, int], "a mapping", [{}], [[], 1]),
    (VP, "a VP", [VP()], [VP, "vp", None]),
]


@pytest.mark.parametrize(("hint", "said", "good", "bad"), CASES, ids=[c[1] for c in CASES])
def test_what_an_annotation_says_and_takes(hint, said, good, bad):
    assert words(hint) == said
    assert [matches(v, hint) for v in good] == [True] * len(good)
    assert [matches(v, hint) for v in bad] == [False] * len(bad)


@dataclass(frozen=True)
class Base(Checked):
    steps: Count = 5
    last: Literal["tweedie", "none"] = "tweedie"
    grid: Grid = "angle"


@dataclass(frozen=True)
class Looser(Base):
    last: str = "none"
    eta: Annotated[float, Range(0, 1)] = 0.5


def test_dataclasses_and_functions_are_checked():
    refuses("steps=0: give a whole number from 1 to 2^32", call=lambda: Base(steps=0))
    refuses("grid='log_sn'", "did you mean log_snr?", call=lambda: Base(grid="log_sn"))
    refuses("last='mean'", call=lambda: Looser(last="mean"))  # what a base asks for holds in a subclass
    refuses("eta=2", call=lambda: Looser(eta=2))

    @checked
    def draw(n: Count, *rest: int, scale: Positive = 1.0, **more: str):
        return n, rest, scale, more

    assert draw(2, "x", scale=3, other=4) == (2, ("x",), 3, {"other": 4})
    refuses("scale=0", call=lambda: draw(2, scale=0))
    refuses("n='two'", call=lambda: draw("two"))
    with pytest.raises(TypeError):
        draw()


def test_an_annotation_that_says_nothing_known_takes_everything():
    @checked
    def own(x: "Unheard", y: Annotated[int, "of apples"] = 1):  # noqa: F821
        return x

    assert own([3]) == [3]


def test_values_are_told_in_one_short_line():
    assert brief(torch.zeros(3, 2)) == "Tensor of shape (3, 2)"
    assert len(brief("x" * 1000)) == 60 and "\n" not in brief("a\nb")


def test_a_place_is_put_in_front_where_a_setting_is_made():
    node = {"_target_": "scoresde.loss.DenoisingLoss", "times": {"_target_": "scoresde.loss.lognormal", "std": 0}}
    refuses("loss.times.std=0: give a number above 0", call=lambda: make(node, "loss"))
    refuses("sde.beta_min=null", call=lambda: make({"_target_": "scoresde.VP", "beta_min": None}, "sde"))
    refuses("sde.beta_mn is unknown", "beta_min", call=lambda: make({"_target_": "scoresde.VP", "beta_mn": 1}, "sde"))
    refuses("sde=null", "_target_", call=lambda: make(None, "sde"))
    refuses("makes a VP: give a Sampler", call=lambda: make({"_target_": "scoresde.VP"}, "sampler", kind=_sampler()))


def _sampler():
    from scoresde.sampling import Sampler

    return Sampler


STRANGE = [
    "torch.hub.load_state_dict_from_url",
    "os.system",
    "builtins.eval",
    "scoresde_evil.Net",
    "scoresde",
    "scoresde.",
    "scoresde..VP",
    "scoresde.data.array.torch.load",
    "scoresde.nets.unets.unet.torch.hub.load",
    "scoresde.nets.mlp.nn.Linear",
    "scoresde.config.build.load",
    "scoresde.model.checkpoint.load",
    "scoresde.__init__",
    "scoresde.errors.InputError",
    "scoresde.sampling.Adams",
]


@pytest.mark.parametrize("target", STRANGE)
def test_an_untrusted_target_is_of_the_package_and_of_its_part(target):
    with pytest.raises(InputError, match="trust") as caught:
        make({"_target_": target, "path": "/etc/passwd"}, "net", trust=False)
    assert "\n" not in str(caught.value)
    assert make({"_target_": "scoresde.VP"}, "sde", trust=False) == VP()

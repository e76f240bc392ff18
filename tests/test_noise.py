"""Laws of scoresde.noise: the published bits, the right distribution, and nothing that depends on the batch."""

import itertools
import os
import subprocess
import sys

import pytest
import torch
from problems import close
from scipy import stats

from scoresde.noise import Draws, Stream, bits, normal, philox, rademacher, uniform
from scoresde.noise.streams import OF_DATA, Words

# Random123 1.14, kat_vectors: philox 4x32-10, counter, key, answer (Salmon et al., 2011).
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(word, 16) for word in text.split()]


def draw(n, *shape, seed=0, step=0, draw=0, first=0, kind=normal, dtype=torch.float64):
    return kind(torch.empty(n, *shape, dtype=dtype), torch.arange(first, first + n), seed, step, draw)


@pytest.mark.parametrize("counter, key, answer", KNOWN)
def test_philox_gives_the_published_words(counter, key, answer):
    out = philox(tuple(torch.tensor(w) for w in words(counter)), tuple(words(key)))
    assert [int(w) for w in out] == words(answer)


def test_bits_are_philox_of_place_index_step_and_draw():
    seed = 0x299F31D0_A4093822
    index = torch.tensor([3, 0x85A308D3])
    out = bits(index, 6, seed, step=0x13198A2E, draw=0x03707344)
    assert all(w.shape == (2, 2) for w in out)
    counter = (torch.tensor(1), index[1], torch.tensor(0x13198A2E), torch.tensor(0x03707344))
    expected = philox(counter, (0xA4093822, 0x299F31D0))
    assert [int(w[1, 1]) for w in out] == [int(w) for w in expected]


@pytest.mark.parametrize("seed", [0, 1, 2**40 + 5])
def test_normal_numbers_are_normal(seed):
    x = draw(10000, 100, seed=seed).flatten()
    assert stats.kstest(x.numpy(), "norm").pvalue > 1e-3
    n = len(x)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((x**power).mean()) - moment) < 4.5 * (variance / n) ** 0.5
    assert 4 < float(x.abs().max()) < 6.7  # the largest that 32 bits give is 6.7


def test_numbers_are_uncorrelated_across_everything():
    base = draw(20000, 3)
    others = [
        draw(20000, 3, first=1),
        draw(20000, 3, step=1),
        draw(20000, 3, draw=1),
        draw(20000, 3, seed=1),
        draw(20000, 3, seed=2**32),
        base.roll(1, 1),
        base.flip(0),
        draw(20000, 3, kind=rademacher),
    ]
    for other in others:
        for a, b in ((base, other), (base**2 - 1, other**2 - 1)):
            product = a * b
            assert abs(float(product.mean())) < 4.5 * float(product.std()) / product.numel() ** 0.5 + 1e-12


def test_a_row_depends_on_its_index_only():
    whole = draw(10, 3, 5)
    assert torch.equal(draw(4, 3, 5, first=6), whole[6:])
    index = torch.tensor([7, 2, 2])
    assert torch.equal(normal(torch.empty(3, 3, 5, dtype=torch.float64), index, 0, 0, 0), whole[index])
    signs = draw(10, 3, 5, kind=rademacher)
    assert torch.equal(draw(4, 3, 5, kind=rademacher, first=6), signs[6:])
    assert whole.flatten().unique().numel() == 150


@pytest.mark.parametrize("kind", [normal, uniform, rademacher], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("integer", [torch.int64, torch.int32], ids=str)
def test_steps_and_draws_may_be_each_sample_s_own(kind, integer):
    """Row i with the counters step[i] and draw[i] is what numbers give, negative or beyond 32 bits too."""
    x, index = torch.empty(4, 3, 5, dtype=torch.float64), torch.tensor([7, 2, 2, 2**33])
    steps, draws = [3, 0, 2**31 - 1, -1], [0, 5, 1, 2]
    own = kind(x, index, 9, torch.tensor(steps, dtype=integer), torch.tensor(draws, dtype=integer))
    for i in range(4):
        assert torch.equal(own[i : i + 1], kind(x[:1], index[i : i + 1], 9, steps[i], draws[i]))
    far = torch.full((4,), 2**40 + 3)
    assert torch.equal(kind(x, index, 9, far, 1), kind(x, index, 9, 2**40 + 3, 1))
    noise = Draws(9, index, torch.tensor(steps))
    first, second = noise(x), noise(x)
    assert torch.equal(first, normal(x, index, 9, torch.tensor(steps), 0)) and not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (1, 7, 9), (2, 3, 3, 3)], ids=str)
def test_shape_and_type_are_those_of_x(shape):
    double = draw(3, *shape)
    single = draw(3, *shape, dtype=torch.float32)
    assert double.shape == (3, *shape) and single.dtype == torch.float32
    close(single, double.float(), rtol=0, atol=0)
    assert draw(3, *shape, kind=rademacher).shape == (3, *shape)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_uniform_numbers_are_uniform(dtype):
    """On the middles of 2^24 equal parts, so that neither end is among them."""
    x = draw(64, 1000, kind=uniform, dtype=dtype).flatten()
    assert stats.kstest(x.double().numpy(), "uniform").pvalue > 1e-3
    assert float(x.min()) > 0 and float(x.max()) < 1
    if dtype == torch.float64:
        place = x * 2**24 - 0.5
        assert torch.equal(place, place.round()) and float((place % 2).mean()) == pytest.approx(0.5, abs=0.01)


def test_rademacher_numbers_are_fair_signs():
    x = draw(5000, 7, kind=rademacher)
    assert set(x.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(x.mean())) < 4.5 / x.numel() ** 0.5
    close(x.T @ x / len(x), torch.eye(7), rtol=0, atol=4.5 / len(x) ** 0.5)


def test_draws_go_on_and_a_silent_step_is_still():
    x, index = torch.empty(4, 3, dtype=torch.float64), torch.arange(5, 9)
    noise, quiet = Draws(7, index, 2), Draws(7, index, 2, silent=True)
    first, second = noise(x), noise.transition(x)
    assert torch.equal(first, normal(x, index, 7, 2, 0)) and torch.equal(second, normal(x, index, 7, 2, 1))
    assert torch.equal(quiet.transition(x), torch.zeros(4, 3, dtype=torch.float64))
    assert torch.equal(quiet(x), first)  # correctors keep their noise


TRITON = """
import torch
from scoresde import noise
x, index = torch.empty(5, 3, 7, dtype=torch.float64), torch.tensor([0, 3, 2**31, 2**32 + 3, 9])
for seed in (0, 2**40 + 5):
    rows = torch.arange(5)
    for step, draw in ((0, 0), (1, 16), (2**31, 2**32 - 1), (rows, 3), (rows - 2, rows)):
        kernel = noise._kernel("cpu")
        assert torch.allclose(kernel(x, index, seed, step, draw), noise.normal(x, index, seed, step, draw), 0, 1e-12)
for shape in ((1,), (2,), (5,), (1, 7, 9), (700,)):
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 0.05)):
        x = torch.empty(3, *shape, dtype=dtype)
        out, expected = kernel(x, index[:3], 1, 2, 3), noise.normal(x, index[:3], 1, 2, 3)
        assert out.dtype == dtype and out.shape == x.shape and torch.allclose(out, expected, 0, tolerance)
"""


def test_the_triton_kernel_gives_the_same_numbers():
    """In Triton's interpreter, which runs the kernel by numpy; tests/test_gpu.py runs it on a GPU."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", TRITON], env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_no_two_uses_have_the_same_numbers():
    for a, b in itertools.combinations(Stream, 2):
        apart = {a, b} & OF_DATA and {a, b} - OF_DATA <= {Stream.SAMPLING}
        assert apart or not a.value.meets(b.value), f"{a.name} and {b.name} draw the same numbers"
    for a, b in itertools.combinations(OF_DATA - {Stream.BIN}, 2):
        assert not a.value.meets(b.value), f"{a.name} and {b.name} draw the same numbers"
    assert Words(range(5), range(3)).meets(Words(range(2**32 + 4, 2**32 + 5), range(2, 9)))
    assert Words(range(-1, -3, -1), range(1)).meets(Words(range(2**32 - 2, 2**32 - 1), range(1)))


def test_a_stream_has_its_own_words_and_no_others():
    assert Stream.SAMPLING(3, 2) == (3, 2) and Stream.GAUSSIAN_PROBES(1, 4) == (-3, 4)
    assert Stream.DEQUANTISER(draw=2) == (1, (1 << 22) + 2)
    step, draw = Stream.TREE(32 + torch.tensor([0, 1]), torch.tensor([5, 6]))
    assert step.tolist() == [2**31 + 32, 2**31 + 33] and draw.tolist() == [5, 6]
    with pytest.raises(IndexError):
        Stream.BOUND_NOISE(0, 1)

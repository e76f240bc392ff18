"""What is told of work under way: when, in which words, and nothing of short work."""

import io
import re
import subprocess
import sys

import pytest
import torch
from commands import ROOT, TINY, command
from problems import mixture
from rich.console import Console

import scoresde
from scoresde.errors import InputError
from scoresde.machine import progress
from scoresde.sampling import DDIM, PC, ProbabilityFlow, sample
from scoresde.sde import VP
from scoresde.tracking.report import smaller


@pytest.fixture
def clock(monkeypatch):
    """A clock that only its owner moves."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(progress.time, "perf_counter", lambda: Clock.now)
    return Clock


def told(clock, seconds, total=100, steps=None, first=None, **options):
    """The lines of a work of `total` steps that take so many seconds each, the first one perhaps more."""
    out = io.StringIO()
    with progress.bar("training", total, console=Console(file=out, width=200), **options) as advance:
        for i in range(steps or total):
            clock.now += first if first and i == 0 else seconds
            advance(i + 1, lambda i=i: f"step {i + 1}/{total}")
    return out.getvalue().splitlines()


# -- lines ------------------------------------------------------------------------------------------------------------


def test_short_work_says_nothing(clock):
    assert told(clock, 0.0199) == []
    assert told(clock, 0.001, first=1.8) == []


def test_longer_work_tells_early_and_at_every_tenth(clock):
    lines = told(clock, 0.3)  # half a minute
    assert lines[0] == "training: 3 %  step 3/100  28 s left" or lines[0] == "training: 3 %  step 3/100  29 s left"
    percents = [int(re.search(r": (\d+) %", line)[1]) for line in lines]
    assert percents == [3, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert lines[-1] == "training: 100 %  step 100/100  in 30 s"


def test_long_work_tells_every_ten_seconds_or_hundredth(clock):
    lines = told(clock, 1.0, total=500)
    assert 49 <= len(lines) <= 53 and lines[0].startswith("training: 0 %  step 2/500  8 min 20 s left")
    hours = [line for line in told(clock, 10.0, total=2000) if "rate" not in line]
    assert 90 <= len(hours) <= 105


def test_the_warm_up_does_not_count(clock):
    """A first step of 30 s before steps of 0.5 s: the line after it has no false time left."""
    lines = told(clock, 0.5, first=30.0)
    assert lines[0] == "training: 1 %  step 1/100  30 s so far"
    assert re.fullmatch(r"training: \d+ %  step \d+/100  4\d s left", lines[1]), lines


def test_work_that_goes_on_counts_what_is_left(clock):
    out = io.StringIO()
    with progress.bar("training", 1000, 900, Console(file=out, width=200)) as advance:
        for i in range(901, 1001):
            clock.now += 0.5
            advance(i, f"step {i}/1000")
    lines = out.getvalue().splitlines()
    assert lines[0] == "training: 90 %  step 902/1000  49 s left" and lines[-1].endswith("in 50 s")


def test_work_of_unknown_length(clock):
    out = io.StringIO()
    with progress.bar("looking", None, console=Console(file=out, width=200)) as advance:
        for i in range(60):
            clock.now += 1.0
            advance(i + 1, f"{i + 1} found")
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["looking: 2 found  2 s so far", "looking: 12 found  12 s so far"] and len(lines) == 6


def test_words_that_look_like_markup_stay(clock):
    out = io.StringIO()
    with progress.bar("[red]", 10, console=Console(file=out, width=200)) as advance:
        for i in range(10):
            clock.now += 1.0
            advance(i + 1, "[/b]")
    assert out.getvalue().startswith("[red]: ") and "[/b]" in out.getvalue()


# -- work that will be long -------------------------------------------------------------------------------------------


def test_long_work_is_told_of_at_once_with_a_cure(clock):
    shorter = progress.fewer("train.steps=", 5000, smaller({"channels": 32}))
    lines = told(clock, 3.6, total=5000, steps=4, shorter=shorter)
    (line,) = [line for line in lines if "rate" in line]
    assert line == "training: about 5 h at this rate: train.steps=200 takes 12 min; net.channels=16 is smaller"
    assert lines.index(line) <= 1
    assert not any("rate" in line for line in told(clock, 3.6, total=160, shorter=shorter))
    assert not any("rate" in line for line in told(clock, 0.5, first=30.0, shorter=shorter))  # a slow start alone


@pytest.mark.parametrize(
    ("seconds", "total", "words"),
    [
        (3.6, 5000, "n=200 takes 12 min"),
        (100.0, 10, "n=5 takes 8 min 20 s"),
        (1000.0, 3, "n=1 takes 17 min"),
        (0.001, 10**7, "n=500000 takes 8 min 20 s"),
        (700.0, 1, ""),
    ],
)
def test_what_would_take_about_ten_minutes(seconds, total, words):
    assert progress.fewer("n=", total)(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (59, "59 s"),
        (59.7, "1 min"),
        (80, "1 min 20 s"),
        (599, "10 min"),
        (720, "12 min"),
        (5300, "88 min"),
        (17_890, "5 h"),
        (18_700, "5 h 10 min"),
        (90_000, "25 h"),
        (260_000, "3 days"),
    ],
)
def test_times_are_for_reading(seconds, words):
    assert progress.duration(seconds) == words


def test_the_size_of_a_network_and_its_half():
    assert smaller({"channels": 32, "width": 8}) == "net.channels=16 is smaller"
    assert smaller({"width": 128}) == "net.width=64 is smaller" and smaller({"channels": "auto"}) == ""


# -- the bar ----------------------------------------------------------------------------------------------------------


def test_a_terminal_has_a_bar():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with progress.bar("training", 10, console=console) as advance:
        for i in range(10):
            advance(i + 1, f"step {i + 1}/10  loss 0.41")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "training" in shown and "━" in shown and "100 %" in shown and "step 10/10  loss 0.41" in shown


def test_without_rich_there_are_lines(clock, monkeypatch, capsys):
    for name in [n for n in sys.modules if n.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    with progress.bar("training", 10) as advance:
        for i in range(10):
            clock.now += 1.0
            advance(i + 1, "words")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.splitlines()[-1] == "training: 100 %  words  in 10 s"


# -- sampling and training --------------------------------------------------------------------------------------------


def test_samples_are_counted_not_their_steps():
    seen = []
    sample(
        mixture(VP()), DDIM(steps=3), (10, 2), batch_size=4, progress=lambda done, words: seen.append((done, words()))
    )
    assert seen[0] == (1.0, "0 of 10 samples, 25 % of the next 4")  # a step of four: the last evaluation is one
    assert seen[3] == (4, "4 of 10 samples") and seen[-1] == (10, "10 of 10 samples")
    done = [d for d, _ in seen]
    assert done == sorted(done) and len(seen) == 3 * 4


def test_an_adaptive_sampling_tells_how_far_its_rows_are(monkeypatch):
    monkeypatch.setattr("scoresde.sampling.watch.PAUSE", -1.0)
    seen = []
    sample(mixture(VP()), ProbabilityFlow(), (6, 2), batch_size=3, progress=lambda done, words: seen.append(done))
    assert seen == sorted(seen) and seen[-1] == 6.0 and len({d for d in seen if 0 < d < 3}) > 5


def test_progress_changes_no_sample_and_costs_no_evaluation():
    for sampler in (DDIM(steps=5), PC(steps=5), ProbabilityFlow()):
        x, calls = [], []
        for option in (False, True, lambda done, words: None):
            counted = scoresde.Counted(mixture(VP()))
            x.append(sample(counted, sampler, (6, 2), batch_size=4, progress=option))
            calls.append(counted.rows)
        assert torch.equal(x[0], x[1]) and torch.equal(x[0], x[2]) and len(set(calls)) == 1


class Slow(scoresde.Denoiser):
    """Moves the clock at every call."""

    def __init__(self, clock, seconds):
        super().__init__(VP())
        self.clock, self.seconds = clock, seconds

    def forward(self, x, t):
        self.clock.now += self.seconds
        return torch.zeros_like(x)


def test_sample_in_python_is_not_silent(clock, capsys):
    sample(Slow(clock, 0.5), DDIM(steps=19), (40, 2), batch_size=10)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and re.fullmatch(r"sampling: 2 %  0 of 40 samples, 10 % of the next 10  \d+ s left", lines[0]), (
        lines
    )
    assert lines[-1] == "sampling: 100 %  40 of 40 samples  in 40 s"
    sample(Slow(clock, 0.5), DDIM(steps=19), (40, 2), batch_size=10, progress=False)
    sample(Slow(clock, 0.01), DDIM(steps=19), (40, 2), batch_size=10)  # less than a second
    assert capsys.readouterr() == ("", "")


def test_train_in_python_is_not_silent(clock, capsys, monkeypatch):
    x = torch.randn(64, 2)
    net = scoresde.nets.MLP((2,), width=8, blocks=1)
    real = net.forward
    monkeypatch.setattr(net, "forward", lambda *a, **k: (setattr(clock, "now", clock.now + 0.1), real(*a, **k))[1])
    denoiser = scoresde.Preconditioned(net, VP())
    options = {"steps": 100, "batch_size": 8, "device": "cpu", "validate_every": 50}
    scoresde.train(denoiser, x, **options)
    out, err = capsys.readouterr()
    assert out == "" and re.match(r"training: \d %  step \d+/100  loss \d\.\d{4}  \d+ s left", err.splitlines()[0]), err
    assert re.search(r"100 %  step 100/100  loss \d\.\d{4}  validation \d\.\d{4}  in 1\d s", err.splitlines()[-1]), err
    scoresde.train(denoiser, x, progress=False, **options)
    assert capsys.readouterr() == ("", "")
    seen = []
    scoresde.train(denoiser, x, progress=lambda step, words: seen.append((step, words())), **options)
    assert [step for step, _ in seen] == list(range(1, 101)) and seen[0][1].startswith("step 1/100  loss ")


@pytest.mark.parametrize("value", ["no", 1, None])
def test_another_progress_is_refused(value):
    with pytest.raises(InputError, match="progress="):
        sample(mixture(VP()), DDIM(steps=3), (2, 2), progress=value)
    with pytest.raises(InputError, match="progress="):
        scoresde.train(
            scoresde.Preconditioned(scoresde.nets.MLP((2,), width=8), VP()), torch.randn(9, 2), progress=value
        )


def test_rich_is_not_imported_before_something_is_shown():
    code = (
        "import sys, torch, scoresde\n"
        "m = scoresde.exact.GaussianMixture(torch.ones(1), torch.zeros(1, 2), 0.3, scoresde.VP())\n"
        "scoresde.sample(m, scoresde.sampling.DDIM(steps=3), (2, 2)); print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False" and done.stderr == ""


def test_a_command_in_a_pipe_tells_steps_and_samples(monkeypatch, capfd, tmp_path):
    monkeypatch.setattr(progress, "SHORT", 0.0)
    code, out, err = command(monkeypatch, capfd, tmp_path, *TINY, "sampler.steps=3", "task=full")
    assert code == 0, err
    assert re.search(r"^training: 100 %  step 4/4  loss \d\.\d{4}  validation \d\.\d{4}  in ", out, re.M), out
    assert re.search(r"^sampling \(pc\): 100 %  5 of 5 samples  \d+ evaluations a sample  in ", out, re.M), out
    assert re.search(r"^likelihood \(test\): 100 %  6 of 6 examples  \d+ evaluations an example  in ", out, re.M), out

"""Signals that ask to end are kept back for a step and never swallowed; readers of data leave it to the training."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from commands import ROOT

import scoresde
from scoresde.machine import signals
from scoresde.model import checkpoint
from scoresde.training import loop as room

NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.fixture
def came():
    """The signals that got to the handlers that were there before."""
    found, before = [], {number: signal.getsignal(number) for number in NUMBERS}
    for number in NUMBERS:
        signal.signal(number, lambda number, frame: found.append(number))
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def ask(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_kept_back_and_delivered_once(came, number):
    with signals.held() as keep:
        ask(number)
        assert (keep.number, came) == (number, [])
        keep.deliver(keep.number)
        assert came == [number]
    assert came == [number]
    with pytest.raises(ZeroDivisionError), signals.held():
        ask(number)
        raise ZeroDivisionError  # what went wrong is told, and the signal is heard all the same
    assert came == [number] * 2
    with signals.held():
        ask(number)
        ask(number)  # a second one does not wait
        assert came == [number] * 3
    assert came == [number] * 4
    signal.signal(number, signal.SIG_IGN)
    with signals.held() as keep:
        ask(number)
        assert keep.number == 0


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("at", [2, 6])
def test_a_training_hears_it_at_any_moment(came, tmp_path, monkeypatch, number, at):
    """In a step, and after the last one, while the readers of data end: there is a checkpoint by then."""
    batches = room.batches

    def then(*given, **options):
        for i, batch in enumerate(batches(*given, **options)):
            if i == at:
                ask(number)
            yield batch
        if at == 6:
            ask(number)

    monkeypatch.setattr(room, "batches", then)
    signal.signal(number, lambda number, frame: came.append(checkpoint.load(tmp_path / "checkpoint.pt")["step"]))
    model = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=16, blocks=1), scoresde.VP())
    options = {"steps": 6, "batch_size": 8, "checkpoint_every": 100, "device": "cpu"}
    scoresde.train(model, torch.randn(50, 2), folder=tmp_path, **options)
    assert came == [min(at + 1, 6)]  # the checkpoint, though none was due, is there when the signal is heard


def test_the_command_line_makes_exceptions_of_them(came):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    signals.listen()
    with pytest.raises(signals.Terminated, match="SIGTERM") as caught:
        ask(signal.SIGTERM)
        time.sleep(1)
    assert caught.value.number == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):
        ask(signal.SIGINT)
        time.sleep(1)
    ask(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and came == []


def test_a_reader_of_data_ends_at_the_second_sigterm():
    code = """
import time
from scoresde.machine.signals import patient
patient(0)
print("ready", flush=True)
time.sleep(30)
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    reader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env)
    reader.stdout.readline()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        reader.send_signal(number)
        time.sleep(0.2)
        assert reader.poll() is None
    reader.send_signal(signal.SIGTERM)
    assert reader.wait(10) == 1

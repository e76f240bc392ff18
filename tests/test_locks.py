"""A folder's lock: one at a time, gone with its holder, never in the way, and able to tell that its folder is gone."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import ROOT, held

import scoresde
from scoresde.machine import files, locks

ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def busy(tmp_path):
    """A folder with another process at work in it, and the event that ends it."""
    with held(tmp_path / "m") as end:
        yield tmp_path / "m", end


def test_one_process_at_a_time(busy):
    folder, end = busy
    with pytest.raises(scoresde.InputError, match="another command is at work in"), locks.alone(folder):
        pass
    said = []
    threading.Timer(0.3, end.set).start()
    with locks.alone(folder, wait=True, say=said.append):
        assert said == [f"waiting for the command that is at work in {folder}"]
    assert not list(folder.iterdir())  # the lock's file goes with the lock


def test_a_block_within_a_block_is_its_part_and_another_thread_is_another(tmp_path):
    found = []

    def other():
        try:
            with locks.alone(tmp_path):
                found.append("in")
        except scoresde.InputError:
            found.append("out")

    with locks.alone(tmp_path) as outer:
        with locks.alone(tmp_path / ".." / tmp_path.name) as inner:
            assert inner is outer
        (thread := threading.Thread(target=other)).start()
        thread.join()
        assert found == ["out"] and (tmp_path / ".lock").exists()
    other()
    assert found == ["out", "in"]


def test_what_is_in_the_lock_file_stays_and_a_link_is_not_followed(tmp_path):
    (tmp_path / ".lock").write_text("4711")
    with locks.alone(tmp_path):
        assert (tmp_path / ".lock").read_text() == "4711"
    (tmp_path / "precious").write_text("everything")
    for target in ("precious", "nothing"):
        (tmp_path / ".lock").symlink_to(tmp_path / target)
        with pytest.raises(scoresde.InputError, match=r"\.lock is a link"), locks.alone(tmp_path):
            pass
        (tmp_path / ".lock").unlink()
    assert (tmp_path / "precious").read_text() == "everything" and not (tmp_path / "nothing").exists()
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(scoresde.InputError, match="is not a file"), locks.alone(tmp_path):
        pass


def test_children_of_a_killed_process_do_not_keep_its_lock(tmp_path):
    code = """
import os, sys, time
from scoresde.machine import locks
with locks.alone(sys.argv[1]):
    child = os.fork()
    if not child:
        time.sleep(30)
        os._exit(0)
    print(child, flush=True)
    time.sleep(30)
"""
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "m"], stdout=subprocess.PIPE, env=ENV)
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    try:
        with locks.alone(tmp_path / "m"):
            os.kill(child, 0)  # it is still there
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_leaves_the_block_takes_nothing_away(tmp_path):
    with locks.alone(tmp_path):
        if not (child := os.fork()):
            os._exit(int(bool(locks.over(tmp_path / "x"))))
        assert os.waitpid(child, 0)[1] == 0 and (tmp_path / ".lock").exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_costs_a_line(tmp_path, monkeypatch, number):
    def flock(*given):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    said = []
    with locks.alone(tmp_path, say=said.append), locks.alone(tmp_path, say=said.append) as lock:
        lock.check()
    assert len(said) == 1 and "has no locks" in said[0] and "\n" not in said[0]
    with pytest.warns(UserWarning, match="has no locks"), locks.alone(tmp_path):
        pass
    monkeypatch.setattr(locks.fcntl, "flock", lambda *given: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken"), locks.alone(tmp_path):
        pass


def _moved(folder: Path) -> None:
    folder.rename(folder.with_name("aside"))


def _replaced(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _taken(folder: Path) -> None:
    _replaced(folder)
    (folder / ".lock").touch()


@pytest.mark.parametrize("change", [shutil.rmtree, _moved, _replaced, _taken])
def test_a_folder_that_was_taken_away_is_told_and_nothing_is_written(tmp_path, change):
    folder = tmp_path / "m"
    with locks.alone(folder):
        files.write_json(folder / "a.json", {})
        files.append(folder / "rows.jsonl", "{}")
        change(folder)
        there = {p.name for p in folder.iterdir()} if folder.exists() else None
        for write in (files.write_json, lambda path, value: files.append(path, "{}")):
            with pytest.raises(scoresde.InputError, match="m was removed, moved or replaced while this command"):
                write(folder / "a.json", {})
    assert there == ({p.name for p in folder.iterdir()} if folder.exists() else None)


def test_a_lock_file_that_somebody_tidied_away_stops_nothing_until_another_comes(tmp_path):
    with locks.alone(tmp_path) as lock:
        (tmp_path / ".lock").unlink()
        lock.check()
        (tmp_path / ".lock").touch()
        with pytest.raises(scoresde.InputError, match="replaced"):
            lock.check()


def test_who_waits_in_a_folder_that_its_holder_removes_gets_a_new_one(busy):
    folder, end = busy
    got = []

    def wait():
        with locks.alone(folder, wait=True, say=lambda words: None) as lock:
            lock.check()
            got.append((folder / ".lock").exists())

    (thread := threading.Thread(target=wait)).start()
    time.sleep(0.3)
    shutil.rmtree(folder)
    end.set()
    thread.join(30)
    assert got == [True]


WINDOWS = """
import os, signal, sys, threading, types
import hydra, random, scipy.special, torch, torchsde
lockers = {}
def locking(file, how, n):
    key = os.fstat(file).st_ino
    if how == 3 and lockers.pop(key, None) != file:
        raise PermissionError(13, "not locked")
    if how == 2 and lockers.setdefault(key, file) != file:
        raise PermissionError(13, "Permission denied")
sys.modules["fcntl"] = None
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2, LK_UNLCK=3)
for name in ("O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "register_at_fork"):
    delattr(os, name)
del signal.SIGHUP
from pathlib import Path
import scoresde
from scoresde import run
from scoresde.command import ending, main as command
from scoresde.machine import files, locks, signals
folder = Path(sys.argv[1])
def other():
    try:
        with locks.alone(folder):
            print("in")
    except scoresde.InputError as error:
        print(error)
with locks.alone(folder), locks.alone(folder):
    files.write_json(folder / "a.json", {"a": 1})
    (t := threading.Thread(target=other)).start()
    t.join()
other()
(folder / ".lock").symlink_to(folder / "a.json")
other()
print(files.read_json(folder / "a.json"), ending.missing("fcntl"))
"""


def test_windows_has_other_locks(tmp_path):
    done = subprocess.run([sys.executable, "-c", WINDOWS, tmp_path / "m"], capture_output=True, text=True, env=ENV)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 4, done
    assert "another command is at work" in lines[0] and lines[1] == "in" and "is a link" in lines[2]
    assert lines[3].startswith("{'a': 1} ") and "pip" not in lines[3]

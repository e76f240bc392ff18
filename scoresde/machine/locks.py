"""One command at a time in a folder, and whether that folder is still the one it was."""

import contextlib
import errno
import functools
import operator
import os
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import InputError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    import msvcrt

    fcntl = None

NAME = ".lock"
BUSY = (errno.EAGAIN, errno.EWOULDBLOCK) if fcntl else (errno.EACCES, errno.EDEADLK)
WITHOUT = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)  # what a file system without locks answers
PAUSE = 0.2  # seconds between two looks at a lock that another holds
# A link is not followed, a pipe not waited for, a child process not burdened.
_FLAGS = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOINHERIT", "O_BINARY")
SAFELY = functools.reduce(operator.or_, (getattr(os, name, 0) for name in _FLAGS))
_HELD: dict[tuple[str, int], "Lock"] = {}  # by the real path of the folder, and the thread


class Lock:
    """A folder's lock, held: `alone` makes it.

    Arguments:
        folder: the folder, which is there.
        file: the descriptor of the lock file in it.
        sure: whether the file system has locks, so that nobody else can hold it.
    """

    def __init__(self, folder: Path, file: int, sure: bool):
        self.given, self.folder = folder, Path(os.path.abspath(folder))
        self.path = self.folder / NAME
        # Open, so that no later folder can get its number.
        here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY) if hasattr(os, "O_DIRECTORY") else None
        self.file, self.here, self.sure = file, here, sure

    def check(self) -> None:
        """Raises `InputError` if the folder, or the lock in it, is no longer the one that was locked."""
        there = _same(self.path, self.file)
        if there is False or (self.here is not None and not _same(self.folder, self.here)):
            raise InputError(
                f"{self.given} was removed, moved or replaced while this command was at work in it: nothing more is "
                "written there; start again, there or in another folder"
            )

    def release(self) -> None:
        """Lets go of the lock, and removes its file."""
        if self.file is None:  # a forked child, which never held it
            return
        with contextlib.suppress(OSError):
            ours = self.sure and _same(self.path, self.file)
            if fcntl is None:
                os.lseek(self.file, 0, os.SEEK_SET)
                msvcrt.locking(self.file, msvcrt.LK_UNLCK, 1)
                self.close()  # an open file could not be removed
            if ours:
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Closes the files: the lock goes with the last process that has them open."""
        for descriptor in (self.file, self.here):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self.file = self.here = None


@contextlib.contextmanager
def alone(folder: str | Path, wait: bool = False, say: Callable[[str], None] | None = None) -> Iterator[Lock]:
    """Holds the lock of a folder, which is made if need be, while the block runs.

    Within a block of the same thread a second one on the same folder is the first one's part.  A process that dies
    lets go of it at once, whatever its children do, as forked children close it.  Where the file system has no locks
    a line says so, and the work goes on.

    Arguments:
        folder: the folder.  The lock is the file .lock in it, which is removed at the end.
        wait: wait for another command to end, in place of an error.
        say: who gets the lines; by default they are warnings.

    Raises:
        InputError: another command is at work in the folder, or .lock is not a file.
        OSError: the folder cannot be made, or written to.
    """
    say = say or (lambda words: warnings.warn(words, stacklevel=6))
    key = (os.path.realpath(folder), threading.get_ident())
    if key in _HELD:
        yield _HELD[key]
        return
    lock = _HELD[key] = _taken(Path(folder), wait, say)
    try:
        yield lock
    finally:
        _HELD.pop(key, None)
        lock.release()


def over(path: Path) -> list[Lock]:
    """The locks that this process holds on the folders around an absolute path, the innermost first."""
    found = [lock for lock in [*_HELD.values()] if path.is_relative_to(lock.folder)]
    return sorted(found, key=lambda lock: -len(lock.folder.parts))


def _taken(folder: Path, wait: bool, say: Callable[[str], None]) -> Lock:
    told = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = opened(folder / NAME, os.O_RDWR | os.O_CREAT)
        try:
            free = _try(file)
            if free is None:
                say(f"warning: the file system of {folder} has no locks: let no second command work there meanwhile")
            if free is not False and _same(folder / NAME, file):  # else whoever held it has just removed it
                return Lock(folder, file, free is not None)
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        if free is False and not wait:
            raise InputError(f"another command is at work in {folder}: wait for its end, or use another folder")
        if free is False and not told:
            say(f"waiting for the command that is at work in {folder}")
            told = True
        time.sleep(PAUSE if free is False else 0)


def opened(path: Path, flags: int) -> int:
    """A descriptor of a file; what is in it stays.  Raises `InputError` for a link, a pipe or whatever is no file."""
    try:
        if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        file = os.open(path, flags | SAFELY, 0o666)
    except OSError:
        if path.is_symlink():
            raise InputError(
                f"{path} is a link, which is not followed: remove it, or put a file in its place"
            ) from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise InputError(f"{path} is not a file: remove it")
    return file


def _try(file: int) -> bool | None:
    """Whether the lock was free and is ours now; None where the file system has no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.lseek(file, 0, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in BUSY:
            return False
        if error.errno in WITHOUT:
            return None
        raise
    return True


def _same(path: Path, descriptor: int) -> bool | None:
    """Whether a path is the open file; None if there is nothing."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ESTALE:  # another machine removed it
            return False
        raise


def _let_go() -> None:
    """In a forked child: what its parent holds is not its own."""
    for lock in _HELD.values():
        lock.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

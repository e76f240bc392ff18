"""Files that are there as a whole or not at all, and one reader for the small ones, which believes nothing of them.

A folder's own files are opened without following links, and new ones are made by nobody else.
"""

import contextlib
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError
from . import locks

LARGEST = 1 << 24  # bytes of a JSON file, or of a line of rows, that is read
DEEPEST = 32  # lists and objects within each other
Kind = type | Callable[[Any], bool]
_NO = object()


def write(path: Path, save: Callable[[BinaryIO], Any], ready: Callable[[], None] = lambda: None) -> None:
    """Writes a file under a passing name, flushes it to the disk and renames it: `path` is never half-written.

    Arguments:
        path: the file; the folder is made if need be.
        save: writes to the open file.
        ready: called when all is on the disk, before the renaming.

    Raises:
        InputError: the folder whose lock is held was taken away meanwhile, or a link stands in the way.
        OSError: the disk is full, or fails.
    """
    check(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = passing_name(path)
    try:
        with _named(path), os.fdopen(locks.opened(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        check(path)
        ready()
        os.replace(passing, path)
    finally:
        with contextlib.suppress(OSError):
            passing.unlink()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """A full disk says only that it is full: here it says where.

    torch's writer, which then closes a file that is not whole, complains of that instead: what it met is told.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        met = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(met, OSError) and met.errno is not None and met.filename is None:
            met.filename = str(path)
        if met is not error and isinstance(met, OSError):
            raise met from None
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes plain types as JSON, as a whole or not at all; numbers that are not finite are null."""
    write(path, lambda file: file.write((to_json(value, indent=2) + "\n").encode()))


def append(path: Path, line: str) -> None:
    """Adds a line to a file, which is made if need be; half a line at its end, of a killed process, is ended before.

    Raises `InputError` where `path` is a link or no file, or its folder was taken away.
    """
    check(path)
    with _named(path), os.fdopen(locks.opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode())


def to_json(value: Any, indent: int | None = None) -> str:
    """Plain types as JSON that every reader takes: NaN and infinities, which JSON has no word for, are null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


def check(path: Path) -> None:
    """To be called before a change to `path`, which lies in a folder whose lock this process may hold.

    Raises `InputError` if that folder was removed or replaced meanwhile, or has a link on the way to `path`.
    """
    path = Path(os.path.abspath(path))
    for lock in locks.over(path):
        lock.check()
        for folder in path.parents[: len(path.parts) - len(lock.folder.parts) - 1]:
            if folder.is_symlink():
                raise InputError(f"{folder} is a link, and nothing is written through it: remove it")


def passing_name(path: Path) -> Path:
    """A new name beside `path` for what is being written."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.passing")


def sweep(folder: Path) -> None:
    """Removes what killed processes were writing in and beneath a folder; only for whoever holds its lock.

    Folders beneath that have a lock of their own are left alone, and so is what is behind links.
    """
    for path in _own(folder):
        if path.name.startswith(".") and path.name.endswith(".passing"):
            path.unlink(missing_ok=True)


def _own(folder: Path, beneath: bool = False) -> Iterator[Path]:
    with contextlib.suppress(OSError):  # removed meanwhile
        entries = [*os.scandir(folder)]
        if beneath and (folder / locks.NAME).exists():  # looked for after its files, as it was there before them
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _own(folder / entry.name, True)
            else:
                yield folder / entry.name


def reading(path: Path) -> BinaryIO:
    """Opens a file to read.  Raises `InputError` for a link, a pipe and whatever else is no file."""
    return os.fdopen(locks.opened(path, os.O_RDONLY), "rb")


def list_of(kind: Kind) -> Callable[[Any], bool]:
    """The kind of a list all of whose items are of a kind."""
    return lambda value: isinstance(value, list) and all(_is(v, kind) for v in value)


def dict_of(kind: Kind) -> Callable[[Any], bool]:
    """The kind of an object all of whose values are of a kind."""
    return lambda value: isinstance(value, dict) and all(_is(v, kind) for v in value.values())


def _is(value: Any, kind: Kind) -> bool:
    if not isinstance(kind, type):
        return kind(value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def read_json(
    path: Path,
    needs: Mapping[str, Kind] | None = None,
    remedy: str = "put back a copy, or remove it",
    default: Any = _NO,
    say: Callable[[str], None] = lambda words: None,
) -> Any:
    """The object in a JSON file that has at least some keys.

    Arguments:
        path: the file.
        needs: for each key that has to be there its kind: a type (`float` takes finite numbers, whole ones too; `int`
            no booleans), or a function that says whether a value is one.
        remedy: what to do about a damaged file, for the error.
        default: what a file that is missing or damaged gives in place of an error.
        say: who is told, in a line, that a file was damaged and the default stands for it.

    Returns:
        A dictionary, or `default`.

    Raises:
        InputError: the file is missing, damaged, too large, a link, or lacks something.
        OSError: the disk fails.
    """
    try:
        return _object(path, needs or {})
    except FileNotFoundError:
        if default is _NO:
            raise InputError(f"{path} does not exist") from None
    except OSError as error:
        if default is _NO:
            raise
        say(f"{path} cannot be read ({error.strerror}): it is passed over")
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) if isinstance(error, InputError) else f"{path} is damaged ({_reason(error)})"
        if default is _NO:
            raise InputError(f"{reason}: {remedy}") from None
        say(f"{reason}: it is passed over")
    return default


def read_rows(path: Path, needs: Mapping[str, Kind] | None = None) -> list[dict]:
    """The objects in a file of JSON lines that have the keys that `read_json` would ask for; none without a file.

    What a kill or a full disk cut short, or is no such object for another reason, is passed over.  Raises `InputError`
    where `path` is a link or no file.
    """
    found = []
    with contextlib.suppress(FileNotFoundError), reading(path) as file:
        while line := file.readline(LARGEST):
            with contextlib.suppress(ValueError, RecursionError):
                found.append(_parsed(line, needs or {}))
    return found


def _object(path: Path, needs: Mapping[str, Kind]) -> dict:
    with reading(path) as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"it has more than {LARGEST >> 20} MiB")
    return _parsed(data, needs)


def _parsed(data: bytes, needs: Mapping[str, Kind]) -> dict:
    value = json.loads(data, parse_int=lambda digits: int(digits) if len(digits) < 300 else float(digits))
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__} in place of an object")
    if _depth(value) > DEEPEST:
        raise ValueError(f"more than {DEEPEST} lists and objects lie within each other")
    for key, kind in needs.items():
        if key not in value:
            raise ValueError(f"it has no {key}")
        if not _is(value[key], kind):
            raise ValueError(f"its {key} is {repr(value[key])[:40]}")
    return value


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [v for x in level if isinstance(x, dict | list) for v in (x.values() if type(x) is dict else x)]:
        depth += 1
    return depth


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return "it is empty" if not error.doc.strip() else f"no JSON from line {error.lineno} on"
    return str(error).partition("\n")[0][:100] or type(error).__name__

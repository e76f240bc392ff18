"""The image files below a folder, and what else is there."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ....errors import InputError
from ...checks import reason
from . import pixels

CACHES = {"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
CACHES |= {"Thumbs.db", "desktop.ini"}
# Not even opened: there may be one beside each image.
OTHER = re.compile(
    r"\.(txt|jsonl?|[ct]sv|xml|ya?ml|md|html|py|log|ini|db|np[yz]|pth?|mat|pkl|h5|parquet|zip|tar|t?gz|7z|rar|pdf|svg"
    r"|mp[34]|mov|avi|mkv|webm|wav)"
)
WHY = {".heic": " (needs pip install pillow-heif)", ".heif": " (needs pip install pillow-heif)"}
WHY |= dict.fromkeys(pixels.RAW, " (raw of a camera)")


@dataclass
class Found:
    """The image files below a folder, with their headers in the order of their paths, and what else is there."""

    root: Path
    skip: bool
    headers: dict[Path, pixels.Header] = field(default_factory=dict)
    left: Counter = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=pixels.suffixes)

    def files(self) -> list[Path]:
        """All files that are not hidden: of real folders, and then of those behind links that are not read yet."""
        files, seen, folders, links = [], set(), [self.root], []
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            real = folder.resolve()
            if real in seen or (folder != self.root and self.root.resolve().is_relative_to(real)):
                continue  # read already, or a circle
            seen.add(real)
            for path in sorted(_entries(folder)):
                folded = path.is_dir()
                if path.name.startswith(".") or path.name in CACHES:
                    self.left["hidden or cache folder" if folded else "hidden file"] += 1
                elif folded:
                    (links if path.is_symlink() else folders).append(path)
                elif path.is_file():
                    files.append(path)
                else:
                    self.left["broken link" if path.is_symlink() else "special file"] += 1
        return sorted(files, key=lambda path: path.relative_to(self.root).parts)

    def look_at_all(self) -> None:
        """Takes up the headers of all images, and decodes each where broken ones are to be left out."""
        for path in self.files():
            self.look(path)
        for path in list(self.headers) if self.skip else ():
            try:
                pixels.load(path, 3)
            except InputError as error:
                del self.headers[path]
                self._drop(path, error)

    def look(self, path: Path) -> None:
        """Takes up the header of a file, if it is an image."""
        suffix = path.suffix.lower()
        known = suffix in self.known
        if not known and (OTHER.fullmatch(suffix) or suffix in pixels.RAW):
            self.left[suffix + WHY.get(suffix, "")] += 1
            return
        try:
            self.headers[path] = pixels.header(path, known)
        except InputError as error:
            if not known:
                self.left[(suffix or "file without a suffix") + WHY.get(suffix, "")] += 1
            else:
                self._drop(path, error)

    def read(self, files: Iterable[Path]) -> None:
        """Files beside the images that were read, and so are not left out."""
        self.left = self.left - Counter(path.suffix.lower() for path in files)

    def _drop(self, path: Path, error: InputError) -> None:
        if not self.skip:
            raise error
        self.broken.append(str(error).removeprefix(f"{path} ").rpartition(": ")[0] + f": {path.name}")

    def left_out(self) -> str:
        """What was left out, and why."""
        parts = [many(n, what) for what, n in sorted(self.left.items())]
        if self.broken:
            more = ", ..." if len(self.broken) > 3 else ""
            parts.append(f"{len(self.broken)} broken ({'; '.join(self.broken[:3])}{more})")
        return ", ".join(parts)

    def note(self, background: str) -> str:
        """What was taken and what was left out, in one line."""
        count: Callable = lambda is_so: sum(map(is_so, self.headers.values()))
        text = f"{many(len(self.headers), 'image')} in {many(len({p.parent for p in self.headers}), 'folder')}"
        moves, clear = count(lambda h: h.moves), count(lambda h: h.clear)
        text += f", {many(moves, 'animation')} by the first frame" * bool(moves)
        known = {"drop": "with the colours that it hides", "keep": "which is the last channel"}
        over = known.get(background, f"over {background}")
        text += f", {clear} with transparency, {over}" * bool(clear)
        return text + (f"; left out: {self.left_out()}" if self.left_out() else "")


def _entries(folder: Path) -> list[Path]:
    try:
        return [folder / entry for entry in os.listdir(folder)]
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({reason(error)}): allow it, or move it away") from error


def many(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 or what.startswith('.') else 's'}"

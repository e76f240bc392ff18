"""The page of many runs: whatever happens to it, the command has done its work."""

from pathlib import Path

from .. import report
from ..tracking.report import say


def leave(folder: Path) -> None:
    """Writes report.html into the folder of a sweep, a search or a comparison, and says where."""
    try:
        say(f"report  {report.write(folder)}")
    except Exception as error:  # of a full disk, or of whatever the folder holds
        say(f"report.html was not written ({type(error).__name__}: {error})")

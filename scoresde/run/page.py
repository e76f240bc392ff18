"""The page that a command leaves in its model's folder: whatever happens to it, the command has done its work."""

from pathlib import Path

from .. import report
from .base import Run


def summaries(folder: Path) -> dict[Path, int]:
    """When each summary in and beneath a model's folder was written, in nanoseconds."""
    found = {}
    for path in (folder / "summary.json", *folder.glob("*/summary.json")):
        try:
            found[path] = path.stat().st_mtime_ns
        except OSError:  # there is none
            continue
    return found


def leave(run: Run, before: dict[Path, int]) -> None:
    """Writes report.html where a task has changed the folder, and machine.json beside each summary that it wrote.

    `before` is what `summaries` said before the task.  Nothing that goes wrong with it is an error of the command.
    """
    if not run.lead or not run.made:
        return
    try:
        for path, when in summaries(run.folder).items():
            if before.get(path) != when:
                report.note_machine(path.parent)
        held = {
            name: run.__dict__[key] for name, key in (("model", "model"), ("data", "loaded")) if key in run.__dict__
        }
        path = report.write(
            run.folder, None if held.get("data") is not None else False, run.config.trust is True, **held
        )
        run.results.append(("report", str(path)))
    except Exception as error:  # of a full disk, or of whatever the folder holds
        run.say(f"report.html was not written ({type(error).__name__}: {error})")

"""report.html: what a folder holds, on one page that asks nobody for anything.

`page(folder)` is the page of a model's folder or of a sweep's, `write(folder)` puts it there.  The room knows folders
and files, and no command; what a folder says is escaped, and nothing of it is run.
"""

from .model import note_machine, page, write

__all__ = ["note_machine", "page", "write"]

"""One command: its config, its model folder, its tracker, and what it prints; and how its task is run.

`base.py`: `Run` and `Task`; `trackers.py`: its trackers; `execute.py`: a task within the folder's lock; `within.py`: a
command within a command, and what a training begins with.  It may import all but the tasks.
"""

from .base import Run, Task
from .execute import execute, missing
from .within import Within, begun

__all__ = ["Run", "Task", "Within", "begun", "execute", "missing"]

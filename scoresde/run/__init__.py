"""One command: its config, its model folder, its tracker, and what it prints; and how its task is run.

`base.py`: `Run` and `Task`; `execute.py`: a task within the folder's lock; `begun.py`: what a training
begins with, trained first.  It may import all but the tasks.
"""

from .base import Run, Task
from .begun import begun, look
from .execute import execute, missing

__all__ = ["Run", "Task", "begun", "execute", "look", "missing"]

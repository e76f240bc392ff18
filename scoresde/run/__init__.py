"""One command: its config, its model folder, its tracker, and what it prints; and how its task is run.

`base.py`: `Run` and `Task`; `execute.py`: a task within the folder's lock; `within.py`: a command within a command;
`begun.py`: what a training begins with, trained first.  It may import all but the tasks.
"""

from .base import Run, Task
from .begun import begun, look
from .execute import execute, missing
from .within import Within

__all__ = ["Run", "Task", "Within", "begun", "execute", "look", "missing"]

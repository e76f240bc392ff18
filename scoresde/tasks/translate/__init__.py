"""The task that translates pictures: `seen.py`: which, and what the model is told of them; `task.py`: its samples."""

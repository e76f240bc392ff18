"""The task that samples a cascade: `settings.py`: what is said of a stage; `task.py`: its samples, which survive."""

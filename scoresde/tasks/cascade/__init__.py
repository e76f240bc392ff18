"""The task that samples a cascade: `settings.py`: what is said of a stage; `task.py`: its samples, which survive;
`judged.py`: whether they are what they were told."""

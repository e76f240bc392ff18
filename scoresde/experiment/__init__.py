"""The running of things: build, train, checkpoint, track, picture, report.

Only this room and run.py know Hydra, accelerate, wandb and matplotlib.
"""

"""The running of things: build, train, checkpoint, track, picture, report.  Only this room knows Hydra, accelerate, wandb."""

"""What a command does with a model, a task each: to train, sample, score, tune and interpolate it; `look/`: to look."""

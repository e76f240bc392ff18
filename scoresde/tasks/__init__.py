"""What a command does with a model, a task each: to train, sample, score, evaluate, tune and interpolate it."""

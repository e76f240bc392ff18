"""What a command does with a model, a task each: to train, sample, score, tune, interpolate, translate pictures by it;
`look/`: to look at it."""

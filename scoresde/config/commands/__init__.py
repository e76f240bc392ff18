"""What a config says of a command, and not of a model: commands within it, a sweep's jobs, settings in no group."""

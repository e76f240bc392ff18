"""The command line: words to configs, configs to tasks, and how it ends."""

"""Many runs: one table of them, and searches for the best settings."""

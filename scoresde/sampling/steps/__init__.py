"""Fixed steps: deterministic, stochastic, and predictor-corrector."""

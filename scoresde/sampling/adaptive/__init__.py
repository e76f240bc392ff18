"""Adaptive steps: the probability flow, there and back, and reverse SDEs."""

"""A problem with an exact solution for the laws of scoresde.ode: rows of harmonic oscillators."""

import torch

from scoresde.ode import integrate


def full(value, n):
    return torch.full((n,), value, dtype=torch.float64)


class Oscillators:
    """y'' = -w^2 y for the frequency w of each row, as (B, 2); counts the evaluations of every row."""

    def __init__(self, w):
        self.w, self.counts = w, torch.zeros(len(w), dtype=torch.long)

    def __call__(self, t, y, rows):
        assert len(t) == len(rows) == len(y[0])
        self.counts[rows] += 1
        w = self.w[rows]
        return (torch.stack([y[0][:, 1], -(w**2) * y[0][:, 0]], 1),)

    def exact(self, t):
        return torch.stack([(self.w * t).cos(), -self.w * (self.w * t).sin()], 1)


def solve(w, t0=0.0, t1=1.0, tolerance=1e-6, **kwargs):
    f = Oscillators(torch.as_tensor(w, dtype=torch.float64))
    start = f.exact(full(t0, len(w)))
    (y,), nfe = integrate(f, (start,), full(t0, len(w)), full(t1, len(w)), tolerance, tolerance, **kwargs)
    return f, y, nfe

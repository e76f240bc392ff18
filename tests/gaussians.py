"""Pairs of Gaussians with known distances, and how often an interval holds them."""

import math

import numpy as np
import scipy.linalg
import torch
from scipy.special import gamma, hyp1f1

from scoresde import metrics

RBF = metrics.RBF(2.0)


class Pair:
    """N(0, C_x) and N(shift, C_y) in d dimensions: `draw(n, seed)` gives n rows of each."""

    def __init__(self, d: int, shift: float, scale: float, correlated: bool = True, seed: int = 0):
        a = torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) / math.sqrt(d)
        root = torch.eye(d).double() + (0.5 * a if correlated else 0)
        self.d, self.roots = d, (root, scale * (root.T if scale != 1 else root))
        self.means = (torch.zeros(d).double(), torch.full((d,), shift / math.sqrt(d)).double())
        self.covs = tuple(r @ r.T for r in self.roots)

    def draw(self, n: int, seed: int, m: int | None = None):
        generator = torch.Generator().manual_seed(seed)
        z = [torch.randn(k, self.d, dtype=torch.float64, generator=generator) for k in (n, m or n)]
        return [v @ r.T + mean for v, r, mean in zip(z, self.roots, self.means, strict=True)]

    def frechet(self) -> float:
        (a, b), (ca, cb) = self.means, self.covs
        root = scipy.linalg.sqrtm((ca @ cb).numpy()).real
        return float(((a - b) ** 2).sum() + ca.trace() + cb.trace() - 2 * np.trace(root))

    def _mmd(self, of) -> float:
        return of(0, 0) + of(1, 1) - 2 * of(0, 1)

    def kid(self) -> float:
        """E (x.y / d + 1)^3 by the first three moments."""

        def third(i):
            m, c = self.means[i], self.covs[i]
            out = torch.einsum("i,j,k->ijk", m, m, m)
            for order in ("i,jk->ijk", "j,ik->ijk", "k,ij->ijk"):
                out = out + torch.einsum(order, m, c)
            return out

        def of(i, j):
            second = [c + torch.outer(m, m) for m, c in zip(self.means, self.covs, strict=True)]
            dots = (self.means[i] @ self.means[j], (second[i] * second[j]).sum(), (third(i) * third(j)).sum())
            return float(1 + 3 * dots[0] / self.d + 3 * dots[1] / self.d**2 + dots[2] / self.d**3)

        return self._mmd(of)

    def mmd(self) -> float:
        def of(i, j):
            s2, d = RBF.bandwidth**2, self.means[i] - self.means[j]
            wide = (self.covs[i] + self.covs[j]) / s2 + torch.eye(self.d)
            return float(torch.exp(-d @ torch.linalg.solve(wide, d) / (2 * s2)) / torch.linalg.det(wide).sqrt())

        return self._mmd(of)

    def energy(self) -> float:
        """Of isotropic Gaussians: the mean of a noncentral chi."""

        def of(i, j):
            s2 = float(self.covs[i][0, 0] + self.covs[j][0, 0])
            shift = float(((self.means[i] - self.means[j]) ** 2).sum())
            chi = math.sqrt(2 * s2) * gamma((self.d + 1) / 2) / gamma(self.d / 2)
            return -chi * hyp1f1(-0.5, self.d / 2, -shift / (2 * s2))

        return float(self._mmd(of))

    def sliced(self, directions: int = 200_000) -> float:
        u = torch.randn(directions, self.d, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        u = u / u.norm(dim=1, keepdim=True)
        widths = [((u @ c) * u).sum(1).sqrt() for c in self.covs]
        shift = u @ (self.means[0] - self.means[1])
        return float((shift**2 + (widths[0] - widths[1]) ** 2).mean().sqrt())


FAR, SAME = (0.5, 1.3), (0.0, 1.0)
# name: (a metric of x, y), the truth, the pair, n, m
KNOWN = {
    "frechet": (metrics.frechet, Pair.frechet, Pair(8, *FAR), 300, 300),
    "frechet, equal": (metrics.frechet, Pair.frechet, Pair(8, *SAME), 300, 300),
    "frechet, 32 dimensions": (metrics.frechet, Pair.frechet, Pair(32, *FAR), 1000, 300),
    "kid": (metrics.kid, Pair.kid, Pair(8, *FAR), 300, 200),
    "kid, equal": (metrics.kid, Pair.kid, Pair(8, *SAME), 300, 200),
    "mmd": (lambda x, y: metrics.mmd(x, y, RBF), Pair.mmd, Pair(8, *FAR), 300, 200),
    "mmd, equal": (lambda x, y: metrics.mmd(x, y, RBF), Pair.mmd, Pair(8, *SAME), 300, 200),
    "energy": (metrics.energy, Pair.energy, Pair(8, *FAR, correlated=False), 300, 200),
    "energy, equal": (metrics.energy, Pair.energy, Pair(8, *SAME, correlated=False), 300, 200),
    "sliced": (metrics.sliced_wasserstein, Pair.sliced, Pair(8, *FAR), 300, 200),
    "sliced, equal": (metrics.sliced_wasserstein, lambda pair: 0.0, Pair(8, *SAME), 300, 200),
}
_near = {
    f"{name}{words}": (getattr(metrics, name), None, Pair(8, *how), 300, 200)
    for name in ("precision", "recall", "density", "coverage")
    for words, how in (("", FAR), (", equal", SAME))
}
# Here the truth is the expectation of the estimator at this n and m, from repeats of its own.
EXPECTED = _near | {
    "wasserstein": (metrics.wasserstein, None, Pair(3, *FAR), 150, 150),
    "wasserstein, equal": (metrics.wasserstein, None, Pair(3, *SAME), 150, 150),
    "c2st": (lambda x, y: metrics.c2st(x, y, 100), None, Pair(8, *FAR), 300, 300),
    "c2st, equal": (lambda x, y: metrics.c2st(x, y, 100), None, Pair(8, *SAME), 300, 300),
}


def memorisation(x, y):
    train = Pair(8, *SAME).draw(200, 99)[0]
    return metrics.memorisation(*(metrics.nearest(v, train)[:, 0] for v in (x, y)))


def copies(x, y):
    train = Pair(8, *SAME).draw(200, 99)[0]
    return metrics.copies(*(metrics.nearest(v, train) for v in (x, y)), ratio=0.8)


EXPECTED |= {
    "memorisation": (memorisation, None, Pair(8, 0.0, 0.8), 300, 200),
    "copies": (copies, None, Pair(8, 0.0, 0.8), 300, 200),
}


def covered(name: str, repeats: int = 100, first: int = 0) -> tuple[int, float]:
    """In how many of the repeats the 95 % interval held the truth, and the truth."""
    metric, truth, pair, n, m = (KNOWN | EXPECTED)[name]
    if truth is None:
        values = [metric(*pair.draw(n, 10**6 + i, m)).value for i in range(3 * repeats)]
        held = float(np.mean(values))
    else:
        held = truth(pair)
    return sum(held in metric(*pair.draw(n, first + i, m)) for i in range(repeats)), held


if __name__ == "__main__":
    import sys
    import time

    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    for name in KNOWN | EXPECTED:
        if len(sys.argv) > 2 and not any(word in name for word in sys.argv[2].split(",")):
            continue
        began = time.perf_counter()
        count, truth = covered(name, repeats)
        print(f"{name:28s} {count:4d} of {repeats}  truth {truth:.4g}  {time.perf_counter() - began:.0f} s", flush=True)

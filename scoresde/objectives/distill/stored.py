"""Pairs of a noise and of where the teacher's flow ends from it: made once, and kept whole in the training's folder."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...data import Batch, Data, collate
from ...denoiser import GUIDANCE, Denoiser, Given
from ...model.kept.rows import PAIRS, once
from ...sampling import Adams, Sampler, noises, sample
from ...sde import SDE
from ...settings import Count
from ..denoising import dropped_rows
from .base import Distilled, Drawn
from .look import led, told
from .times import spread


def pairs(
    teacher: Denoiser, n: int | Sequence[int], sampler: Sampler | None = None, seed: int = 0, cond: Given = None
) -> tuple[Tensor, Tensor]:
    """Noises, and where a teacher's flow ends that begins there.

    Luhman, Luhman (2021), Knowledge Distillation in Iterative Generative Models, arXiv 2101.02388.

    Arguments:
        teacher: the model, guided or not.
        n: how many; the whole shape (n, *shape), of a teacher that does not say the shape of its data.
        sampler: a deterministic one, that ends at t_min with x as it is (last="none"); None: `Adams` of 32 steps.
        seed: of the noises.
        cond: conditions of the teacher, of n rows or of one for all.

    Returns:
        z (n, *shape), standard normal, where x_T = sigma_T z (`SDE.prior`); and x (n, *shape) at t_min.

    Raises:
        InputError: as `sample` does.
    """
    shape = (n, *teacher.shape) if isinstance(n, int) else tuple(n)
    with torch.no_grad():
        ends = sample(teacher, sampler or Adams(steps=32, last="none"), shape, seed, cond=cond)
    return noises(teacher, shape, seed).to(ends.device), ends


class Stored(Distilled):
    """A training on stored pairs of a noise and of where the teacher's flow ends from it.

    They are made before the first step, with conditions of the training items, some of them dropped, and a scale of
    guidance if the student is told one; kept in the folder of the training as pairs.safetensors; and found there when
    it goes on.  A step draws rows of them with replacement: x_0 and eps of the arc cos(phi) x_0 + sin(phi) eps that
    goes through both z_T and its end.

    Arguments:
        student, data, teacher: as in `Distilled`; there is a teacher.
        n: how many pairs.
        steps: of the sampler that makes them, `Adams`.

    Raises:
        InputError: as `Distilled` does; no teacher; a file of pairs that is damaged or that another teacher made.
    """

    alone = False

    def __init__(
        self, student: Denoiser, data: Data, teacher: Denoiser | None = None, n: Count = 5000, steps: Count = 20
    ):
        super().__init__(student, data, teacher)
        self.n, self.steps = n, steps
        self.__dict__["folder"] = None
        self.rows: dict[str, Tensor] = {}

    def within(self, folder: Path | None) -> None:
        self.__dict__["folder"] = folder

    def begin(self, device):
        super().begin(device)
        folder = self.__dict__["folder"]
        about = {"teacher": told(self.teacher)["weights"], "n": self.n, "steps": self.steps}
        about |= {"conditions": list(self.takes), "guidance": self._scales()}
        self.rows = once(None if folder is None else folder / PAIRS, about, lambda: self._make(device))

    def _scales(self) -> list[float]:
        return [] if self.strength is None else [self.strength.low, self.strength.high]

    def _make(self, device: torch.device) -> dict[str, Tensor]:
        n, train = self.n, self.data.train
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            order = torch.cat([torch.randperm(len(train)) for _ in range(-(-n // len(train)))])[:n]
            cond = dict(collate(train, order.tolist(), self.takes).cond) if self.takes else {}
            cond = dropped_rows(cond, self.product.conditions, n, slice(None))
            if self.strength is not None:
                low, high = self._scales()
                cond[GUIDANCE] = low + (high - low) * torch.rand(n, 1)
        teacher, known = led(self.teacher, {k: v.to(device) for k, v in cond.items()})
        z, x = pairs(teacher, (n, *self.data.shape), Adams(steps=self.steps, last="none"), 0, known or None)
        return {"z": z, "x": x} | {f"cond.{k}": v for k, v in cond.items()}

    def draw(self, batch: Batch, size: int, part: slice, turn: str = "") -> Drawn:
        device = batch.x.device
        row = torch.randint(self.n, (size,), device=device)[part].cpu()
        u = spread(size, part, device)
        v = torch.rand(size, device=device).double()[part]
        z, x = (self.rows[name][row].to(device) for name in ("z", "x"))
        x0, eps = arc(z, x, self.product.sde, self.low, self.high)
        cond = {k.removeprefix("cond."): w[row].to(device) for k, w in self.rows.items() if k.startswith("cond.")}
        return Drawn(x0, eps, u, v, cond)


def arc(z: Tensor, x: Tensor, sde: SDE, low: float, high: float) -> tuple[Tensor, Tensor]:
    """x_0 and eps of cos(phi) x_0 + sin(phi) eps through sin(high) z at the angle high and through x / n at low.

    Arguments:
        z: noise (B, *shape), x_T = sigma_T z.
        x: (B, *shape), at t_min.
        sde: whose t_min it is.
        low, high: phi at t_min and at t_max.

    Returns:
        Two tensors (B, *shape).
    """
    last, first = sde.at(sde.t_min), sde.at(sde.t_max)
    there, here = x / last.n, z * (first.sigma / first.n)
    d = math.sin(high - low)
    x0 = (math.sin(high) * there - math.sin(low) * here) / d
    return x0, (math.cos(low) * here - math.cos(high) * there) / d

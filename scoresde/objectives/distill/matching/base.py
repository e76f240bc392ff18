"""What the trainings by distributions share: what a student makes in a step, and who learns its law."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ....data import Batch, Data
from ....denoiser import Denoiser, FlowMap, Preconditioned
from ....model.folder import load
from ....sampling import Jump, Renoise, sample
from ....sde import expand
from ..base import Distilled
from ..times import at
from .parts import begins, energy

FAKE, CRITIC, STUDENT = "fake", "critic", "student"
EDGE = 0.02  # of the angles, at each end, where two denoisers are not compared


class Play(NamedTuple):
    """What a turn is made of, with B rows each.

    x0, eps (B, *shape), u, v (B,) and cond are those of `Drawn`; chain (steps, B, *shape), the noise that each jump of
    the student begins with; other (B, *shape), noise for what it made; k (B,), which of its jumps is the one.
    """

    x0: Tensor
    eps: Tensor
    u: Tensor
    v: Tensor
    cond: dict[str, Tensor]
    chain: Tensor
    other: Tensor
    k: Tensor


class Matching(Distilled):
    """A training of a student that jumps to the data from a few angles phi_1 = phi_T > phi_2 > ..., as in `Renoise`:

        x_0 = D(z_k, phi_k),    z_1 = sin(phi_T) eps,    z_{k+1} = cos(phi_{k+1}) x_0 + sin(phi_{k+1}) eps

    by what is told of the law of its x_0, k drawn for each row.  A subclass names its `turns` and writes `forward`.

    Each validation draws 256 samples in 1, 2 and 4 steps, as far as the student begins from as many angles: `energy_1`
    and so on, the energy distance (squared, without bias) to the ends of the teacher's own flow; `validation` is that
    of the most steps.

    Arguments:
        student: a `FlowMap` that jumps to the data.
        data: whose items come with the student's conditions.
        teacher: a denoiser of the same SDE and conditions.
        steps: how many angles, evenly spaced from that of t_max.
        times: their times in place of that, decreasing from t_max.

    Raises:
        InputError: as `Distilled` does; no teacher; times outside the SDE's.
    """

    lands, alone = ("data",), False

    def __init__(
        self, student: FlowMap, data: Data, teacher: Denoiser | None, steps: int = 1, times: Sequence[float] = ()
    ):
        super().__init__(student, data, teacher)
        found = begins(student.sde, steps, times)
        self.register_buffer("begins", student.sde.angle(torch.tensor(found, dtype=torch.float64)))

    @classmethod
    def student(
        cls, teacher: Denoiser, guidance: tuple[float, float] | None = None, begin: str | None = None, **settings: Any
    ) -> Preconditioned:
        """A student that begins as a trained denoiser, or as another student of it.

        Arguments:
            teacher, guidance: as in `FlowMap.of`.
            begin: the folder of that student, one of consistency say, which knows where noise goes already.
            settings: the others of the method.

        Returns:
            A `FlowMap`.

        Raises:
            InputError: as `FlowMap.of` does; no model in the folder.
        """
        return super().student(teacher if begin is None else load(begin), guidance, **settings)

    def draw(self, batch: Batch, size: int, part: slice, turn: str = "") -> Play:
        drawn, like = super().draw(batch, size, part, turn), batch.x
        whole, options = (size, *like.shape[1:]), {"device": like.device}
        chain = torch.randn(len(self.begins), *whole, dtype=drawn.eps.dtype, **options)[:, part]
        other = torch.randn(whole, dtype=drawn.eps.dtype, **options)[part]
        k = torch.randint(len(self.begins), (size,), **options)[part]
        return Play(*drawn, chain, other, k)

    # -- what the student makes --------------------------------------------------------------------------------------

    def jumped(self, z: Tensor, k: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """x_0 of the student's jump to the data.

        Arguments:
            z: (B, *shape).
            k: from which of its angles (B,).
            cond: the step's conditions.

        Returns:
            (B, *shape).
        """
        phi = self.begins[k]
        f = self.product.frame(z, phi, torch.full_like(phi, self.low), cond)
        return expand(phi.cos(), z) * z - expand(phi.sin(), z) * f

    @torch.no_grad()
    def simulated(self, drawn: Play) -> Tensor:
        """z_k, where the student's own jumps before the k-th lead, as in sampling.

        Arguments:
            drawn: the turn's numbers.

        Returns:
            (B, *shape), without a graph.
        """
        z = drawn.chain[0] * self.begins[0].sin().to(drawn.chain.dtype)
        for j in range(len(self.begins) - 1):
            rows = (drawn.k > j).nonzero()[:, 0]
            if not len(rows):
                break
            x0 = self.jumped(z[rows], torch.full_like(rows, j), {name: v[rows] for name, v in drawn.cond.items()})
            phi = self.begins[j + 1].to(z.dtype)
            z = z.index_copy(0, rows, phi.cos() * x0 + phi.sin() * drawn.chain[j + 1][rows])
        return z

    def given(self, drawn: Play) -> Tensor:
        """z_k, which the student's jump begins from.

        Arguments:
            drawn: the turn's numbers.

        Returns:
            (B, *shape).
        """
        return self.simulated(drawn)

    def generated(self, drawn: Play) -> Tensor:
        """x_0, what the student makes.

        Arguments:
            drawn: the turn's numbers.

        Returns:
            (B, *shape), with a graph.
        """
        return self.jumped(self.given(drawn), drawn.k, drawn.cond)

    # -- who is asked ------------------------------------------------------------------------------------------------

    def compared(self, u: Tensor) -> Tensor:
        """The angles at which two denoisers are compared: uniform, but for the ends.

        Arguments:
            u: uniform numbers (B,).

        Returns:
            (B,).
        """
        return self.low + (self.high - self.low) * (EDGE + (1 - 2 * EDGE) * u)

    def denoised(self, denoiser: Denoiser, z: Tensor, phi: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """D of the teacher or another denoiser of its SDE.

        Arguments:
            denoiser: which.
            z: x / n (B, *shape).
            phi: (B,).
            cond: the step's conditions.

        Returns:
            (B, *shape).
        """
        t = at(self.product.sde, phi)
        x = expand(torch.hypot(*self.product.sde.marginal(t)), z) * z
        if denoiser is self.teacher:
            return self.asked(x, t, cond)
        return denoiser(x, t, {name: value for name, value in cond.items() if name in denoiser.conditions})

    def learned(self, fake: Denoiser, drawn: Play) -> Tensor:
        """The loss of the denoiser that learns the law of what the student makes: |v - v_theta|^2 a coordinate.

        Arguments:
            fake: that denoiser.
            drawn: the turn's numbers.

        Returns:
            (B,).
        """
        with torch.no_grad():
            x0 = self.generated(drawn)
        phi = self.low + (self.high - self.low) * drawn.u
        found = self.denoised(fake, self.noised(x0, drawn.other, phi), phi, drawn.cond)
        return (found - x0).flatten(1).square().mean(1) / phi.sin().square().to(x0.dtype)

    # -- what is looked at -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def check(self, average: FlowMap) -> dict[str, Any]:
        """Figures of the student's samples: see `Matching`."""
        found, ends = {}, self.ends.ends
        options = {"cond": self.ends.cond or None, "device": ends.device, "seed": 1, "progress": False}
        for steps in (1, 2, 4):
            if steps <= len(self.begins):
                sampler = Jump(steps=1) if steps == 1 else Renoise(steps=steps)
                x = sample(average, sampler, tuple(ends.shape), **options)
                found[f"energy_{steps}"] = energy(x, ends)
        return {"validation": found[max(found)]} | found

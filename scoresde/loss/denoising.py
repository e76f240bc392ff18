"""The denoising loss."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ..answers import answered
from ..denoiser import Cond, Denoiser
from ..errors import InputError
from ..sde import SDE, expand, widest
from ..settings import LATER, Checked, Count, OneOf, Positive, Scale
from . import within
from .scales import multiscale, sides
from .spread import DRAWS, spread
from .times import TIMES, Times, draw_of, lognormal, named_times
from .weights import Weighting, edm, named_weight
from .within import Interval

V_ERROR, AROUND_DATA = edm(1.0), lognormal(None, None)


@dataclass(frozen=True)
class DenoisingLoss(Checked):
    """The denoising loss w(t) |D(x_t, t) - x_0|^2 of each row, for x_t = alpha_t x_0 + sigma_t eps.

    It is the mean over the D dimensions of the data (not the sum: learning rate and gradient clipping then do not
    depend on D).  The defaults, the error of v at log(sigma/alpha) ~ N(m, s^2), where m and s follow the data, ask the
    same of the network for every SDE.  Perturbation and residual are in float64 where the device has it: for sub-VP at
    small t they span six digits.

    Vincent (2011), A connection between score matching and denoising autoencoders; Song et al. (2021), arXiv
    2011.13456; Wang, Cheng, Li, Zhu, Zhang (2020), arXiv 2002.07501, the control variate.

    Arguments:
        weight: w, "simple", "likelihood", "edm", "min_snr" or a function (sde, t) -> (B,).
        times: where t is drawn, "uniform", "stratified" (uniform with one number in each of B equal strata, so that a
            batch covers all times), "lognormal", "log_snr", "by_weight" (stratified too), "highest" (t_max alone: plain
            regression on what the model is told), a `Times` or a function (sde, u, t_min) -> t.
        t_min: the first time; None: the SDE's.
        base: parts what is minimised from where it is looked at: with a name or a `Times` the loss is w(t) base(t) /
            times(t) |D - x_0|^2 for t ~ times, of the same expectation E_{t ~ base} w(t) |D - x_0|^2 for every `times`;
            None leaves the ratio out.  "simple" over "log_snr", and "likelihood" over "uniform", are the bound on -log
            p up to constants.
        draw: how the u of a batch are spread: "iid", "stratified", "even" or "antithetic" (see `spread`); None: "iid"
            for "uniform", else "stratified".
        interval: (low, high) of sigma / alpha, within which times are drawn, and those of `base` count: the loss of an
            expert for these noise levels (`guidance.Experts`); None: all.
        control: adds, in rows with sigma / alpha < `control`, a term of mean zero (in its gradient too): with f(x) = (x
            - alpha D) / sigma, the answer for eps, and W = w sigma^2 / alpha^2, the loss W |f(x_t) - eps|^2 becomes W
            (|f(x_t)|^2 - 2 <f(x_t) - f(alpha x_0), eps> + 1).  For sigma small against the scale on which f changes,
            f(x_t) - f(alpha x_0) is of order sigma, and eps, which is what makes the variance grow as weight squared
            over density, cancels.  It costs those rows a second call.
        multiscale: the fewest pixels a side of an error that is made smaller: the loss of pictures of d pixels is then
            sum_s d / s times the mean square of the residual at s = d, d / 2, ... down to these (`scales.multiscale`).
            None: at d alone.

    Raises:
        InputError: a base, or times beside one, without a `log_density`; a control beside several scales; settings out
            of range.
    """

    weight: Weighting = V_ERROR
    times: Annotated[str, OneOf(TIMES)] | Callable = AROUND_DATA
    t_min: Scale | None = None
    base: Annotated[str, OneOf(TIMES)] | Times | None = None
    draw: Annotated[str, OneOf(DRAWS)] | None = None
    control: Positive | None = None
    interval: Annotated[Interval, LATER] = None
    multiscale: Annotated[Count | None, LATER] = None

    def __post_init__(self):
        super().__post_init__()
        if None not in (self.control, self.multiscale):
            raise InputError(
                f"multiscale={self.multiscale}: a control variate is of one scale: control=null", "control"
            )
        within.check(self.interval)
        if self.base is not None:
            for name in ("base", "times"):
                if not hasattr(named_times(getattr(self, name)), "log_density"):
                    words = f"{name}={getattr(self, name)!r} has no log_density, which a base needs"
                    raise InputError(words, name)

    def check(self, shape: Sequence[int]) -> None:
        """Raises `InputError` for items of a `shape` that have no errors at these scales."""
        if self.multiscale is not None:
            sides(shape[1:], self.multiscale)

    @property
    def follows(self) -> bool:
        """Whether its times follow the data: see `fitted`."""
        return isinstance(self.times, lognormal) and None in (self.times.mean, self.times.std)

    def fitted(self, deviations: Tensor) -> "DenoisingLoss":
        """The loss with the times that go with data of these standard deviations, of their principal components.

        Arguments:
            deviations: s (...), above 0, in the model's space.

        Returns:
            This loss, where its times do not follow the data.
        """
        return dataclasses.replace(self, times=self.times.fitted(deviations)) if self.follows else self

    def chosen(self, known: Mapping) -> "DenoisingLoss":
        """The loss with what a description says that its training chose: `mean` and `std` of the times.

        Arguments:
            known: the description.

        Returns:
            This loss, where nothing was chosen.
        """
        found = known.get("chosen")
        if not self.follows or not isinstance(found, Mapping):
            return self
        return dataclasses.replace(self, times=lognormal(found.get("mean"), found.get("std")))

    def sample_times(self, sde: SDE, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Times drawn for a batch.

        Arguments:
            sde: whose times they are.
            n: how many.
            generator: torch's global one by default.

        Returns:
            (n,) in float64, in the order of the strata.
        """
        return self.place(spread(n, self.draw or draw_of(self.times), generator), sde)

    def place(self, u: Tensor, sde: SDE) -> Tensor:
        """The times (B,) of an SDE for u (B,) in (0, 1).

        Raises `InputError` for an answer of `times` that is none, as `weight_at` does for one of `weight`.
        """
        times, start, u = named_times(self.times), self.start(sde), u.double()
        t = times(sde, u, start) if self.interval is None else within.placed(times, sde, u, start, self.interval)
        t = answered(t, u.shape, "times")
        if t.device.type == "cpu":
            low, high = float(t.min()), float(t.max())
            if not (low >= 0 and high <= sde.t_max * (1 + 1e-6)):
                raise InputError(f"times answers with {low:g} to {high:g}: give times in 0..{sde.t_max:g}")
        return t

    def start(self, sde: SDE) -> float:
        """The first time, of an SDE."""
        return sde.t_min if self.t_min is None else self.t_min

    def weight_at(self, sde: SDE, t: Tensor) -> Tensor:
        """The whole weight (B,) of |D - x_0|^2 at t (B,) of an SDE: w(t), times base / times where there is a base."""
        weight = answered(named_weight(self.weight)(sde, t), t.shape, "weight")
        if self.base is None:
            return weight
        start, both = self.start(sde), [named_times(p) for p in (self.base, self.times)]
        base, times = (p.log_density(sde, t, start) for p in both)
        shares = [1.0, 1.0] if self.interval is None else [self._share(p, sde, start) for p in both]
        return weight * (base - times).exp() * (shares[1] / shares[0])

    def _share(self, times: Times, sde: SDE, start: float) -> float:
        """How much of a distribution is within the interval."""
        low, high = within.span(times, sde, start, self.interval)
        return high - low

    def at(self, denoiser: Denoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: Cond = None) -> Tensor:
        """The loss of each row at given times, with given noise.

        Arguments:
            denoiser: the model.
            x0: x_0 (B, *shape), in the model's space.
            t: (B,).
            eps: standard normal numbers (B, *shape).
            cond: tensors by name with B rows each.

        Returns:
            (B,).
        """
        return self._rows(denoiser, x0, t, eps, cond)[0]

    def _rows(self, denoiser: Denoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: Cond) -> tuple[Tensor, Tensor]:
        """The losses (B,), and before any control variate."""
        real = widest(x0.device)
        t, x0, eps = t.to(x0.device, real), x0.to(real), eps.to(real)
        x = denoiser.sde.perturb(x0, t, eps)
        weight = self.weight_at(denoiser.sde, t)
        residual = (denoiser(x, t, cond) - x0) * expand(weight.sqrt(), x0)
        plain = residual.square().flatten(1).mean(1)
        if self.multiscale is not None:
            return multiscale(residual, sides(x0.shape[2:], self.multiscale)), plain
        if self.control is None:
            return plain, plain
        return plain + self._control(denoiser, x0, t, eps, weight, cond), plain

    def _control(self, denoiser: Denoiser, x0: Tensor, t: Tensor, eps: Tensor, weight: Tensor, cond: Cond) -> Tensor:
        """W (2 <f(alpha x_0), eps> - |eps|^2 + 1) of each row (B,), the mean over dimensions; 0 at high noise."""
        log_snr = denoiser.sde.log_snr(t)
        rows = (log_snr > -2 * math.log(self.control)).nonzero()[:, 0]
        total = torch.zeros_like(weight)
        if len(rows) == 0:
            return total
        alpha, sigma = (expand(a, x0) for a in denoiser.sde.marginal(t[rows]))
        x0, eps = x0[rows], eps[rows]
        f = alpha / sigma * (x0 - denoiser(alpha * x0, t[rows], {k: v[rows] for k, v in (cond or {}).items()}))
        term = (2 * f * eps - eps.square() + 1).flatten(1).mean(1)
        return total.index_copy(0, rows, weight[rows] * torch.exp(-log_snr[rows]) * term)

    def __call__(
        self, denoiser: Denoiser, x0: Tensor, t: Tensor | None = None, eps: Tensor | None = None, cond: Cond = None
    ) -> Tensor:
        """The loss of each row.

        With gradients on, times that learn see the errors.

        Arguments:
            denoiser, x0, cond: as in `at`.
            t, eps: as in `at`; by default drawn from torch's global generator.

        Returns:
            (B,).
        """
        sde = denoiser.sde
        t = self.sample_times(sde, len(x0)) if t is None else t
        losses, plain = self._rows(denoiser, x0, t, torch.randn_like(x0) if eps is None else eps, cond)
        if hasattr(self.learner, "observe") and torch.is_grad_enabled():
            t = t.to(plain.device, plain.dtype)
            of_v = plain.detach() / self.weight_at(sde, t) * (1 + sde.log_snr(t).exp())
            self.learner.observe(sde, t, of_v, self.start(sde))
        return losses

    @property
    def learner(self) -> torch.nn.Module | None:
        """The times that learn, if any: these, or those that a `discrete` grid is drawn like."""
        times = getattr(self.times, "of", self.times)
        return times if isinstance(times, torch.nn.Module) else None

    def state(self) -> dict:
        """What the times have learned, tensors by name: empty unless they learn."""
        return self.learner.state_dict() if self.learner is not None else {}

    def load_state(self, state: dict) -> None:
        """Takes the state that `state` gave."""
        if self.learner is not None:
            self.learner.load_state_dict(state)

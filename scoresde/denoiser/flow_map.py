"""A denoiser that is told where its step lands: the model of every few-step method."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..answers import ask
from ..conditions import Kind, Landing, Strength
from ..errors import InputError
from ..sde import SDE, Marginal, as_time, expand
from ..settings import brief
from .base import Cond, Denoiser, rows, weigh
from .levels import levels
from .preconditioned import Preconditioned, Rule

LANDING, GUIDANCE = "landing", "guidance"
Lands = Literal["data", "any"] | Sequence[float] | None


class FlowMap(Preconditioned):
    """A step of DDIM whose denoiser knows where it lands, D(x, t -> s): a jump along the probability flow.

        x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) D(x_t, t -> s)

    With z = x / n, phi = atan(sigma / alpha) and d = phi_t - phi_s the same is, for every SDE,

        z_s = cos(d) z_t - sin(d) F(z_t, phi_t, phi_s),    F = (cos(phi_t) z_t - D) / sin(phi_t)

    so that a jump of no length leaves x as it is, and F = v at d = 0 is the flow's own velocity: a trained denoiser is
    a flow map whose jumps are the steps of DDIM, and where a training of one begins.  Where it lands at the data it is
    a consistency function (Song et al., 2023, arXiv 2303.01469), anywhere a trajectory model, a shortcut or MeanFlow
    (Kim et al., 2024, arXiv 2310.02279; Frans et al., 2024, arXiv 2410.12557; Geng et al., 2025, arXiv 2505.13447), and
    from pure noise in one step the generator of a distribution matching.

    It is no posterior mean: as a denoiser D(x, t) it is where the flow from x_t ends, told to land at t_min.

    Arguments:
        net, sde, rule: as in `Preconditioned`; with lands="any" the network has the condition `LANDING`.
        lands: what it has learned: "data", jumps to t_min from anywhere; "any", jumps to any time; or the decreasing
            times of a chain, jumps from each to the next; None: none, it is a denoiser that was told the scale of its
            guidance.

    Raises:
        InputError: as `Preconditioned` does; a network that does not take what it is to be told; times that do not
            decrease.
    """

    exact = False

    def __init__(self, net: nn.Module, sde: SDE, rule: str | Rule = "v", lands: Lands = "data"):
        super().__init__(net, sde, rule)
        self.lands = lands if lands is None or isinstance(lands, str) else tuple(map(float, lands))
        self.told = next((name for name, kind in self.made.items() if isinstance(kind, Landing)), None)
        if self.lands == "any" and self.told is None:
            words = "the network is not told where it lands: make the flow map with FlowMap.of(teacher, 'any')"
            raise InputError(f"lands='any': {words}", "lands")
        if isinstance(self.lands, tuple) and (
            len(self.lands) < 2 or any(b >= a for a, b in itertools.pairwise(self.lands))
        ):
            raise InputError(f"lands={brief(self.lands)}: give 'data', 'any' or decreasing times", "lands")

    @property
    def settings(self) -> dict[str, Any]:
        """What makes it beside network, SDE and rule."""
        return {"lands": list(self.lands) if isinstance(self.lands, tuple) else self.lands}

    @classmethod
    def of(cls, teacher: Denoiser, lands: Lands = "data", guidance: tuple[float, float] | None = None) -> "FlowMap":
        """The flow map that begins as a trained denoiser: its jumps are the steps of DDIM.

        Arguments:
            teacher: a `Preconditioned`, or a trained model of one; its weights are copied.
            lands: what the flow map is to learn.
            guidance: (low, high) of the scale w that it is to be told as the condition `GUIDANCE`; None: none.

        Returns:
            A `FlowMap` with gradients.  What its network is told beside the teacher's adds nothing yet.

        Raises:
            InputError: a teacher without a network of its own, or one whose network takes no more conditions.
        """
        bare = getattr(teacher, "bare", teacher)
        if not isinstance(bare, Preconditioned) or bare.outputs != 1:
            raise InputError(f"teacher={type(bare).__name__}: give a Preconditioned denoiser", "teacher")
        new: dict[str, Kind] = {LANDING: Landing()} if lands == "any" else {}
        new |= {GUIDANCE: Strength.of(*guidance)} if guidance is not None else {}
        has = {**bare.made, **bare.conditions}
        net = told_more(bare.net, {name: kind for name, kind in new.items() if has.get(name) != kind})
        return cls(net, bare.sde, bare.rule, lands).requires_grad_(True).train()

    def forward(self, x, t, cond=None):
        return self._answer(x, t, self.sde.t_min, cond)

    def landing(self, x, t, s, cond=None):
        """D(x, t -> s), of numbers for times if it has learned the jump.

        Arguments:
            x, t, s, cond: as in `Denoiser.landing`.

        Returns:
            (B, *shape).

        Raises:
            InputError: numbers t and s, no tensors, of a jump that it never learned.
        """
        if not torch.is_tensor(t) and not torch.is_tensor(s):
            self._check(float(t), float(s))
        return self._answer(x, t, s, cond)

    def _answer(self, x: Tensor, t: float | Tensor, s: float | Tensor, cond: Cond) -> Tensor:
        if self.told is not None:
            c = [-self.sde.log_snr(as_time(u)) / 2 for u in (t, s)]
            phi_t, phi_s = (rows(u.exp().atan(), x, torch.float32) for u in c)
            cond = {**(cond or {}), self.told: Landing.numbers(phi_t, phi_s)}
        return super().forward(x, t, cond)

    def _check(self, t: float, s: float) -> None:
        """Raises `InputError` for a jump from t to s that is not among those it has learned."""
        said, end = f"a jump from t={t:.6g} to s={s:.6g}", self.sde.t_min
        if s > t:
            raise InputError(f"{said}: jumps go toward the data, so give an s below t")
        if self.lands == "data" and abs(s - end) > 1e-9 + 1e-6 * end:
            raise InputError(f"{said}: the model has learned jumps to t_min={end:.6g} alone")
        if isinstance(self.lands, tuple):
            near = lambda a, b: abs(a - b) <= 1e-9 + 1e-6 * abs(b)
            if not any(near(t, a) and near(s, b) for a, b in itertools.pairwise(self.lands)):
                known = " -> ".join(f"{a:.4g}" for a in self.lands)
                raise InputError(f"{said}: the model has learned the chain {known} alone")

    def frame(self, z: Tensor, phi_t: Tensor, phi_s: Tensor, cond: Cond = None) -> Tensor:
        """F of the jump in the coordinates that all SDEs share, as trainings take it: all is a function of phi.

        Arguments:
            z: x_t / n_t (B, *shape).
            phi_t, phi_s: the angles (B,), those of the landing not larger.
            cond: as in `forward`.

        Returns:
            (B, *shape); v where the two angles are one.
        """
        sin, cos = phi_t.sin(), phi_t.cos()
        given = dict(cond or {}) | ({} if self.told is None else {self.told: Landing.numbers(phi_t, phi_s).to(z.dtype)})
        c_skip, c_out, c_in = self.rule(cos, sin)
        c, x = (sin / cos).log().to(z.dtype), expand(c_in, z) * z
        known = (given,) if self.conditions or self.made else ()
        if isinstance(self.rule, levels):
            shape = (len(z), self.rule.outputs * z.shape[1], *z.shape[2:])
            answer = ask(self.net, self.net, x, c, *known, shape=shape)
            x0 = self.rule.mean(z, cos.to(z.dtype), sin.to(z.dtype), answer)
        else:
            x0 = weigh(c_skip, z, c_out, ask(self.net, self.net, x, c, *known).to(z.dtype))
        return weigh(cos / sin, z, -1 / sin, x0)


def told_more(net: nn.Module, kinds: dict[str, Kind]) -> nn.Module:
    """A network like another, with its weights, that takes more conditions, which change nothing yet.

    Arguments:
        net: one of `nets`, or of one's own with the argument `conditions`.
        kinds: vectors by name; none: the network is copied as it is.

    Returns:
        The network.

    Raises:
        InputError: one that takes no conditions.
    """
    if not kinds:
        return copy.deepcopy(net)
    arguments = getattr(net, "arguments", {})
    if "conditions" not in arguments:
        words = f"net={type(net).__name__} takes no conditions, and is to be told {' and '.join(kinds)}"
        raise InputError(f"{words}: choose net=unet, mlp, dit or another with conditions", "net")
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = type(net)(**{**arguments, "conditions": {**(arguments["conditions"] or {}), **kinds}})
    made.to(device)
    made.load_state_dict(made.state_dict() | net.state_dict())
    silent(made, kinds)
    return made


@torch.no_grad()
def silent(net: nn.Module, names: dict[str, Kind]) -> None:
    """Has conditions of these names add nothing: the last layers of what reads them become 0."""
    for part in net.modules():
        known = getattr(part, "kinds", None)
        for name in names if isinstance(known, dict) and hasattr(part, "parts") else ():
            last = [layer for layer in part.parts[list(known).index(name)].modules() if isinstance(layer, nn.Linear)]
            nn.init.zeros_(last[-1].weight)
            nn.init.zeros_(last[-1].bias)


def jumped(sde: SDE, x: Tensor, x0: Tensor, t: float | Tensor, s: float | Tensor) -> Tensor:
    """x_s of the jump from x_t with D = x0: a step of DDIM.

    Arguments:
        sde: whose times they are.
        x, x0: (B, *shape).
        t, s: numbers, or (B,).

    Returns:
        (B, *shape).
    """
    if isinstance(t, Marginal) and isinstance(s, Marginal):
        keep = s.sigma / t.sigma
        return weigh(keep, x, s.alpha - t.alpha * keep, x0)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (sde.marginal(u) for u in (t, s))
    keep = sigma_s / sigma_t
    return weigh(keep, x, alpha_s - alpha_t * keep, x0)


def turned(z: Tensor, f: Tensor, d: Tensor) -> Tensor:
    """z_s = cos(d) z - sin(d) F.

    Arguments:
        z: x_t / n_t (B, *shape).
        f: F (B, *shape).
        d: the angles phi_t - phi_s (B,).

    Returns:
        (B, *shape).
    """
    return weigh(d.cos(), z, -d.sin(), f)


def flow_velocity(denoiser: Denoiser, z: Tensor, phi: Tensor, cond: Cond = None) -> Tensor:
    """v = (cos(phi) z - D(n z, t)) / sin(phi): the velocity of the probability flow that all SDEs share.

    Arguments:
        denoiser: the model.
        z: x / n (B, *shape).
        phi: atan(sigma / alpha) (B,).
        cond: conditions by name; None: none, or the model is bound to them.

    Returns:
        (B, *shape).
    """
    sde, cos, sin = denoiser.sde, phi.cos(), phi.sin()
    t = sde.time(-2 * torch.log(sin / cos))
    x0 = denoiser(expand(torch.hypot(*sde.marginal(t)), z) * z, t, *(() if cond is None else (cond,)))
    return weigh(cos / sin, z, -1 / sin, x0)

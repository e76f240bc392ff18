"""Deterministic samplers of diffusers, k-diffusion and azula on one problem: `run(denoiser, x, times, nfe)`.

Each gets the same denoiser in its own terms, walks from x at times[0], and returns x at times[-1], so all share one
start and one end noise level.  No step is computed here: only the tables of noise levels and the scale of x are ours.

- diffusers: a scheduler's own tables have 1000 levels in float32, so `sigmas` (for DDIM `alphas_cumprod`, for IPNDM
  `alphas` and `betas`), public attributes, are filled with the float64 levels of `times`; no clipping, no thresholding.
  Its schedulers of the variance preserving form assume alpha^2 + sigma^2 = 1.
- k-diffusion: x / alpha and sigma / alpha, the last one the end level, no zero appended.  Its stochastic samplers with
  eta = 0 are its deterministic DPM-Solver++ (2S), (2M) and (3M).  `sample_dpm_fast` places its own times.
- azula: a `Schedule` that is the SDE's marginal, a `Denoiser` that is ours, and `timesteps` that are `times`.
"""

import importlib
import sys
import types
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec, module_from_spec

import torch
from torch import Tensor

Run = Callable[..., Tensor]


def every(nfe: int) -> int:
    """One evaluation an interval."""
    return nfe


def half(nfe: int) -> int:
    """Two evaluations an interval."""
    return nfe // 2


def half_up(nfe: int) -> int:
    """Two evaluations an interval, the last one with a single one if the budget is odd."""
    return (nfe + 1) // 2


@dataclass(frozen=True)
class Peer:
    """A sampler by name: `run`, the intervals `steps(nfe)` of a budget, and what it leaves open.

    `below`: a variant that differs from another one only under this many evaluations; `places`: False for a sampler
    that takes the two ends only and places the times between itself; `own`: the name of a spacing that only it has;
    `same`: another peer that computes the same.
    """

    name: str
    run: Run
    steps: Callable[[int], int] = every
    below: int | None = None
    places: bool = True
    own: str = ""
    same: str = ""


def levels(sde, times: list[float]) -> tuple[Tensor, Tensor]:
    """(alpha, sigma / alpha) at `times`, float64."""
    alpha, sigma = sde.marginal(torch.tensor(times, dtype=torch.float64))
    return alpha, sigma / alpha


# diffusers


def _placed(make: Callable, sigmas: Tensor, steps: int):
    scheduler = make()
    scheduler.set_timesteps(steps)
    scheduler.sigmas, scheduler.timesteps = sigmas, torch.arange(len(sigmas) - 1, 0, -1)
    scheduler.set_begin_index(0)
    return scheduler


def preserving(make: Callable) -> Run:
    """A scheduler whose x is the VP one: DPM-Solver, DEIS, UniPC."""

    def run(denoiser, x, times, nfe):
        scheduler = _placed(make, levels(denoiser.sde, times)[1], len(times) - 1)
        for t, label in zip(times, scheduler.timesteps, strict=False):
            x = scheduler.step(denoiser(x, t), label, x, return_dict=False)[0]
        return x

    return run


def exploding(make: Callable, twice: bool = False, edm: bool = False) -> Run:
    """A scheduler whose x is ours over alpha.  `twice`: it lists each inner level twice, for two evaluations a step.

    `edm`: the scheduler's network is preconditioned; for sigma_data = 1 it is v = (alpha x - D) / sigma in x of VP.
    """

    def run(denoiser, x, times, nfe):
        inner = [t for t in times[1:] for _ in range(2 if twice else 1)]
        times = [times[0], *inner]
        alpha, sigma = levels(denoiser.sde, times)
        scheduler = _placed(make, sigma, len(times) - 1)
        scheduler.timesteps = scheduler.timesteps.double()
        y = x / alpha[0]
        for i, label in enumerate(scheduler.timesteps[: nfe if twice else None]):
            x = scheduler.scale_model_input(y, label)
            out = denoiser(x, times[i])
            out = (alpha[i] * x - out) / (sigma[i] * alpha[i]) if edm else out
            y = scheduler.step(out, label, y, return_dict=False)[0]
        return alpha[-1] * y

    return run


def ddim(make: Callable) -> Run:
    """DDIM by its table of alpha^2: one entry a time, the end first."""

    def run(denoiser, x, times, nfe):
        scheduler = make(num_train_timesteps=len(times))
        scheduler.set_timesteps(len(times))
        scheduler.alphas_cumprod = levels(denoiser.sde, times)[0].flip(0) ** 2
        for t, label in zip(times[:-1], range(len(times) - 1, 0, -1), strict=True):
            x = scheduler.step(denoiser(x, t), label, x, return_dict=False)[0]
        return x

    return run


def ipndm(make: Callable) -> Run:
    """IPNDM, whose network is v; its Adams-Bashforth weights are those of equal steps, whatever the times."""

    def run(denoiser, x, times, nfe):
        alpha, ratio = levels(denoiser.sde, times)
        scheduler = make()
        scheduler.set_timesteps(len(times) - 1)
        scheduler.alphas, scheduler.betas = alpha, alpha * ratio
        scheduler.timesteps = torch.arange(len(times) - 1, 0, -1)
        scheduler.set_begin_index(0)
        for i, label in enumerate(scheduler.timesteps):
            v = (alpha[i] * x - denoiser(x, times[i])) / (alpha[i] * ratio[i])
            x = scheduler.step(v, label, x, return_dict=False)[0]
        return x

    return run


def _diffusers() -> list[Peer]:
    import diffusers as d

    d.utils.logging.set_verbosity_error()
    peers = [
        Peer("DDIM", ddim(lambda **k: d.DDIMScheduler(clip_sample=False, prediction_type="sample", **k))),
        Peer("IPNDM", ipndm(d.IPNDMScheduler), own="sine"),
        Peer("LMSDiscrete 4", exploding(lambda: d.LMSDiscreteScheduler(prediction_type="sample"))),
        Peer("HeunDiscrete", exploding(lambda: d.HeunDiscreteScheduler(prediction_type="sample"), twice=True), half_up),
    ]
    edm = dict(sigma_data=1.0, prediction_type="v_prediction")
    peers.append(Peer("EDMEuler", exploding(lambda: d.EDMEulerScheduler(**edm), edm=True)))
    end = dict(prediction_type="sample", final_sigmas_type="sigma_min")

    def add(name: str, cls: type, below: int | None, wrap: Callable, **settings) -> None:
        """A scheduler with and without `lower_order_final`, which many drop from `below` evaluations on."""
        lowered, full = (lambda lower=lower: cls(lower_order_final=lower, **settings) for lower in (True, False))
        peers.extend([Peer(name, wrap(lowered)), Peer(f"{name} full order at the end", wrap(full), below=below)])

    multistep, sample = d.DPMSolverMultistepScheduler, dict(prediction_type="sample")
    end = dict(final_sigmas_type="sigma_min")
    for k in (2, 3):
        edm_solver = lambda make: exploding(make, edm=True)
        add(f"EDMDPMSolver {k}", d.EDMDPMSolverMultistepScheduler, 15, edm_solver, solver_order=k, **end, **edm)
        add(f"DPMSolver++ {k}M", multistep, 15, preserving, solver_order=k, **end, **sample)
        old = dict(algorithm_type="dpmsolver")
        add(f"DPMSolver {k}M", multistep, 15, preserving, solver_order=k, **old, **end, **sample)
        add(f"DEIS {k}", d.DEISMultistepScheduler, 15, preserving, solver_order=k, **sample)
        for b in ("bh1", "bh2"):
            settings = dict(solver_order=k, solver_type=b, **end, **sample)
            add(f"UniPC {k} {b}", d.UniPCMultistepScheduler, None, preserving, **settings)
        settings = dict(solver_order=k, lower_order_final=True, **end, **sample)
        single = lambda settings=settings: d.DPMSolverSinglestepScheduler(**settings)
        peers.append(Peer(f"DPMSolver++ {k}S", preserving(single)))
    add("DPMSolver++ 2M heun", multistep, 15, preserving, solver_type="heun", **end, **sample)
    return peers


# k-diffusion


@contextmanager
def _float64():
    """New tensors are float64, as k-diffusion makes its times with the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _sampling():
    """`k_diffusion.sampling` alone: the package's own __init__ imports training code and its many requirements."""
    if "k_diffusion" not in sys.modules:
        sys.modules["k_diffusion"] = module_from_spec(find_spec("k_diffusion"))
    if find_spec("torchvision") is None:  # its utils import this for pictures only
        for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
            sys.modules[name] = types.ModuleType(name)
        sys.modules["torchvision.transforms"].functional = sys.modules["torchvision.transforms.functional"]
    return importlib.import_module("k_diffusion.sampling")


def karras(sample: Callable, **settings) -> Run:
    """A function sample(model, x, sigmas) of k-diffusion; model(x / alpha, sigma / alpha) is the denoiser."""

    def run(denoiser, x, times, nfe):
        sde = denoiser.sde
        alpha, sigmas = levels(sde, times)

        def model(y, sigma):
            t = sde.time(-2 * torch.log(sigma[0]))
            return denoiser(sde.marginal(t)[0] * y, t)

        with _float64():
            return alpha[-1] * sample(model, x / alpha[0], sigmas, disable=True, **settings)

    return run


def _k_diffusion() -> list[Peer]:
    k = _sampling()
    still = dict(eta=0.0, noise_sampler=lambda a, b: 0.0)
    fast = lambda model, y, s, **o: k.sample_dpm_fast(model, y, s[-1], s[0], len(s) - 1, **o)
    return [
        Peer("sample_heun", karras(k.sample_heun), half),
        Peer("sample_dpm_2", karras(k.sample_dpm_2), half),
        Peer("sample_dpmpp_2s", karras(k.sample_dpmpp_2s_ancestral, **still), half),
        *(Peer(f"sample_lms {order}", karras(k.sample_lms, order=order)) for order in (2, 3, 4)),
        Peer("sample_dpmpp_2m", karras(k.sample_dpmpp_2m)),
        Peer("sample_dpmpp_2m_sde heun eta=0", karras(k.sample_dpmpp_2m_sde, solver_type="heun", **still)),
        Peer("sample_dpmpp_3m_sde eta=0", karras(k.sample_dpmpp_3m_sde, **still)),
        Peer("sample_dpm_fast", karras(fast), places=False),
    ]


# azula


def _azula() -> list[Peer]:
    from azula import denoise, noise, sample

    class Schedule(noise.Schedule):
        def __init__(self, sde):
            self.sde = sde

        def __call__(self, t):
            return self.sde.marginal(t)

    class Denoiser(denoise.Denoiser):
        def __init__(self, denoiser):
            super().__init__()
            self.denoiser, self.schedule = denoiser, Schedule(denoiser.sde)

        def forward(self, x_t, t):
            return denoise.DiracPosterior(mean=self.denoiser(x_t, t))

    def walk(cls: type, **settings) -> Run:
        def run(denoiser, x, times, nfe):
            given = torch.tensor(times, dtype=torch.float64)
            timed = type(cls.__name__, (cls,), {"timesteps": property(lambda self: given)})
            return timed(Denoiser(denoiser), silent=True, **settings)(x)

        return run

    adams = {"zAB": (2, 3, 4), "vAB": (2, 3, 4), "zEAB": (2, 3, 4), "xEAB": (2, 3, 4), "REAB": (2, 3)}
    return [
        Peer("DDIM", walk(sample.DDIMSampler)),
        Peer("Heun", walk(sample.HeunSampler), half),
        *(
            Peer(f"{kind} {order}", walk(getattr(sample, f"{kind}Sampler"), order=order))
            for kind, orders in adams.items()
            for order in orders
        ),
    ]


PACKAGES = {"diffusers": _diffusers, "k_diffusion": _k_diffusion, "azula": _azula}

# The same steps by another package or name; `error_vs_nfe.py --check` compares their end points.
SAME = {
    "diffusers EDMEuler": "diffusers DDIM",
    "diffusers EDMDPMSolver 2": "diffusers DPMSolver++ 2M",
    "diffusers EDMDPMSolver 2 full order at the end": "diffusers DPMSolver++ 2M full order at the end",
    "diffusers EDMDPMSolver 3": "diffusers DPMSolver++ 3M",
    "diffusers EDMDPMSolver 3 full order at the end": "diffusers DPMSolver++ 3M full order at the end",
    "k_diffusion sample_lms 4": "diffusers LMSDiscrete 4",
    "k_diffusion sample_dpmpp_2m": "diffusers DPMSolver++ 2M full order at the end",
    "k_diffusion sample_dpmpp_2m_sde heun eta=0": "diffusers DPMSolver++ 2M heun full order at the end",
    "azula DDIM": "diffusers DDIM",
    "azula Heun": "k_diffusion sample_heun",
    "azula zAB 2": "k_diffusion sample_lms 2",
    "azula zAB 3": "k_diffusion sample_lms 3",
    "azula zAB 4": "k_diffusion sample_lms 4",
    "azula zEAB 2": "diffusers DEIS 2 full order at the end",
    "azula zEAB 3": "diffusers DEIS 3 full order at the end",
    "azula xEAB 2": "diffusers DPMSolver++ 2M heun full order at the end",
}


@cache
def peers() -> dict[str, Peer]:
    """Every sampler of the packages that are installed, by "package name"."""
    found = [package for package in PACKAGES if find_spec(package) is not None]
    named = {f"{package} {peer.name}": peer for package in found for peer in PACKAGES[package]()}
    return {name: replace(peer, same=SAME.get(name, "")) for name, peer in named.items()}

"""Ways through the model: from noise to samples, step by step, and from one latent to another."""

import itertools
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser, Given, bind
from ..errors import InputError
from ..noise import normal
from ..pictures.kinds import Kind
from ..sampling import Jump, from_latent, natural, sample, slerp, to_latent
from .subject import Subject
from .wishes import Walk, Wish, most

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}  # of walks: what is seen does not change below it


@dataclass(frozen=True)
class Frame:
    """The way after `step` of `total`: the time t, x_t and D(x_t, t), each (n, *shape) in the model's space; the
    `samples`, in the data's own values, are in the last one."""

    step: int
    total: int
    t: float
    x: Tensor
    x0: Tensor
    samples: Tensor | None = None


class _Left(Exception):
    """Nobody waits for the samples any more."""


class _Relay:
    """A callback of `sample` that hands on what it is told, until `left` is set."""

    def __init__(self, steps: int):
        self.steps, self.frames, self.left = steps, queue.Queue(maxsize=4), threading.Event()

    def start(self, t: float, x: Tensor, x0: Tensor) -> None:
        """Tells x_T."""
        self(-1, t, x, x0)

    def __call__(self, step: int, t: float, x: Tensor, x0: Tensor) -> None:
        kept = (v.detach().to("cpu", copy=True) for v in (x, x0))
        self.put(Frame(step + 1, self.steps, float(t), *kept))

    def put(self, frame: Frame | BaseException) -> None:
        """Waits until there is room.  Raises `_Left`."""
        while not self.left.is_set():
            try:
                return self.frames.put(frame, timeout=0.2)
            except queue.Full:
                continue
        raise _Left


def denoising(subject: Subject, wish: Wish) -> Iterator[Frame]:
    """The way from noise to the samples that a visitor wishes for, a frame for x_T, for each step, and the samples.

    They are those of `sample` with the same sampler, seed and conditions.  Whoever stops listening stops the sampling.
    Raises `InputError` for what the model does not know, `FloatingPointError` for samples that are not finite.
    """
    if wish.n > most(subject.kind):
        raise InputError(f"n={wish.n}: give a number of samples up to {most(subject.kind)}", "n")
    model = subject.guided(wish.label, wish.scale, wish.said)
    cond = subject.cond(wish.label, wish.n, wish.said, wish.scale)
    sampler, last = wish.made(), None
    # A mistake is told here, and not in the thread.
    relay = _Relay(len(sampler.informed(model).times(model.sde)) - 1)

    def work() -> None:
        try:
            found = sample(
                model, sampler, (wish.n, *subject.model.shape), wish.seed, cond, callback=relay, progress=False
            )
            relay.put(Frame(relay.steps, relay.steps, 0.0, found.cpu(), found.cpu(), subject.model.decode(found.cpu())))
        except _Left:
            pass
        except BaseException as error:  # it is raised where somebody listens
            relay.left.is_set() or relay.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while last is None or last.samples is None:
            last = relay.frames.get()
            if isinstance(last, BaseException):
                raise last
            yield last
    finally:
        relay.left.set()
        thread.join()


def walk(subject: Subject, wish: Walk) -> Tensor:
    """Raw values (points, *shape) on the way between two latents x_T, decoded by the probability flow.

    The latents are the noise of two seeds, or those of two held-out items (numbers): the walk then ends at these.  A
    model of few steps decodes by its jumps, and has seeds alone.  Raises `InputError`.
    """
    model, shape = subject.guided(wish.label, wish.scale, wish.said), subject.model.shape
    device = subject.device
    if wish.between == "items" and model.lands is not None:
        raise InputError("between=items: a model of few steps has no flow back from an item: give seeds", "between")
    if wish.between == "seeds":
        like = torch.zeros(1, *shape, dtype=torch.float64 if device == "cpu" else torch.float32, device=device)
        index = torch.zeros(1, dtype=torch.long, device=device)
        ends = [model.sde.prior(normal(like, index, seed, 0, 0)) for seed in (wish.first, wish.last)]
        cond = subject.cond(wish.label, wish.points, wish.said, wish.scale)
    else:
        raw, known = subject.held_out([wish.first, wish.last])
        x = subject.model.encode(raw).to(device)
        ends = to_latent(subject.model, x, cond=known, **TOLERANCE).split(1)
        cond = subject.cond(wish.label, wish.points, wish.said, wish.scale)
    ways = torch.linspace(0, 1, wish.points, dtype=torch.float64).tolist()
    path = torch.cat([slerp(*ends, w) for w in ways])
    ends = from_latent(model, path, cond=cond, **TOLERANCE) if model.lands is None else landed(model, path, cond)
    return subject.model.decode(ends.cpu())


@torch.no_grad()
def landed(model: Denoiser, x: Tensor, cond: Given) -> Tensor:
    """Where the jumps of a model of few steps end that begin at x_T (n, *shape), as many as it was made for."""
    few = Jump(steps=1) if model.lands == "data" else natural(model)
    few, model = few.informed(model), bind(model, cond, len(x))
    for t, s in itertools.pairwise(model.sde.along(few.times(model.sde))):
        x, _ = few.step(model, x, t, s, None, None)
    return x


def shown(kind: Kind, frames: list[Frame]) -> list[Frame]:
    """Evenly spaced ones of the frames of a way, the first and the last among them: 10 of images, 5 of plots."""
    columns = 10 if kind.is_image else 5
    few = sorted({round(i * (len(frames) - 1) / (columns - 1)) for i in range(columns)})
    return [frames[i] for i in few]

"""Ten planted faults and five healthy models, and what the doctor says of each: `python tests/doctor_cases.py`."""

import contextlib
import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

import scoresde
from scoresde import doctor
from scoresde.data import Data, Tensors
from scoresde.exact import GaussianMixture
from scoresde.guidance import Guided
from scoresde.spaces import Affine

SEED = 0


def ring(sde, shape=(2,), k=8, std=0.15, labels=False, seed=3) -> GaussianMixture:
    """An exact mixture of k components, on a circle or at random, of about unit variance, and known by its classes."""
    if shape == (2,):
        angle = torch.arange(k) * (2 * torch.pi / k)
        means = 1.3 * torch.stack([angle.cos(), angle.sin()], 1)
    else:
        means = torch.randn(k, *shape, generator=torch.Generator().manual_seed(seed))
    return GaussianMixture(torch.arange(1, k + 1).float(), means, std, sde, torch.arange(k) if labels else None)


def data_of(model: GaussianMixture, n=3000, test=400, seed=11) -> Data:
    """Its samples, with the components' classes if it knows them."""
    x, y = model.draw(n + test, seed=seed)
    cond = {"label": y} if "label" in model.conditions else {}
    parts = (Tensors(x[s], cond={k: v[s] for k, v in cond.items()}) for s in (slice(n), slice(n, None)))
    return Data("mixture", *parts, Affine(1.0, 0.0), conditions=dict(model.conditions) if cond else {})


def changed(data: Data, x: Callable = lambda x: x, label: Callable = lambda y: y) -> Data:
    """The same data with its values or its labels changed."""
    parts = (Tensors(x(p.x), cond={k: label(v) for k, v in p.cond.items()}) for p in (data.train, data.test))
    return Data(data.name, *parts, data.space, conditions=data.conditions)


@functools.cache
def trained(folder: str = "", steps: int = 800, n: int = 4000, ema: float = 0.99, **how):
    """A small MLP, trained in seconds on two half moons: the model and its data."""
    torch.manual_seed(SEED)
    data = scoresde.data.toy("moons", n, 1000, seed=SEED)
    net = scoresde.nets.MLP((2,), width=64, blocks=2)
    options = {"folder": folder or None, "batch_size": 256, "lr": 3e-3, "ema": ema, "progress": False} | how
    options |= {"validate_every": max(1, steps // 10), "checkpoint_every": max(1, steps // 8)}
    return scoresde.train(scoresde.Preconditioned(net, scoresde.VP()), data, steps=steps, **options), data


def in_folder(folder: Path, **how) -> list[doctor.Finding]:
    """What is said of a model that was trained in a folder."""
    model, data = trained(str(folder), **how)
    return doctor.examine(model, data, raw=doctor.raw_of(folder, model), course=doctor.course_of(folder, model))


# --- the ten faults


def sigma_max_too_small(tmp: Path) -> list[doctor.Finding]:
    model = ring(scoresde.VE(sigma_max=0.5))
    return doctor.examine(model, data_of(model))


def t_min_too_large(tmp: Path) -> list[doctor.Finding]:
    model = ring(scoresde.VP(t_min=0.1))
    return doctor.examine(model, data_of(model))


def scaled_output(tmp: Path) -> list[doctor.Finding]:
    model, data = trained()
    scaled = scoresde.Preconditioned(
        model.bare.net,
        model.sde,
        lambda a, s: (a / (a * a + s * s), -1.3 * s / (a * a + s * s) ** 0.5, (a * a + s * s) ** -0.5),
    )
    scaled.moments = model.moments
    return doctor.examine(scaled, data, n=1000)


def wrong_range(tmp: Path) -> list[doctor.Finding]:
    """Trained on -1..1, given 0..1."""
    model, data = trained()
    return doctor.examine(
        model, Data("range", data.train, data.test, Affine(0.5 * data.space.scale, 0.5 + 0.5 * data.space.shift))
    )


def average_never_updated(tmp: Path) -> list[doctor.Finding]:
    model, data = trained()
    torch.manual_seed(SEED)
    first = scoresde.Preconditioned(scoresde.nets.MLP((2,), width=64, blocks=2), scoresde.VP())
    first.moments = model.moments
    return doctor.examine(first.eval(), data, raw=model.bare, n=1000)


def memorising(tmp: Path) -> list[doctor.Finding]:
    torch.manual_seed(SEED)
    x = ring(scoresde.VP(), (16,), k=6, std=0.7).sample(440, seed=5)
    data = Data("few", Tensors(x[:40]), Tensors(x[40:]), Affine(1.0, 0.0))
    net = scoresde.nets.MLP((16,), width=128, blocks=3)
    options = {"batch_size": 160, "lr": 3e-3, "progress": False, "ema": 0.99}
    model = scoresde.train(scoresde.Preconditioned(net, scoresde.VP()), data, steps=1000, **options)
    return doctor.examine(model, data)


def labels_shuffled(tmp: Path) -> list[doctor.Finding]:
    model = ring(scoresde.VP(), labels=True)
    mix = lambda y: y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
    return doctor.examine(model, changed(data_of(model), label=mix))


def channels_swapped(tmp: Path) -> list[doctor.Finding]:
    model = ring(scoresde.VP(), (3, 4, 4), std=0.5)
    return doctor.examine(model, changed(data_of(model), x=lambda x: x[:, [2, 1, 0]]))


def cut_short(tmp: Path) -> list[doctor.Finding]:
    """Stopped after 120 of 800 steps."""

    def stop(step: int, **figures) -> None:
        if step >= 120:
            raise KeyboardInterrupt

    folder = tmp / "short"
    with contextlib.suppress(KeyboardInterrupt):
        trained(str(folder), report=stop)
    model = scoresde.load(folder)
    data = scoresde.data.toy("moons", 4000, 1000, seed=SEED)
    return doctor.examine(model, data, raw=doctor.raw_of(folder, model), course=doctor.course_of(folder, model))


def guidance_too_strong(tmp: Path) -> list[doctor.Finding]:
    model = ring(scoresde.VP(), labels=True, std=0.4)
    return doctor.examine(model, data_of(model), guided=Guided(model, 40.0))


# --- the five that are well


def exact_mixture(tmp: Path) -> list[doctor.Finding]:
    model = ring(scoresde.VE(), (3, 4, 4), std=0.5, labels=True)
    return doctor.examine(model, data_of(model), guided=Guided(model, 1.5))


def toy_mlp(tmp: Path) -> list[doctor.Finding]:
    return in_folder(tmp / "toy")


def digits(tmp: Path, sde: str, cond: tuple[str, ...] = ()) -> list[doctor.Finding]:
    """The command's default budget, in a folder of its own: one that is trained already is taken as it is."""
    data = scoresde.data.digits()
    folder = tmp / f"{sde}-digits{'-label' * bool(cond)}"
    kinds = {name: data.conditions[name] for name in cond}
    net = scoresde.nets.UNet(
        (1, 8, 8), channels=32, mults=(1, 1), blocks=1, attention=16, dropout=0.1, conditions=kinds
    )
    torch.manual_seed(SEED)
    made = {"vp": scoresde.VP, "ve": scoresde.VE}[sde]()
    model = scoresde.train(scoresde.Preconditioned(net, made), data, steps=1000, lr=3e-3, folder=folder, progress=False)
    guided = Guided(model, 2.0) if cond else None
    raw, course = doctor.raw_of(folder, model), doctor.course_of(folder, model)
    return doctor.examine(model, data, raw=raw, course=course, guided=guided)


class Fault(NamedTuple):
    """A planted fault, the check that should find it, and words by which it is named."""

    plant: Callable[[Path], list[doctor.Finding]]
    check: str
    named: str


FAULTS = {
    "sigma_max too small": Fault(sigma_max_too_small, "noise at the end", "sigma_max is too small"),
    "t_min too large": Fault(t_min_too_large, "noise at t_min", "t_min is too large"),
    "scaled network output": Fault(
        scaled_output, "scale of the output", "times what it should be, alike at all noise levels"
    ),
    "wrong data range": Fault(wrong_range, "range of the data", "another range than the model was trained with"),
    "average never updated": Fault(average_never_updated, "average", "hardly ever updated"),
    "memorising network": Fault(memorising, "memorisation", "repeats its 40 training items"),
    "labels shuffled": Fault(labels_shuffled, "condition label", "shuffled"),
    "channels swapped": Fault(channels_swapped, "order of the channels", "channels are swapped"),
    "training cut short": Fault(cut_short, "end of the training", "cut short"),
    "guidance far too strong": Fault(guidance_too_strong, "guidance", "guidance is far too strong"),
}
HEALTHY = {
    "exact mixture, guided": exact_mixture,
    "toy MLP": toy_mlp,
    "digits VP": lambda tmp: digits(tmp, "vp"),
    "digits VE": lambda tmp: digits(tmp, "ve"),
    "digits, conditional and guided": lambda tmp: digits(tmp, "vp", ("label",)),
}


def main() -> None:
    """The table: each fault and healthy model with the findings that are wrong or suspect, the worst first.

    Words choose among the cases; a folder keeps what is trained.
    """
    folders, words = ([w for w in sys.argv[1:] if ("/" in w) is there] for there in (True, False))
    cases = {name: fault.plant for name, fault in FAULTS.items()} | HEALTHY
    with tempfile.TemporaryDirectory() as held:
        for name, plant in cases.items():
            if words and not any(word in name for word in words):
                continue
            ill = [f for f in plant(Path(folders[0] if folders else held)) if f.ill]
            fault = FAULTS.get(name)
            right = bool(ill) and ill[0].check == fault.check and fault.named in ill[0].words if fault else not ill
            print(f"{'ok ' if right else 'NOT'} {'fault' if fault else 'healthy'}: {name}", flush=True)
            for finding in ill:
                print(f"      {finding}")


if __name__ == "__main__":
    main()

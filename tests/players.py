"""Three players: a student of few steps, a fake denoiser that moves twice a step and a critic (DMD2).

python tests/players.py folder=FOLDER [train.KEY=VALUE ...]     trains it there, and goes on where it was stopped
"""

import math
import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor

import scoresde
from scoresde.command.ending import in_a_line
from scoresde.data import Affine, Data, Tensors
from scoresde.denoiser import FlowMap
from scoresde.exact import GaussianMixture
from scoresde.nets import MLP, Encoder
from scoresde.objectives import DMD2
from scoresde.tracking.report import say

SETTINGS = {"lr": 2e-3, "betas": (0.0, 0.99), "batch_size": 32, "warmup": 5, "validate_every": 20}
SETTINGS |= {"checkpoint_every": 5, "log_every": 5, "ema": 0.98}


def ring(sde: scoresde.sde.SDE, components: int = 8) -> GaussianMixture:
    """Gaussians on a circle."""
    angle = torch.arange(components) * 2 * math.pi / components
    means = 1.4 * torch.stack([angle.cos(), angle.sin()], 1).double()
    return GaussianMixture(torch.ones(components), means, 0.1, sde)


def drawn_of(mixture: GaussianMixture, n: int = 2000) -> Data:
    """Data of a mixture."""
    x: Tensor = mixture.sample(n).float()
    return Data("mixture", Tensors(x[: n - 100]), Tensors(x[n - 100 :]), Affine())


def small(inputs: int = 2) -> MLP:
    """A network for either denoiser."""
    return MLP((inputs,), width=16, blocks=1)


def play(folder: Path | None, steps: int = 60, kind: type = DMD2, **options):
    """Trains them, from the same weights at every call."""
    own = {k: options.pop(k) for k in [*options] if k in scoresde.Training.__dataclass_fields__}
    teacher = ring(scoresde.VP())
    data = drawn_of(teacher)
    torch.manual_seed(3)
    critic = Encoder((2,), 1, channels=16, mults=(1,), blocks=1)
    objective = kind(FlowMap(small(), teacher.sde), data, teacher, steps=2, fakes=2, critic=critic, fake=small())
    training = scoresde.Training(steps=steps, **SETTINGS | own)
    return scoresde.fit(objective, data, training, folder, device="cpu", **options)


def main() -> None:
    """The command, by those words of sys.argv; it ends with a line and an exit code, as scoresde's own."""
    words = OmegaConf.to_container(OmegaConf.from_dotlist(sys.argv[1:]))
    with in_a_line():
        play(Path(words["folder"]), progress=False, say=say, **words.get("train", {}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

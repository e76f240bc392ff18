"""A critic and a generator that take turns: the smallest objective with two, for what the loop does with several.

python tests/adversarial.py folder=FOLDER [train.KEY=VALUE ...]     trains it there, and goes on where it was stopped
"""

import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from scoresde.command.ending import in_a_line
from scoresde.data import Affine, Data, Tensors
from scoresde.model import folder as room
from scoresde.model.description import about
from scoresde.model.kept.state import load_state
from scoresde.model.trained.known import Known, facts
from scoresde.objectives import Objective
from scoresde.tracking.report import say
from scoresde.training import Training, fit

MEAN, STD = torch.tensor([1.0, -0.5]), torch.tensor([0.5, 1.2])
SETTINGS = {"lr": 0.01, "betas": (0.0, 0.9), "batch_size": 64, "warmup": 0, "weight_decay": 0.0, "ema": 0.98}
SETTINGS |= {"checkpoint_every": 5, "log_every": 5}


def gaussian(n: int = 4000) -> Data:
    """Points of N(MEAN, STD^2)."""
    x = MEAN + STD * torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return Data("gaussian", Tensors(x[: n - 50]), Tensors(x[n - 50 :]), Affine())


class Line(nn.Module):
    """z (B, D) -> mean + std z."""

    def __init__(self, size: int):
        super().__init__()
        self.mean, self.std = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.ones(size))

    def forward(self, z: Tensor) -> Tensor:
        return self.mean + self.std * z


class Made(Known, nn.Module):
    """The trained generator."""

    def __init__(self, generator: Line, facts: dict, step: int):
        nn.Module.__init__(self)
        self.generator = generator
        self.know(facts, step)

    @property
    def bare(self) -> Line:
        return self.generator


class Adversarial(Objective):
    """A critic f that tells points from made ones, its gradient penalised so that the two come to rest (Gulrajani et
    al., 2017, arXiv 1704.00028; towards 0, as Mescheder, Geiger, Nowozin, 2018, arXiv 1801.04406):

    critic     f(g(z)) - f(x) + |grad f(u x + (1 - u) g(z))|^2
    generator  -f(g(z))
    """

    turns = ("critic", "generator")

    def __init__(self, data: Data, generator: nn.Module | None = None, critic: nn.Module | None = None):
        super().__init__()
        self.data, self.product = data, generator or Line(*data.shape)
        self.critic = critic or nn.Sequential(nn.Linear(*data.shape, 32), nn.SiLU(), nn.Linear(32, 1))

    def trained(self, turn):
        return list({"critic": self.critic, "generator": self.product}[turn].parameters())

    def draw(self, batch, size, part, turn):
        z, u = torch.randn(size, *self.data.shape), torch.rand(size, 1)
        return self.data.encode(batch.x), z[part], u[part]

    def forward(self, drawn, turn):
        x, z, u = drawn
        if turn == "generator":
            return -self.critic(self.product(z))[:, 0]
        made = self.product(z).detach()
        between = (u * x + (1 - u) * made).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        return (self.critic(made) - self.critic(x))[:, 0] + slope.square().sum(1)

    def begin(self, device):
        pass

    def look(self):
        pass

    def describe(self):
        return {"kind": "generator", "data": about(self.data)}

    def made(self, average, step):
        return Made(average, facts(self.data), step)

    def load(self, folder):
        found = room.kept(folder)
        load_state(self.product, found.state)
        return self.made(self.product, found.step)

    @property
    def facts(self):
        return facts(self.data)


def play(folder: Path | None = None, steps: int = 400, kind: type = Adversarial, data: Data | None = None, **options):
    """Trains one, from the same weights at every call."""
    torch.manual_seed(3)
    data, own = data or gaussian(), {k: options.pop(k) for k in [*options] if k in Training.__dataclass_fields__}
    return fit(kind(data), data, Training(steps=steps, **SETTINGS | own), folder, device="cpu", **options)


def main() -> None:
    """The command, by those words of sys.argv; it ends with a line and an exit code, as scoresde's own."""
    words = OmegaConf.to_container(OmegaConf.from_dotlist(sys.argv[1:]))
    with in_a_line():
        play(Path(words["folder"]), progress=False, say=say, **words.get("train", {}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

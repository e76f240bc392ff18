"""Who tells what a student makes from data: a network of its own, or heads on the features of another."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ....denoiser import Denoiser, Preconditioned
from ....errors import InputError
from ....model.trained.classifier import NoisyClassifier, TrainedClassifier
from ....nets import Encoder
from ....sde import SDE, expand
from ..times import at

HEADS, WIDTH = 4, 64


class Critic(nn.Module, ABC):
    """Logits of z = cos(phi) x_0 + sin(phi) eps, high for data; in two parts, as what the second looks at is what a
    penalty is taken of."""

    @abstractmethod
    def seen(self, z: Tensor, phi: Tensor, cond: dict[str, Tensor]) -> list[Tensor]:
        """What the logits are made of.

        Arguments:
            z: (B, *shape).
            phi: (B,).
            cond: the step's conditions.

        Returns:
            Tensors of B rows.
        """

    @abstractmethod
    def judged(self, seen: list[Tensor], phi: Tensor) -> Tensor:
        """The logits.

        Arguments:
            seen: what `seen` gave.
            phi: (B,).

        Returns:
            (B, K).
        """

    def forward(self, z: Tensor, phi: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """The logits (B, K) of z (B, *shape) at phi (B,)."""
        return self.judged(self.seen(z, phi, cond), phi)


class NetCritic(Critic):
    """A network of its own, net(z, c) -> (B, ...), c = log tan phi.

    Arguments:
        net: the network.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def seen(self, z, phi, cond):
        return [z]

    def judged(self, seen, phi):
        return self.net(seen[0], phi.tan().log().to(seen[0].dtype)).flatten(1)


class FeatureCritic(Critic):
    """A small head on each of several blocks of another network, which stays as it is: what each place of each of its
    features says (Sauer et al., 2023, arXiv 2311.17042; of a teacher's own, 2024, arXiv 2403.12015).

    Arguments:
        model: a denoiser of a network, or a classifier of noisy data: it is asked for z at phi, with its conditions.
        sde: of the student.
        shape: of an item.
        heads: how many blocks, evenly spaced.
        width: of a head.

    Raises:
        InputError: a model without a network, or whose network has no blocks.
    """

    def __init__(self, model: nn.Module, sde: SDE, shape: tuple[int, ...], heads: int = HEADS, width: int = WIDTH):
        super().__init__()
        bare = getattr(model, "bare", model)
        if not isinstance(bare, Preconditioned | NoisyClassifier):
            words = "it has no network whose features a critic could look at: say critic=own"
            raise InputError(f"teacher={type(bare).__name__}: {words}", "critic")
        self.__dict__["model"], self.sde, self.axes = model, sde, len(shape)
        lists = [part for part in bare.net.children() if isinstance(part, nn.ModuleList)]
        self.__dict__["blocks"] = [block for part in lists for block in part]
        device = next((p.device for p in bare.parameters()), torch.device("cpu"))
        with torch.no_grad():
            found = self._features(torch.zeros(1, *shape, device=device), torch.full((1,), 0.5, device=device), {})
        if not found:
            raise InputError(f"net={type(bare.net).__name__} has no blocks to look at: say critic=own", "critic")
        heads = min(heads, len(found))
        chosen = [round((i + 1) * len(found) / heads) - 1 for i in range(heads)]
        self.__dict__["blocks"] = [found[i][0] for i in chosen]
        self.heads = nn.ModuleList(_head(found[i][1].shape[2], width) for i in chosen)

    def seen(self, z, phi, cond):
        return [h for _, h in self._features(z, phi, cond)]

    def judged(self, seen, phi):
        return torch.cat([head(h).flatten(1) for head, h in zip(self.heads, seen, strict=True)], 1)

    def _features(self, z: Tensor, phi: Tensor, cond: dict[str, Tensor]) -> list[tuple[nn.Module, Tensor]]:
        """The blocks and what they answer (B, places, channels), in the order in which they are asked."""
        t, found = at(self.sde, phi), []
        x = expand(torch.hypot(*self.sde.marginal(t)), z) * z

        def note(block: nn.Module, given: Any, h: Any) -> None:
            if isinstance(h, Tensor) and h.ndim > 1 and h.is_floating_point():
                found.append((block, self._placed(h)))

        hooks = [block.register_forward_hook(note) for block in self.blocks]
        try:
            if isinstance(self.model, Denoiser):
                self.model(x, t, {k: v for k, v in cond.items() if k in self.model.conditions})
            else:
                self.model(x, t)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def _placed(self, h: Tensor) -> Tensor:
        if h.ndim == 2:
            return h[:, None]
        return h if h.ndim == 3 and self.axes > 2 else h.flatten(2).transpose(1, 2)


def _head(channels: int, width: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, 1))


def critic_of(critic: str | nn.Module, teacher: Denoiser, sde: SDE, shape: tuple[int, ...]) -> Critic:
    """The critic of a word or a module.

    Arguments:
        critic: "teacher", heads on the teacher's features; "own", a `nets.Encoder`; a classifier of noisy data, whose
            features they are then; a `Critic`; or a network net(z, c).
        teacher: the denoiser.
        sde, shape: of the student.

    Returns:
        The critic.

    Raises:
        InputError: as `FeatureCritic` does.
    """
    if isinstance(critic, Critic):
        return critic
    if isinstance(critic, NoisyClassifier | TrainedClassifier):
        return FeatureCritic(critic.requires_grad_(False), sde, shape)
    if isinstance(critic, nn.Module):
        return NetCritic(critic)
    if critic == "teacher":
        return FeatureCritic(teacher, sde, shape)
    return NetCritic(Encoder(shape, 1, channels=64 if len(shape) > 1 else 128))

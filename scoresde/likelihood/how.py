"""How the items of a data set are scored: settings that the command and the page share."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from ..ode import METHODS
from ..sde import SDE
from ..settings import Checked, Count, OneOf, Positive, Scale
from .discrete.dequantisation import Dequantiser, ImportanceWeighted, Uniform
from .discrete.noisy import Decoder, TruncatedNormal
from .divergence import Probes
from .estimator import NAMES
from .paths import FixedSteps


@dataclass(frozen=True)
class How(Checked):
    """How items are scored through the flow, and how discrete values get into the model's space.

    Arguments:
        probes: of the divergence; None: exact; "auto": until the standard error of an example is `target_stderr` nats.
        target_stderr, max_probes: of "auto".
        steps: of a fixed grid; None: adaptive, to `rtol` and `atol`.
        rtol, atol, method: of the adaptive solver.
        t_min: where the density is taken; None: as the SDE says.
        divergence: the name of its estimator; None: by `probes`.
        dequantiser: what carries discrete values into the model's space.
        draws: how many of it are averaged in probability.
    """

    probes: Probes | Literal["auto"] | None = 1
    target_stderr: Positive = 0.1
    max_probes: Probes = 64
    steps: FixedSteps | None = None
    rtol: Positive = 1e-2
    atol: Positive = 1e-2
    method: Annotated[str, OneOf(METHODS)] = "adams"
    t_min: Scale | None = None
    divergence: Annotated[str, OneOf(NAMES)] | None = None
    dequantiser: Literal["uniform", "importance", "truncated_normal", "decoder", "variational"] = "uniform"
    draws: Count = 1

    @property
    def flow(self) -> dict[str, Any]:
        """The keywords of `log_likelihood` that say the same, but for `t_min`."""
        names = ("probes", "target_stderr", "max_probes", "steps", "rtol", "atol", "method", "divergence")
        return {name: getattr(self, name) for name in names}

    def dequantised(self, sde: SDE, t_min: float) -> Dequantiser:
        """The dequantiser of that name for a model of `sde` at the time `t_min`; "variational" has to be fitted."""
        return {
            "uniform": lambda: Uniform(),
            "importance": lambda: ImportanceWeighted(self.draws),
            "truncated_normal": lambda: TruncatedNormal(sde, t_min, self.draws),
            "decoder": lambda: Decoder(sde, t_min, self.draws),
        }[self.dequantiser]()

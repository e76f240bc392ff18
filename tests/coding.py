"""An autoencoder of digits and its critic, which take turns; with codes=K also codes that begin anew.

python tests/coding.py folder=FOLDER [codes=K] [train.KEY=VALUE ...]  trains it there, and goes on where it was stopped
"""

import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf

import scoresde
from scoresde.command.ending import in_a_line
from scoresde.nets import Codebook, Codec, Gaussian, PatchCritic
from scoresde.objectives import Autoencode
from scoresde.tracking.report import say

SETTINGS = {"steps": 60, "lr": 2e-3, "batch_size": 32, "warmup": 5, "validate_every": 20, "checkpoint_every": 5}
SETTINGS |= {"log_every": 5, "ema": 0.98}


def play(folder: Path, codes: int | None = None, start: int = 10, **options):
    """Trains one, from the same weights at every call, with a critic from step `start` on."""
    own = {k: options.pop(k) for k in [*options] if k in scoresde.Training.__dataclass_fields__}
    data, shape = scoresde.data.digits(), (1, 8, 8)
    torch.manual_seed(3)
    bottleneck = Gaussian(2) if codes is None else Codebook(2, codes)
    net = Codec(shape, 2, bottleneck.features, channels=8, mults=(1, 2))
    coder = scoresde.Autoencoder(net, bottleneck)
    objective = Autoencode(coder, data, critic=PatchCritic(shape, 8), start=start)
    return scoresde.fit(objective, data, scoresde.Training(**SETTINGS | own), folder, device="cpu", **options)


def main() -> None:
    """The command, by those words of sys.argv; it ends with a line and an exit code, as scoresde's own."""
    words = OmegaConf.to_container(OmegaConf.from_dotlist(sys.argv[1:]))
    with in_a_line():
        play(Path(words["folder"]), words.get("codes"), progress=False, say=say, **words.get("train", {}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

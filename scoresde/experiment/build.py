"""From a config to objects, and from a trained folder back to a denoiser."""

import copy
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from .. import making
from ..data import Affine, Data, Tensors, as_data
from ..denoiser import Denoiser, Preconditioned
from ..errors import InputError
from ..making import last_line
from ..sde import SDE
from . import checkpoint

MODEL = ("sde", "net", "data", "loss", "rule", "train")
RUNNING = ("workers", "validate_every", "checkpoint_every", "log_every")  # do not change what is trained


def make(node: Any, place: str, kind: type | None = None, **extra: Any) -> Any:
    """`making.make` of a node of a config, resolved."""
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    return making.make(plain, place, kind, **extra)


def import_paths(config: DictConfig) -> None:
    """Makes the folders in `config.paths`, which hold a user's own Python files, importable."""
    for path in config.get("paths") or []:
        if path not in sys.path:
            sys.path.insert(0, path)


def model_config(config: DictConfig) -> dict:
    """What makes the model: sde, net, data, loss, rule and training, resolved, as plain types."""
    parts = {
        k: OmegaConf.to_container(config[k], resolve=True) if OmegaConf.is_config(config[k]) else config[k]
        for k in MODEL
    }
    parts["train"] = {k: v for k, v in parts["train"].items() if k not in RUNNING}
    parts["data"] = {k: v for k, v in parts["data"].items() if k != "other"}  # scored beside it, not trained on
    parts["code"] = _own_code(parts, config.get("paths") or [])
    return parts


def _own_code(parts: dict, paths: list[str]) -> dict[str, str]:
    """A hash of each of a user's own files that a target names: another network is another model."""
    code = {}
    for key, target in flatten(parts).items():
        if key.endswith("_target_"):
            module = str(target).rpartition(".")[0]
            for file in (Path(path, *module.split(".")).with_suffix(".py") for path in paths):
                if file.is_file():
                    code[module] = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    return code


def short_hash(value: Any, length: int = 8) -> str:
    """The first hexadecimal digits of a hash of plain types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:length]


def name_of(node: DictConfig) -> str:
    """A short name from the target: scoresde.SubVP gives subvp."""
    return str(node["_target_"]).rsplit(".", 1)[-1].lower()


def model_folder(config: DictConfig) -> Path:
    """`folder` if it is given; otherwise out/SDE-DATA-HASH, with the hash of `model_config`."""
    if config.folder is not None:
        return Path(config.folder).expanduser()
    names = f"{name_of(config.sde)}-{name_of(config.data)}"
    return Path(config.out).expanduser() / f"{names}-{short_hash(model_config(config))}"


def check_folder(folder: Path, config: DictConfig) -> None:
    """Raises `InputError` if `folder` holds a model made by another config."""
    path = folder / "model.json"
    if path.exists():
        try:
            there, here = flatten(json.loads(path.read_text())), flatten(model_config(config))
        except ValueError:
            raise InputError(
                f"{path} is damaged: put back a copy, or remove it if the model is the one you ask for"
            ) from None
        differ = [k for k in sorted({*there, *here}) if there.get(k) != here.get(k)]
        if differ:
            k = differ[0]
            more = f" (and {len(differ) - 1} more)" if len(differ) > 1 else ""
            raise InputError(
                f"{folder} holds another model: {k} is {there.get(k)!r} there and {here.get(k)!r} here{more}; "
                "ask for the same, give another folder=, or start over with fresh=true"
            )


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} to {'a.b': 1}."""
    if not isinstance(value, dict):
        return {prefix: json.loads(json.dumps(value, default=str))}
    return {
        k: v for key, part in value.items() for k, v in flatten(part, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def build_sde(config: DictConfig) -> SDE:
    """The SDE of a config.  Raises `InputError` if its log-SNR is not finite, or does not decrease."""
    sde = make(config.sde, "sde")
    t = torch.linspace(sde.t_min, sde.t_max, 101, dtype=torch.float64)
    log_snr = sde.log_snr(t)
    bad = ~torch.isfinite(log_snr)
    bad[1:] |= log_snr[1:] >= log_snr[:-1]
    if bool(bad.any()):
        at = float(t[bad][0])
        raise InputError(f"sde={sde}: log_snr must be finite and decrease with t; at t={at:.4g} it does not")
    return sde


def build_data(config: DictConfig) -> Data:
    """The data set of a config."""
    node = copy.deepcopy(config.data)  # which keeps its parent, for interpolations
    with open_dict(node):
        node.pop("other", None)
    return as_data(make(node, "data"))


def build_denoiser(config: DictConfig, shape: tuple[int, ...]) -> Denoiser:
    """An untrained denoiser of a config, its weights a function of train.seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(config.train.seed))
        net = make(config.net, "net", shape=shape)
    rule = make(config.rule, "rule") if OmegaConf.is_config(config.rule) else config.rule
    return Preconditioned(net, build_sde(config), rule)


def facts(data: Data) -> dict:
    """What a checkpoint must know of the data to be sampled without it: shape, levels, transform, columns."""
    return {
        "name": data.name,
        "shape": list(data.shape),
        "levels": data.levels,
        "scale": torch.as_tensor(data.transform.scale, dtype=torch.float64),
        "shift": torch.as_tensor(data.transform.shift, dtype=torch.float64),
        "columns": None if data.columns is None else list(data.columns),
    }


class Trained(Denoiser):
    """A trained denoiser: `shape` of one sample, `encode(raw)` and `decode(x)`, `levels` of raw (None: continuous).

    The weights are the averaged ones.  `step` is how many steps of training they saw.
    """

    def __init__(self, denoiser: Denoiser, state: dict):
        super().__init__(denoiser.sde)
        self.denoiser, self.step = denoiser.eval().requires_grad_(False), state["step"]
        known = state["facts"]
        self.shape, self.levels = tuple(known["shape"]), known["levels"]
        empty = Tensors(torch.empty(0, *self.shape))
        transform, columns = Affine(known["scale"], known["shift"]), known.get("columns")
        columns = None if columns is None else tuple(columns)
        self.data = Data(known["name"], empty, empty, transform, self.levels, columns=columns)

    def forward(self, x, t, **cond):
        return self.denoiser(x, t, **cond)

    def encode(self, raw: torch.Tensor) -> torch.Tensor:
        """Raw values (B, *shape) to model space: the middle of its bin for a discrete value."""
        return self.data.encode(raw)

    def decode(self, x: torch.Tensor) -> torch.Tensor:
        """Model space (B, *shape) to raw values: bytes or levels for discrete data, else the data's own units."""
        return self.data.decode(x)


def load(folder: str | Path, device: str = "cpu") -> Trained:
    """The trained denoiser of a model folder, on `device`, with the averaged weights.

    Raises `InputError` if there is none, or if its checkpoint is damaged or of another network.
    """
    folder = Path(folder).expanduser()
    if not (folder / "config.yaml").exists():
        raise InputError(f"{folder} is not a model folder: it has no config.yaml (train one: python run.py task=train)")
    try:
        config = OmegaConf.load(folder / "config.yaml")
        lost = [key for key in ("sde", "net", "rule", "train.seed") if OmegaConf.select(config, key) is None]
        if lost:
            raise ValueError(f"it has no {lost[0]}")
    except Exception as error:  # of yaml and OmegaConf
        words = str(error).splitlines()[0]
        raise InputError(f"{folder}/config.yaml is damaged ({words}): put back a copy") from error
    import_paths(config)
    state = checkpoint.load(folder / "checkpoint.pt", device, ("step", "ema", "facts"))
    denoiser = build_denoiser(config, tuple(state["facts"]["shape"]))
    try:
        denoiser.load_state_dict(state["ema"])
    except RuntimeError as error:
        raise InputError(
            f"{folder}/checkpoint.pt holds another network than its config.yaml: {last_line(error)}"
        ) from error
    return Trained(denoiser, state).to(device)

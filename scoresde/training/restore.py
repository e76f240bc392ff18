"""A training goes on: what its checkpoint holds is taken up, as far as it fits."""

from pathlib import Path

import torch

from ..errors import InputError
from ..model.checkpoint import number, raise_if_of_the_machine
from ..model.kept.state import load_trained
from ..objectives import Objective
from .average import Averages


def restore(path: Path, state: dict, objective: Objective, average: Averages, optimizers: dict) -> None:
    """Takes up what a training saved.  Raises `InputError` that names what does not fit; the file stays as it is."""
    try:
        load_trained(objective.product, state["model"])
        average.load(state)
        states = [state["optimizer"], *state.get("optimizers", [])]
        for optimizer, own in zip(optimizers.values(), states, strict=True):
            optimizer.load_state_dict(own)
            _check_moments(optimizer)
        objective.load_state(state.get("loss", {}))
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:  # torch's, as they happen to be
        raise_if_of_the_machine(error)
        raise InputError(
            f"{path} holds another network or its optimizer ({' '.join(str(error).split())[:150]}): give the network "
            "that it was trained with, or another folder"
        ) from error


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raises `ValueError` unless the optimizer, an Adam, can go on from the state that it has loaded."""
    for group in optimizer.param_groups:
        numbers = [group.get(k) for k in ("lr", "eps", "weight_decay")] + list(group.get("betas", ()))
        if len(numbers) != 5 or not all(number(v) for v in numbers):
            raise ValueError("a rate of the optimizer is missing or no number")
        for p in group["params"]:
            known = optimizer.state.get(p, {})
            for name in ("exp_avg", "exp_avg_sq") if known else ():
                if not torch.is_tensor(known.get(name)) or known[name].shape != p.shape:
                    raise ValueError(f"the optimizer's {name} is not of the shape {tuple(p.shape)} of its weights")
            if known and not (torch.is_tensor(known.get("step")) and known["step"].numel() == 1):
                raise ValueError("the optimizer's step is no number")

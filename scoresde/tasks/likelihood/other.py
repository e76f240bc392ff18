"""Data of another distribution, scored beside the model's own: `data.other`."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from ... import noise
from ...config import build
from ...data import Data, Tensors, array, as_data, item
from ...data.readers.arrays.array import SUFFIXES
from ...data.readers.arrays.table import SUFFIXES as TABLES
from ...errors import InputError


class Shuffled(Dataset):
    """The items of a data set, each with its values in another random order."""

    def __init__(self, items: Dataset, seed: int):
        self.items, self.seed = items, seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Tensor:
        x = item(self.items[i])
        like, words = torch.empty(1, x.numel(), dtype=torch.float64), noise.Stream.SHUFFLED()
        key = noise.uniform(like, torch.tensor([i]), self.seed, *words)
        return x.flatten()[key[0].argsort()].reshape(x.shape)


def other(config: Any, data: Data) -> tuple[str, Dataset] | None:
    """The name and the raw items of `data.other`, of the shape and the levels of `data`; None if it is not given.

    It is "shuffled" (the test items, each with its values in random order), "uniform" (values drawn uniformly from the
    levels), an array file or a table, or a config of a data set whose test split is meant.
    """
    node, seed = config.data.get("other"), config.seed
    if node is None:
        return None
    if not isinstance(node, str):
        found = as_data(build.make(node, "data.other"))
        return _fitting(found, found.test, data)
    if node == "shuffled":
        return node, Shuffled(data.test, seed)
    if node == "uniform":
        if data.levels is None:
            raise InputError("data.other=uniform needs data with levels: give data.other=shuffled, or an array file")
        like = torch.empty(len(data.test), *data.shape, dtype=torch.float64)
        drawn = noise.uniform(like, torch.arange(len(like)), seed, *noise.Stream.RANDOM_LEVELS())
        return node, Tensors((drawn * data.levels).long())
    suffix, channels = Path(str(node)).suffix.lower(), config.data.get("channels")
    if suffix in SUFFIXES:
        how = {"columns": data.columns} if suffix in TABLES else {}
        how |= {"channels": channels} if isinstance(channels, str) else {}
        try:  # its own scale is not looked at: it is seen by the model's
            found = array(node, levels=data.levels, standardize="feature", cond=[], **how)
        except InputError as error:
            raise InputError(f"data.other={node}: {error}") from None
        return _fitting(found, ConcatDataset([found.train, found.test]), data)
    raise InputError(f"data.other={node!r}: give shuffled, uniform, an array file ({', '.join(SUFFIXES)}) or a config")


def _fitting(found: Data, items: Dataset, data: Data) -> tuple[str, Dataset]:
    if (found.shape, found.levels) != (data.shape, data.levels):
        raise InputError(
            f"data.other={found.name} has shape {found.shape} and levels {found.levels}: "
            f"the model's data has {data.shape} and {data.levels}"
        )
    return found.name, items

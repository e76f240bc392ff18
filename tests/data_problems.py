"""What the tests of scoresde.data share: items as a user may have them, and the laws of every data set."""

import torch
from torch.utils.data import Dataset

from scoresde import data as D


class Pairs(Dataset):
    """Items as a user may have them: tuples with a label."""

    def __init__(self, x, wrap=lambda x: (x, 0)):
        self.x_, self.wrap = x, wrap

    def __len__(self):
        return len(self.x_)

    def __getitem__(self, i):
        return self.wrap(self.x_[i])


def whole(dataset):
    return D.stack(dataset, range(len(dataset)))


def check_levels(data, n=64):
    raw = D.stack(data.train, range(min(n, len(data.train))))
    x = data.encode(raw)
    assert x.dtype == torch.float32 and x.abs().max() <= 1 and x.shape[1:] == data.shape
    back = data.decode(x)
    assert torch.equal(back, raw) and back.dtype == raw.dtype
    noisy = data.dequantize(raw, torch.Generator().manual_seed(0))
    assert not torch.equal(noisy, x) and torch.equal(data.decode(noisy), raw)
    assert torch.equal(noisy, data.dequantize(raw, torch.Generator().manual_seed(0)))


def check_continuous(data):
    raw = whole(data.train)
    x = data.encode(raw, u=0.3)
    assert x.dtype == torch.float32 and torch.equal(x, data.dequantize(raw))
    assert torch.allclose(data.decode(x).double(), raw.double(), rtol=1e-5, atol=1e-5)

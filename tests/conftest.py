"""Every test starts from the same global random state, on one thread: more cost time on tensors this small."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    torch.set_num_threads(1)

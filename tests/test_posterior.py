"""p(theta | y) of pairs in a file, against the closed form: y = A theta + noise, theta standard normal."""

import numpy as np
import torch
from torch.distributions import MultivariateNormal

import scoresde
from scoresde.conditions import Vector
from scoresde.sampling import Adams

A, NOISE = torch.tensor([[1.0, 0.5], [-0.3, 1.2], [0.4, 0.4]]).double(), 0.5


def posterior(y: torch.Tensor) -> MultivariateNormal:
    precision = torch.eye(2).double() + A.T @ A / NOISE**2
    covariance = torch.linalg.inv(precision)
    return MultivariateNormal(y.double() @ A @ covariance / NOISE**2, covariance)


def test_a_vector_s_posterior_is_that_of_the_closed_form(tmp_path):
    """Moments of samples within Monte-Carlo error and what training leaves; log p(theta | y) to a tenth of a nat."""
    g = torch.Generator().manual_seed(0)
    theta = torch.randn(20_000, 2, generator=g).double()
    y = theta @ A.T + NOISE * torch.randn(20_000, 3, generator=g).double()
    np.savez(tmp_path / "pairs.npz", theta=3 + 2 * theta.numpy(), y=100 + 10 * y.numpy())  # units of their own
    data = scoresde.data.array(tmp_path / "pairs.npz", key="theta")
    kind = data.conditions["y"]
    assert (
        isinstance(kind, Vector)
        and np.allclose(kind.std, (10 * y).std(0), rtol=0.05)
        and np.allclose(kind.mean, 100, atol=1)
    )
    torch.manual_seed(0)
    net = scoresde.nets.MLP((2,), width=64, blocks=2, conditions={"y": kind})
    options = {"steps": 1200, "batch_size": 512, "lr": 5e-3, "progress": False}
    model = scoresde.train(scoresde.Preconditioned(net, scoresde.VP()), data, **options)
    for k in (0, 1, 2):
        exact, told = posterior(y[k]), {"y": 100 + 10 * y[k]}
        x = scoresde.sample(model, Adams(steps=20), (4000, 2), cond=told, progress=False)
        found = (model.decode(x).double() - 3) / 2
        scale = exact.covariance_matrix.diagonal().sqrt()
        assert ((found.mean(0) - exact.mean).abs() / scale).max() < 0.15
        ratio = torch.linalg.solve(exact.covariance_matrix, torch.cov(found.T))
        assert (
            float(torch.linalg.eigvals(ratio).real.min()) > 0.75 and float(torch.linalg.eigvals(ratio).real.max()) < 1.3
        )
    rows = slice(0, 200)
    raw = 3 + 2 * theta[rows]
    found = scoresde.log_likelihood(model, data.encode(raw), rtol=1e-3, atol=1e-3, cond={"y": 100 + 10 * y[rows]})
    nats = found.log_prob.double() + data.log_det + 2 * np.log(2)  # in units of theta
    exact = posterior(y[rows]).log_prob(theta[rows])
    assert abs(float((nats - exact).mean())) < 0.05 and float((nats - exact).abs().mean()) < 0.15

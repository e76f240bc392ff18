"""Laws of units: any offset, scale and type of numbers keeps its values and its density, or is refused in words."""

import math

import numpy as np
import pytest
import torch
from data_problems import whole
from problems import refuses

import scoresde
from scoresde import data as D
from scoresde.exact import GaussianMixture

Z = np.random.RandomState(0).randn(4000, 2)
TALL = 1_700_000_000_000_000_000

UNITS = {  # the same draws of a standard normal in units that float32 does not hold, or in other types
    "offset 1e7": torch.from_numpy(1e7 + 0.5 * Z),
    "a time in seconds": np.stack([1.7e9 + 20 * Z[:, 0], Z[:, 1]], 1),
    "a time in nanoseconds": TALL + (Z * 1e9).astype(np.int64),
    "integers above 2^24": 2**26 + (Z * 50).astype(np.int32),
    "all of uint64": np.random.RandomState(1).randint(0, 2**64, size=(4000, 2), dtype=np.uint64),
    "uint64 of torch": torch.from_numpy(2**63 + (1e15 * np.abs(Z)).astype(np.uint64)),
    "1e300": 1e300 + 1e299 * Z,
    "1e-280": 1e-280 * Z,
    "subnormal float32": (1e-41 * Z).astype(np.float32),
    "3e38": (2.9e38 * np.tanh(Z)).astype(np.float32),
    "offset 1e16": 1e16 + 40 * Z,
    "float32 at 1e7": (1e7 + 50 * Z).astype(np.float32),
    "float16": (5 + Z).astype(np.float16),
    "bfloat16": torch.from_numpy(5 + Z).bfloat16(),
    "float8": torch.from_numpy(Z).to(torch.float8_e5m2),
    "long double": np.longdouble(1e7) + Z.astype(np.longdouble),
    "a matrix": np.matrix(1e7 + 0.5 * Z),
    "big-endian": (1e7 + 0.5 * Z).astype(">f8"),
    "backwards": (1e7 + 0.5 * Z)[::-1],
    "a broadcast view": np.broadcast_to(1e7 + Z[:, :1], (4000, 2)),
    "uint16 of torch": torch.from_numpy((1000 * np.abs(Z)).astype(np.uint16)),
    "booleans": Z > 0,
}
each_unit = pytest.mark.parametrize("x", UNITS.values(), ids=UNITS)


def spread(raw):
    """The deviation of each column (2,), where squares would overflow too."""
    away = raw - raw[0]
    unit = away.abs().max()
    return (away / unit).std(0, correction=0) * unit


@each_unit
@pytest.mark.parametrize("how", ["auto", "feature"])
def test_any_units_are_standardised_and_come_back(x, how):
    data = D.from_tensor(x, standardize=how)
    raw = whole(data.train)
    given = (x.float() if x.dtype in (torch.bfloat16, torch.float8_e5m2) else x).numpy() if torch.is_tensor(x) else x
    order = np.random.RandomState(0).permutation(4000)[:-400]
    close = 1e-6 * spread(raw.double()).numpy()
    assert (np.abs(raw.double().numpy() - given[order].astype(np.float64)) <= close).all()
    encoded = data.encode(raw)
    assert encoded.dtype == torch.float32
    assert encoded.double().mean(0).abs().max() < 0.1 and torch.allclose(encoded.std(0), torch.ones(2), atol=1e-3)
    back = data.decode(encoded).double()
    assert ((back - raw.double()).abs().numpy() <= close).all()
    assert data.log_det == pytest.approx(-spread(raw.double()).log().sum().item(), abs=1e-5)


@pytest.mark.parametrize(("mean", "std"), [(1e7, 0.5), (1.7e9, 20.0), (1e300, 1e299), (0.0, 1e-40), (-3e12, 7.0)])
def test_nats_are_those_of_the_gaussian_in_its_own_units(mean, std):
    data = D.from_tensor(mean + std * Z)
    scale, shift = data.space.scale, data.space.shift
    assert data.space(data.space.inverse(torch.zeros(2))) == pytest.approx([0, 0], abs=1e-6)
    m = data.space.inverse(torch.zeros(2).double()).numpy()  # what the model calls 0 and 1
    s = 1 / scale.numpy()
    model = GaussianMixture(
        torch.ones(1).double(), torch.zeros(1, 2).double(), torch.ones(1, 2).double(), scoresde.VP()
    )
    raw = torch.stack([data.test[i] for i in range(20)])
    found = scoresde.log_likelihood(model, data.encode(raw).double(), rtol=1e-8, atol=1e-8).log_prob + data.log_det
    z = (raw.double().numpy() - m) / s
    expected = (-0.5 * z**2 - np.log(s) - 0.5 * math.log(2 * math.pi)).sum(1)
    assert np.allclose(found.numpy(), expected, rtol=0, atol=2e-4), (found, expected)
    assert torch.isfinite(shift).all()
    truth = -0.5 * ((raw.double().numpy() - mean) / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)
    assert abs(found.mean().item() - truth.sum(1).mean()) < 0.1  # of 3600 training rows, the mean is known to 0.02


REFUSED = {
    "float32 at 1e7": ((1e7 + 0.5 * Z).astype(np.float32), "spread of 0.566", "1e+07", "float32"),
    "bfloat16 at 1000": (torch.from_numpy(1000 + Z).bfloat16(), "spread of", "1e+03", "bfloat16"),
    "uint64 above 2^63": (2**63 + (1000 * np.abs(Z)).astype(np.uint64), "spread of", "9.22e+18", "float64"),
    "nanoseconds": (TALL + (10 * Z).astype(np.int64), "spread of 9.57", "1.7e+18", "float64"),
    "long double": (np.longdouble(1e16) + Z.astype(np.longdouble), "spread of 0.99", "1e+16", "float64"),
    "1e-310": (1e-310 * Z, "spread of 9.95e-311", "multiply the data"),
    "1.7e308": (1.7e308 * np.tanh(Z), "1.7e+308", "divide"),
    "long double 1e400": (np.longdouble(1e200) * np.longdouble(1e200) * Z, "divide"),
    "constant": (np.full((40, 2), 0.1), "all training values are 0.1"),
    "constant columns": (np.tile([0.1, 7.0], (40, 1)), "the same in every row"),
}


if np.finfo(np.longdouble).eps == np.finfo(np.float64).eps:  # as it is on some machines
    REFUSED = {k: v for k, v in REFUSED.items() if not k.startswith("long double")}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_units_that_cannot_be_held_are_refused_with_spread_and_offset(case):
    x, *words = case
    refuses("tensor", *words, call=lambda: D.from_tensor(x))


def test_a_transform_that_loses_the_spread_is_refused():
    for how in ("global", None):
        refuses(
            "column 0",
            "spread of 19.9",
            "1.7e+09",
            f"standardize={how}",
            call=lambda how=how: D.from_tensor(UNITS["a time in seconds"], standardize=how),
        )
    series = np.stack([1.7e9 + 20 * Z[:, :1], Z[:, :1]], 1).repeat(8, 2)
    refuses("channel 0", "1.7e+09", "feature", call=lambda: D.from_tensor(series))
    data = D.from_tensor(series, standardize="feature")
    assert torch.allclose(data.encode(whole(data.train)).std(0), torch.ones(2, 8), atol=1e-3)


def test_raw_items_are_float32_where_that_is_enough():
    assert whole(D.from_tensor(5 + 3 * Z).train).dtype == torch.float32
    assert whole(D.from_tensor(np.arange(40)).train).dtype == torch.float32
    assert whole(D.from_tensor(1e7 + Z).train).dtype == torch.float64
    assert whole(D.from_tensor(1e7 + Z, levels=None, standardize="feature").test).dtype == torch.float64


@pytest.mark.parametrize("kind", ["table", "series"])
def test_a_trained_folder_knows_such_units(tmp_path, kind):
    times = 1.7e9 + 20 * Z
    data = D.from_table({"time": times[:, 0], "dose": Z[:, 1]}) if kind == "table" else D.from_tensor(times[:, None])
    net = scoresde.nets.MLP(data.shape, width=8)
    scoresde.train(scoresde.Preconditioned(net, scoresde.VP()), data, steps=2, batch_size=4, folder=tmp_path / "model")
    model = scoresde.load(tmp_path / "model")
    x = torch.randn(50, *data.shape)
    assert torch.equal(model.decode(x), data.decode(x)) and model.decode(x).dtype == torch.float64
    assert ((model.decode(x) - 1.7e9)[..., 0].flatten() - 20 * x[..., 0].flatten()).abs().max() < 2
    raw = torch.stack([data.test[i] for i in range(50)])
    assert torch.equal(model.encode(raw), data.encode(raw))
    assert model.columns == (("time", "dose") if kind == "table" else None)


def test_statistics_are_those_of_all_blocks(monkeypatch):
    monkeypatch.setattr("scoresde.data.rows.BLOCK", 30)
    x = np.sort(np.random.RandomState(0).gamma(1, size=(200, 2, 3)), 0)  # blocks differ
    order = np.random.RandomState(0).permutation(200)[:-20]
    for how, axes in (("global", None), ("feature", 0)):
        transform = D.from_tensor(x, standardize=how).space
        mean, std = x[order].mean(axes), x[order].std(axes)
        assert np.allclose(transform.scale, 1 / std, rtol=1e-12) and np.allclose(
            transform.shift, -mean / std, rtol=1e-12
        )


# -- which scale ------------------------------------------------------------------------------------------------------

TABLE = Z @ np.array([[30.0, 0.0], [0.0, 0.61]])


def test_vectors_are_scaled_by_column_and_shapes_as_one():
    data = D.from_tensor(TABLE)
    assert torch.allclose(data.encode(whole(data.train)).std(0), torch.ones(2), atol=1e-3) and data.notes == ()
    shaped = D.from_tensor(TABLE.reshape(-1, 1, 2))
    assert isinstance(shaped.space.scale, float)
    assert shaped.encode(whole(shaped.train)).std() == pytest.approx(1, abs=1e-3)
    assert D.from_tensor(Z[:, 0]).space.scale.shape == (1,)
    assert D.from_tensor(TABLE, standardize=None).space == D.Affine()


def test_a_note_says_where_scales_differ():
    (note,) = D.from_tensor(TABLE, standardize="global").notes
    assert "0.6" in note and "(column 0)" in note and "(column 1)" in note and "standardize=feature" in note
    assert D.from_tensor(TABLE * [0.1, 1], standardize="global").notes == ()
    rgb = np.random.RandomState(0).randn(100, 3, 4, 4) * np.array([1, 1, 50.0])[:, None, None]
    assert "channel 2" in D.from_tensor(rgb).notes[0]
    assert D.from_tensor(rgb, standardize="feature").notes == ()


def test_entries_that_hold_only_rounding_keep_their_scale():
    x = np.random.RandomState(0).rand(100, 1, 4, 4)
    x[:, 0, 0, 0] = 1.0
    x[7, 0, 0, 0] += 2**-52
    data = D.from_tensor(x, standardize="feature")
    assert data.space.scale[0, 0, 0] == 1 and data.encode(whole(data.train)).abs().max() < 10


# -- the model's space and back ---------------------------------------------------------------------------------------


def test_decode_refuses_what_is_not_finite():
    data = D.from_tensor(UNITS["3e38"])
    assert data.decode(torch.full((1, 2), 2.0)).max() > 3.5e38  # float64, and finite
    for data, x in (
        (D.toy(n=50, test=5), torch.tensor([[math.nan, 0.0]])),
        (D.toy(n=50, test=5), torch.tensor([[3e38, 0.0]])),
        (D.from_tensor(1e300 + 1e299 * Z), torch.tensor([[0.0, 1e30]])),
        (D.digits(), torch.full((1, 1, 8, 8), math.inf)),
        (D.digits(), torch.full((1, 1, 8, 8), math.nan)),
    ):
        with pytest.raises(FloatingPointError, match=f"values of {data.name} are not finite"):
            data.decode(x)


def test_affine_is_exact_at_any_offset():
    y = 1e9 + torch.randn(100, dtype=torch.float64)
    exact = D.Affine(2.0, -2e9)
    assert torch.equal(exact(y), 2 * (y - 1e9)) and torch.equal(exact.inverse(2 * (y - 1e9)), y)
    assert exact(y.float()).dtype == torch.float64 and D.Affine(2.0, 1.0)(y.float()).dtype == torch.float32
    assert D.Affine(torch.tensor([1.0, 1e40], dtype=torch.float64)).wide and not D.Affine(2.0, -1.0).wide
    refuses("scale=inf", call=lambda: D.Affine(math.inf))

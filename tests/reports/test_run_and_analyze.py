"""``run`` and ``analyze``: a cascade on arrays, and what it needs of any hardware."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.reports.command import Command

ATTENTION = ("attention:3pass", "attention:2pass", "attention:2pass-local", "attention:1pass")


def arrays(path: Path) -> str:
    rng = np.random.default_rng(7)
    np.savez(path, Q=rng.normal(size=(5, 4)), K=rng.normal(size=(7, 4)), V=rng.normal(size=(7, 3)))
    return str(path)


def fails(fusebench: Command, given: Path, out: Path) -> str:
    """Returns the error of running attention on a file."""
    return fusebench("run", "attention", "--inputs", str(given), "--out", str(out)).error


@pytest.mark.parametrize("name", ATTENTION)
def test_run_writes_every_output(fusebench: Command, tmp_path: Path, name: str) -> None:
    given, out = arrays(tmp_path / "in.npz"), tmp_path / "out.npz"
    tile = ("--extent", "m0=3") if name in ATTENTION[2:] else ()
    ran = fusebench("run", name, "--inputs", given, "--out", str(out), *tile, "--json").json
    assert ran["outputs"] == {"AV": [5, 3]}
    with np.load(given) as inputs, np.load(out) as outputs:
        weights = np.exp(inputs["Q"] @ inputs["K"].T)
        assert list(outputs) == ["AV"]
        assert outputs["AV"].dtype == np.float64
        np.testing.assert_allclose(outputs["AV"], weights @ inputs["V"] / weights.sum(axis=1, keepdims=True), rtol=1e-13)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_run_a_file_with_several_outputs_and_index_inputs(fusebench: Command, tmp_path: Path) -> None:
    path = tmp_path / "gather.cascade"
    path.write_text("Y[t,e] = X[I[t],e]\nS[] = Y[t,e]\noutput Y\n")
    np.savez(tmp_path / "in.npz", X=np.arange(6, dtype=np.float32).reshape(3, 2), I=np.array([2, 0], dtype=np.int16))
    text = fusebench("run", str(path), "--inputs", str(tmp_path / "in.npz"), "--out", str(tmp_path / "o.npz"),
                     "--extent", "t=2").out
    assert "Y       2 x 2\nS       scalar\n" in text
    with np.load(tmp_path / "o.npz") as outputs:
        np.testing.assert_array_equal(outputs["Y"], [[4, 5], [0, 1]])
        assert outputs["S"] == 10


@pytest.mark.parametrize(("content", "message"), [
    (b"", "it is no whole .npz file, got one that begins with b''; write it with numpy.savez"),
    (b"hello", "it is no whole .npz file, got one that begins with b'hello'; write it with numpy.savez"),
    (b"PK\x03\x04" * 9, (
        r"it is no whole .npz file, got one that begins with b'PK\x03\x04PK\x03\x04'; write it with numpy.savez")),
])
def test_inputs_that_are_no_arrays(fusebench: Command, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert fails(fusebench, path, tmp_path / "o.npz") == f"{path}: file: {message}"


def test_inputs_that_are_damaged_or_hold_no_numbers(fusebench: Command, tmp_path: Path) -> None:
    out = tmp_path / "o.npz"
    data = bytearray(Path(arrays(tmp_path / "good.npz")).read_bytes())
    data[150] ^= 255
    (tmp_path / "bad.npz").write_bytes(data)
    assert "it cannot be read, got \"Bad CRC-32 for file 'Q.npy'\"" in fails(fusebench, tmp_path / "bad.npz", out)
    np.savez(tmp_path / "objects.npz", Q=np.array([{}], dtype=object))
    assert "it cannot be read, got 'Object arrays cannot be loaded" in fails(fusebench, tmp_path / "objects.npz", out)
    for name, array in (("text", np.array(["a"])), ("complex", np.ones(2, dtype=complex))):
        np.savez(tmp_path / f"{name}.npz", Q=array)
        assert f"array 'Q': it should hold real numbers, got {array.dtype}; convert it" in fails(
            fusebench, tmp_path / f"{name}.npz", out)
    np.save(tmp_path / "one.npy", np.ones(3))
    assert "it is no whole .npz file, got one that begins with b'\\x93NUMPY" in fails(fusebench, tmp_path / "one.npy", out)
    assert "there is none, got a path that does not exist" in fails(fusebench, tmp_path / "none.npz", out)
    assert "it is a folder, got no arrays" in fails(fusebench, tmp_path, out)
    assert "it is no whole .npz file, got one that begins with b'\\x00" in fails(fusebench, Path("/dev/zero"), out)
    assert not out.exists()


def test_outputs_that_cannot_be_written(fusebench: Command, tmp_path: Path) -> None:
    given = arrays(tmp_path / "in.npz")
    for out, reason in ((tmp_path, "Is a directory"), (tmp_path / "none" / "o.npz", "No such file or directory")):
        message = f"it cannot be written, got '{reason}'; check the folder and its permissions"
        assert fails(fusebench, Path(given), out) == f"{out}: file: {message}"


@pytest.mark.parametrize(("extents", "message"), [
    (("m=abc",), "--extent 'm': it should be a whole number of at least 1, got 'abc'; write --extent m=1024"),
    (("m=0",), "--extent 'm': it should be a whole number of at least 1, got '0'; write --extent m=1024"),
    (("m=-4",), "--extent 'm': it should be a whole number of at least 1, got '-4'; write --extent m=1024"),
    (("m=2.5",), "--extent 'm': it should be a whole number of at least 1, got '2.5'; write --extent m=1024"),
    (("m=9999999999999999",), "--extent 'm': it should be a whole number of at least 1, got '9999999999999999'; write "),
    (("m=" + "9" * 30,), "--extent 'm': it should be a whole number of at least 1, got "),
    (("m",), "--extent: it should be a rank, '=' and a number, got 'm'; write --extent p=1024"),
    (("m==4",), "--extent 'm': it should be a whole number of at least 1, got '=4'; write --extent m=1024"),
    (("=4",), "--extent: it should be a rank, '=' and a number, got '=4'; write --extent p=1024"),
    (("m=4,",), "--extent: it should be a rank, '=' and a number, got ''; write --extent p=1024"),
    (("m=4", "M=8"), "--extent 'M': it stands twice, got 4 and 8; give one of them"),
    (("q=4",), "attention:1pass: rank 'q': the cascade has no such rank, got an extent of 4 for it; valid: e, f, m, m0, m1, p"),
    (("m=4,m1=3,m0=2",), "attention:1pass: rank 'm1': it is bound to two extents, got 3 and 2 = ceil(m / 2) with m = 4; "),
])
def test_wrong_extents(fusebench: Command, tmp_path: Path, extents: tuple[str, ...], message: str) -> None:
    options = [part for extent in extents for part in ("--extent", extent)]
    assert fusebench("analyze", "attention:1pass", *options).error.startswith(message)
    given = arrays(tmp_path / "in.npz")
    error = fusebench("run", "attention:1pass", "--inputs", given, "--out", str(tmp_path / "o.npz"), *options).error
    assert error.startswith(message) or extents == ("m=4,m1=3,m0=2",)


def test_analyze_counts(fusebench: Command) -> None:
    """The counts of 3-pass attention, from its text by hand."""
    p, m, e, f = 6, 10, 3, 4
    extents = ("--extent", f"p={p},m={m}", "--extent", f"E={e}", "--extent", f"f={f}")
    found = fusebench("analyze", "attention:3pass", *extents, "--json").json
    assert found["passes"] == {"p": 1, "m": 3, "e": 1, "f": 1}
    operations = found["operations"]
    assert operations["mul"] == p * m * e + p * m * f
    assert operations["exp"] == operations["sub"] == operations["div"] == operations["max"] == p * m
    assert operations["add"] == p * m * e + p * m + p * m * f
    assert found["compulsory_values"] == {"read": p * e + m * e + m * f, "write": p * f}
    assert math.isclose(found["intensity"], sum(operations.values()) / (p * e + m * e + m * f + p * f))
    assert found["live_footprint_values"]["GM"] >= 1


@pytest.mark.parametrize(("name", "count"), list(zip(ATTENTION, (3, 2, 2, 1), strict=True)))
def test_analyze_without_extents(fusebench: Command, name: str, count: int) -> None:
    found = fusebench("analyze", name, "--json").json
    assert found["passes"]["m"] == count
    assert isinstance(found["operations"]["exp"], str)
    text = fusebench("analyze", name).out
    assert "passes\n" in text
    assert found["operations"]["exp"] in text


def test_analyze_explains(fusebench: Command, dot: Path) -> None:
    dot.write_text("G[] = A[k]\nZ[k] = A[k] * G[]\n")
    assert fusebench("analyze", str(dot), "--json").json["passes"] == {"k": 2}
    explained = fusebench("analyze", str(dot), "--explain", "--json").json["explanation"]
    assert "G" in str(explained)
    assert "explanation\n" in fusebench("analyze", str(dot), "--explain").out

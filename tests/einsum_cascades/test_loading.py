"""Cascades from files: text, YAML in TeAAL's manner, and everything that is neither."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from einsum_cascades.errors import FusebenchError
from einsum_cascades.loading import from_yaml, load
from einsum_cascades.notation import parse
from tests.einsum_cascades.test_round_trip import mutated

YAML = """
einsum:
  declaration:
    A: [k, m]
    B: [k, n]
    T: [k, m, n]
    Z: [m, n]
  expressions:
    - T[k,m,n] = A[k,m] * B[k,n]
    - Z[m,n] = sum[k] T[k,m,n] + R[k,m] where k < K - 1
    - R[k+1,m] = R[k,m] * f2(A[k,m])
  init: R[0,m] = 1
  operators:
    - f2(x) = x * 2
  outputs: [T]
  dtypes: {A: bf16}
  devices: [m]
  extents: {K: 4}
mapping:
  rank-order: {A: [k, m]}
"""


def test_a_text_file_loads(tmp_path: Path) -> None:
    path = tmp_path / "a.cascade"
    path.write_bytes("\ufeffZ[p] = A[p]  # größer\r\n".encode())
    assert load(path) == parse("Z[p] = A[p]")
    assert load(str(path)).name == str(path)


def test_yaml_loads_to_the_cascade_of_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(YAML)
    assert load(path) == parse("""device m
        extent K 4
        dtype A bf16
        op f2(x) = x * 2
        init R[0,m] = 1
        T[k,m,n] = A[k,m] * B[k,n]
        Z[m,n] = sum[k] T[k,m,n] + R[k,m] where k < K - 1
        R[k+1,m] = R[k,m] * f2(A[k,m])
        output T""")


def test_yaml_takes_a_block_of_text() -> None:
    assert from_yaml("einsum:\n  expressions: |\n    T[p] = A[p]\n    Z[] = T[p]\n") == parse("T[p] = A[p]\nZ[] = T[p]")


@pytest.mark.parametrize(("text", "message"), [
    ("", "c.yaml: cascade: the key 'einsum' is missing, got an empty file; write 'einsum:' with 'expressions:' below it"),
    ("- 1", "c.yaml: cascade: the key 'einsum' is missing, got list; write 'einsum:' with 'expressions:' below it"),
    ("mapping: 1", "c.yaml: cascade: the key 'einsum' is missing, got 'mapping'; write 'einsum:' with 'expressions:' below it"),
    ("einsum: 3", "c.yaml: einsum: it should be a mapping, got int; write 'expressions:' below it"),
    ("einsum: {expresions: []}", (
        "c.yaml: einsum: unknown key, got 'expresions'; did you mean 'expressions'? valid: declaration, devices, dtypes, "
        "expressions, extents, init, operators, outputs")),
    ("einsum: {outputs: [Z]}", (
        "c.yaml: einsum.expressions: it is missing, got no Einsum; write a list of lines such as 'Z[m] = A[k,m] * B[k]'")),
    ("einsum: {expressions: 7}", (
        "c.yaml: einsum.expressions: it should be a list of lines, got int; begin each line with '- '")),
    ("einsum: {expressions: [7]}", "c.yaml: einsum.expressions[0]: it should be a line of text, got 7; put it in quotes"),
    ("einsum: {expressions: ['Z[p] = A[p]'], extents: {P: big}}", (
        "c.yaml: einsum.extents.P: an extent is a whole number of at least 1, got 'big'; give one")),
    ("einsum: {expressions: ['Z[p] = A[p]'], dtypes: [A]}", (
        "c.yaml: einsum.dtypes: it should be a mapping, got list; write 'name: value' lines")),
    ("einsum: {expressions: ['Z[p] = A[p]'], declaration: {B: [p]}}", (
        "c.yaml: einsum.declaration.B: no Einsum uses the tensor, got 'B'; valid: A, Z")),
    ("einsum: {expressions: ['Z[p] = A[p]'], declaration: {A: [p, q]}}", (
        "c.yaml: einsum.declaration.A: the expressions give it 1 ranks, got 2; declare [p]")),
    ("einsum: {expressions: ['Z[p] = A[p]'], declaration: {A: p}}", (
        "c.yaml: einsum.declaration.A: it should be a list of ranks, got 'p'; write [k, m]")),
    ("einsum: {expressions: ['Z[p] = A[p']}", "c.yaml:1:9: bracket '[': it is never closed, got the end of the text; close it"),
    ("einsum: [", ("c.yaml:1:10: YAML: it cannot be read, got \"expected the node content, but found '<stream end>'\"; check "
                  "indentation and quotes")),
    ("einsum: !!python/object/apply:os.getcwd []", (
        "c.yaml:1:9: YAML: it cannot be read, got \"could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.getcwd'\"; check indentation and quotes")),
], ids=lambda v: v[:24] if isinstance(v, str) else "")
def test_wrong_yaml(text: str, message: str) -> None:
    with pytest.raises(FusebenchError) as caught:
        from_yaml(text, source="c.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize(("content", "message"), [
    (b"", "cascade: it has no Einsum, got an empty text; write at least one line such as 'Z[m] = A[k,m] * B[k]'"),
    (b"Z[p] = A\0", "file: it is not text, got a NUL byte at byte 8; give a cascade in UTF-8"),
    (b"Z[p] = \xff\xfe", "file: it is not text, got byte 0xff at byte 7, which is no UTF-8; give a cascade in UTF-8"),
    (b"\x89PNG\r\n\x1a\n", "file: it is not text, got byte 0x89 at byte 0, which is no UTF-8; give a cascade in UTF-8"),
    (b"Z[p] = A[p]\n" * 100_000, "text: too long, got 1200000 characters; at most 1000000 are read"),
], ids=["empty", "nul", "utf8", "png", "long"])
def test_files_that_are_no_text(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.cascade"
    path.write_bytes(content)
    with pytest.raises(FusebenchError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {message}"


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.cascade", "file: there is none, got a path that does not exist; check the spelling"),
                          (tmp_path, "file: it is a folder, got no text; name a file in it")):
        with pytest.raises(FusebenchError) as caught:
            load(path)
        assert str(caught.value) == f"{path}: {message}"
    with pytest.raises(FusebenchError, match="file: it cannot be read"):
        load(os.fspath(tmp_path) + "/a\0b")


def test_mutations_of_yaml_give_only_clean_errors() -> None:
    rng = random.Random(3)
    valid = broken = 0
    for _ in range(1000):
        text = mutated(YAML, rng)
        try:
            from_yaml(text, source="mutant")
        except FusebenchError as error:
            broken += 1
            assert "\n" not in str(error)
            assert str(error).startswith("mutant")
        else:
            valid += 1
    assert valid > 20
    assert broken > 300

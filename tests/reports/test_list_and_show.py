"""``list`` and ``show``: what there is, and what is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from einsum_cascades.notation import parse
from tests.reports.command import Command
from workloads.variants import load_variant


def test_list_variants(fusebench: Command) -> None:
    by_id = {entry["id"]: entry for entry in fusebench("list", "variants", "--json").json}
    assert list(by_id) == sorted(by_id)
    assert by_id["attention"]["algorithms"] == ["3pass", "2pass", "2pass-local", "1pass"]
    assert by_id["attention"]["system"] == "FuseMax"
    assert by_id["attention"]["workloads"] == ["bert", "trxl", "t5", "xlm"]
    text = fusebench("list", "variants").out.splitlines()
    assert len(text) == len(by_id) + 2
    assert "3pass, 2pass, 2pass-local, 1pass" in next(line for line in text if line.startswith("attention "))


@pytest.mark.parametrize(("kind", "ids"), [
    ("workloads", {"bert", "t5", "trxl", "xlm"}),
    ("machines", {"flat", "fusemax"}),
    ("designs", {"unfused", "flat", "cascade", "arch", "binding"}),
])
def test_list_other_kinds(fusebench: Command, kind: str, ids: set[str]) -> None:
    found = fusebench("list", kind, "--json").json
    assert ids <= {entry["id"] for entry in found}
    assert all(entry["source"] for entry in found)
    text = fusebench("list", kind).out
    assert all(f"\n{name} " in text for name in ids)


@pytest.mark.parametrize("name", ["attention", "attention:1pass", "attention:2pass-local"])
def test_show_a_variants_cascade(fusebench: Command, name: str) -> None:
    shown = fusebench("show", name, "--json").json
    cascade = load_variant("attention").cascade(name.partition(":")[2] or None)
    assert parse(shown["text"]) == cascade
    assert (shown["inputs"], shown["outputs"]) == (["Q", "K", "V"], ["AV"])
    assert [e["name"] for e in shown["einsums"]] == [e.name for e in cascade.einsums]
    assert all(entry["text"] in shown["text"] for entry in shown["einsums"])
    text = fusebench("show", name).out
    assert all(line in text for line in shown["text"].splitlines())
    assert "inputs      Q[p,e], K[m,e], V[m,f]\n" in text
    assert "outputs     AV[p,f]\n" in text


def test_show_a_file(fusebench: Command, dot: Path) -> None:
    shown = fusebench("show", str(dot), "--json").json
    assert shown["text"] == dot.read_text()
    assert shown["einsums"] == [{"name": "Z", "text": "Z[m] = A[k,m] * B[k]", "ranks": ["m", "k"], "reduces": ["k"],
                                 "reads": ["A", "B"]}]
    yaml_file = dot.with_suffix(".yml")
    yaml_file.write_text("einsum: {expressions: ['Z[m] = A[k,m] * B[k]']}")
    assert fusebench("show", str(yaml_file), "--json").json["text"] == shown["text"]


def test_a_file_needs_no_known_suffix_and_a_variant_comes_first(fusebench: Command, dot: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(dot.parent)
    (dot.parent / "mine").write_text(dot.read_text())
    (dot.parent / "attention").write_text(dot.read_text())
    assert fusebench("show", "mine", "--json").json["outputs"] == ["Z"]
    assert fusebench("show", "attention", "--json").json["outputs"] == ["AV"]


@pytest.mark.parametrize("name", ["bert", "trxl", "t5", "xlm"])
def test_show_a_workload(fusebench: Command, name: str) -> None:
    shown = fusebench("show", "workload", name, "--json").json
    assert shown["id"] == name
    assert shown["seq_lens"] == [1024, 4096, 16384, 65536, 262144, 1048576]
    assert yaml.safe_load(fusebench("show", "workload", name).out) == shown


@pytest.mark.parametrize(("kind", "name"), [("machine", "fusemax"), ("machine", "flat"), ("design", "binding"),
                                            ("design", "flat")])
def test_show_a_definition_with_its_sources(fusebench: Command, kind: str, name: str) -> None:
    shown = fusebench("show", kind, name, "--json").json
    assert shown["id"] == name
    assert "FuseMax" in str(shown["source"])
    assert yaml.safe_load(fusebench("show", kind, name).out) == shown


@pytest.mark.parametrize(("arguments", "message"), [
    (("show", "atention"), "unknown cascade, got 'atention'; did you mean 'attention'? valid: "),
    (("show", "atention:1pass"), "unknown cascade, got 'atention:1pass'; did you mean 'attention'? valid: "),
    (("show", "attention:2pas"), "unknown algorithm of 'attention', got '2pas'; did you mean '2pass'? valid: 1pass, 2pass"),
    (("show", "attention:"), "unknown algorithm of 'attention', got ''; valid: 1pass, 2pass, 2pass-local, 3pass"),
    (("show", ""), "unknown cascade, got ''; valid: "),
    (("show", "none.cascade"), "none.cascade: file: there is none, got a path that does not exist; check the spelling"),
    (("show", "none/at/all"), "none/at/all: file: there is none, got a path that does not exist; check the spelling"),
    (("show", "machine"), "show: the machine's name is missing, got nothing; see 'fusebench show --help'"),
    (("show", "attention", "bert"), "show: a cascade takes no further name, got 'bert'; see 'fusebench show --help'"),
    (("show", "machine", "fusemix"), "unknown machine, got 'fusemix'; did you mean 'fusemax'? valid: "),
    (("show", "design", "bindings"), "unknown design, got 'bindings'; did you mean 'binding'? valid: "),
    (("show", "workload", "berd"), "unknown workload, got 'berd'; did you mean 'bert'? valid: bert, t5, trxl, xlm"),
    (("show", "workload", "none.yaml"), "none.yaml: file: there is none, got a path that does not exist; check the spelling"),
])
def test_wrong_names(fusebench: Command, arguments: tuple[str, ...], message: str) -> None:
    assert fusebench(*arguments).error.startswith(message)
    assert fusebench(*arguments, "--json").error.startswith(message)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "cascade: it has no Einsum, got an empty text; write at least one line such as 'Z[m] = A[k,m] * B[k]'"),
    (b"\x89PNG\r\n\x1a\n\0", "file: it is not text, got a NUL byte at byte 8; give a cascade in UTF-8"),
    (b"\xff\xfe", "file: it is not text, got byte 0xff at byte 0, which is no UTF-8; give a cascade in UTF-8"),
])
def test_files_that_hold_no_cascade(fusebench: Command, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.cascade"
    path.write_bytes(content)
    assert fusebench("show", str(path)).error == f"{path}: {message}"
    assert fusebench("show", str(tmp_path)).error == f"{tmp_path}: file: it is a folder, got no text; name a file in it"


def test_a_wrong_line_is_named_with_its_place(fusebench: Command, tmp_path: Path) -> None:
    path = tmp_path / "x.cascade"
    path.write_text("Z[m] = A[k,m] * B[k]\nY[m] = Z[m] * (C[m]\n")
    assert fusebench("show", str(path)).error.startswith(f"{path}:2:15: bracket '(': it is never closed")

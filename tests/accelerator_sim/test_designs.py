"""Design files: whatever is wrong in one gets one line with its place; a user's own file works anywhere."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from accelerator_sim.designs import design_ids, load_design, load_design_file
from accelerator_sim.energy import ACCOUNTINGS
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machines import read_machine
from accelerator_sim.plan import Shape
from einsum_cascades.errors import DefinitionError, DesignError, FusebenchError, UnknownNameError
from einsum_cascades.notation import parse
from tests.accelerator_sim.small import definition, small_machine

CASCADE = parse("T[i,k] = A[i,k] * B[k]\nZ[i,k] = exp(T[i,k] - C[i])")

TEXT = """
id: own
title: A design of one's own
source: these tests
cascade: any
machines: [small]
mapping:
  partition: {i: [i1, i0], k: [k1, k0]}
  sizes: {i0: array_2d.rows, k0: 2}
  instances: [b]
stages:
  - name: first
    nests:
      - einsums: [T, Z]
        loops: [b, i1, k1]
        inner: {T: [i0, k0], Z: [i0, k0]}
        units:
          array_2d: {einsums: [T], parallel: {i0: rows, k0: cols}}
          array_1d: {einsums: [Z], parallel: {i0: lanes}}
        keep: {global_buffer: {A: i1, C: {at: i1, spill: 0.5}}}
        forward: {T: [Z]}
        absorbed: {Z: [sub]}
    phases: [{run: [T]}, {drain: array_2d}, {run: [Z]}]
accounting:
  fusemax-artifact: {per_pe: [T], read_back: {T: k1}, omitted_energy: {exp: [Z]}}
"""

NEST = "stages.0.nests.0"


def changed(path: str, value: Any) -> dict[str, Any]:
    """The design with another value at a path; None takes the key away."""
    made: dict[str, Any] = copy.deepcopy(yaml.safe_load(TEXT))
    node: Any = made
    *around, last = (int(key) if key.isdigit() else key for key in path.split("."))
    for key in around:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return made


def simulated(folder: Path, raw: dict[str, Any]) -> Estimate:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    found = estimate(CASCADE, load_design(str(path)), small_machine(), Shape({"i": 5, "k": 5}, {"b": 2}))
    for accounting in ACCOUNTINGS:
        found.energy_under(accounting)
    return found


def refusal(folder: Path, raw: dict[str, Any]) -> str:
    with pytest.raises(FusebenchError) as caught:
        simulated(folder, raw)
    found = str(caught.value)
    assert "\n" not in found
    assert ", got " in found
    return found.replace(f"{folder / 'own.yaml'}: ", "")


# --- the file by itself ---


@pytest.mark.parametrize(("path", "value", "message"), [
    (f"{NEST}.einsums", ["T"], "stages[0].nests[0].units.array_1d.einsums: it is not in the nest, got 'Z'; use T"),
    (f"{NEST}.units.array_2d.einsums", ["T", "Z"],
     "stages[0].nests[0].units.array_1d.einsums: it is bound to two units, got 'Z'; remove one"),
    (f"{NEST}.units.array_2d", None, "stages[0].nests[0].units: Einsum 'T' is bound to no unit, got a list of 1; bind it"),
    (f"{NEST}.units.array_3d", {"einsums": []},
     "stages[0].nests[0].units.array_3d.einsums: no Einsum runs on it, got a list of 0; name some, or remove the unit"),
    (f"{NEST}.units.array_2d.lanes", 3, "stages[0].nests[0].units.array_2d: unknown key, got 'lanes'; valid: einsums, parallel"),
    (f"{NEST}.units.array_2d.parallel.i0", 3,
     "stages[0].nests[0].units.array_2d.parallel.i0: it should be text, got 3; write some, in quotes where it is a number"),
    (f"{NEST}.keep.global_buffer.C.spill", 2,
     "stages[0].nests[0].keep.global_buffer.C.spill: it should be a number of at least 0 and at most 1, got 2; correct it"),
    (f"{NEST}.keep.global_buffer.C.spil", 0.2, ("stages[0].nests[0].keep.global_buffer.C: unknown key, got 'spil'; did you mean 'spill'? "
     "valid: at, in_place, spill")),
    (f"{NEST}.keep.global_buffer.C.at", None,
     "stages[0].nests[0].keep.global_buffer.C.at: it is missing, got no value; write some, in quotes where it is a number"),
    (f"{NEST}.keep.global_buffer.A", 3,
     "stages[0].nests[0].keep.global_buffer.A: it should be text, got 3; write some, in quotes where it is a number"),
    (f"{NEST}.keep", ["A"], "stages[0].nests[0].keep: it should be a mapping, got a list of 1; write 'key: value' lines below it"),
    (f"{NEST}.forward", ["T"], "stages[0].nests[0].forward: it should be a mapping, got a list of 1; write 'key: value' lines below it"),
    (f"{NEST}.skip_empty", "yes", "stages[0].nests[0].skip_empty: it should be true or false, got 'yes'; write one of them"),
    (f"{NEST}.loop", ["b"], ("stages[0].nests[0]: unknown key, got 'loop'; did you mean 'loops'? valid: absorbed, einsums, elsewhere, "
     "forward, inner, keep, loops, recompute, skip_empty, units")),
    (f"{NEST}.loops", "b", "stages[0].nests[0].loops: it should be a list, got 'b'; begin each entry with '- '"),
    ("stages.0.nests", 3, "stages[0].nests: it should be a list, got 3; begin each entry with '- '"),
    ("stages", [], "stages: it has no nest, got a list of 0; give at least one stage with a nest"),
    ("stages.0.nests", [], "stages: it has no nest, got a list of 0; give at least one stage with a nest"),
    ("stages", None, "stages: it is missing, got no value; begin each entry with '- '"),
    ("stages.0.phases", [{}], "stages[0].phases[0]: a phase either runs Einsums or drains a unit, got a list of 0; give 'run' or 'drain'"),
    ("stages.0.phases.0.drain", "array_2d",
     "stages[0].phases[0]: a phase either runs Einsums or drains a unit, got a list of 1; give 'run' or 'drain'"),
    ("stages.0.schedule", "fast", "stages[0].schedule: unknown name, got 'fast'; valid: free, pipelined"),
    ("stages.0.schedule", "pipelined", "stages[0].schedule: a stage has phases or is pipelined, got 'pipelined'; remove one of both"),
    ("stages.0.color", "red", "stages[0]: unknown key, got 'color'; valid: mapping, name, nests, off_chip, phases, schedule"),
    ("mapping.sizes.i0", 0, "mapping.sizes.i0: it should be a whole number of at least 1, got 0; correct it"),
    ("mapping.sizes.i0", 2.5, "mapping.sizes.i0: it should be a whole number, got 2.5; round it"),
    ("mapping.sizes.i0", {"largest": "global_buffer"}, ("mapping.sizes.i0.largest_divisor_that_fits: it is missing, got no value; write "
     "some, in quotes where it is a number")),
    ("mapping.partition.i", "i1", "mapping.partition.i: it should be a list, got 'i1'; begin each entry with '- '"),
    ("mapping.instances", ["b", "b"], "mapping.instances: a rank stands twice, got a list of 2; name each once"),
    ("mapping.tiles", {}, "mapping: unknown key, got 'tiles'; did you mean 'sizes'? valid: instances, partition, sizes"),
    ("accounting.other", {}, "accounting: unknown key, got 'other'; valid: fusemax-artifact"),
    ("accounting.fusemax-artifact.per_pes", [], ("accounting.fusemax-artifact: unknown key, got 'per_pes'; did you mean 'per_pe'? "
     "valid: omitted_energy, per_pe, read_back")),
    ("machines", [3], "machines[0]: it should be text, got 3; write some, in quotes where it is a number"),
    ("id", None, "id: it is missing, got no value; write some, in quotes where it is a number"),
    ("source", None, "source: it is missing, got no value; write some, in quotes where it is a number"),
    ("colour", "red", "unknown key, got 'colour'"),
])
def test_a_wrong_key_or_value_is_refused_with_its_path(tmp_path: Path, path: str, value: Any, message: str) -> None:
    found = refusal(tmp_path, changed(path, value))
    assert found == message if path != "colour" else found.startswith(message)


def test_stages_have_names_of_their_own(tmp_path: Path) -> None:
    raw = changed("accounting", None)
    raw["stages"] = [{"name": "s", "nests": [{"einsums": [e], "units": {"array_1d": {"einsums": [e]}}}]} for e in "TZ"]
    assert refusal(tmp_path, raw) == "stages[1].name: another stage has this name, got 's'; give it one of its own"
    raw["stages"][1]["name"] = "t"
    assert list(simulated(tmp_path, raw).stages) == ["s", "t"]


# --- against the cascade ---


@pytest.mark.parametrize(("path", "value", "message"), [
    (f"{NEST}.loops", ["b", "i1", "zz"], "loops of nest 'T': no Einsum of it has such a rank, got 'zz'; valid: b, i0, i1, k0, k1"),
    (f"{NEST}.loops", ["b", "i", "k1"],
     "loops of nest 'T': no Einsum of it has such a rank, got 'i'; did you mean 'i1'? valid: b, i0, i1, k0, k1"),
    (f"{NEST}.loops", ["b", "i1", "i1"], "loops of nest 'T': a rank stands twice, got b, i1, i1; partition the rank and name its parts"),
    (f"{NEST}.inner.T", ["i0", "q"], "inner loops of Einsum 'T': it has no such rank, got 'q'; valid: i0, i1, k0, k1"),
    (f"{NEST}.inner.Q", ["i0"], "inner loops: Einsum 'Q' is not in this nest, got T, Z; name one of them"),
    (f"{NEST}.units.array_2d.parallel", {"q": "rows"},
     "parallel ranks of Einsum 'T': it has no such rank, got 'q'; valid: i0, i1, k0, k1"),
    (f"{NEST}.keep.global_buffer.X", "i1",
     "nest of 'T': keep.global_buffer: no Einsum here has such a tensor, got 'X'; valid: A, B, C, T, Z"),
    (f"{NEST}.keep.global_buffer.A", "i2", ("nest of 'T': keep.global_buffer.A: there is no such loop, got 'i2'; did you mean 'i1'? "
     "valid: b, i0, i1, k0, k1")),
    (f"{NEST}.keep.global_buffer.A", {"at": "i1", "in_place": "Q"},
     "keep.global_buffer.A.in_place: nothing in stage 'first' has such a room, got 'Q'; valid: C"),
    (f"{NEST}.forward.T", ["Q"], "nest of 'T': forward.T: this Einsum does not read it, got 'Q'; valid: Z"),
    (f"{NEST}.forward.C", ["Z"], "nest of 'T': forward: no Einsum here makes such a tensor, got 'C'; valid: T, Z"),
    (f"{NEST}.forward", {}, ("tensor 'T': Einsum 'Z' cannot find it, got it kept in no memory of the nest of 'T'; keep it, forward it, or "
     "send it off_chip")),
    (f"{NEST}.absorbed.Z", ["mul"], "nest of 'T': absorbed.Z: the Einsum has no such operator, got 'mul'; valid: exp, sub"),
    (f"{NEST}.absorbed.Q", ["mul"], "nest of 'T': absorbed: the Einsum is not in this nest, got 'Q'; valid: T, Z"),
    (f"{NEST}.elsewhere", {"Q": {"exp": "array_1d"}}, "nest of 'T': elsewhere: the Einsum is not in this nest, got 'Q'; valid: T, Z"),
    (f"{NEST}.elsewhere", {"Z": {"mul": "array_1d"}},
     "nest of 'T': elsewhere.Z: the Einsum has no such operator, got 'mul'; valid: exp, sub"),
    ("stages.0.off_chip", ["A"], "stage 'first': off_chip: no Einsum makes such a tensor, got 'A'; remove it"),
    ("mapping.partition.q", ["q1", "q0"], "partition: the cascade 'cascade' has no such rank, got 'q'; valid: i, k"),
    ("mapping.partition.i", ["i0", "i0"], "partition of rank 'i': its parts must differ, got i0, i0; name each once"),
    ("mapping.sizes.q", 2, "mapping.sizes: no rank has such a part, got 'q'; valid: b, i0, i1, k0, k1"),
    ("mapping.sizes.i0", None, "mapping.sizes: part 'i0' has no size, got none; give the extent of every part but the outermost"),
    ("mapping.sizes.i1", 3, "mapping.sizes.i1: the outermost part is as long as the rank 'i' needs, got a size; remove it"),
    ("mapping.sizes.i0", {"largest_divisor_that_fits": "global_buffer", "of": ["Q"]},
     "mapping.sizes.i0.of: there is no such tensor, got 'Q'; valid: A, B, C, T, Z"),
    ("stages.0.phases.0.run", ["Q"], "stage 'first': phases: Einsum 'Q' is not in the stage, got it in a phase; use T, Z"),
    ("accounting.fusemax-artifact.per_pe", ["Q"],
     "accounting.fusemax-artifact.per_pe: there is no such tensor, got 'Q'; valid: A, B, C, T, Z"),
    ("accounting.fusemax-artifact.read_back", {"Q": "k1"},
     "accounting.fusemax-artifact.read_back: there is no such Einsum, got 'Q'; valid: T, Z"),
    ("accounting.fusemax-artifact.read_back", {"T": "q"},
     "accounting.fusemax-artifact.read_back.T: there is no such loop, got 'q'; valid: b, i0, i1, k0, k1"),
    ("accounting.fusemax-artifact.omitted_energy", {"exp": ["Q"]},
     "accounting.fusemax-artifact.omitted_energy.exp: there is no such Einsum, got 'Q'; valid: T, Z"),
])
def test_what_does_not_fit_the_cascade_is_refused(tmp_path: Path, path: str, value: Any, message: str) -> None:
    assert refusal(tmp_path, changed(path, value)) == f"design 'own': {message}"


def test_parts_have_names_of_their_own(tmp_path: Path) -> None:
    raw = changed("mapping.partition", {"i": ["k", "i0"]})
    raw["mapping"]["sizes"].pop("k0")
    raw["stages"][0]["nests"][0].update(loops=["b"], inner={})
    raw["stages"][0]["nests"][0]["units"]["array_2d"]["parallel"] = {"i0": "rows"}
    assert refusal(tmp_path, raw) == \
        "design 'own': mapping.partition: a part has a name of its own, got 'k' in i, k; rename one"


def test_a_tile_that_is_given_up_too_early_is_refused(tmp_path: Path) -> None:
    cascade = parse("T[i] = A[i,k] * B[k]\nZ[i] = T[i] * C[i]")
    nest = {"einsums": ["T", "Z"], "loops": ["k", "i"], "units": {"array_1d": {"einsums": ["T", "Z"]}},
            "keep": {"global_buffer": {"T": "i"}}}
    raw = {"id": "own", "title": "t", "source": "s", "cascade": "any", "mapping": {"instances": []}, "stages": [{"nests": [nest]}]}
    path = tmp_path / "own.yaml"

    def run() -> Estimate:
        path.write_text(yaml.safe_dump(raw, sort_keys=False))
        return estimate(cascade, load_design(str(path)), small_machine(), Shape({"i": 3, "k": 3}))
    with pytest.raises(DesignError) as caught:
        run()
    assert str(caught.value) == (
        "design 'own': tensor 'T': its tile in global_buffer is given up before its last use, got it kept at loop 'i' inside of 'k', in "
        "each round of which T needs it; keep it at a loop outside of 'k'")
    nest["keep"] = {}
    nest["forward"] = {"T": ["Z"]}
    with pytest.raises(DesignError, match="Einsum 'T': its partial results leave the registers when they are needed again"):
        run()
    nest["keep"] = {"global_buffer": {"T": "whole"}}
    nest["forward"] = {}
    assert run().counts["T"].memories["global_buffer"]["T"].reads == 3 * 2 + 3


# --- against the machine ---


@pytest.mark.parametrize(("path", "value", "message"), [
    (f"{NEST}.units.array_3d", {"einsums": ["T"]},
     "design 'own': machine 'small': unknown compute unit, got 'array_3d'; did you mean 'array_2d'? valid: array_1d, array_2d"),
    (f"{NEST}.units.array_2d.parallel", {"i0": "lanes"},
     "design 'own': machine 'small': unknown side of array_2d, got 'lanes'; valid: cols, rows"),
    (f"{NEST}.units.array_2d.parallel", {"i0": "rows", "k0": "rows"},
     ("design 'own': Einsum 'T': a side of a unit takes one part of a rank, got i0, k0 on side 'rows' of array_2d; spread 'i0' over "
     "another side, or not at all")),
    (f"{NEST}.keep.l3", {"A": "i1"}, "design 'own': machine 'small': unknown memory to keep tensors in, got 'l3'; valid: global_buffer"),
    (f"{NEST}.keep.dram", {"A": "i1"},
     "design 'own': machine 'small': unknown memory to keep tensors in, got 'dram'; valid: global_buffer"),
    (f"{NEST}.elsewhere", {"Z": {"exp": "array_9d"}},
     "design 'own': machine 'small': unknown compute unit, got 'array_9d'; did you mean 'array_2d'? valid: array_1d, array_2d"),
    ("stages.0.phases.1.drain", "array_9d",
     "design 'own': machine 'small': unknown compute unit, got 'array_9d'; did you mean 'array_2d'? valid: array_1d, array_2d"),
    ("mapping.sizes.i0", {"largest_divisor_that_fits": "l3"},
     "design 'own': mapping.sizes.i0: unknown memory, got 'l3'; valid: dram, global_buffer"),
    ("mapping.sizes.i0", "array_2d.energy_pj.mac",
     ("design 'own': mapping.sizes.i0: it should be a whole number of at least 1, got array_2d.energy_pj.mac = 1.5; name another "
     "parameter or give a number")),
])
def test_what_does_not_fit_the_machine_is_refused(tmp_path: Path, path: str, value: Any, message: str) -> None:
    raw = changed(path, value)
    if path.endswith("array_3d"):
        del raw["stages"][0]["nests"][0]["units"]["array_2d"]
    assert refusal(tmp_path, raw) == message


def test_a_size_that_no_parameter_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    found = refusal(tmp_path, changed("mapping.sizes.i0", "array_2d.row"))
    assert found.startswith("machine 'small': unknown parameter, got 'array_2d.row'; did you mean 'array_2d.rows'? valid: ")


def test_an_operator_that_the_unit_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(TEXT)
    raw = definition()
    del raw["array_1d"]["cycles"]["exp"]
    with pytest.raises(DesignError) as caught:
        estimate(CASCADE, load_design(str(path)), read_machine(raw, "small"), Shape({"i": 5, "k": 5}))
    assert str(caught.value).startswith("design 'own': Einsum 'Z': array_1d has no such operator, got 'exp'; ")


def test_memories_further_in_hold_smaller_tiles(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    machine = small_machine(inner_buffer={})
    for outer, inner, fits in (("i1", "k1", True), ("b", "b", True), ("k1", "i1", False)):
        raw = changed(f"{NEST}.keep", {"inner_buffer": {"A": inner}, "global_buffer": {"A": outer}})
        path.write_text(yaml.safe_dump(raw, sort_keys=False))
        if fits:
            found = estimate(CASCADE, load_design(str(path)), machine, Shape({"i": 5, "k": 5}, {"b": 2})).counts["first"].memories
            # All of A comes to the outer memory once, and from there to the inner one once.
            assert [found[m]["A"].reads for m in ("dram", "global_buffer", "inner_buffer")] == [50, 50, 50]
            continue
        with pytest.raises(DesignError) as caught:
            estimate(CASCADE, load_design(str(path)), machine, Shape({"i": 5, "k": 5}, {"b": 2}))
        assert str(caught.value) == ("design 'own': tensor 'A': a tile lives in one of the memory further out, got loop 'i1' in "
                                     "inner_buffer outside of the loop in global_buffer; keep it further in")


# --- tables and files ---


@pytest.mark.parametrize(("text", "message"), [
    ("", "t.csv: table: it should have columns workload and seq_len and at least one row, got nothing; add them"),
    ("workload,seq_len\n", "t.csv: table: it should have columns workload and seq_len and at least one row, got nothing; add them"),
    ("a,b\n1,2\n", "t.csv: table: it should have columns workload and seq_len and at least one row, got a, b; add them"),
    ("workload,seq_len,c\nbert,5,1\nbert,x,1\n", "t.csv:3: seq_len: it should be a whole number of at least 0, got 'x'; correct it"),
    ("workload,seq_len,c\nbert,5\n", "t.csv:2: row: it should have a value for each of workload, seq_len, c, got 2; complete it"),
    ("workload,seq_len\nbert,5,6\n", "t.csv:2: row: it should have a value for each of workload, seq_len, got 3; complete it"),
    ("workload,seq_len,d\nbert,5,6\n", "table: it has no such column, got 'c'; use one of workload, seq_len, d"),
    ("workload,seq_len,c\nxlm,5,6\nbert,7,1\n", ("design 'own': it has no mapping for this workload and length, got workload 'bert' at 5 "
     "tokens; it has workloads bert, xlm at 5, 7 tokens")),
    ("workload,seq_len,c\nbert,5,-1\n", "own.yaml: mapping.sizes.k0: it should be a whole number of at least 1, got -1; correct it"),
])
def test_a_table_without_what_is_needed_is_refused(tmp_path: Path, text: str, message: str) -> None:
    raw = changed("mapping.sizes.k0", {"column": "c"})
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**raw, "table": "t.csv"}, sort_keys=False))
    with pytest.raises(FusebenchError) as caught:
        load_design(str(tmp_path / "own.yaml"), "bert", 5)
    assert str(caught.value).replace(f"{tmp_path}/", "") == message


def test_a_row_of_a_table_is_chosen(tmp_path: Path) -> None:
    raw = changed("mapping.sizes.k0", {"column": "tile"})
    raw["stages"][0]["nests"][0]["keep"] = {"global_buffer": {"A": {"choose": "place", "near": "i1", "far": "b"}}}
    (tmp_path / "t.csv").write_text("workload,seq_len,tile,place\nbert,5,3,near\nbert,6,4,far\nbert,7,4,none\n")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**raw, "table": "t.csv"}, sort_keys=False))
    file = load_design_file(str(tmp_path / "own.yaml"))
    found = [file.design("bert", n) for n in (5, 6, 7)]
    assert [d.sizes["k0"].value for d in found] == [3, 4, 4]
    assert [[k.at for k in d.bindings[0].kept["global_buffer"]] for d in found] == [["i1"], ["b"], []]


def test_a_users_own_design_works_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = simulated(tmp_path, yaml.safe_load(TEXT))
    assert (found.design, found.schedule) == ("own", "typed")
    # What stands in the working folder does not hide a design that is known by name.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flat").mkdir()
    assert load_design("flat", "bert", 1024).id == "flat"
    assert load_design("own.yaml").id == "own"


@pytest.mark.parametrize("name", ["none.yaml", "folder/none", "."])
def test_files_that_are_not_there_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DefinitionError, match="file: "):
        load_design(name)


def test_an_unknown_id_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_design("bindings")
    assert str(caught.value).startswith("unknown design, got 'bindings'; did you mean 'binding'? valid: arch, binding, cascade, flat, ")


@pytest.mark.parametrize("name", design_ids())
def test_shipped_designs_have_ids_and_sources(name: str) -> None:
    file = load_design_file(name)
    row = (file.table[0]["workload"], int(file.table[0]["seq_len"])) if file.table else (None, None)
    found = file.design(*row)
    assert found.id == name
    assert found.source
    assert found.machines

"""Networks of a machine: the schema, what passes over them against a loop nest that is stepped through, links on real graphs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise, product
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerator_sim.area import machine_area
from accelerator_sim.design import Binding, Design, Kept, Schedule, Size, Stage
from accelerator_sim.designs import load_design
from accelerator_sim.energy import ARTIFACT
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machine import Machine, with_parameters
from accelerator_sim.machine_numbers import machine_numbers
from accelerator_sim.machines import load_machine, read_machine
from accelerator_sim.networks import Flow, Traffic, network_traffic, route
from accelerator_sim.plan import Shape
from einsum_cascades.errors import DefinitionError, UnknownNameError
from einsum_cascades.mapping import CascadeMapping, Nest
from einsum_cascades.notation import parse
from tests.accelerator_sim.small import definition
from workloads.variants import load_variant

NOC = {"kind": "network", "connects": ["global_buffer", "array_2d"], "topology": "bus", "pj_per_value_hop": 1}


def with_networks(rows: int = 2, cols: int = 3, **networks: Mapping[str, Any]) -> dict[str, Any]:
    raw = copy.deepcopy(definition(rows, cols))
    for name, given_keys in networks.items():
        raw[name] = {**NOC, **given_keys}
        raw["sources"][name] = "these tests"
    return raw


def machine_with(rows: int = 2, cols: int = 3, **networks: Mapping[str, Any]) -> Machine:
    return read_machine(with_networks(rows, cols, **networks), "m.yaml")


# --- the schema ---


@pytest.mark.parametrize(("change", "expected"), [
    ({"topology": "mash"}, "noc.topology: unknown name, got 'mash'; did you mean 'mesh'? valid: bus, crossbar, mesh, systolic, tree"),
    ({"topology": None}, "noc.topology: it is missing, got no value; write one of bus, crossbar, tree, mesh, systolic"),
    ({"connects": ["global_buffer"]}, "noc.connects: it should be two ends, each a memory or a compute unit, got a list of 1; name two"),
    ({"connects": ["array_2d", "array_2d"]}, "noc.connects: it should be two ends, each a memory or a compute unit, got a list of 2"),
    ({"connects": ["global_bufer", "array_2d"]},
     "noc.connects[0]: the machine has no such memory or compute unit, got 'global_bufer'; did you mean 'global_buffer'?"),
    ({"connects": "global_buffer"}, "noc.connects: it should be a list, got 'global_buffer'"),
    ({"pj_per_value_hop": None}, "noc.pj_per_bit: a network needs an energy, got None; give one of pj_per_bit, pj_per_value, pj_per_bit_hop"),
    ({"pj_per_bit": 2}, "noc.pj_per_value_hop: it has two energies, pj_per_bit and this one, got 1; remove one of them"),
    ({"pj_per_value_hop": -1}, "noc.pj_per_value_hop: it should be a number of at least 0, got -1; correct it"),
    ({"bytes_per_s": 1, "bits_per_cycle": 2}, "noc.bits_per_cycle: it has two rates, bytes_per_s and this one, got 2; remove one of them"),
    ({"bytes_per_s": 0}, "noc.bytes_per_s: it should be a number of more than 0, got 0; correct it"),
    ({"bytes_per_s": "64 GB"}, "noc.bytes_per_s: it should be a number of more than 0, got '64 GB'; write one"),
    ({"multicast": "yes"}, "noc.multicast: it should be true or false, got 'yes'; write one of them"),
    ({"direction": "up"}, "noc.direction: unknown name, got 'up'; "),
    ({"bandwith": 3}, "noc: unknown key, got 'bandwith'"),
    ({"kind": "netwrok"}, "noc.kind: unknown name, got 'netwrok'; did you mean 'network'?"),
])
def test_wrong_networks_are_refused_with_the_path_of_the_key(change: Mapping[str, Any], expected: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        machine_with(noc=change)
    assert str(caught.value).startswith(f"m.yaml: {expected}"), caught.value


def test_numbers_of_a_network_need_sources() -> None:
    raw = with_networks(noc={"bits_per_cycle": 64})
    raw["sources"]["noc.bits_per_cycle"] = raw["sources"].pop("noc")
    with pytest.raises(DefinitionError, match=r"it has no source, got none for 'noc.pj_per_value_hop'"):
        read_machine(raw, "m.yaml")
    raw["noc"]["pj_per_value_hop"] = {"value": 1, "estimated": "a wire", "band": [0.5, 4]}
    assert read_machine(raw, "m.yaml", costs="high").parameter("noc.pj_per_value_hop") == 4


def test_two_networks_that_carry_the_same_are_refused_unless_they_have_directions() -> None:
    with pytest.raises(DefinitionError, match=r"m.yaml: two.connects: network 'noc' carries the same, got a list of 2"):
        machine_with(noc={"direction": "forward"}, two={"connects": ["array_2d", "global_buffer"]})
    machine = machine_with(there={"direction": "forward"}, back={"direction": "backward"})
    assert [n.name for n in route(machine, "dram", "array_2d")] == ["there"]
    assert [n.name for n in route(machine, "array_2d", "dram")] == ["back"]


def test_a_flow_takes_the_network_that_reaches_furthest() -> None:
    machine = machine_with(noc={}, far={"connects": ["dram", "array_1d"]}, wires={"connects": ["dram", "global_buffer"]},
                           between={"connects": ["array_2d", "array_1d"]})
    ways = {(a, b): [n.name for n in route(machine, a, b)] for a, b in (
        ("dram", "array_2d"), ("array_2d", "dram"), ("dram", "array_1d"), ("global_buffer", "array_1d"), ("global_buffer", "dram"),
        ("array_1d", "array_2d"))}
    assert ways == {("dram", "array_2d"): ["wires", "noc"], ("array_2d", "dram"): ["noc", "wires"], ("dram", "array_1d"): ["far"],
                    ("global_buffer", "array_1d"): [], ("global_buffer", "dram"): ["wires"], ("array_1d", "array_2d"): ["between"]}


def test_numbers_are_listed_and_can_be_set() -> None:
    raw = with_networks(4, 4, noc={"topology": "mesh", "bits_per_cycle": 128, "area_mm2": 2})
    machine = read_machine(raw, "m.yaml")
    rows = {n.path: n for n in machine_numbers(machine)}
    assert (rows["noc.bits_per_cycle"].value, rows["noc.bits_per_cycle"].unit) == (128, "bit/cycle")
    assert (rows["noc.hops"].value, rows["noc.hops"].follows) == (4, True)
    assert machine_area(machine)["noc"] == 2
    eyeriss = load_machine("eyeriss", {"noc.hops": 3, "noc.bits_per_cycle": 99})
    assert (eyeriss.parameter("noc.hops"), eyeriss.parameter("noc.bits_per_cycle")) == (3, 99)
    with pytest.raises(UnknownNameError, match=r"unknown parameter, got 'noc.topology'"):
        load_machine("eyeriss", {"noc.topology": 3})


# --- links ---


def traffic(machine: Machine, flow: Flow) -> Traffic:
    (found,) = network_traffic(machine, [flow])["noc"]
    return found


def from_unit(value: Any, copies: Any, along: frozenset[str] = frozenset()) -> Flow:
    return Flow("global_buffer", "array_2d", "A", value, copies, along)


def mesh(rows: int, cols: int) -> Any:
    graph = nx.grid_2d_graph(rows, cols)
    graph.add_edge("root", (0, 0))
    return graph


def systolic(rows: int, cols: int, along: str) -> Any:
    """Rows that values go along from the left edge, or columns from the top."""
    graph: Any = nx.DiGraph()
    for r, c in product(range(rows), range(cols)):
        before = (r, c - 1) if along == "cols" else (r - 1, c)
        graph.add_edge(before if min(before) >= 0 else "root", (r, c))
    return graph


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6))
def test_links_of_meshes_and_systolic_arrays_are_those_of_a_graph(rows: int, cols: int) -> None:
    for topology in ("mesh", "systolic"):
        machine = machine_with(rows, cols, noc={"topology": topology})
        # To one place, each of them in turn.
        graph = mesh(rows, cols) if topology == "mesh" else systolic(rows, cols, "rows")
        ways = sum(nx.shortest_path_length(graph, "root", pe) for pe in graph if pe != "root")
        assert traffic(machine, from_unit(rows * cols, rows * cols)).links == pytest.approx(ways)
        # To all PEs of a row (or column), each row in turn: the values go to its near end, and along it.
        for along, groups, size in (("cols", rows, cols), ("rows", cols, rows)):
            spans = 0
            for group in range(groups):
                pes = [(group, n) if along == "cols" else (n, group) for n in range(size)]
                graph = mesh(rows, cols) if topology == "mesh" else systolic(rows, cols, along)
                paths = [nx.shortest_path(graph, "root", pes[0]), pes] if topology == "mesh" else [nx.shortest_path(graph, "root", pes[-1])]
                spans += len({edge for path in paths for edge in pairwise(path)})
            assert traffic(machine, from_unit(groups, groups * size, frozenset((along,)))).links == pytest.approx(spans)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_links_of_a_tree_are_those_of_its_subtrees(depth: int) -> None:
    machine = machine_with(2 ** depth, 1, noc={"topology": "tree"})
    tree: Any = nx.balanced_tree(2, depth, create_using=nx.DiGraph)
    leaves = [n for n in tree if tree.out_degree(n) == 0]
    for size in (2 ** k for k in range(depth + 1)):
        links = 0
        for start in range(0, len(leaves), size):
            paths = [nx.shortest_path(tree, 0, leaf) for leaf in leaves[start:start + size]]
            links += len({edge for path in paths for edge in pairwise(path)})
        assert traffic(machine, from_unit(len(leaves) // size, len(leaves))).links == links


def test_buses_crossbars_hops_and_networks_without_multicast() -> None:
    flow = from_unit(10, 60, frozenset(("rows",)))
    for change, expected in (({"topology": "bus"}, (10, 10, 10)), ({"topology": "crossbar"}, (10, 60, 60)),
                             ({"topology": "mesh", "hops": 5}, (10, 60, 100)), ({"topology": "bus", "hops": 5}, (10, 10, 50)),
                             ({"topology": "mesh", "hops": 5, "multicast": False}, (60, 60, 300)),
                             ({"topology": "bus", "multicast": False}, (60, 60, 60))):
        found = traffic(machine_with(noc=change), flow)
        assert (found.sent, found.carried, found.links) == expected, change
    adding = Flow("array_2d", "global_buffer", "Z", 10, 60, frozenset(("rows",)), adding=True)
    assert traffic(machine_with(noc={"reduction": False}), adding).sent == 60
    assert traffic(machine_with(noc={"multicast": False}), adding).sent == 10


def test_arrays_of_machines_have_the_links_of_each() -> None:
    sides = np.array([1.0, 2.0, 4.0, 8.0])
    for topology in ("bus", "crossbar", "tree", "mesh", "systolic"):
        machine = machine_with(noc={"topology": topology})
        batch = traffic(with_parameters(machine, {"array_2d.rows": sides}), from_unit(6.0, 6 * sides, frozenset(("rows",)))).links
        for n, side in enumerate(sides):
            alone = traffic(with_parameters(machine, {"array_2d.rows": int(side)}), from_unit(6, 6 * int(side), frozenset(("rows",)))).links
            assert np.broadcast_to(batch, sides.shape)[n] == pytest.approx(alone)


# --- what passes ---


def passing(found: Estimate) -> dict[str, float]:
    """What energy is counted for on the network, by tensor."""
    made: dict[str, float] = {}
    for charge in found.charges():
        if charge.component == "noc":
            made[charge.by] = made.get(charge.by, 0) + charge.count
    return made


def gemm(machine: Machine, sizes: Mapping[str, int], spread: Mapping[str, str], loops: tuple[str, ...]) -> Estimate:
    cascade = parse("Z[m,n] = A[m,k] * B[k,n]")
    binding = Binding({"Z": "array_2d"}, {"Z": dict(spread)}, {"global_buffer": (Kept("A", None), Kept("B", None), Kept("Z", None))})
    nest = Nest(("Z",), (), {"Z": loops}, {"Z": tuple(spread)})
    design = Design("d", "", "", "any", (), CascadeMapping((nest,), {}, ()), {}, (binding,), (Stage("all", (0,), Schedule()),))
    return estimate(cascade, design, machine, Shape(dict(sizes)))


def stepped(sizes: Mapping[str, int], spread: Mapping[str, str], loops: tuple[str, ...], sides: Mapping[str, int]
            ) -> dict[str, tuple[int, int]]:
    """Values that are sent and copies that arrive, of A and B, and of Z that leave and are added: by stepping through the loops.

    A PE keeps the value that it has; all PEs that need one at the same step get it together.
    """
    pes = {rank: sides[side] for rank, side in spread.items()}
    held: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {}
    sent, copies = dict.fromkeys("ABZ", 0), dict.fromkeys("ABZ", 0)
    ranks = {"A": "mk", "B": "kn", "Z": "mn"}
    for step in product(*(range(0, sizes[x], pes.get(x, 1)) for x in loops)):
        base = dict(zip(loops, step, strict=True))
        new: dict[str, set[tuple[int, ...]]] = {t: set() for t in ranks}
        for offsets in product(*(range(pes.get(x, 1)) for x in loops)):
            at = {x: base[x] + o for x, o in zip(loops, offsets, strict=True)}
            if any(at[x] >= sizes[x] for x in loops):
                continue
            for tensor, own in ranks.items():
                value = tuple(at[x] for x in own)
                if held.get((tensor, offsets)) != value:
                    held[tensor, offsets] = value
                    copies[tensor] += 1
                    new[tensor].add(value)
        for tensor, values in new.items():
            sent[tensor] += len(values)
    return {t: (sent[t], copies[t]) for t in ranks}


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 5)] * 3), st.permutations("mnk"), st.permutations("mnk"), st.integers(1, 3), st.integers(1, 3))
def test_what_passes_is_what_stepping_through_the_loops_sees(lengths: tuple[int, ...], loops: list[str], over: list[str], rows: int,
                                                             cols: int) -> None:
    sizes = dict(zip("mnk", lengths, strict=True))
    spread = {over[0]: "rows", over[1]: "cols"}
    # Every PE has work in every step that it takes part in: a PE that idles would keep its value in one reading and not in the other.
    sizes = {x: -(-n // p) * p for x, n in sizes.items() for p in [{"rows": rows, "cols": cols}.get(spread.get(x, ""), 1)]}
    bus = machine_with(rows, cols, noc={"topology": "bus", "bytes_per_s": 1.0})
    crossbar = machine_with(rows, cols, noc={"topology": "crossbar"})
    found, once = (passing(gemm(machine, sizes, spread, tuple(loops))) for machine in (crossbar, bus))
    expected = stepped(sizes, spread, tuple(loops), {"rows": rows, "cols": cols})
    for tensor in "AB":
        assert (once[tensor], found[tensor]) == expected[tensor]
    # Partial results go out each time, and come back at all but the first.
    outputs = sizes["m"] * sizes["n"]
    sent, copies = expected["Z"]
    assert once["Z"] == 2 * sent - outputs
    assert found["Z"] == copies + sent - outputs


# --- what it costs ---


def attention(machine: Machine) -> Estimate:
    return estimate(load_variant("attention").cascade("1pass"), load_design("binding"), machine,
                    Shape({"p": 512, "m": 512, "e": 16, "f": 16}, {"b": 2}))


def fusemax(**noc: Any) -> Machine:
    from accelerator_sim.machines import machine_definition
    raw = dict(machine_definition("fusemax", {"array_2d.rows": 32, "array_2d.cols": 32, "array_1d.lanes": 32})[0])
    if noc:
        raw["noc"] = {"kind": "network", "connects": ["global_buffer", "array_2d"], "topology": "systolic", "pj_per_bit_hop": 0.1, **noc}
        raw["sources"] = {**raw["sources"], "noc": "these tests"}
    return read_machine(raw, "m.yaml")


def test_a_network_adds_energy_and_area_and_leaves_the_rest() -> None:
    without, found = attention(fusemax()), attention(fusemax(area_mm2=3))
    assert "noc" not in without.energy_pj
    assert found.energy_pj["noc"] > 0
    assert found.energy_pj["total"] == pytest.approx(without.energy_pj["total"] + found.energy_pj["noc"])
    assert found.area_mm2["total"] == pytest.approx(without.area_mm2["total"] + 3)
    assert found.latency_cycles == without.latency_cycles
    assert {k: v for k, v in found.energy_pj.items() if k not in ("noc", "total")} \
        == {k: v for k, v in without.energy_pj.items() if k != "total"}
    assert found.energy_pj["noc"] == pytest.approx(sum(c.energy_pj for c in found.charges() if c.component == "noc"))
    # The artifact has no network.
    assert found.energy_under(ARTIFACT) == {**without.energy_under(ARTIFACT), "noc": 0}


def test_a_slow_network_bounds_the_latency() -> None:
    slow, slower = (attention(fusemax(bits_per_cycle=b)) for b in (2, 1))
    assert slow.bound == slower.bound == "noc"
    assert slower.latency_cycles == pytest.approx(2 * slow.latency_cycles)
    assert attention(fusemax(bits_per_cycle=2)).latency_cycles == attention(fusemax(values_per_cycle=0.125)).latency_cycles
    assert attention(fusemax(bytes_per_s=940e6 / 4)).latency_cycles == pytest.approx(slow.latency_cycles)
    assert slow.to_dict()["stages"]["attention"]["network_s"] == pytest.approx(slow.latency_s)  # type: ignore[index]


def test_a_network_between_units_carries_what_passes_between_them() -> None:
    machine = fusemax(connects=["array_2d", "array_1d"], topology="bus")
    lines = passing(attention(machine))
    # Each maximum of a column, sums and products with the values go down; the running maximum comes back.
    assert set(lines) == {"LM", "SLD", "SLNV", "RM"}
    tiles = 512 // 32
    assert lines["LM"] == 2 * tiles * 512
    assert lines["SLNV"] == 2 * tiles * 512 * 16


def test_a_size_by_itself_has_networks_between_memories() -> None:
    machine = fusemax(connects=["dram", "global_buffer"], topology="bus", pj_per_bit_hop=None, pj_per_value=2)
    found = attention(machine)
    assert found.energy_pj["noc"] == pytest.approx(found.dram_bytes / 2 * 2)


def test_sizes_are_no_part_of_a_network() -> None:
    with pytest.raises(UnknownNameError, match="compute unit"):
        estimate(parse("Z[m] = A[m] + B[m]"), Design("d", "", "", "any", (), CascadeMapping((Nest(("Z",), ("m",)),), {}, ()), {"m": Size(2)},
                 (Binding({"Z": "noc"}, {"Z": {}}, {}),), (Stage("all", (0,), Schedule()),)), machine_with(noc={}), Shape({"m": 2}))

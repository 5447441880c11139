"""What a design keeps against what the trace holds, and the size rule against an exhaustive search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerator_sim.capacity import footprints, kept_bytes, spill_share
from accelerator_sim.design import Design, Size
from accelerator_sim.designs import load_design, load_design_file
from accelerator_sim.divisors import divisors, largest_divisor
from accelerator_sim.errors import CapacityError
from accelerator_sim.machine import Machine, with_parameters
from accelerator_sim.plan import Plan, Shape, make_plan
from einsum_cascades.ir import Cascade
from tests.accelerator_sim.small import given_sizes, small_machine
from tests.accelerator_sim.test_counts_against_trace import SIDES, cascade_of
from tests.accelerator_sim.trace import trace

VALUE_BYTES = 2


def held_bytes(cascade: Cascade, design: Design, machine: Machine, extents: Mapping[str, int], sizes: Mapping[str, int],
               of: tuple[str, ...] = ()) -> float:
    """The bytes that the fullest stage keeps in the buffer, from the tiles that the trace holds; nothing is spilled."""
    fullest = 0.0
    for stage, seen in zip(design.stages, trace(cascade, design, machine, extents, {}, sizes).values(), strict=True):
        rooms: dict[str, int] = {}
        for nest in stage.nests:
            for kept in design.bindings[nest].kept["global_buffer"]:
                room = kept.in_place or kept.tensor
                rooms[room] = max(rooms.get(room, 0), seen.tiles[nest, "global_buffer", kept.tensor])
        fullest = max(fullest, sum(n * VALUE_BYTES for t, n in rooms.items() if not of or t in of))
    return fullest


def searched(cascade: Cascade, design: Design, machine: Machine, extents: Mapping[str, int]) -> tuple[str, int, bool]:
    """The part with a rule, its size by trying all, and whether that fits."""
    part, rule = next((p, s) for p, s in design.sizes.items() if s.fits is not None)
    rank = next(r for r, parts in design.mapping.partitions.items() if part in parts)
    sizes = given_sizes(design, machine, extents)
    tile = 1
    for inner in design.mapping.partitions[rank][2:]:
        tile *= sizes[inner]
    tiles = -(-extents[rank] // tile)
    capacity: float = min(machine.parameter("global_buffer.bytes"), rule.at_most_bytes or float("inf"))
    for size in range(tiles, 0, -1):
        if rule.divides and tiles % size:
            continue
        if held_bytes(cascade, design, machine, extents, {**sizes, part: size}, rule.of) <= capacity:
            return part, size, True
    return part, 1, False


@pytest.mark.parametrize("name", ["binding", "cascade", "linear", "unfused"])
@given(sides=SIDES, extents=st.lists(st.integers(1, 9), min_size=4, max_size=4), buffer_bytes=st.integers(20, 500),
       whole=st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_size_that_fits_is_the_one_that_a_search_finds(name: str, sides: tuple[int, int, int], extents: list[int],
                                                           buffer_bytes: int, whole: bool) -> None:
    machine = small_machine(*sides, buffer_bytes=buffer_bytes)
    shape = dict(zip(("m", "n", "k") if name == "linear" else ("p", "m", "e", "f"), extents, strict=False))
    cascade, design = cascade_of(name), load_design(name)
    design = replace(design, mapping=replace(design.mapping, instances=()), sizes={
        p: replace(s, at_most_bytes=s.at_most_bytes and buffer_bytes // 2, divides=whole) if s.fits else s
        for p, s in design.sizes.items()})
    if name != "linear":
        design = _without_instances(design)
    part, size, fits = searched(cascade, design, machine, shape)
    try:
        plan = make_plan(cascade, design, machine, Shape(shape))
    except CapacityError:
        # Of a rule about some tensors, or fewer bytes, what else is kept may not fit.
        sizes = {**given_sizes(design, machine, shape), part: size}
        assert not fits or held_bytes(cascade, design, machine, shape, sizes) > buffer_bytes
        return
    assert plan.space.sizes[part] == size


def _without_instances(design: Design) -> Design:
    nests = tuple(replace(n, loops=tuple(x for x in n.loops if x not in ("b", "h"))) for n in design.mapping.nests)
    return replace(design, mapping=replace(design.mapping, nests=nests))


@given(sides=SIDES, p=st.integers(1, 9), m=st.integers(1, 9), share=st.sampled_from([0.0, 0.25]), heads=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_kept_bytes_are_those_of_the_tiles_that_the_trace_holds(sides: tuple[int, int, int], p: int, m: int, share: float,
                                                                heads: int) -> None:
    places = {f"{t}_loc": "onchip" for t in ("Q", "K", "QK", "A", "V", "AV")}
    row = {"workload": "small", "seq_len": "0", **places, "QK_stationarity": "output", "AV_stationarity": "weight",
           "fusion_granularity": "row", "P1": "3", "proportion_spilled": str(share)}
    design = replace(load_design_file("flat"), table=(row,)).design("small", 0)
    machine, extents = small_machine(*sides), {"p": p, "m": m, "e": 2, "f": 3}
    plan = make_plan(cascade_of("flat"), design, machine, Shape(extents, {"b": 1, "h": heads}))
    # A, SN and QK take one room, that of a row block; GM and SD are one value a query.
    block = min(3, p)
    tiles = {"Q": block * 2 * (1 - share), "K": m * 2 * (1 - share), "QK": block * m * (1 - share), "GM": 1, "SD": 1,
             "V": m * 3 * (1 - share), "AV": block * 3 * (1 - share)}
    ((memory, taken),) = footprints(plan, design.stages[0])
    assert (memory, taken) == ("global_buffer", {t: n * VALUE_BYTES for t, n in tiles.items()})
    assert kept_bytes(plan, "global_buffer", ("Q", "GM")) == (tiles["Q"] + 1) * VALUE_BYTES
    seen = trace(plan.cascade, design, machine, extents, {"b": 1, "h": heads}, {"p1": 3})["attention"]
    for (_, _, tensor), values in seen.tiles.items():
        room = "QK" if tensor in ("SN", "A") else tensor
        assert values * (1 - share if tensor not in ("GM", "SD") else 1) == tiles[room]


@given(whole=st.integers(1, 5000), most=st.integers(1, 6000))
def test_largest_divisor_is_the_largest(whole: int, most: int) -> None:
    assert largest_divisor(whole, most) == max(d for d in range(1, whole + 1) if whole % d == 0 and d <= most)
    assert list(divisors(whole)) == [d for d in range(1, whole + 1) if whole % d == 0]


@given(pairs=st.lists(st.tuples(st.integers(1, 500), st.integers(1, 600)), min_size=1, max_size=40))
def test_largest_divisors_of_arrays_are_those_of_their_elements(pairs: list[tuple[int, int]]) -> None:
    import numpy as np
    wholes, mosts = np.array(pairs).T
    assert largest_divisor(wholes, mosts).tolist() == [largest_divisor(a, b) for a, b in pairs]


def fused_plan(buffer_bytes: int) -> Plan:
    return make_plan(cascade_of("binding"), load_design("binding"), small_machine(2, 2, 2, buffer_bytes=buffer_bytes),
                     Shape({"p": 4, "m": 4, "e": 2, "f": 2}))


def test_what_does_not_fit_is_refused_with_its_tiles() -> None:
    # With one query tile of 2: Q 4, K 4 and V 4, RM 2, RD 2 and RNV 4 values.
    needed = (4 + 4 + 4 + 2 + 2 + 4) * VALUE_BYTES
    assert fused_plan(needed).space.sizes["p1"] == 1
    with pytest.raises(CapacityError) as caught:
        fused_plan(needed - 1)
    assert str(caught.value) == (
        "design 'binding': stage 'attention': its tiles do not fit global_buffer of machine 'small', got 40 bytes (Q 8, K 8, V 8, "
        "RNV 8, RM 4, RD 4) where 39 are there; use smaller tiles, or at least --set global_buffer.bytes=40")


def test_a_batch_marks_where_it_does_not_fit() -> None:
    import numpy as np
    machine = with_parameters(small_machine(2, 2, 2), {"global_buffer.bytes": np.array([39, 40, 1000])})
    plan = make_plan(cascade_of("binding"), load_design("binding"), machine, Shape({"p": 4, "m": 4, "e": 2, "f": 2}))
    assert plan.valid.tolist() == [False, True, True]
    assert plan.space.sizes["p1"].tolist() == [1, 1, 2]


def test_what_overflows_is_what_the_others_leave_no_room_for() -> None:
    places = {f"{t}_loc": "offchip" for t in ("Q", "K", "QK", "A", "V", "AV")}
    row = {"workload": "small", "seq_len": "0", **places, "QK_stationarity": "output", "AV_stationarity": "output",
           "fusion_granularity": "row", "P1": "4", "proportion_spilled": "0"}
    design = replace(load_design_file("flat"), table=(row,)).design("small", 0)
    for buffer_bytes, share in ((100, 0.0), (24, 0.0), (23, 1 / 20), (14, 1 / 2), (4, 1.0)):
        plan = make_plan(cascade_of("flat"), design, small_machine(2, 2, 2, buffer_bytes=buffer_bytes),
                         Shape({"p": 4, "m": 10, "e": 2, "f": 2}))
        # A fiber of 10 keys takes 20 bytes beside GM and SD with 2 each.
        kept = next(k for k in design.bindings[1].kept["global_buffer"] if k.tensor == "QK")
        assert spill_share(plan, design.stages[0], 1, "global_buffer", kept) == pytest.approx(share, abs=1e-12)
    with pytest.raises(CapacityError):
        make_plan(cascade_of("flat"), design, small_machine(2, 2, 2, buffer_bytes=3), Shape({"p": 4, "m": 10, "e": 2, "f": 2}))


def test_what_overflows_may_fill_the_room_that_it_shares() -> None:
    places = {f"{t}_loc": "onchip" if t in ("Q", "A", "AV") else "offchip" for t in ("Q", "K", "QK", "A", "V", "AV")}
    row = {"workload": "small", "seq_len": "0", **places, "QK_stationarity": "output", "AV_stationarity": "output",
           "fusion_granularity": "row", "P1": "3", "proportion_spilled": "0"}
    design = replace(load_design_file("flat"), table=(row,)).design("small", 0)
    # Q and AV take 6 bytes, GM and SD 2, and 3 rows of A 30: a fiber of QK lies where A will overwrite it.
    plan = make_plan(cascade_of("flat"), design, small_machine(1, 1, 1, buffer_bytes=46), Shape({"p": 3, "m": 5, "e": 1, "f": 1}))
    kept = next(k for k in design.bindings[1].kept["global_buffer"] if k.tensor == "QK")
    assert spill_share(plan, design.stages[0], 1, "global_buffer", kept) == 0


def test_a_memory_without_bounds_takes_everything() -> None:
    design = load_design("binding")
    machine = small_machine(2, 2, 2)
    free = replace(machine, memories={**machine.memories, "global_buffer": replace(machine.memories["global_buffer"], bytes=None)})
    plan = make_plan(cascade_of("binding"), design, free, Shape({"p": 64, "m": 4, "e": 2, "f": 2}))
    assert plan.space.sizes["p1"] == 32


def test_narrow_values_take_less_room() -> None:
    design = replace(load_design("linear"), sizes={"m0": Size(2), "n0": Size(2), "n1": Size(2)})
    cascade = cascade_of("linear")
    wide = make_plan(cascade, design, small_machine(2, 2, 2), Shape({"m": 4, "n": 4, "k": 3}))
    narrow = make_plan(replace(cascade, dtypes=(("A", "fp4_e2m1"), ("B", "fp32"))), design, small_machine(2, 2, 2),
                       Shape({"m": 4, "n": 4, "k": 3}))
    assert kept_bytes(wide, "global_buffer", ("A",)) == 2 * 3 * 2
    assert kept_bytes(narrow, "global_buffer", ("A",)) == 2 * 3 / 2
    assert kept_bytes(narrow, "global_buffer", ("B",)) == 4 * 3 * 4

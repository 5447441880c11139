"""Counts where predicates and windows tie ranks, against a walk through every iteration with sets of coordinates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerator_sim.design import Binding, Design, Kept, Schedule, Size, Stage
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from einsum_cascades import parse
from einsum_cascades.mapping import CascadeMapping, Nest

MACHINE = load_machine("fusemax")

PREDICATES: Mapping[str, Callable[[int, int], bool]] = {
    "m <= p": lambda p, m: m <= p,
    "m < p": lambda p, m: m < p,
    "m <= p and p - m < 3": lambda p, m: m <= p and p - m < 3,
    "p + m >= 4": lambda p, m: p + m >= 4,
    "m >= 2 and p < 5": lambda p, m: m >= 2 and p < 5,
    "2 * m <= p": lambda p, m: 2 * m <= p,
    "p // 3 == m // 2": lambda p, m: p // 3 == m // 2,
    "(m + p) % 3 != 0": lambda p, m: (m + p) % 3 != 0,
}


def _masked(predicate: str, extents: Mapping[str, int], p0: int, m0: int, loops: tuple[str, ...]) -> Estimate:
    cascade = parse(f"S[p,m] = Q[p,e] * K[m,e] where {predicate}")
    nest = Nest(("S",), loops, {"S": ("p0", "m0", "e")}, {"S": ()})
    binding = Binding({"S": "array_2d"}, {"S": {}}, {"global_buffer": (Kept("Q", "p1"), Kept("K", "m1"))})
    design = Design("masked", "", "", "s", (), CascadeMapping((nest,), {"p": ("p1", "p0"), "m": ("m1", "m0")}),
                    {"p0": Size(p0), "m0": Size(m0)}, (binding,), (Stage("s", (0,), Schedule()),))
    return estimate(cascade, design, MACHINE, Shape(extents))


def _tiles(extent: int, size: int) -> Iterator[range]:
    for start in range(0, extent, size):
        yield range(start, min(start + size, extent))


def _fetched(predicate: Callable[[int, int], bool], extents: Mapping[str, int], p0: int, m0: int,
             loops: tuple[str, ...]) -> dict[str, int]:
    """Values that come to the buffer, and steps, tile by tile; a tile is kept until another one is needed."""
    p_tiles, m_tiles = list(_tiles(extents["p"], p0)), list(_tiles(extents["m"], m0))
    order = product(p_tiles, m_tiles) if loops == ("p1", "m1") else ((p, m) for m, p in product(m_tiles, p_tiles))
    found = {"Q": 0, "K": 0, "steps": 0, "points": 0}
    held: dict[str, range | tuple[range, ...] | None] = {"Q": None, "K": None}
    for p, m in order:
        inside = [(x, y) for x, y in product(p, m) if predicate(x, y)]
        if not inside:
            continue
        # The tile lives inside its own loop: one inside the other rank's loop is fetched again whenever that advances.
        for tensor, mine in (("Q", p), ("K", m)):
            key: Any = mine if loops[0] == {"Q": "p1", "K": "m1"}[tensor] else (p, m)
            if held[tensor] != key:
                held[tensor] = key
                found[tensor] += len(mine) * extents["e"]
        found["steps"] += len(inside) * extents["e"]
        found["points"] += len(inside) * extents["e"]
    return found


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(PREDICATES)), st.integers(2, 9), st.integers(2, 9), st.integers(1, 3), st.integers(1, 4),
       st.integers(1, 4), st.sampled_from([("p1", "m1"), ("m1", "p1")]))
def test_predicates_skip_tiles_without_points(text: str, p: int, m: int, e: int, p0: int, m0: int,
                                              loops: tuple[str, str]) -> None:
    extents = {"p": p, "m": m, "e": e}
    expected = _fetched(PREDICATES[text], extents, p0, m0, loops)
    if not expected["points"]:
        return
    found = _masked(text, extents, p0, m0, loops)
    stage = found.counts["s"]
    assert stage.operations["S"] == {"mac": expected["points"]}
    assert stage.steps["S"] == expected["steps"]
    if -(-p // p0) > 1 and -(-m // m0) > 1:
        assert {t: stage.memories["dram"][t].reads for t in "QK"} == {t: expected[t] for t in "QK"}


WINDOW_LENGTH: list[int] = [0]
WINDOWS: Mapping[str, Callable[[int, int, int], int]] = {
    "t + s": lambda t, s, big: t + s,
    "t - S + 1 + s": lambda t, s, big: t - big + 1 + s,
    "t + s - S//2": lambda t, s, big: t + s - big // 2,
    "2*t + s": lambda t, s, big: 2 * t + s,
    "3*t + 2*s": lambda t, s, big: 3 * t + 2 * s,
    "clamp(t - S//2, 0, T - S) + s": lambda t, s, big: s + min(max(t - big // 2, 0), WINDOW_LENGTH[0] - big),
}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(WINDOWS)), st.integers(1, 4), st.integers(5, 12), st.integers(1, 5), st.integers(1, 2))
def test_windows_move_what_their_tiles_touch(text: str, taps: int, length: int, t0: int, c: int) -> None:
    """``X`` has as many coordinates as ``t`` has; the rest is filled."""
    WINDOW_LENGTH[0] = length
    cascade = parse(f"Y[t,c] = W[s,c] * X[{text}, c; fill=0]\nZ[t,c] = X[t,c]")
    nests = tuple(Nest((name,), ("t1",), {name: ("t0", "c", *("s" * (name == "Y")))}, {name: ()}) for name in "YZ")
    bindings = tuple(Binding({name: "array_2d"}, {name: {}}, {"global_buffer": (Kept("X", "t1"),)} if name == "Y" else {})
                     for name in "YZ")
    design = Design("window", "", "", "y", (), CascadeMapping(nests, {"t": ("t1", "t0")}), {"t0": Size(t0)}, bindings,
                    tuple(Stage(name, (n,), Schedule()) for n, name in enumerate("YZ")))
    found = estimate(cascade, design, MACHINE, Shape({"t": length, "s": taps, "c": c}))
    expected = 0
    for tile in _tiles(length, t0):
        touched = {WINDOWS[text](t, s, taps) for t in tile for s in range(taps)}
        expected += len([x for x in touched if 0 <= x < length]) * c
    access = found.counts["Y"].memories["global_buffer"]["X"]
    assert access.fills == expected
    assert found.counts["Y"].memories["dram"]["X"].reads == expected


def test_gathers_count_their_points_and_at_most_all() -> None:
    cascade = parse("Y[p,e] = K[I[p],e]\nZ[m,e] = K[m,e]")
    nests = (Nest(("Y",), ("p1",), {"Y": ("p0", "e")}, {"Y": ()}), Nest(("Z",), (), {"Z": ("m", "e")}, {"Z": ()}))
    bindings = (Binding({"Y": "array_2d"}, {"Y": {}}, {"global_buffer": (Kept("K", "p1"),)}), Binding({"Z": "array_2d"}, {"Z": {}}, {}))
    design = Design("gather", "", "", "y", (), CascadeMapping(nests, {"p": ("p1", "p0")}), {"p0": Size(4)}, bindings,
                    (Stage("Y", (0,), Schedule()), Stage("Z", (1,), Schedule())))
    few = estimate(cascade, design, MACHINE, Shape({"p": 10, "m": 100, "e": 3}))
    many = estimate(cascade, design, MACHINE, Shape({"p": 10, "m": 3, "e": 3}))
    assert few.counts["Y"].memories["dram"]["K"].reads == (4 + 4 + 2) * 3
    assert many.counts["Y"].memories["dram"]["K"].reads == (3 + 3 + 2) * 3
    assert any("A20" in note for note in few.notes)
    assert few.expected is not None


@pytest.mark.parametrize(("seq_len", "window"), [(1024, None), (1024, 300), (2048, 256)])
def test_masked_attention_skips_whole_epochs(seq_len: int, window: int | None) -> None:
    """Epochs of FuseMax's design that hold a key that a query sees, counted tile by tile."""
    from accelerator_sim.designs import load_design
    from workloads.variants import load_variant
    predicate = "m1*M0 + m0 <= p" + (f" and p - (m1*M0 + m0) < {window}" if window else "")
    cascade = load_variant("attention").cascade("1pass", where={"BQK": predicate})
    shape = Shape({"p": seq_len, "m": seq_len, "e": 64, "f": 64}, {"b": 3})
    found = estimate(cascade, load_design("binding"), MACHINE, shape)
    tiles = [(a, b) for a, b in product(range(0, seq_len, 256), repeat=2)
             if any(y <= x and (window is None or x - y < window) for x in range(a, a + 256) for y in range(b, b + 256))]
    assert found.counts["attention"].steps["BQK"] == 3 * len(tiles) * 64
    assert found.counts["attention"].steps["RM"] == 3 * len(tiles)
    assert found.counts["attention"].steps["AV"] == 3 * seq_len // 256 * 64

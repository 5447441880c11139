"""Reads the networks of a machine's definition: what they connect, their topology, rates and energies."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from accelerator_sim.machine import Network
from accelerator_sim.networks import DIRECTIONS, TOPOLOGIES
from einsum_cascades.definitions import Fields
from einsum_cascades.errors import suggest

RATES = ("bytes_per_s", "bits_per_cycle", "values_per_cycle")
ENERGIES = ("pj_per_bit", "pj_per_value", "pj_per_bit_hop", "pj_per_value_hop")


def read_networks(parts: Mapping[str, Fields], units: Collection[str], memories: Collection[str]) -> dict[str, Network]:
    """Returns the networks of a definition by name.

    Raises: DefinitionError for a wrong key or value, for ends that the machine lacks, and for two networks that carry
        the same.
    """
    found: dict[str, Network] = {}
    for name, part in parts.items():
        network = found[name] = _network(name, part, (*memories, *units))
        part.finish()
        for other in found.values():
            if other is not network and set(other.ends) == set(network.ends) and _carried(other) & _carried(network):
                part.fail("connects", f"network {other.name!r} carries the same", list(network.ends),
                          "remove one of them, or give both a direction (forward, backward)")
    return found


def _network(name: str, part: Fields, valid: Collection[str]) -> Network:
    ends = part.texts("connects")
    for number, end in enumerate(ends):
        if end not in valid:
            part.fail(f"connects[{number}]", "the machine has no such memory or compute unit", end, suggest(end, valid))
    if len(ends) != 2 or ends[0] == ends[1]:
        part.fail("connects", "it should be two ends, each a memory or a compute unit", list(ends), "name two")
    topology = part.choice("topology", TOPOLOGIES)
    rate = _one(part, RATES, "it has two rates", needed=False)
    energy = _one(part, ENERGIES, "it has two energies", needed=True)
    assert energy is not None
    numbers: dict[str, float] = {energy: part.number(energy, least=0)}
    if rate is not None:
        numbers[rate] = part.number(rate, above=0)
    for key in ("hops", "area_mm2"):
        if part.given(key):
            numbers[key] = part.number(key, least=0)
    return Network(name, (ends[0], ends[1]), topology, part.choice("direction", DIRECTIONS, default="both"),
                   part.flag("multicast", default=True), part.flag("reduction", default=True), **numbers)


def _one(part: Fields, keys: Collection[str], twice: str, needed: bool) -> str | None:
    given = [key for key in keys if part.given(key)]
    if len(given) > 1:
        part.fail(given[1], f"{twice}, {given[0]} and this one", part.mapping[given[1]], "remove one of them")
    if needed and not given:
        part.fail(next(iter(keys)), "a network needs an energy", None, f"give one of {', '.join(keys)}")
    return given[0] if given else None


def _carried(network: Network) -> set[tuple[str, str]]:
    """The ways that it carries values, from end to end."""
    first, second = network.ends
    return {way for way, direction in (((first, second), "forward"), ((second, first), "backward"))
            if network.direction in (direction, "both")}

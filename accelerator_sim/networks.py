"""On-chip networks: what passes over each, and the links that it crosses.

What a memory delivers to a unit, what comes back, what passes between memories and between units are *flows*: so many
values, and so many copies of them (one for every PE that a value comes to, or whose partial result is added). A flow
takes the network that connects its ends; where there is none between a memory and what lies further in, it passes from memory to memory,
over the networks that there are. With multicast a value is sent once, and its copies branch off where the topology lets them:

* ``bus``: one link, which all receivers listen to;
* ``crossbar``: one link for each copy;
* ``tree``: binary, from its root to the PEs; copies go together as far as they can;
* ``mesh``: from a corner, along one side after the other; to any place, or to all along a side;
* ``systolic``: from the edge, with an entry to each row and column, from neighbour to neighbour.

Partial results that are added on the way cross the same links in the other direction. Numbered assumption A31.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accelerator_sim.quantities import Quantity, chosen, is_array, larger

if TYPE_CHECKING:
    from accelerator_sim.machine import Machine, Network

TOPOLOGIES = ("bus", "crossbar", "tree", "mesh", "systolic")
DIRECTIONS = ("both", "forward", "backward")


@dataclass(frozen=True, eq=False, slots=True)
class Flow:
    """``values`` of a tensor that pass from a memory or unit to another, as ``copies`` in all: to or from each PE of the unit
    that takes part. ``along`` are the sides of the unit that copies of one value lie along; ``adding`` says that copies
    become one value on the way."""

    sender: str
    receiver: str
    tensor: str
    values: Quantity
    copies: Quantity
    along: frozenset[str] = frozenset()
    adding: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Traffic:
    """A tensor on a network: values that are ``sent`` (its rate is that of these), that are ``carried`` as far as energy is by
    value or bit, and the ``links`` that they cross."""

    tensor: str
    sent: Quantity
    carried: Quantity
    links: Quantity


def network_traffic(machine: Machine, flows: Iterable[Flow]) -> dict[str, tuple[Traffic, ...]]:
    """Returns what passes over each network of a machine."""
    found: dict[str, list[Traffic]] = {name: [] for name in machine.networks}
    if machine.networks:
        for flow in flows:
            for network in route(machine, flow.sender, flow.receiver):
                found[network.name].append(_traffic(machine, network, flow))
    return {name: tuple(traffic) for name, traffic in found.items()}


def route(machine: Machine, sender: str, receiver: str) -> tuple[Network, ...]:
    """Returns the networks on the way from a memory or unit to another, in order."""
    direct = _between(machine, sender, receiver)
    if direct is not None:
        return (direct,)
    order = tuple(machine.memories)
    place = {name: number for number, name in enumerate(order)}
    if sender not in place and receiver not in place:
        return ()
    if place.get(sender, len(order)) > place.get(receiver, len(order)):
        return tuple(_inwards(machine, order, receiver, sender, back=True))[::-1]
    return tuple(_inwards(machine, order, sender, receiver, back=False))


def unicast_hops(machine: Machine, network: Network) -> Quantity:
    """Returns the links that a value to one place crosses, on average over all places."""
    return network.hops if network.hops is not None else _unicast(network.topology, tuple(_sides(machine, network).values()))


# --- routes ---


def _inwards(machine: Machine, order: tuple[str, ...], outer: str, inner: str, *, back: bool) -> Iterator[Network]:
    """The networks from a memory to a memory or unit further in; of several from one place the one that reaches furthest."""
    place, last = order.index(outer), order.index(inner) if inner in order else len(order)
    while place < last:
        ends = [(n, order[n] if n < last else inner) for n in range(last, place, -1)]
        ways = ((n, _between(machine, end, order[place]) if back else _between(machine, order[place], end)) for n, end in ends)
        step, network = next(((n, found) for n, found in ways if found is not None), (place + 1, None))
        if network is not None:
            yield network
        place = step


def _between(machine: Machine, sender: str, receiver: str) -> Network | None:
    for network in machine.networks.values():
        if network.ends == (sender, receiver) and network.direction != "backward" \
                or network.ends == (receiver, sender) and network.direction != "forward":
            return network
    return None


# --- links ---


def _traffic(machine: Machine, network: Network, flow: Flow) -> Traffic:
    together = network.reduction if flow.adding else network.multicast
    values = flow.values if together else flow.copies
    sides = _sides(machine, network)
    along = frozenset(s for s in flow.along if s in sides) if together else frozenset()
    # Copies are of the unit's PEs: on a network that ends before the unit a value passes once.
    branching = together and any(end in machine.units for end in network.ends)
    copies = flow.copies if branching or not together else flow.values
    further = copies - values
    if network.topology == "bus":
        links = values if network.hops is None else values * network.hops
        return Traffic(flow.tensor, values, values, links)
    if network.hops is not None:
        links = values * network.hops + further
    elif network.topology == "tree":
        fan = copies / chosen(values > 0, values, 1)
        depth = _log2(_product(tuple(sides.values())), up=True)
        links = values * (larger(depth - _log2(larger(fan, 1)), 0) + (depth == 0)) + 2 * further
    elif network.topology == "systolic":
        # Along a side from its edge, at which every row or column has an entry of its own.
        links = values * (1 if along else _unicast("systolic", tuple(sides.values()))) + further
    elif network.topology == "mesh":
        links = values * _unicast("mesh", tuple(n for side, n in sides.items() if side not in along)) + further
    else:
        links = copies
    return Traffic(flow.tensor, values, copies, links)


def _unicast(topology: str, sides: tuple[Quantity, ...]) -> Quantity:
    if topology == "mesh":
        total: Quantity = 1
        for side in sides:
            total = total + (side - 1) / 2
        return total
    if topology == "systolic":
        return 1 + (sides[0] - 1) / 2
    if topology == "tree":
        return larger(_log2(_product(sides), up=True), 1)
    return 1


def _sides(machine: Machine, network: Network) -> Mapping[str, Quantity]:
    """The places that a network leads to: the PEs of a unit (of the larger, between two), else the parts of a memory, in a
    square."""
    units = [machine.units[end] for end in network.ends if end in machine.units]
    if units:
        return max(units, key=lambda u: len(u.dimensions)).dimensions
    parts: Quantity = 1
    for end in network.ends:
        parts = larger(machine.memories[end].instances, parts)
    return {"rows": parts ** 0.5, "cols": parts ** 0.5}


def _product(sides: tuple[Quantity, ...]) -> Quantity:
    total: Quantity = 1
    for side in sides:
        total = total * side
    return total


def _log2(value: Quantity, *, up: bool = False) -> Quantity:
    if is_array(value):
        import numpy as np
        found = np.log2(value)
        return np.ceil(found - 1e-9) if up else found
    import math
    exact = math.log2(value)
    return math.ceil(exact - 1e-9) if up else exact

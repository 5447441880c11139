"""Communication between devices, recognised from how Einsums read tensors that are spread over device ranks.

A tensor lives where the first device rank of its left side says: ``K[d, m, e]`` with ``device d`` has one part on
each device. An Einsum runs where the first device rank of its left side says; without one it runs everywhere and
its result is everywhere. A read of another device's part is communication, and its index says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from einsum_cascades.indices import offset
from einsum_cascades.ir import Access, Cascade, Coord, Einsum, Expr, accesses, coords
from einsum_cascades.structure import structure

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "point-to-point", "broadcast", "scan")


@dataclass(frozen=True, slots=True)
class Collective:
    """One communication: ``kind`` (of :data:`KINDS`) moves ``tensor`` over device rank ``rank`` for ``einsum``."""

    kind: str
    einsum: str
    tensor: str
    rank: str


def collectives(cascade: Cascade) -> tuple[Collective, ...]:
    """Returns every communication of a cascade, in order of evaluation; empty without device ranks."""
    if not cascade.devices:
        return ()
    homes = _homes(cascade)
    found: list[Collective] = []
    for einsum in structure(cascade).order:
        own = _home(einsum, cascade)
        for access in dict.fromkeys(einsum.reads):
            if access.tensor not in homes:
                continue
            dimension, rank = homes[access.tensor]
            kind = classify(einsum, access, dimension, own)
            if kind is not None:
                found.append(Collective(kind, einsum.name, access.tensor, rank))
    return tuple(dict.fromkeys(found))


def classify(einsum: Einsum, access: Access, dimension: int, own: str | None) -> str | None:
    """Returns the communication that one read needs, or None where it stays on its device.

    ``dimension`` is the one of the tensor that is spread over devices, ``own`` the device rank of the Einsum.
    """
    index = access.indices[dimension]
    if own is not None and index == Coord(own):
        return None
    if accesses(index):
        return "all-to-all"
    ranks = coords(index)
    if not ranks:
        return "broadcast" if own is not None else "all-reduce" if einsum.reduced_ranks else "broadcast"
    if own in ranks:
        return "point-to-point"
    elsewhere = any(own in coords(i) for d, i in enumerate(access.indices) if d != dimension)
    if any(rank in einsum.output_ranks for rank in ranks):
        return "all-to-all" if own is not None and elsewhere else "all-gather"
    if own is None:
        return "all-reduce"
    if elsewhere:
        return "reduce-scatter"
    if einsum.where is not None and _relates(einsum.where, ranks[0], own):
        return "scan"
    others = [a for a in einsum.reads if a != access]
    return "all-gather" if any({own, ranks[0]} <= set(coords(a)) for a in others) or _mixes(einsum, access, own) \
        else "all-reduce"


def _mixes(einsum: Einsum, access: Access, own: str) -> bool:
    """Whether what each device adds up differs from device to device: another operand of the sum has its rank."""
    return any(own in coords(a) for a in einsum.reads if a != access)


def _relates(where: Expr, rank: str, own: str) -> bool:
    return {rank, own} <= set(coords(where))


def _home(einsum: Einsum, cascade: Cascade) -> str | None:
    return next((r for index in einsum.output.indices for r in coords(index) if r in cascade.devices), None)


def _homes(cascade: Cascade) -> Mapping[str, tuple[int, str]]:
    """The dimension of each spread tensor that says where its parts are, and the device rank that names it."""
    homes: dict[str, tuple[int, str]] = {}
    for tensor, names in structure(cascade).dimensions.items():
        for dimension, name in enumerate(names):
            if name in cascade.devices and name is not None:
                homes[tensor] = (dimension, name)
                break
    for einsum in cascade.einsums:
        for out in einsum.outputs:
            for dimension, index in enumerate(out.indices):
                place = offset(index)
                if place is not None and place.rank in cascade.devices:
                    homes[out.tensor] = (dimension, place.rank)
                    break
    return homes

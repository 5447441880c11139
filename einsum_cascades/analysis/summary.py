"""All analyses of a cascade that need no hardware, in one result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from einsum_cascades.analysis.critical_path import critical_path
from einsum_cascades.analysis.explanation import explain
from einsum_cascades.analysis.footprint import live_footprint
from einsum_cascades.analysis.fusion import Pair, fusion_pairs
from einsum_cascades.analysis.operations import count_operations, extent_order
from einsum_cascades.analysis.passes import rank_passes
from einsum_cascades.analysis.traffic import compulsory_traffic
from einsum_cascades.extents import known_extents, mentioned
from einsum_cascades.ir import Cascade
from einsum_cascades.symbols import Formula, formula

__all__ = ["Analysis", "analyze", "explain"]


@dataclass(frozen=True)
class Analysis:
    """What a cascade needs of any hardware. Numbers where the extents decide them, formulas such as "P*M*E" elsewhere.

    * ``passes`` of each rank and named composite, also those with 1 (see ``passes``).
    * ``live_footprint_values`` of each tensor: values that must be live at least (see ``footprint``).
    * ``operations`` by class: how often each operator is applied (see ``operations``).
    * ``compulsory_values``: ``read`` of inputs and ``write`` of outputs, each once (see ``traffic``).
    * ``intensity``: operations of all classes for each value that is moved.
    * ``critical_path``: depth in operators (see ``critical_path``).
    * ``fusion``: the class of each producer and consumer, and the ranks on which they can be fused (see ``fusion``).
    * ``bounds``: what is an upper bound only, as "operations: Einsum" or "compulsory_values: tensor".
    """

    passes: Mapping[str, int | str]
    live_footprint_values: Mapping[str, int | str]
    operations: Mapping[str, int | str]
    compulsory_values: Mapping[str, int | str]
    intensity: float | str
    critical_path: int | str
    fusion: tuple[Pair, ...]
    bounds: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Returns the analysis in JSON's types."""
        return {"passes": dict(self.passes), "live_footprint_values": dict(self.live_footprint_values),
                "operations": dict(self.operations), "compulsory_values": dict(self.compulsory_values),
                "intensity": self.intensity, "critical_path": self.critical_path,
                "fusion": [pair.to_dict() for pair in self.fusion], "bounds": list(self.bounds)}


def analyze(cascade: Cascade, extents: Mapping[str, int] | None = None) -> Analysis:
    """Returns all analyses. ``extents`` (lower-case ranks) and those of the text give what follows from them; what
    depends on others stays a formula in these.

    Raises: ExtentError for a rank that the cascade does not have, or that has two extents.
    """
    known = known_extents(cascade, extents or {})
    # Only where all are known can points be counted one by one.
    every = known if all(rank in known for rank in mentioned(cascade)) else None
    order = extent_order(cascade)

    def plain(value: Formula) -> int | str:
        return value.put(known).plain(order)

    counted = count_operations(cascade, every)
    traffic = compulsory_traffic(cascade, every)
    footprint = live_footprint(cascade)
    operations = sum(counted.total.values(), formula(0)).put(known)
    moved = (traffic.total_read + traffic.total_write).put(known)
    bounds = (*(f"live_footprint_values: {t}" for t, f in footprint.items() if not f.exact),
              *(f"operations: {e}" for e in counted.bounds), *(f"compulsory_values: {t}" for t in traffic.bounds))
    return Analysis(
        passes={rank: plain(found.count) for rank, found in rank_passes(cascade).items()},
        live_footprint_values={tensor: plain(found.values) for tensor, found in footprint.items()},
        operations={name: plain(value) for name, value in counted.total.items()},
        compulsory_values={"read": plain(traffic.total_read), "write": plain(traffic.total_write)},
        intensity=_ratio(operations, moved, order), critical_path=plain(critical_path(cascade)),
        fusion=fusion_pairs(cascade), bounds=bounds)


def _ratio(above: Formula, below: Formula, order: list[str]) -> float | str:
    a, b = above.constant, below.constant
    if a is not None and b is not None:
        return float(a / b) if b else 0.0
    return f"({above.text(order)})/({below.text(order)})"

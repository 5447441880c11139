"""What a search for a mapping returns: the design, its estimate, and what was searched and proven."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelerator_sim.design import Design
from accelerator_sim.estimate import Estimate
from accelerator_sim.mapper.options import MapperSpace, Objective


@dataclass(frozen=True)
class GroupFound:
    """A group of fused Einsums. ``separate`` says what keeps it from the next group: which Einsum needs what of a whole rank."""

    einsums: tuple[str, ...]
    loops: tuple[str, ...]
    sizes: Mapping[str, int]
    latency_s: float
    energy_pj: float
    separate: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain values for JSON."""
        return {"einsums": list(self.einsums), "loops": list(self.loops), "sizes": dict(self.sizes), "latency_s": self.latency_s,
                "energy_pj": self.energy_pj, "separate": list(self.separate)}


@dataclass(frozen=True, eq=False)
class MapperResult:
    """The best mapping that was found.

    ``design`` is an ordinary design, ``estimate`` what it costs. ``value`` is the objective (seconds, picojoules, or their
    product), ``bound`` a value that no mapping in the ``space`` is below, and ``gap`` the distance in proportion to the value.
    ``evaluated`` combinations of structure and sizes went through the simulator, ``pruned`` were bounded away before.
    ``proven_optimal`` says that nothing in the space is better; ``stopped`` that the search ended before it had proven all it could.
    """

    objective: Objective
    design: Design
    estimate: Estimate
    value: float
    space: MapperSpace
    evaluated: int
    pruned: int
    proven_optimal: bool
    bound: float
    groups: tuple[GroupFound, ...]
    elapsed_s: float
    stopped: bool

    @property
    def gap(self) -> float:
        """How far the value is from the bound, in proportion to the value."""
        return max(0.0, (self.value - self.bound) / self.value) if self.value else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as plain values for JSON, the mapping as a design file."""
        from accelerator_sim.design_text import to_definition
        return {"objective": self.objective, "value": self.value, "mapping": to_definition(self.design), "estimate": self.estimate.to_dict(),
                "evaluated": self.evaluated, "pruned": self.pruned, "proven_optimal": self.proven_optimal, "bound": self.bound,
                "gap": self.gap, "space": {**self.space.to_dict(), "words": self.space.words()},
                "groups": [g.to_dict() for g in self.groups], "elapsed_s": self.elapsed_s, "stopped": self.stopped}

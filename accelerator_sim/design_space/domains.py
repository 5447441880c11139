"""Which values a machine's parameter may take: whole or any numbers, from which least one."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from accelerator_sim.machine import Machine
from accelerator_sim.machines import LIMITS
from accelerator_sim.network_definitions import RATES
from einsum_cascades.errors import DefinitionError

if TYPE_CHECKING:
    import numpy as np

_OF_A_MEMORY = frozenset(("bytes", "row_bits", "banks", "ports", "instances"))
_POSITIVE = frozenset(("clock_hz", "value_bytes", *RATES))


@dataclass(frozen=True, slots=True)
class Domain:
    """The numbers from ``least`` on (above it, where it is ``open``) up to ``most``; only the ``whole`` ones, where it says so."""

    least: float
    open: bool = False
    whole: bool = False
    most: float = inf

    def holds(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Returns, value by value, whether it lies in the domain."""
        import numpy as np
        inside = (values > self.least if self.open else values >= self.least) & (values <= self.most) & np.isfinite(values)
        held: np.ndarray[Any, Any] = inside & (values == np.floor(values)) if self.whole else inside
        return held

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} {'above' if self.open else 'of at least'} {self.least:g}" + (f", at most {self.most:g}" if self.most < inf else "")


def domain_of(machine: Machine, path: str) -> Domain:
    """Returns the values that the parameter at a path may take: those that a machine's file may give it.

    Raises: UnknownNameError for a path that the machine has not.
    """
    machine.parameter(path)
    component, _, rest = path.partition(".")
    last = path.rsplit(".", 1)[-1]
    unit = machine.units.get(component)
    if unit is not None and rest.startswith("latency."):
        return Domain(float(unit.cycles[last]), open=False)
    if unit is not None and rest.startswith("cycles."):
        return Domain(0, open=True, most=float(unit.latency.get(last, inf)))
    if last in _POSITIVE:
        return Domain(0, open=True)
    if unit is not None and rest in unit.dimensions or component in machine.memories and last in _OF_A_MEMORY:
        return Domain(1, whole=True)
    if component == "limits":
        return Domain(LIMITS[last], whole=True)
    return Domain(1 if rest == "register_file.depth" else 0)


def check_values(machine: Machine, path: str, values: np.ndarray[Any, Any], source: str) -> None:
    """Checks that all values may be a parameter's.

    Raises: UnknownNameError for an unknown path, DefinitionError for a value outside of the domain.
    """
    domain = domain_of(machine, path)
    held = domain.holds(values)
    if not held.all():
        raise DefinitionError(f"it should be {domain}, got {values[~held][0]:g}; give another value", source=source, path=path)

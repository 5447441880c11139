"""What ``compare`` is asked to make equal: the area, of a number or a machine, and what of each machine is sized for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accelerator_sim.area import machine_area
from accelerator_sim.costs import area_factor
from accelerator_sim.design_space.sizing import Sized, Sizing, default_sizing, largest_memory, size_to_area
from accelerator_sim.machine import Machine
from accelerator_sim.machines import load_machine
from einsum_cascades.errors import DefinitionError, UnknownNameError

AS_IT_IS, IN_PROPORTION = "none", "proportion"

_EXAMPLE = "write --size fusemax=array_2d.rows,array_2d.cols,array_1d.lanes, --size fusemax=proportion or --size fusemax=none"


@dataclass(frozen=True)
class AreaGoal:
    """An area in mm2 that machines are made of. With a ``node_nm`` it is an area at that technology node: a machine of another
    one has what it takes there."""

    area_mm2: float
    node_nm: float | None = None

    def at(self, machine: Machine) -> float:
        """Returns the area in mm2 at the machine's own node."""
        return self.area_mm2 if self.node_nm is None else self.area_mm2 * area_factor(self.node_nm, machine.technology_nm)

    def back(self, machine: Machine, area_mm2: float) -> float:
        """Returns an area at the machine's own node as the goal counts it."""
        return area_mm2 if self.node_nm is None else area_mm2 * area_factor(machine.technology_nm, self.node_nm)


def parse_goal(text: str | None, node_nm: float | None) -> AreaGoal | None:
    """Returns the goal of a number of mm2, or of a machine whose area it is.

    Raises: UnknownNameError, DefinitionError for what is neither; ComponentError for a node out of reach.
    """
    if text is None:
        if node_nm is not None:
            raise DefinitionError(f"it is the node of --iso-area, got {node_nm:g} nm without that; give both", source="--area-node")
        return None
    try:
        area = float(text)
    except ValueError:
        machine = load_machine(text)
        own = float(machine_area(machine)["total"])
        return AreaGoal(AreaGoal(own, node_nm).back(machine, own), node_nm)
    if not 0 < area < float("inf"):
        raise DefinitionError(f"it should be an area above 0 in mm2, or a machine, got {text!r}; write --iso-area 100", source="--iso-area")
    return AreaGoal(area, node_nm)


def parse_sizings(entries: Sequence[str], machines: Mapping[str, Machine], step: int) -> dict[str, Sizing | None]:
    """Returns the sizing of each machine: by entries such as ``fusemax=array_2d.rows,array_2d.cols``, else by the rule of
    :func:`accelerator_sim.design_space.sizing.default_sizing`; None for one that stays as it is.

    An entry's paths grow together (``PATH^2``: by the factor's square); after ``;`` stands what closes the gap (``none``:
    nothing).

    Raises: DefinitionError for another form, UnknownNameError for a machine that is not compared or a path that it lacks.
    """
    found: dict[str, Sizing | None] = {name: default_sizing(machine) for name, machine in machines.items()}
    for entry in entries:
        name, equals, text = (piece.strip() for piece in entry.partition("="))
        if not equals or not text:
            raise DefinitionError(f"it should be a machine, '=' and its parameters, got {entry!r}; {_EXAMPLE}", source="--size")
        if name not in machines:
            raise UnknownNameError("machine", name, machines, place="--size")
        found[name] = None if text == AS_IT_IS else _sizing(text, machines[name])
    return {name: made and Sizing(made.coarse, made.fine, step) for name, made in found.items()}


def _sizing(text: str, machine: Machine) -> Sizing:
    if text == IN_PROPORTION:
        return default_sizing(machine, in_proportion=True)
    paths, semicolon, fine = (piece.strip() for piece in text.partition(";"))
    coarse: dict[str, int] = {}
    for path in paths.split(","):
        own, hat, power = (piece.strip() for piece in path.partition("^"))
        if not own or hat and not (power.isdecimal() and 1 <= int(power) <= 9):
            raise DefinitionError(f"it should be a path, or a path, '^' and a power, got {path!r}; {_EXAMPLE}", source="--size")
        machine.parameter(own)
        coarse[own] = int(power) if hat else 1
    if semicolon and fine and fine != AS_IT_IS:
        machine.parameter(fine)
    return Sizing(coarse, (None if fine in ("", AS_IT_IS) else fine) if semicolon else largest_memory(machine, tuple(coarse)))


def sized_machine(machine: Machine, sizing: Sizing | None, goal: AreaGoal | None) -> Sized:
    """Returns a machine at the goal's area; as it is where there is no goal, or no sizing.

    Raises: AreaError where the area cannot be reached.
    """
    if goal is None or sizing is None:
        area = float(machine_area(machine)["total"])
        return Sized(machine, area, area, Sizing({}), {})
    return size_to_area(machine, goal.at(machine), sizing)

"""Energy of a stage by component: action counts times the cost of each action.

``physical`` accounting counts every PE's register file, and what passes between a column of PEs and its lane once on
the lane's side. ``fusemax-artifact`` counts as the artifact of the FuseMax paper does: the registers of one PE of
each unit, what a design lists as counted for each PE of a column so many times, and an operator's energy left out
where a design says so (see docs/assumptions.md); it has no networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from accelerator_sim.counts import StageCounts, Transfer, active_pes
from accelerator_sim.design import ArtifactAccounting, Stage
from accelerator_sim.frame import Operand
from accelerator_sim.machine import BITS_PER_BYTE
from accelerator_sim.networks import network_traffic
from accelerator_sim.plan import Plan, Work
from accelerator_sim.quantities import Quantity, is_array
from accelerator_sim.registers import RegisterCost
from einsum_cascades.errors import UnknownNameError

PHYSICAL = "physical"
ARTIFACT = "fusemax-artifact"
ACCOUNTINGS = (PHYSICAL, ARTIFACT)


@dataclass(frozen=True, eq=False)
class Charge:
    """One line of an energy: ``count`` actions of a kind at a component, at ``pj`` each, by an Einsum or tensor."""

    component: str
    action: str
    by: str
    count: Quantity
    pj: Quantity

    @property
    def energy_pj(self) -> Quantity:
        """Count times cost."""
        return self.count * self.pj


def stage_energy(plan: Plan, stage: Stage, counts: StageCounts, accounting: str = PHYSICAL) -> Iterator[Charge]:
    """Yields the charges of a stage.

    Raises: UnknownNameError for an accounting that does not exist.
    """
    if accounting not in ACCOUNTINGS:
        raise UnknownNameError("accounting", accounting, ACCOUNTINGS)
    artifact = (plan.design.artifact or ArtifactAccounting()) if accounting == ARTIFACT else None
    works = {w.name: w for w in plan.stage_works(stage)}
    networks = _networks(plan, counts) if artifact is None else ()
    for charge in (*_operations(works, counts, artifact), *_memories(plan, counts), *_registers(plan, works, counts, artifact), *networks):
        if is_array(charge.count) or charge.count:
            yield charge


def _operations(works: Mapping[str, Work], counts: StageCounts, artifact: ArtifactAccounting | None) -> Iterator[Charge]:
    for name, operations in counts.operations.items():
        for operator, count in operations.items():
            unit = works[name].elsewhere.get(operator, works[name].unit)
            if artifact is not None and name in artifact.omitted_energy.get(operator, ()):
                continue
            yield Charge(unit.name, operator, name, count, unit.energy_of(operator))


def _memories(plan: Plan, counts: StageCounts) -> Iterator[Charge]:
    for memory, tensors in counts.memories.items():
        for tensor, access in tensors.items():
            cost = plan.machine.memory_cost(memory, plan.value_bytes(tensor))
            # A drain passes on as it is: the artifact shows no buffer read for it.
            yield Charge(memory, "read", tensor, access.reads, cost.read_pj)
            yield Charge(memory, "write", tensor, access.writes + access.fills, cost.write_pj)


def _networks(plan: Plan, counts: StageCounts) -> Iterator[Charge]:
    for name, traffic in network_traffic(plan.machine, counts.flows).items():
        network = plan.machine.networks[name]
        for flow in traffic:
            bits = plan.value_bytes(flow.tensor) * BITS_PER_BYTE
            if network.pj_per_value_hop is not None:
                yield Charge(name, "hop", flow.tensor, flow.links, network.pj_per_value_hop)
            elif network.pj_per_bit_hop is not None:
                yield Charge(name, "hop", flow.tensor, flow.links, network.pj_per_bit_hop * bits)
            elif network.pj_per_bit is not None:
                yield Charge(name, "value", flow.tensor, flow.carried, network.pj_per_bit * bits)
            else:
                yield Charge(name, "value", flow.tensor, flow.carried, network.pj_per_value)


def _registers(plan: Plan, works: Mapping[str, Work], counts: StageCounts, artifact: ArtifactAccounting | None) -> Iterator[Charge]:
    costs = {u.name: u.register_file.cost(f"{u.name}.register_file") for u in plan.machine.units.values()}
    for name, access in counts.registers.items():
        unit = works[name].unit.name
        reads, writes = access.reads, access.writes
        if artifact is not None:
            pes = active_pes(works[name])
            reads, writes = reads / pes, writes / pes
        yield Charge(f"{unit}_registers", "read", name, reads, costs[unit].read_pj)
        yield Charge(f"{unit}_registers", "write", name, writes, costs[unit].write_pj)
    for transfer in counts.transfers:
        sent, received = _passed(transfer, artifact)
        yield Charge(f"{transfer.sender}_registers", "read", transfer.tensor, sent, costs[transfer.sender].read_pj)
        yield Charge(f"{transfer.receiver}_registers", "write", transfer.tensor, received, costs[transfer.receiver].write_pj)
    if artifact is not None:
        yield from _read_back(plan, works, counts, artifact, costs)


def _passed(transfer: Transfer, artifact: ArtifactAccounting | None) -> tuple[Quantity, Quantity]:
    """The reads that sending and the writes that receiving costs; results that are gathered pass on as they are made."""
    consumer, maker = transfer.consumer, transfer.maker
    received = consumer.walk.held(consumer.operand(transfer.tensor))
    if artifact is None:
        return (transfer.values if transfer.multicast else 0), received
    if transfer.tensor not in artifact.per_pe:
        return 0, 0
    if transfer.multicast:
        return received / active_pes(maker), received / active_pes(consumer)
    return 0, maker.walk.held(_result(maker, transfer.tensor)) / active_pes(consumer)


def _result(maker: Work, tensor: str) -> Operand:
    return next(o for o in maker.results if o.tensor == tensor)


def _read_back(plan: Plan, works: Mapping[str, Work], counts: StageCounts, artifact: ArtifactAccounting,
               costs: Mapping[str, RegisterCost]) -> Iterator[Charge]:
    for tensor, loop in artifact.read_back.items():
        maker = next((w for w in works.values() if any(o.tensor == tensor for o in w.results)), None)
        if maker is None:
            continue
        again = 1 - 1 / maker.walk.space.extent(loop)
        values = maker.walk.held(_result(maker, tensor)) * again
        unit = maker.unit.name
        yield Charge(f"{unit}_registers", "write", tensor, values / active_pes(maker), costs[unit].write_pj)
        for transfer in counts.transfers:
            if transfer.tensor == tensor and tensor in artifact.per_pe:
                yield Charge(f"{transfer.receiver}_registers", "read", tensor,
                             values / active_pes(transfer.consumer), costs[transfer.receiver].read_pj)

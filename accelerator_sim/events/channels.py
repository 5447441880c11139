"""Moves values: a task on each memory and network on the way, at its rate, all at the same time."""

from __future__ import annotations

from collections.abc import Iterable

from accelerator_sim.events.engine import Engine, Task
from accelerator_sim.events.inputs import Inputs
from accelerator_sim.machine import Network
from accelerator_sim.networks import route


class Channels:
    """The memories and networks of a machine; ``moved`` counts bytes by memory."""

    def __init__(self, inputs: Inputs, engine: Engine) -> None:
        self.inputs, self.engine = inputs, engine
        self.moved: dict[str, float] = dict.fromkeys(inputs.machine.memories, 0.0)
        self._ways: dict[tuple[str, str], tuple[Network, ...]] = {}

    def move(self, what: str, way: tuple[str, str], tensor: str, values: float, epoch: int, slot: int, needs: Iterable[int], *,
             copies: float | None = None, adding: bool = False, only: bool = False) -> list[int]:
        """Moves values from one end of a way to the other, as so many copies for or from PEs (those from PEs are ``adding`` up on
        the way); with ``only``, at the first end alone. Returns the tasks, or what they would have needed where all is as fast as
        needed."""
        needs = list(needs)
        if not values:
            return needs
        machine, clock = self.inputs.machine, float(self.inputs.machine.clock_hz)
        width = self.inputs.value_bytes.get(tensor, float(machine.value_bytes))
        found: list[int] = []
        for end in way[:1] if only else way:
            memory = machine.memories.get(end)
            if memory is None:
                continue
            self.moved[end] += values * width
            if memory.bytes_per_s is not None or memory is machine.outermost:
                seconds = 0.0 if memory.bytes_per_s is None else values * width / float(memory.bytes_per_s)
                found.append(self.engine.add(Task(f"{what} {tensor}", end, seconds * clock, epoch), slot, needs))
        for network in self._networks(way):
            together = network.reduction if adding else network.multicast
            sent = values if together or copies is None else copies
            took = network.seconds(sent, width, clock)
            if took is not None:
                found.append(self.engine.add(Task(f"{what} {tensor}", network.name, float(took) * clock, epoch), slot, needs))
        return found or needs

    def rated(self, way: tuple[str, str]) -> bool:
        """Returns whether a network with a rate is on a way."""
        return any(n.seconds(1, 1, 1) is not None for n in self._networks(way))

    def _networks(self, way: tuple[str, str]) -> tuple[Network, ...]:
        if way not in self._ways:
            self._ways[way] = route(self.inputs.machine, *way)
        return self._ways[way]

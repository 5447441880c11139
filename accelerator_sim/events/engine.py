"""Runs tasks on resources in time: a resource takes the first of its ready tasks in their order, and does not interrupt it.

Tasks come and go: only those that have not ended are held. Time is counted in whole ticks, so that what repeats is
equal, not nearly so.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

TICKS = 2 ** 20
"""Ticks in a cycle: a task's time is rounded to one."""


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work. ``resource`` is the unit, memory or network that it occupies for ``duration`` cycles (None: none, it only
    waits). ``epoch`` and ``name`` say what it is."""

    name: str
    resource: str | None
    duration: float
    epoch: int


@dataclass(eq=False, slots=True)
class Live:
    """A task that has not ended: its ``slot`` (tasks of earlier slots go first), what it still ``needs`` and who waits for it;
    when it began and will end, in ticks, once it runs."""

    task: Task
    slot: int
    ticks: int
    needs: set[int]
    followers: list[int] = field(default_factory=list)
    begin: int = 0
    end: int | None = None


class Engine:
    """Tasks in time. ``now`` is in ticks, ``live`` holds what has not ended by number, ``open`` counts it by slot; ``busy`` are
    the ticks that each resource has worked, ``ended`` the tasks that have ended with their begin and end, while they are
    recorded."""

    def __init__(self) -> None:
        self.now = 0
        self.live: dict[int, Live] = {}
        self.open: dict[int, int] = {}
        self.busy: dict[str, int] = {}
        self.ended: list[tuple[Task, int, int]] = []
        self.recording = True
        self.added = 0
        self._ready: dict[str, list[tuple[int, int]]] = {}
        self._occupied: set[str] = set()
        self._running: list[tuple[int, int]] = []

    def add(self, task: Task, slot: int, needs: Iterable[int] = ()) -> int:
        """Adds a task that needs others, of those that have been added before; returns its number."""
        number = self.added
        self.added += 1
        made = Live(task, slot, round(task.duration * TICKS), {n for n in needs if n in self.live})
        self.live[number] = made
        self.open[slot] = self.open.get(slot, 0) + 1
        if task.resource is not None:
            self.busy.setdefault(task.resource, 0)
        for needed in made.needs:
            self.live[needed].followers.append(number)
        if not made.needs:
            self._offer(number, made)
        return number

    def step(self) -> bool:
        """Goes on to the next end of a task, and ends all that end then; returns whether anything ran."""
        self._assign()
        if not self._running:
            return False
        self.now = self._running[0][0]
        # All that ends now frees what it holds before anything new begins.
        while self._running and self._running[0][0] == self.now:
            self._finish(heapq.heappop(self._running)[1])
        return True

    def shift(self, ticks: int, slots: int, before: int) -> None:
        """Moves all that is live by so many ticks, and the tasks of slots ``before`` one by so many slots."""
        self.now += ticks
        self.open = {}
        for made in self.live.values():
            if made.slot < before:
                made.slot += slots
                made.task = Task(made.task.name, made.task.resource, made.task.duration, made.task.epoch + slots)
            self.open[made.slot] = self.open.get(made.slot, 0) + 1
            if made.end is not None:
                made.begin, made.end = made.begin + ticks, made.end + ticks
        self._running = [(end + ticks, number) for end, number in self._running]
        self._ready = {resource: sorted((self.live[n].slot, n) for _, n in queue) for resource, queue in self._ready.items()}

    def order(self) -> dict[int, int]:
        """Returns the place of each live task in their order."""
        return {number: place for place, (_, number) in enumerate(sorted((made.slot, n) for n, made in self.live.items()))}

    def state(self, order: Mapping[int, int], slot: int, built: int) -> tuple[object, ...]:
        """Returns all that decides what happens next, but for the tasks to come: what is live, relative to a slot and to now. What was
        asked for ahead, beyond the slots that are ``built``, comes last; how far ahead makes no difference."""
        found = []
        for number in order:
            made = self.live[number]
            left = -1 if made.end is None else made.end - self.now
            needs = tuple(sorted([order[n] for n in made.needs])) if made.needs else ()
            found.append((made.task.name, made.task.resource, made.slot - slot if made.slot < built else None, made.ticks, left, needs))
        return tuple(found)

    @staticmethod
    def cycles(ticks: int) -> float:
        """Returns ticks as cycles."""
        return ticks / TICKS

    # --- private parts ---

    def _offer(self, number: int, made: Live) -> None:
        if made.task.resource is None:
            self._start(number, made)
        else:
            heapq.heappush(self._ready.setdefault(made.task.resource, []), (made.slot, number))

    def _start(self, number: int, made: Live) -> None:
        made.begin, made.end = self.now, self.now + made.ticks
        heapq.heappush(self._running, (made.end, number))

    def _assign(self) -> None:
        for resource, queue in self._ready.items():
            if queue and resource not in self._occupied:
                self._occupied.add(resource)
                number = heapq.heappop(queue)[1]
                self._start(number, self.live[number])

    def _finish(self, number: int) -> None:
        made = self.live.pop(number)
        resource = made.task.resource
        if resource is not None:
            self._occupied.discard(resource)
            self.busy[resource] += made.ticks
        if self.recording:
            self.ended.append((made.task, made.begin, self.now))
        self.open[made.slot] -= 1
        if not self.open[made.slot]:
            del self.open[made.slot]
        for follower in made.followers:
            waiting = self.live[follower]
            waiting.needs.discard(number)
            if not waiting.needs:
                self._offer(follower, waiting)

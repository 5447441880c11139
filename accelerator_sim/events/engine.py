"""Runs tasks on resources in time: a resource takes the first of its ready tasks in their order, and does not interrupt it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Task:
    """A piece of work. ``resource`` is the unit or channel that it occupies for ``duration`` cycles (None: none, it only
    waits), ``needs`` the numbers of tasks that must have ended. ``epoch`` and ``name`` say what it is."""

    name: str
    resource: str | None
    duration: float
    epoch: int
    needs: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Run:
    """When each task began and ended, in cycles."""

    begin: list[float]
    end: list[float]


def run(tasks: Sequence[Task]) -> Run:
    """Returns the times of tasks, which are numbered by their place; a task needs only tasks of the same list.

    Raises: ValueError where tasks wait for each other in a circle.
    """
    waiting = [len(t.needs) for t in tasks]
    followers: list[list[int]] = [[] for _ in tasks]
    for number, task in enumerate(tasks):
        for needed in task.needs:
            followers[needed].append(number)
    ready: dict[str, list[int]] = {}
    free: dict[str, bool] = {}
    for task in tasks:
        if task.resource is not None:
            ready.setdefault(task.resource, [])
            free[task.resource] = True
    begin, end = [0.0] * len(tasks), [0.0] * len(tasks)
    events: list[tuple[float, int]] = []
    now, finished = 0.0, 0

    def start(number: int) -> None:
        begin[number] = now
        end[number] = now + tasks[number].duration
        heapq.heappush(events, (end[number], number))

    def offer(number: int) -> None:
        resource = tasks[number].resource
        if resource is None:
            start(number)
        else:
            heapq.heappush(ready[resource], number)

    def assign() -> None:
        for resource, queue in ready.items():
            if free[resource] and queue:
                free[resource] = False
                start(heapq.heappop(queue))

    for number, missing in enumerate(waiting):
        if not missing:
            offer(number)
    assign()
    while events:
        now = events[0][0]
        # All that ends now frees what it holds before anything new begins.
        while events and events[0][0] == now:
            _, number = heapq.heappop(events)
            finished += 1
            resource = tasks[number].resource
            if resource is not None:
                free[resource] = True
            for follower in followers[number]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    offer(follower)
        assign()
    if finished < len(tasks):
        stuck = next(t for t, missing in zip(tasks, waiting, strict=True) if missing)
        raise ValueError(f"task {stuck.name!r} of epoch {stuck.epoch} waits in a circle")
    return Run(begin, end)

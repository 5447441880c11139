"""A timeline of events as a Chrome trace: JSON that Perfetto and chrome://tracing open.

Source: the Trace Event Format; complete events (``ph: X``) with times in microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from accelerator_sim.events.simulate import StageEvents

MICROSECONDS = 1e6


def chrome_trace(stages: Iterable[StageEvents], clock_hz: float) -> dict[str, Any]:
    """Returns the trace of simulated stages, one after another: a process for each stage, a thread for each resource. Of a stage that
    repeats it has the part before the first repetition."""
    events: list[dict[str, Any]] = []
    offset = 0.0
    scale = MICROSECONDS / clock_hz
    for process, stage in enumerate(stages, start=1):
        events.append({"ph": "M", "name": "process_name", "pid": process, "args": {"name": f"stage {stage.stage}"}})
        threads = {resource: number for number, resource in enumerate(sorted(stage.busy), start=1)}
        for resource, thread in threads.items():
            events.append({"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": resource}})
        for timed in stage.timeline:
            task, begin, end = timed.task, timed.begin, timed.end
            if task.resource is not None:
                events.append({"ph": "X", "name": task.name, "cat": "tile", "pid": process, "tid": threads[task.resource],
                               "ts": (offset + begin) * scale, "dur": (end - begin) * scale, "args": {"epoch": task.epoch}})
        offset += max((timed.end for timed in stage.timeline), default=0.0)
    return {"traceEvents": events, "displayTimeUnit": "ns"}

"""Simulation by events: the analytic estimate with its latency replaced, a trace, and a picture of some epochs."""

from __future__ import annotations

import io
import json
from typing import Any

from accelerator_sim.estimate import Estimate
from accelerator_sim.events.simulate import StageEvents
from accelerator_sim.events.trace import chrome_trace
from accelerator_sim.machine import Machine
from reports.files import output_file, write_file

SHOWN_EPOCHS = 4
PICTURES = (".png", ".svg")


def event_document(found: Estimate, stages: tuple[StageEvents, ...]) -> dict[str, Any]:
    """Returns an estimate as plain values, with latency, utilization, traffic and bound as the events have them."""
    document = found.to_dict()
    clock = found.plan.machine.clock_hz
    cycles = sum(stage.cycles for stage in stages)
    busy: dict[str, float] = {}
    moved = 0.0
    for stage in stages:
        moved += stage.bytes_moved
        for resource, value in stage.busy.items():
            busy[resource] = busy.get(resource, 0.0) + value
    document.update(
        timing="event", latency_cycles=cycles, latency_s=cycles / clock, dram_bytes=moved,
        latency_cycles_analytic=found.latency_cycles,
        # Busy PE-cycles are the analytic path's; only the time that they are spread over differs.
        utilization={label: value * found.latency_cycles / cycles for label, value in found.utilization.items()},
        bound=max(busy, key=lambda resource: busy[resource]),
        stages={s.stage: {"compute_cycles": s.cycles, "latency_s": s.cycles / clock, "instances": s.instances, "epochs": s.epochs,
                          "simulated_epochs": s.simulated} for s in stages},
        notes=[*found.notes, *(s.note for s in stages)])
    return document


def write_trace(stages: tuple[StageEvents, ...], clock_hz: float, path: str) -> None:
    """Writes the Chrome trace of simulated stages.

    Raises: OutputError where it cannot be written.
    """
    write_file(output_file(path), json.dumps(chrome_trace(stages, clock_hz)).encode())


def draw_epochs(stage: StageEvents, machine: Machine, title: str, path: str) -> None:
    """Draws when each Einsum of some epochs in steady state runs, on which unit: the paper's waterfall, as PNG or SVG.

    Raises: OutputError for another suffix, or where it cannot be written.
    """
    file = output_file(path, PICTURES)
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    resources = dict.fromkeys(t.task.resource for t in stage.timeline if t.task.resource is not None)
    units = [r for r in resources if r in machine.units]
    channels = [r for r in resources if r not in machine.units]
    computed = [(t.task, t.begin, t.end) for t in stage.timeline if t.end > t.begin]
    last = max(t.epoch for t, _, _ in computed)
    first = max(0, min(last // 2, last - SHOWN_EPOCHS + 1))
    epochs = range(first, first + SHOWN_EPOCHS)
    # The time in which these epochs compute, with whatever the channel moves meanwhile.
    inside = [(b, e) for t, b, e in computed if t.resource in units and t.epoch in epochs]
    origin, end_of = min(b for b, _ in inside), max(e for _, e in inside)
    shown = [(t, b, e) for t, b, e in computed if t.resource is not None and b < end_of and e > origin
             and (t.resource in channels or t.epoch in epochs)]
    order = {name: number for number, name in enumerate(dict.fromkeys(t.task.name for t in stage.timeline))}
    rows = (*units, *channels)
    lanes = sorted({(rows.index(t.resource), order[t.name], t.name) for t, _, _ in shown})
    figure, axes = pyplot.subplots(figsize=(11, 0.34 * len(lanes) + 1.8), layout="constrained")
    colours = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
    for task, begin, end in shown:
        place = lanes.index((rows.index(task.resource), order[task.name], task.name))
        colour = colours[task.epoch - first] if task.epoch in epochs and task.resource in units else "#999999"
        begin, end = max(begin, origin), min(end, end_of)
        # The edge has the bar's colour, so that a single cycle is seen.
        axes.broken_barh([(begin - origin, end - begin)], (place - 0.4, 0.8), facecolors=colour, edgecolor=colour)
    for number in range(SHOWN_EPOCHS):
        axes.broken_barh([], (0, 0), facecolors=colours[number], label=f"epoch {first + number}")
    axes.set_yticks(range(len(lanes)), [f"{name}  ({rows[unit]})" for unit, _, name in lanes])
    axes.invert_yaxis()
    axes.set_xlabel("cycles")
    axes.set_title(f"{title}: {SHOWN_EPOCHS} epochs by events (simulated)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14 - 0.5 / len(lanes)), ncols=SHOWN_EPOCHS, frameon=False)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    content = io.BytesIO()
    figure.savefig(content, format=file.suffix[1:].lower(), dpi=150)
    pyplot.close(figure)
    write_file(file, content.getvalue())

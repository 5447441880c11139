"""Simulates a cascade on a machine: latency, utilization, energy and area."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from reports.options import Name, cascade_argument, extent_option, json_option
from reports.output import emit

_ACCOUNTINGS = ("physical", "fusemax-artifact")
_COSTS = ("nominal", "low", "high")
_TIMINGS = ("analytic", "event", "no-overlap")
_DATAFLOWS = ("ws", "os")


@click.command(epilog="Examples: fusebench simulate attention:1pass --machine fusemax --design binding --workload bert "
                      "--seq-len 4096; fusebench simulate gemm --machine flat --design linear --extent m=1024,n=1024,k=1024; "
                      "fusebench simulate network --workload bert --machine fusemax --seq-len 1024")
@cascade_argument
@click.option("--machine", required=True, help="A machine's id, or the path of its YAML file.")
@click.option("--design", help="A design's id (mapping, binding and schedule), or the path of its YAML file.")
@click.option("--workload", help="A model's id, or the path of its YAML file: batch, heads and widths.")
@click.option("--phase", type=Name("phase", ("prefill", "decode")), help="Of a network: all tokens, or the next one (default prefill).")
@click.option("--seq-len", type=click.IntRange(min=1, max=2**40), help="Tokens of the workload's sequences.")
@click.option("--batch", type=click.IntRange(min=1, max=2**40), help="Sequences (default: the workload's, else 1).")
@extent_option
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Another number of the machine; repeatable.")
@click.option("--values", metavar="FILE.npz", help="Values of index tensors, offsets and masks: what is there to do.")
@click.option("--segments", multiple=True, metavar="TENSOR=LENGTHS", help="Lengths of ragged segments by their offsets: 3,5,2, a file of "
              "numbers, even (default), uniform:LOW:HIGH or exponential; repeatable.")
@click.option("--density", "densities", multiple=True, metavar="MASK=SHARE", help="Share of a mask that is there; repeatable.")
@click.option("--accounting", type=Name("accounting", _ACCOUNTINGS), default="physical", show_default=True,
              help="How energy is counted: as physics has it, or as the FuseMax artifact does.")
@click.option("--costs", type=Name("end of the costs' bands", _COSTS), default="nominal", show_default=True,
              help="Where sources disagree: the machine's costs as given, or at an end of their bands.")
@click.option("--timing", type=Name("timing", _TIMINGS), default="analytic", show_default=True,
              help="By counts; by events, tile by tile; or without any overlap (one product on a systolic array, as SCALE-Sim).")
@click.option("--trace", metavar="FILE.json", help="By events: write a timeline that Perfetto opens.")
@click.option("--picture", metavar="FILE.png", help="By events: draw some epochs.")
@click.option("--dataflow", type=Name("dataflow", _DATAFLOWS), help="Without overlap: weight- or output-stationary (default os).")
@click.option("--explain", is_flag=True, help="Split the energy down to action x count x cost.")
@json_option
def command(cascade: str, machine: str, design: str | None, workload: str | None, phase: str | None, seq_len: int | None,
            batch: int | None, extents: Mapping[str, int], settings: tuple[str, ...], values: str | None,
            segments: tuple[str, ...], densities: tuple[str, ...], accounting: str, costs: str, timing: str,
            trace: str | None, picture: str | None, dataflow: str | None, explain: bool, as_json: bool) -> None:
    """Simulate a CASCADE on a machine under a design: modelled, not measured.

    'simulate network' takes a whole model, of a workload or of a Hugging Face config.json, layer by layer.
    """
    from reports.simulation import energy_lines, for_design, parse_settings, simulate
    if cascade == "network":
        if design or extents or explain or values or segments or densities or timing != "analytic":
            raise click.UsageError("a network takes no --design, --extent, --explain or --timing: each layer has the fastest design "
                                   "that fits, got one of them")
        return _network(machine, workload, phase, seq_len, batch, parse_settings(settings), accounting, costs, as_json)
    if phase is not None:
        raise click.UsageError(f"--phase is for 'simulate network', got {phase!r}")
    named = for_design(cascade, design)
    given: dict[str, Any] = {"workload": workload, "seq_len": seq_len, "batch": batch, "extents": extents,
                             "settings": parse_settings(settings), "accounting": accounting, "costs": costs}
    known: dict[str, Any] = {"values": values, "segments": segments, "densities": densities}
    if timing == "no-overlap":
        if any(known.values()):
            raise click.UsageError("--values, --segments and --density are for counts, got one with --timing no-overlap")
        from reports.systolic import simulate_without_overlap
        made = simulate_without_overlap(named, machine, design, dataflow or "os", **given)
        return emit({"cascade": named.cascade.name, **made}, as_json, lambda: _sections(made))
    if timing != "event" and (trace or picture):
        raise click.UsageError(f"--trace and --picture are for --timing event, got {timing!r}")
    if dataflow is not None:
        raise click.UsageError(f"--dataflow is for --timing no-overlap, got {dataflow!r} without it")
    if trace or picture:
        from reports.events import PICTURES
        from reports.files import output_file
        if trace:
            output_file(trace)
        if picture:
            output_file(picture, PICTURES)
    found = simulate(named, machine, design, **given, **known)
    shape = found.plan.shape
    document: dict[str, Any] = {"cascade": named.cascade.name, "extents": dict(shape.extents),
                                "instances": shape.instances.get("b", 1), **found.to_dict(), "costs": costs}
    if timing == "event":
        from accelerator_sim.events.simulate import simulate_events
        from reports.events import draw_epochs, event_document, write_trace
        stages_by_events = simulate_events(found.plan)
        document.update(event_document(found, stages_by_events))
        if trace:
            write_trace(stages_by_events, found.plan.machine.clock_hz, trace)
        if picture:
            draw_epochs(stages_by_events[0], found.plan.machine, f"{named.cascade.name} on {found.machine}, design {found.design}", picture)
    if explain:
        document["energy_lines"] = energy_lines(found)

    stages = [{"stage": name, **values} for name, values in document["stages"].items()]
    return emit(document, as_json, lambda: _sections({**document, "stages": stages}))


def _network(machine: str, workload: str | None, phase: str | None, seq_len: int | None, batch: int | None,
             settings: Mapping[str, float], accounting: str, costs: str, as_json: bool) -> None:
    from reports.networks import network_document, simulate_network
    if workload is None or seq_len is None:
        missing = "--workload" if workload is None else "--seq-len"
        raise click.UsageError(f"a network needs a model and a length, got no {missing}")
    network, found, layers = simulate_network(workload, machine, phase=phase or "prefill", seq_len=seq_len, batch=batch,
                                              settings=settings, accounting=accounting, costs=costs)
    document = network_document(network, found, layers, accounting)
    columns = ("name", "count", "cascade", "design", "latency_s", "dram_bytes", "bound")

    def text() -> str:
        from reports.tables import table
        rows = [[row[c] for c in columns] + [row["energy_pj"]["total"]] for row in document["layers"]]
        totals = _sections({k: v for k, v in document.items() if k != "layers"})
        return f"{totals}\n\n{table((*columns, 'energy pJ'), rows)}"
    emit(document, as_json, text)


def _sections(document: Mapping[str, Any]) -> str:
    from reports.tables import sections
    return sections(document)

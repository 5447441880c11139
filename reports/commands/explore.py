"""Explores a machine's parameters: sweeps, Pareto fronts of area, latency and energy, and what the result depends on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reports.options import Name, cascade_argument, extent_option, json_option
from reports.output import emit

if TYPE_CHECKING:
    from reports.exploring import Exploration

_ACCOUNTINGS = ("physical", "fusemax-artifact")
_COSTS = ("nominal", "low", "high")
_OBJECTIVES = ("latency", "energy", "edp", "area")


@click.command(epilog="Examples: fusebench explore attention:1pass --machine fusemax --design binding --workload bert --seq-len 4096 --vary "
                      "array_2d.rows=array_2d.cols=array_1d.lanes=16..512*2 --vary global_buffer.bytes=256K..64M*2 --pareto area,latency; "
                      "fusebench explore attention:1pass --machine fusemax --design binding --workload bert --seq-len 4096 --sensitivity")
@cascade_argument
@click.option("--machine", required=True, help="A machine's id, or the path of its YAML file.")
@click.option("--design", help="A design's id, or the path of its YAML file (default: the best that fits the machine as it is).")
@click.option("--workload", help="A model's id, or the path of its YAML file: batch, heads and widths.")
@click.option("--seq-len", type=click.IntRange(min=1, max=2**40), help="Tokens of the workload's sequences.")
@click.option("--batch", type=click.IntRange(min=1, max=2**40), help="Sequences (default: the workload's, else 1).")
@extent_option
@click.option("--vary", multiple=True, metavar="PATH[=PATH...]=VALUES",
              help="Values of a parameter, or of several together: 16,32 or 16..512*2 or 1e11..1e12:20; repeatable.")
@click.option("--link", multiple=True, metavar="PATH=N*PATH", help="A parameter that follows another one; repeatable.")
@click.option("--points", metavar="FILE.csv", help="Points from a table with a column for each path, in place of --vary.")
@click.option("--pareto", default="area,latency", show_default=True, metavar="FIGURE,...",
              help="Figures of the front: latency, energy, area, edp, dram.")
@click.option("--objective", type=Name("objective", _OBJECTIVES), default="latency", show_default=True, help="What the best point has least of.")
@click.option("--at-most", multiple=True, metavar="FIGURE=X", help="A limit for the front and the best point, such as area=1000; repeatable.")
@click.option("--sensitivity", "ask_sensitivity", is_flag=True,
              help="How latency, energy and area follow each parameter, around the best point (or the machine).")
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Another number of the machine; repeatable.")
@click.option("--accounting", type=Name("accounting", _ACCOUNTINGS), default="physical", show_default=True)
@click.option("--costs", type=Name("end of the costs' bands", _COSTS), default="nominal", show_default=True)
@click.option("--out", metavar="DIR", help="Also write points (CSV) and figures (PNG) into this folder.")
@json_option
def command(cascade: str, machine: str, design: str | None, workload: str | None, seq_len: int | None, batch: int | None,
            extents: Mapping[str, int], vary: tuple[str, ...], link: tuple[str, ...], points: str | None, pareto: str, objective: str,
            at_most: tuple[str, ...], ask_sensitivity: bool, settings: tuple[str, ...], accounting: str, costs: str, out: str | None,
            as_json: bool) -> None:
    """Evaluate a CASCADE at every point of a machine's parameters: modelled, not measured."""
    if not vary and not points and not ask_sensitivity:
        raise click.UsageError("nothing is explored: give --vary, --points or --sensitivity, got none of them")
    if link and not vary and not points:
        raise click.UsageError(f"--link follows a parameter that is varied, got {link[0]!r} without --vary")
    from accelerator_sim.design_space.axes import parse_axis, parse_link
    from accelerator_sim.machines import load_machine
    from reports.choosing import choose
    from reports.exploring import figures_of, limits_of, run_exploration, sweep_of
    from reports.files import output_folder
    from reports.simulation import for_design, parse_settings, shape_for
    folder = output_folder(out) if out is not None else None
    figures, limits = figures_of(pareto, "--pareto"), limits_of(at_most)
    named = for_design(cascade, design)
    found_machine = load_machine(machine, parse_settings(settings), costs)
    axes = [parse_axis(text, found_machine) for text in vary]
    parameters = sweep_of(axes, [parse_link(text, found_machine) for text in link], points, found_machine)
    shape = shape_for(named, workload, seq_len, batch, extents)
    choice = choose(named, found_machine, shape, objective=objective if objective != "area" else "latency", design=design,
                    accounting=accounting)
    count = len(next(iter(parameters.values()))) if parameters else 1
    linked = [tuple(p for p in axis.values if axis.values[p] == axis.values[next(iter(axis.values))]) for axis in axes]
    with click.progressbar(length=count, label="explore", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        found = run_exploration(named, choice, found_machine, parameters, figures=figures, objective=objective, limits=limits,
                                ask_sensitivity=ask_sensitivity, linked=linked, accounting=accounting, progress=bar.update)
    written = _write(found, folder) if folder else []

    def text() -> str:
        from reports.exploring_text import exploration_text
        return exploration_text(found, choice, written)
    emit({**found.to_dict(), "way": choice.way, "extents": dict(choice.shape.extents), "costs": costs, "files": written}, as_json, text)


def _write(found: Exploration, folder: Path) -> list[Path]:
    from reports.exploring_figure import front_figure, sensitivity_figure
    from reports.files import write_file
    contents = {}
    if found.explored.parameters:
        frame = found.explored.to_frame()
        frame["pareto"] = frame.index.isin(found.front)
        contents["points.csv"] = frame.to_csv(index=False).encode()
        if found.front:
            contents["pareto.png"] = front_figure(found)
    if found.sensitivity is not None:
        contents["sensitivity.png"] = sensitivity_figure(found, found.sensitivity)
    return [write_file(folder / name, content) for name, content in contents.items()]

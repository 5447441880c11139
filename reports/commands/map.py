"""Searches the mapping of a cascade on a machine: fusion, tiles, loops, units, what is kept where."""

from __future__ import annotations

from collections.abc import Mapping

import click

from reports.options import Name, cascade_argument, extent_option, json_option
from reports.output import emit

_OBJECTIVES = ("latency", "energy", "edp")
_COSTS = ("nominal", "low", "high")


@click.command(epilog="Examples: fusebench map attention:1pass --machine fusemax --objective latency --workload bert --seq-len 4096; "
                      "fusebench map gemm --machine tpu_v4i --objective energy --extent m=512,n=512,k=512 --out mapping.yaml")
@cascade_argument
@click.option("--machine", required=True, help="A machine's id, or the path of its YAML file.")
@click.option("--objective", type=Name("objective", _OBJECTIVES), default="latency", show_default=True, help="What is to be least.")
@click.option("--workload", help="A model's id, or the path of its YAML file: batch, heads and widths.")
@click.option("--seq-len", type=click.IntRange(min=1, max=2**40), help="Tokens of the workload's sequences.")
@click.option("--batch", type=click.IntRange(min=1, max=2**40), help="Sequences (default: the workload's, else 1).")
@extent_option
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Another number of the machine; repeatable.")
@click.option("--costs", type=Name("end of the costs' bands", _COSTS), default="nominal", show_default=True,
              help="Where sources disagree: the machine's costs as given, or at an end of their bands.")
@click.option("--constraint", "constraints", multiple=True, metavar="FIGURE=MOST",
              help="An upper limit of latency_s, energy_pj or dram_bytes; repeatable.")
@click.option("--fuse/--no-fuse", default=True, show_default=True, help="Whether Einsums may be fused.")
@click.option("--loops", "most_loops", type=click.IntRange(min=0, max=8), default=3, show_default=True, help="Shared loops of a group at most.")
@click.option("--levels", type=click.IntRange(min=1, max=2), default=1, show_default=True, help="On-chip memories that keep a tensor at a time.")
@click.option("--sizes", "most_sizes", type=click.IntRange(min=2, max=256), default=16, show_default=True, help="Tile sizes of a rank at most.")
@click.option("--budget-seconds", "budget_s", type=click.FloatRange(min=0, min_open=True), help="Time for the search; the best so far is taken then.")
@click.option("--out", metavar="FILE.yaml", help="Write the mapping as a design file, for --design.")
@json_option
def command(cascade: str, machine: str, objective: str, workload: str | None, seq_len: int | None, batch: int | None,
            extents: Mapping[str, int], settings: tuple[str, ...], costs: str, constraints: tuple[str, ...], fuse: bool, most_loops: int,
            levels: int, most_sizes: int, budget_s: float | None, out: str | None, as_json: bool) -> None:
    """Search the mapping of a CASCADE on a machine: modelled, in a declared space, with what was proven.

    Ctrl-C ends the search with the best so far.
    """
    from accelerator_sim.design_text import to_yaml
    from accelerator_sim.mapper import MapperSpace
    from reports.cascades import load_cascade
    from reports.files import output_file, write_file
    from reports.mapping import document, map_named, mapping_text, parse_constraints
    from reports.simulation import parse_settings
    named = load_cascade(cascade)
    file = output_file(out) if out else None
    space = MapperSpace(fuse=fuse, most_loops=most_loops, levels=levels, most_sizes=most_sizes)
    result = map_named(named, machine, objective, workload=workload, seq_len=seq_len, batch=batch, extents=extents,  # type: ignore[arg-type]
                       settings=parse_settings(settings), costs=costs, space=space, budget_s=budget_s, constraints=parse_constraints(constraints))
    if file is not None:
        write_file(file, to_yaml(result.design).encode())
    made = document(named.cascade, result, result.estimate.plan.shape.extents)
    emit(made, as_json, lambda: mapping_text(named.cascade, result))

"""Compares algorithms, machines and lengths, at equal area if asked: speed-up, energy, EDP, and who wins how surely."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reports.options import INTERRUPTED, Name, extent_option, json_option
from reports.output import emit

if TYPE_CHECKING:
    from reports.comparing import Comparison, Question

_ACCOUNTINGS = ("physical", "fusemax-artifact")
_COSTS = ("nominal", "low", "high", "both")
_OBJECTIVES = ("latency", "energy", "edp")
_WAYS = ("auto", "best", "designs", "mapper", "unfused")


@click.command(epilog="Examples: fusebench compare attention:3pass attention:1pass --machines flat,fusemax --iso-area flat --workload bert "
                      "--seq-len 1024,4096; fusebench compare attention mamba_s6 --machines fusemax,marca --iso-area 500 --area-node 45 "
                      "--workload bert --seq-len 1K..64K*4 --shape mamba_s6:i=seq_len,e=2*d_model,n=16 --costs both --out results")
@click.argument("cascades", nargs=-1, required=True, metavar="CASCADE...")
@click.option("--machines", required=True, metavar="M,...", help="Machines: ids, or paths of YAML files.")
@click.option("--iso-area", metavar="MM2|M", help="Size every machine to this area in mm2, or to that of a machine.")
@click.option("--area-node", type=click.FloatRange(min=1, max=1000), metavar="NM",
              help="Count areas as they would be at this node: a machine of another one is scaled.")
@click.option("--size", "sizes", multiple=True, metavar="M=PATH,...[;PATH]",
              help="What of a machine is sized: parameters that grow together, then one that closes the gap; 'proportion': memories as "
                   "well; 'none': it stays. Default: the array, then the largest memory.")
@click.option("--size-step", type=click.IntRange(min=1, max=2**20), default=1, show_default=True,
              help="Sized sides are multiples of it.")
@click.option("--workload", help="A model's id, or the path of its YAML file.")
@click.option("--seq-len", "seq_lens", multiple=True, metavar="N,...", help="Lengths: a list or a range such as 1K..64K*4; repeatable "
              "(default: the workload's shortest).")
@click.option("--batch", type=click.IntRange(min=1, max=2**40), help="Sequences (default: the workload's, else 1).")
@extent_option
@click.option("--shape", "shapes", multiple=True, metavar="CASCADE:RANK=...,...",
              help="What a cascade's ranks are in the workload, as products of its figures: mamba_s6:i=seq_len,e=2*d_model,n=16.")
@click.option("--design", "designs", multiple=True, metavar="M=D", help="The design on a machine, for the cascades that it is for.")
@click.option("--mapping", "way", type=Name("way to a mapping", _WAYS), default="auto", show_default=True,
              help="Shipped designs, where none fits the mapper's, else Einsum by Einsum; the best of designs and mapper; or one alone.")
@click.option("--budget-seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True,
              help="Time that the mapper has for each cascade, machine and length.")
@click.option("--objective", type=Name("objective", _OBJECTIVES), default="latency", show_default=True, help="What wins.")
@click.option("--baseline", metavar="CASCADE@M", help="What ratios are to (default: the first cascade on the first machine).")
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Another number of every machine; repeatable.")
@click.option("--accounting", type=Name("accounting", _ACCOUNTINGS), default="physical", show_default=True)
@click.option("--costs", type=Name("end of the costs' bands", _COSTS), default="nominal", show_default=True,
              help="Costs as given, at an end of their bands, or at both beside: does the winner change?")
@click.option("--out", metavar="DIR", help="Also write rows (CSV) and a figure (PNG) into this folder.")
@json_option
def command(cascades: tuple[str, ...], machines: str, iso_area: str | None, area_node: float | None, sizes: tuple[str, ...],
            size_step: int, workload: str | None, seq_lens: tuple[str, ...], batch: int | None, extents: Mapping[str, int],
            shapes: tuple[str, ...], designs: tuple[str, ...], way: str, budget_seconds: float, objective: str, baseline: str | None,
            settings: tuple[str, ...], accounting: str, costs: str, out: str | None, as_json: bool) -> int:
    """Compare CASCADEs on machines, sized to equal area with --iso-area: modelled, not measured."""
    from accelerator_sim.machines import load_machine
    from reports.comparing import Question, compare, size_machines
    from reports.files import output_folder
    from reports.iso_area import parse_goal, parse_sizings
    from reports.shapes import parse_shape_rules
    from reports.simulation import parse_settings
    folder = output_folder(out) if out is not None else None
    given = parse_settings(settings)
    names = _distinct("--machines", machines)
    loaded = {name: load_machine(name, given) for name in names}
    goal = parse_goal(iso_area, area_node)
    if sizes and goal is None:
        raise click.UsageError(f"--size is for --iso-area, got {sizes[0]!r} without it")
    sizings = parse_sizings(sizes, loaded, size_step)
    question = Question(tuple(dict.fromkeys(cascades)), names, workload, _lengths(seq_lens, workload), batch, extents, parse_shape_rules(shapes), given,
                        _designs(designs, names), objective, way, accounting, costs, _baseline(baseline), budget_seconds)
    _check(question)
    sized = size_machines(names, sizings, goal, given)
    total = len(question.cascades) * len(names) * len(question.seq_lens)
    with click.progressbar(length=total, label="compare", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        found = compare(question, sized, goal, bar.update)
    written = _write(found, question, folder, goal is not None) if folder else []
    document = {"rows": found.rows, "means": found.means, "winners": found.winners,
                "baseline": dict(zip(("cascade", "machine"), found.baseline, strict=True)), "objective": objective,
                "area_goal_mm2": None if goal is None else goal.area_mm2, "area_node_nm": area_node, "costs": costs,
                "accounting": accounting, "notes": found.notes, "files": written}

    def text() -> str:
        from reports.comparing_text import comparison_text
        return comparison_text(found, question, sized, written)
    if not found.finished:
        click.echo(f"fusebench: interrupted after {len(found.rows)} of {total}", err=True)
    emit(document, as_json, text)
    return 0 if found.finished else INTERRUPTED


def _check(question: Question) -> None:
    """What can be wrong is said before any machine is sized: names of cascades, ranks and extents."""
    from einsum_cascades.errors import UnknownNameError
    from einsum_cascades.errors import suggest as nearest
    from reports.cascades import load_cascade
    from reports.simulation import ranks_of
    known = {name: load_cascade(name) for name in question.cascades}
    for rule in question.rules:
        if not any(rule.is_for(name) for name in known):
            raise UnknownNameError("cascade", rule.name, known, place="--shape")
    ranks = {rank for named in known.values() for rank in ranks_of(named.cascade)}
    for rank, size in question.extents.items():
        if rank not in ranks:
            raise click.UsageError(f"--extent {rank!r}: no cascade has such a rank, got {size}; {nearest(rank, ranks)}")


def _distinct(option: str, text: str) -> tuple[str, ...]:
    found = tuple(piece.strip() for piece in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise click.UsageError(f"{option} should be different names with commas between, got {text!r}")
    return found


def _lengths(entries: tuple[str, ...], workload: str | None) -> tuple[int | None, ...]:
    from accelerator_sim.design_space.axes import parse_values
    from einsum_cascades.errors import DefinitionError
    found = [int(n) if n == int(n) else n for entry in entries for n in parse_values(entry, "--seq-len", whole=True, binary=True)]
    for length in found:
        if not 1 <= length <= 2**40 or length != int(length):
            raise DefinitionError(f"it should be a whole number of at least 1, got {length:g}; write --seq-len 1024,4096", source="--seq-len")
    if not found and workload is not None:
        from workloads.models import load_workload
        return (min(load_workload(workload).seq_lens),)
    return tuple(dict.fromkeys(int(n) for n in found)) or (None,)


def _designs(entries: tuple[str, ...], machines: tuple[str, ...]) -> dict[str, str]:
    from einsum_cascades.errors import DefinitionError, UnknownNameError
    found: dict[str, str] = {}
    for entry in entries:
        machine, equals, design = (piece.strip() for piece in entry.partition("="))
        if not equals or not design:
            raise DefinitionError(f"it should be a machine, '=' and a design, got {entry!r}; write --design fusemax=binding", source="--design")
        if machine not in machines:
            raise UnknownNameError("machine", machine, machines, place="--design")
        found[machine] = design
    return found


def _baseline(text: str | None) -> tuple[str, str] | None:
    from einsum_cascades.errors import DefinitionError
    if text is None:
        return None
    cascade, at, machine = text.rpartition("@")
    if not at or not cascade or not machine:
        raise DefinitionError(f"it should be a cascade, '@' and a machine, got {text!r}; write --baseline attention:3pass@flat",
                              source="--baseline")
    return cascade, machine


def _write(found: Comparison, question: Question, folder: Path, equal_area: bool) -> list[Path]:
    from reports.comparing_figure import comparison_figure
    from reports.files import write_file
    frame = found.to_frame()
    contents: dict[str, Any] = {"rows.csv": frame.to_csv(index=False).encode(), "comparison.png": comparison_figure(found, question, equal_area)}
    return [write_file(folder / name, content) for name, content in contents.items()]

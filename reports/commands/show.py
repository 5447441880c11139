"""Shows a cascade, or the definition of a machine, design or workload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from reports.cascades import NamedCascade, load_cascade
from reports.options import json_option
from reports.output import emit, plain

if TYPE_CHECKING:
    import networkx as nx

PICTURES = (".svg", ".png")


def _machine(name: str) -> Mapping[str, Any]:
    from accelerator_sim.machines import machine_definition
    return machine_definition(name)[0]


def _design(name: str) -> Mapping[str, Any]:
    from accelerator_sim.designs import load_design_file
    return load_design_file(name).raw


def _workload(name: str) -> Mapping[str, Any]:
    from workloads.models import load_workload
    return load_workload(name).to_dict()


_DEFINITIONS: Mapping[str, Callable[[str], Mapping[str, Any]]] = {"machine": _machine, "design": _design, "workload": _workload}


@click.command(epilog="Examples: fusebench show attention:1pass; fusebench show attention:3pass --rank m --out attention.svg; "
                      "fusebench show machine h100 --numbers")
@click.argument("what", metavar="CASCADE | machine|design|workload")
@click.argument("name", required=False)
@click.option("--rank", metavar="RANK", help="Rank whose passes are shown; otherwise the one with most passes.")
@click.option("--out", metavar="FILE", help="Draw the cascade's graph, coloured by pass, into an .svg or .png file.")
@click.option("--latex", is_flag=True, help="Print the cascade as LaTeX (package amsmath).")
@click.option("--numbers", is_flag=True, help="Of a machine: every number with its unit, band and source.")
@json_option
def command(what: str, name: str | None, rank: str | None, out: str | None, latex: bool, numbers: bool, as_json: bool) -> None:
    """Show a CASCADE with its graph and passes, or a machine, design or workload by its NAME or its file.

    The graph has a row for each Einsum, and a lane for each tensor from where it is made to where it is last read.
    A dotted lane is what an iteration carries over.
    """
    if numbers and what != "machine":
        raise click.UsageError(f"--numbers is for a machine, got {what!r}", click.get_current_context())
    if what in _DEFINITIONS:
        if name is None:
            raise click.UsageError(f"the {what}'s name is missing, got nothing", click.get_current_context())
        if given := [option for option, value in (("--rank", rank), ("--out", out), ("--latex", latex)) if value]:
            raise click.UsageError(f"a {what} has no graph, got {given[0]}", click.get_current_context())
        if numbers:
            _show_numbers(name, as_json)
            return
        definition = _DEFINITIONS[what](name)
        emit(definition, as_json, lambda: _yaml(definition))
    elif name is not None:
        raise click.UsageError(f"a cascade takes no further name, got {name!r}", click.get_current_context())
    else:
        _show(load_cascade(what), rank, out, latex, as_json)


def _show(found: NamedCascade, rank: str | None, out: str | None, latex: bool, as_json: bool) -> None:
    from einsum_cascades.latex import to_latex
    from reports.dag import cascade_graph
    from reports.files import output_file, write_file
    file = output_file(out, PICTURES) if out is not None else None
    graph = cascade_graph(found.cascade, rank)
    document = _document(found, graph)
    if latex:
        document["latex"] = to_latex(found.cascade)
    if file is not None:
        from reports.dag_figure import picture
        document["file"] = write_file(file, picture(graph, file.suffix))
    emit(document, as_json, lambda: document["latex"] if latex else _text(found, document, graph))


def _show_numbers(name: str, as_json: bool) -> None:
    from accelerator_sim.machine_numbers import machine_numbers
    from accelerator_sim.machines import load_machine
    found = [number.to_dict() for number in machine_numbers(load_machine(name))]

    def text() -> str:
        from reports.tables import table
        columns = ("path", "value", "unit", "low", "high", "source")
        rows = [[("estimated: " if n["estimated"] else "") + n[c] if c == "source" else n[c] for c in columns] for n in found]
        return table(columns, rows)
    emit(found, as_json, text)


def _yaml(definition: Mapping[str, Any]) -> str:
    import yaml
    return str(yaml.safe_dump(plain(definition), sort_keys=False, allow_unicode=True, width=120, default_flow_style=None))


def _document(found: NamedCascade, graph: nx.MultiDiGraph[str]) -> dict[str, Any]:
    from einsum_cascades.analysis.passes import passes
    from einsum_cascades.ir import unique
    from einsum_cascades.printing import einsum_text, to_text
    from einsum_cascades.structure import structure
    from reports.dag import to_dict
    cascade, parts = found.cascade, structure(found.cascade)
    return {
        "name": cascade.name,
        "text": to_text(cascade),
        "einsums": [{"name": e.name, "text": einsum_text(e), "ranks": e.ranks, "reduces": e.reduced_ranks,
                     "reads": unique(a.tensor for a in e.reads)} for e in cascade.einsums],
        "inputs": parts.inputs,
        "outputs": parts.outputs,
        "ranks": parts.ranks,
        "passes": passes(cascade),
        "dag": to_dict(graph),
        "source": found.variant.source if found.variant else None,
    }


def _text(found: NamedCascade, document: Mapping[str, Any], graph: nx.MultiDiGraph[str]) -> str:
    from einsum_cascades.structure import structure
    from reports.dag import counted
    from reports.dag_text import to_terminal
    from reports.tables import pairs
    label = structure(found.cascade).label
    rows = [("inputs", ", ".join(map(label, document["inputs"]))), ("outputs", ", ".join(map(label, document["outputs"]))),
            ("passes", ", ".join(f"{rank} {count}" for rank, count in document["passes"].items()))]
    if found.variant:
        rows += [("algorithms", ", ".join(found.variant.algorithms)), ("source", found.variant.source)]
    if "file" in document:
        rows.append(("picture", document["file"]))
    return "\n".join((click.style(document["name"], bold=True), "", document["text"],
                      click.style(f"graph: {counted(graph)}", bold=True), "", to_terminal(graph), "", pairs(rows)))

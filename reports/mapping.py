"""Joins a cascade, a machine and a workload's shape to the mapper, and shows what it found."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from accelerator_sim.machines import load_machine
from accelerator_sim.mapper import MapperResult, MapperSpace, Objective, Progress, map_cascade
from einsum_cascades.errors import DefinitionError
from einsum_cascades.ir import Cascade
from reports.cascades import NamedCascade
from reports.simulation import shape_for

if TYPE_CHECKING:
    import networkx as nx


def map_named(cascade: NamedCascade, machine: str, objective: Objective, *, workload: str | None = None, seq_len: int | None = None,
              batch: int | None = None, extents: Mapping[str, int] | None = None, settings: Mapping[str, float] | None = None,
              costs: str = "nominal", space: MapperSpace | None = None, budget_s: float | None = None,
              constraints: Mapping[str, float] | None = None) -> MapperResult:
    """Returns the best mapping of a cascade on a machine (an id or a file), with progress on a terminal.

    Raises: FusebenchError of the part that is wrong.
    """
    found = load_machine(machine, settings, costs)
    shape = shape_for(cascade, workload, seq_len, batch, extents or {})
    shown = _Shown()
    try:
        return map_cascade(cascade.cascade, found, shape, objective, space=space, budget_s=budget_s, constraints=constraints,
                           progress=shown.show if sys.stderr.isatty() else None)
    finally:
        shown.clear()


def parse_constraints(entries: Sequence[str]) -> dict[str, float]:
    """Returns the upper limits of entries such as ``latency_s=1e-3``.

    Raises: DefinitionError for another form.
    """
    found: dict[str, float] = {}
    for entry in entries:
        name, equals, text = (part.strip() for part in entry.replace("<=", "=").partition("="))
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not equals or not 0 < value < float("inf"):
            raise DefinitionError(f"it should be a figure, '=' and a number above 0, got {entry!r}; write --constraint latency_s=1e-3",
                                  source="--constraint")
        found[name] = value
    return found


def groups_graph(cascade: Cascade, result: MapperResult) -> nx.MultiDiGraph[str]:
    """Returns the graph of a cascade with the number of its fusion group at each Einsum, in place of its passes."""
    from reports.dag import cascade_graph
    graph = cascade_graph(cascade)
    number = {name: n for n, group in enumerate(result.groups, 1) for name in group.einsums}
    for node, data in graph.nodes(data=True):
        data["passes"] = (number[node],) if node in number else ()
    return graph


def mapping_text(cascade: Cascade, result: MapperResult) -> str:
    """Returns a result for people: the figures, what was proven, the groups, their place in the graph, the space."""
    from reports.dag_text import to_terminal
    from reports.tables import sections, table
    made = result.estimate
    proof = "nothing in the space is better" if result.proven_optimal else f"at most {result.gap:.3%} from the best of the space"
    head = sections({
        "cascade": cascade.name, "machine": made.machine, "objective": result.objective, "latency_s": made.latency_s,
        "energy_pj": made.energy_pj["total"], "dram_bytes": made.dram_bytes, "utilization": dict(made.utilization), "bound": made.bound,
        "proven_optimal": result.proven_optimal, "proof": proof, "evaluated": result.evaluated, "pruned": result.pruned,
        "elapsed_s": round(result.elapsed_s, 2), **({"stopped": "before all was proven"} if result.stopped else {})})
    rows = [[n, ", ".join(g.einsums), " ".join(g.loops), " ".join(f"{p}={s}" for p, s in g.sizes.items()), g.latency_s, g.energy_pj,
             "; ".join(g.separate)] for n, g in enumerate(result.groups, 1)]
    groups = table(("group", "Einsums", "loops", "sizes", "latency s", "energy pJ", "cannot share a loop with the next"), rows)
    return f"{head}\n\n{groups}\n\n{to_terminal(groups_graph(cascade, result), heading='group')}\n\nspace: {result.space.words()}"


class _Shown:
    """The line of progress on a terminal."""

    def __init__(self) -> None:
        self.width = 0

    def show(self, progress: Progress) -> None:
        """Writes where the search is over what stood there."""
        best = "nothing yet" if progress.best is None else f"best {progress.best:.4g}, {self._gap(progress)}"
        left = "" if progress.left_s is None else f", {progress.left_s:.0f} s left"
        line = f"map: {progress.evaluated} evaluated, {best}, {progress.elapsed_s:.0f} s{left}"
        click.echo(f"\r{line.ljust(self.width)}", err=True, nl=False)
        self.width = len(line)

    def clear(self) -> None:
        """Takes the line away."""
        if self.width:
            click.echo(f"\r{' ' * self.width}\r", err=True, nl=False)

    @staticmethod
    def _gap(progress: Progress) -> str:
        assert progress.best is not None
        return f"bound {progress.bound:.4g}" if progress.bound > 0 else "no bound yet"


def document(cascade: Cascade, result: MapperResult, extents: Mapping[str, int]) -> dict[str, Any]:
    """Returns a result as plain values for JSON."""
    return {"cascade": cascade.name, "machine": result.estimate.machine, "extents": dict(extents), **result.to_dict()}

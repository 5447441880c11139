"""Shows a cascade, or the definition of a machine, design or workload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from reports.cascades import NamedCascade, load_cascade
from reports.options import json_option
from reports.output import emit, plain


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


@click.command(epilog="Examples: fusebench show attention:1pass; fusebench show machine fusemax")
@click.argument("what", metavar="CASCADE | machine|design|workload")
@click.argument("name", required=False)
@json_option
def command(what: str, name: str | None, as_json: bool) -> None:
    """Show a CASCADE, or a machine, design or workload by its NAME or its file."""
    if what in _DEFINITIONS:
        if name is None:
            raise click.UsageError(f"the {what}'s name is missing, got nothing", click.get_current_context())
        definition = _DEFINITIONS[what](name)
        emit(definition, as_json, lambda: _yaml(definition))
    elif name is not None:
        raise click.UsageError(f"a cascade takes no further name, got {name!r}", click.get_current_context())
    else:
        found = load_cascade(what)
        document = _document(found)
        emit(document, as_json, lambda: _text(found, document))


def _yaml(definition: Mapping[str, Any]) -> str:
    import yaml
    return str(yaml.safe_dump(plain(definition), sort_keys=False, allow_unicode=True, width=120, default_flow_style=None))


def _document(found: NamedCascade) -> dict[str, Any]:
    from einsum_cascades.analysis.passes import passes
    from einsum_cascades.ir import unique
    from einsum_cascades.printing import einsum_text, to_text
    from einsum_cascades.structure import structure
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
        "source": found.variant.source if found.variant else None,
    }


def _text(found: NamedCascade, document: Mapping[str, Any]) -> str:
    from einsum_cascades.structure import structure
    from reports.tables import pairs
    dimensions = structure(found.cascade).dimensions

    def tensors(names: tuple[str, ...]) -> str:
        return ", ".join(f"{name}[{','.join(rank or '?' for rank in dimensions[name])}]" for name in names)
    rows = [("inputs", tensors(document["inputs"])), ("outputs", tensors(document["outputs"])),
            ("passes", ", ".join(f"{rank} {count}" for rank, count in document["passes"].items()))]
    if found.variant:
        rows += [("algorithms", ", ".join(found.variant.algorithms)), ("source", found.variant.source)]
    return f"{click.style(document['name'], bold=True)}\n\n{document['text']}\n{pairs(rows)}"

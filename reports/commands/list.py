"""Lists variants, workloads, machines, designs or kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from reports.options import Name, json_option
from reports.output import emit


def _variants() -> list[dict[str, Any]]:
    from workloads.variants import variants
    return [{"id": v.id, "title": v.title, "system": v.system, "algorithms": list(v.algorithms),
             "workloads": list(v.workloads), "source": v.source} for v in variants()]


def _workloads() -> list[dict[str, Any]]:
    from workloads.models import load_workload, workload_ids
    return [load_workload(name).to_dict() for name in workload_ids()]


def _machines() -> list[dict[str, Any]]:
    from accelerator_sim.machines import load_machine, machine_ids
    found = [load_machine(name) for name in machine_ids()]
    return [{"id": m.id, "title": m.title, "source": m.source} for m in found]


def _designs() -> list[dict[str, Any]]:
    from accelerator_sim.designs import design_ids, load_design_file
    found = [load_design_file(name) for name in design_ids()]
    return [{"id": d.id, "title": d.raw.get("title"), "cascade": d.cascade, "machines": list(d.machines),
             "source": d.raw.get("source")} for d in found]


def _kernels() -> list[dict[str, Any]]:
    from reports.kernel_list import lowerable
    return lowerable()


_KINDS: Mapping[str, tuple[Callable[[], list[dict[str, Any]]], tuple[str, ...]]] = {
    "variants": (_variants, ("id", "system", "workloads", "algorithms")),
    "workloads": (_workloads, ("id", "title", "batch", "heads", "d_model", "e", "f", "ffn", "seq_lens")),
    "machines": (_machines, ("id", "title", "source")),
    "designs": (_designs, ("id", "cascade", "machines", "title")),
    "kernels": (_kernels, ("id", "kernels", "writes")),
}
"""What can be listed: how it is found, and the columns of its table."""


@click.command(epilog="Example: fusebench list variants")
@click.argument("kind", type=Name("kind of thing", tuple(_KINDS)))
@json_option
def command(kind: str, as_json: bool) -> None:
    """List what there is of a kind, with its id."""
    find, columns = _KINDS[kind]
    found = find()

    def text() -> str:
        from reports.tables import table
        return table(columns, [[entry[c] for c in columns] for entry in found]) if found else f"There are no {kind}."
    emit(found, as_json, text)

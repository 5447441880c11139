"""A cascade as HTML for a notebook: its lines and what each does, inputs, outputs and passes. All text is escaped."""

from __future__ import annotations

from html import escape

from einsum_cascades.analysis.passes import passes
from einsum_cascades.ir import Cascade, Einsum
from einsum_cascades.printing import declarations, einsum_text, operator_text
from einsum_cascades.structure import structure

# Colours are those of the page around it, be it light or dark; long lines scroll.
_BOX = "overflow-x:auto"
_TABLE = "border-collapse:collapse;font-family:monospace;margin:0.3em 0"
_CELL = "text-align:left;padding:0 1em 0 0;white-space:pre"


def to_html(cascade: Cascade) -> str:
    """Returns a table of the cascade's lines, in an order of evaluation, between its inputs and outputs and its passes."""
    found = structure(cascade)
    rows = [_row("declaration", line) for line in declarations(cascade)]
    rows += [_row("operator", operator_text(operator)) for operator in cascade.operators]
    rows += [_row("seed", f"init {einsum_text(seed)}") for seed in cascade.inits]
    rows += [_row(_kind(einsum, cascade), einsum_text(einsum)) for einsum in found.order]
    title = f"<b>{escape(cascade.name)}</b>: {_names(found.inputs)} &rarr; {_names(found.outputs)}"
    counts = _names(tuple(f"{rank} {count}" for rank, count in passes(cascade).items()))
    return f"<div style=\"{_BOX}\">{title}<table style=\"{_TABLE}\">{''.join(rows)}</table>passes: {counts}</div>"


def _kind(einsum: Einsum, cascade: Cascade) -> str:
    found = structure(cascade)
    iterated = [found.iterative[out.tensor].rank for out in einsum.outputs if out.tensor in found.iterative]
    words = [f"iterates over {iterated[0]}"] if iterated else []
    head = einsum.reduction
    if head is not None:
        words.append(f"makes {', '.join(head.into)}" if head.into else f"reduces {', '.join(head.ranks)} by {head.op}")
    if einsum.summed_ranks:
        words.append(f"sums {', '.join(einsum.summed_ranks)}")
    return ", ".join(words) or "map"


def _row(kind: str, text: str) -> str:
    return f"<tr><td style=\"{_CELL}\">{escape(text)}</td><td style=\"{_CELL}\"><i>{escape(kind)}</i></td></tr>"


def _names(names: tuple[str, ...]) -> str:
    return escape(", ".join(names)) or "nothing"

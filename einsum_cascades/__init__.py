"""Cascades of extended Einsums: one description that is executed, analysed, rewritten, costed and lowered."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from einsum_cascades.errors import FusebenchError, NotationError
    from einsum_cascades.extents import resolve_extents
    from einsum_cascades.interpreter import run
    from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Extent, Num, Reduction, UserOperator
    from einsum_cascades.loading import load
    from einsum_cascades.notation import parse
    from einsum_cascades.printing import to_text
    from einsum_cascades.structure import structure

__version__ = "0.1.0"

_WHERE = {
    "Access": "ir", "Call": "ir", "Cascade": "ir", "Coord": "ir", "Einsum": "ir", "Extent": "ir", "Num": "ir",
    "Reduction": "ir", "UserOperator": "ir", "FusebenchError": "errors", "NotationError": "errors", "parse": "notation",
    "to_text": "printing", "load": "loading", "structure": "structure", "resolve_extents": "extents",
    "run": "interpreter", "to_latex": "latex", "to_html": "html", "collectives": "collectives",
}

__all__ = ["Access", "Call", "Cascade", "Coord", "Einsum", "Extent", "FusebenchError", "NotationError", "Num",
           "Reduction", "UserOperator", "load", "parse", "resolve_extents", "run", "structure", "to_text"]


def __getattr__(name: str) -> Any:
    # Names are looked up when first used, so that the command starts without NumPy.
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)

"""torch's flex_attention, compiled, with a mask given as a predicate of the notation, such as ``m <= p``.

The predicate's coordinates are those of the query (``p``) and the key (``m``), its extents P and M. It becomes flex's block
mask, which is made once: its cost is no part of a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from autotune.peers.errors import PeerError
from autotune.peers.options import Options
from einsum_cascades.expressions import ExpressionParser
from einsum_cascades.ir import Call, Coord, Expr, Extent, Num
from einsum_cascades.tokens import tokenize

if TYPE_CHECKING:
    import torch

    from autotune.peers import Run


def make(values: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], dimensions: Mapping[str, tuple[str, ...]]) -> Run:
    """Returns the peer. Options: q, k, v, out (names of tensors), mask (a predicate), extents (of the predicate), scale,
    compile (true).

    Raises: PeerError for options that do not fit.
    """
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    options = Options("flex_attention", values, tensors, dimensions)
    options.allow(("q", "k", "v", "out", "mask", "extents", "scale", "compile"))
    q, k, v = (options.heads(options.get(name, str)) for name in ("q", "k", "v"))
    scale = float(options.get("scale", (int, float), 1.0))
    grouped = q.shape[1] != k.shape[1]
    mask = None
    if "mask" in values:
        keep = predicate(options.get("mask", str), {**options.get("extents", dict, {}), "P": q.shape[2], "M": k.shape[2]})
        mask = create_block_mask(lambda b, h, row, column: keep(row, column), None, None, q.shape[2], k.shape[2], device=str(q.device))
    call = torch.compile(flex_attention, dynamic=False) if options.get("compile", bool, True) else flex_attention
    shape = (*tensors[options.get("q", str)].shape[:-1], v.shape[-1])
    if options.get("out", str) not in dimensions:
        raise PeerError(f"peer flex_attention: there is no such output, got {values['out']!r}; name one of the kernel")

    def run() -> torch.Tensor:
        return call(q, k, v, block_mask=mask, scale=scale, enable_gqa=grouped).reshape(shape)
    return run


def predicate(text: str, extents: Mapping[str, int]) -> Callable[[Any, Any], Any]:
    """Returns a function of the coordinates p and m, of numbers or tensors.

    Raises: PeerError for what is no predicate of them; NotationError.
    """
    parser = ExpressionParser(tokenize(text, source="mask"), "mask")
    parsed = parser.expression()
    if parser.token.kind not in ("newline", "end"):
        parser.fail(f"predicate: it should end here, got {parser.token.text!r}; give one predicate")
    _value(parsed, {"p": 0, "m": 0}, extents)
    return lambda row, column: _value(parsed, {"p": row, "m": column}, extents)


def _value(node: Expr, at: Mapping[str, Any], extents: Mapping[str, int]) -> Any:
    match node:
        case Num(value=value):
            return int(value) if float(value).is_integer() else value
        case Coord(rank=rank) if rank in at:
            return at[rank]
        case Extent(name=name) if name in extents:
            return extents[name]
        case Call(op=op, args=args) if op in _OPERATORS:
            return _OPERATORS[op](*(_value(arg, at, extents) for arg in args))
    raise PeerError(f"peer flex_attention: the mask has what it cannot have, got {node!r:.60}; write comparisons of p, m and extents")


def _both(a: Any, b: Any) -> Any:
    return a & b


def _clamp(x: Any, low: Any, high: Any) -> Any:
    return x.clamp(low, high) if hasattr(x, "clamp") else min(max(x, low), high)


_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "neg": lambda a: -a, "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b, "le": lambda a, b: a <= b, "lt": lambda a, b: a < b, "ge": lambda a, b: a >= b, "gt": lambda a, b: a > b,
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "and": _both, "or": lambda a, b: a | b, "abs": abs, "clamp": _clamp,
}

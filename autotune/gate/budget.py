"""How much a kernel may err: at most twice what the cascade errs when it is run in the kernel's own precisions, and rounding.

The low-precision run is the cascade's own, in the interpreter, with three kinds of error put in and nothing else:

* a computed tensor that is multiplied and summed is rounded to the type of the products' operands, one that a plan stores
  between kernels to the type that it is stored in; states of iterations and all else to fp32;
* inputs, sums, and results of divisions and elementary functions are disturbed by a few units of fp32: sums in fp32 amount to that
  (their error is that of an exact sum of disturbed terms: small where it is well conditioned, large where terms cancel),
  and so does what GPUs compute for exp, log and the like;
* where dots round their operands further (tf32), so are the inputs.

So the budget follows the operator and the inputs (large logits, sums that cancel), and needs no tolerance by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from einsum_cascades.errors import UnknownNameError
from einsum_cascades.interpreter import run
from einsum_cascades.ir import Call, Cascade, unique, walk
from einsum_cascades.operators import MAPS, POPULATES, REDUCTIONS
from einsum_cascades.structure import structure
from workloads.verification import relative_error

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

BITS = {"fp64": 53, "fp32": 24, "tf32": 11, "fp16": 11, "bf16": 8}
"""Bits of the significand of each type, the leading one included."""

FACTOR = 2.0
"""A kernel may err so many times as much as the low-precision run."""

_ROUNDINGS = 2.0
"""Roundings of an output that come on top: to its type, and of the last sum."""

_DISTURBANCE = 4.0
"""Roundings of fp32 by which values are disturbed. Source: CUDA programming guide, "Mathematical Functions": 2 units in the last
place for exp and exp2, which are up to 4 roundings; the error of a sum of n terms grows with the root of n, which is a few dozens in
a tile."""

_DRAWS = 2
"""Low-precision runs; the largest error counts."""


def bits_of(dtype: str) -> int:
    """Returns the bits of a type's significand.

    Raises: UnknownNameError.
    """
    if dtype not in BITS:
        raise UnknownNameError("type", dtype, BITS)
    return BITS[dtype]


def rounded(values: Array, bits: int) -> Array:
    """Returns values rounded to nearest at a significand of ``bits`` bits; exponents have no bounds."""
    import numpy as np
    significand, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.rint(np.ldexp(significand, bits)), exponent - bits))


def tolerances(cascade: Cascade, inputs: Mapping[str, Array], extents: Mapping[str, int], want: Mapping[str, Array], *,
               operands: str, outputs: Mapping[str, str], stored: Mapping[str, str], dots: str | None = None,
               seed: int = 0) -> dict[str, float]:
    """Returns the largest relative error that each output may have.

    ``operands`` is the type of the computed operands of products, ``outputs`` and ``stored`` the types of the outputs and of
    tensors that are stored on the way, ``dots`` the type to which dots round every operand, where they do.
    """
    import numpy as np
    bits = {name: bits_of(dtype) for name, dtype in stored.items()}
    product = min(bits_of(operands), bits_of(dots or operands))
    for name in product_operands(cascade):
        bits[name] = min(product, bits.get(name, product))
    errors = dict.fromkeys(want, 0.0)
    for draw in range(_DRAWS):
        rng = np.random.default_rng([seed, draw])
        got = run(cascade, _disturbed_inputs(cascade, inputs, dots, rng), extents, stored=_rounding(cascade, bits, rng))
        errors = {name: max(error, relative_error(got[name], want[name])) for name, error in errors.items()}
    return {name: FACTOR * errors[name] + _ROUNDINGS * 2.0 ** -bits_of(outputs[name]) for name in want}


def product_operands(cascade: Cascade) -> frozenset[str]:
    """Returns the computed tensors that are factors of a sum of products; states of iterations are none."""
    known = structure(cascade)
    found: set[str] = set()
    for einsum in known.order:
        reads = unique(access.tensor for access in einsum.reads)
        summed = einsum.reduced_ranks and (einsum.reduction is None or einsum.reduction.op == "sum")
        if summed and len(reads) > 1:
            found.update(name for name in reads if name in known.producers and name not in known.iterative)
    return frozenset(found)


def inexact(cascade: Cascade) -> frozenset[str]:
    """Returns the computed tensors whose values are sums, or results of divisions and elementary functions."""
    found: set[str] = set()
    for einsum in structure(cascade).order:
        combined = einsum.reduction.op in REDUCTIONS and not REDUCTIONS[einsum.reduction.op].idempotent if einsum.reduction else True
        calls = (node.op for body in einsum.bodies for node in walk(body) if isinstance(node, Call))
        if einsum.reduced_ranks and combined or any(_is_elementary(op) for op in calls):
            found.update(out.tensor for out in einsum.outputs)
    return frozenset(found)


def _is_elementary(op: str) -> bool:
    known = MAPS.get(op)
    return known is not None and known.kind == "value" and not (known.polynomial or known.integral or known.selects)


def _rounding(cascade: Cascade, bits: Mapping[str, int], rng: np.random.Generator) -> Callable[[str, Array], Array]:
    coordinates, noisy = _coordinates(cascade), inexact(cascade)

    def stored(name: str, values: Array) -> Array:
        if name in coordinates:
            return values
        return rounded(_disturbed(values, rng) if name in noisy else values, bits.get(name, BITS["fp32"]))
    return stored


def _coordinates(cascade: Cascade) -> frozenset[str]:
    """Tensors of coordinates, which are exact in every type that holds them."""
    known = structure(cascade)
    made = {name for name, einsum in known.producers.items() if einsum.reduction is not None and (
        einsum.reduction.op in POPULATES or einsum.reduction.op in REDUCTIONS and REDUCTIONS[einsum.reduction.op].index)}
    return known.index_tensors | made


def _disturbed_inputs(cascade: Cascade, inputs: Mapping[str, Array], dots: str | None, rng: np.random.Generator) -> dict[str, Array]:
    known, found = structure(cascade), {}
    for name, values in inputs.items():
        whole = values.dtype.kind != "f" or name in known.index_tensors or any(name == t for t, _ in known.offsets)
        found[name] = values if whole else _disturbed(rounded(values, bits_of(dots)) if dots else values, rng)
    return found


def _disturbed(values: Array, rng: np.random.Generator) -> Array:
    import numpy as np
    signs = rng.integers(0, 2, np.shape(values)) * 2.0 - 1.0
    return np.asarray(values * (1 + _DISTURBANCE * 2.0 ** -BITS["fp32"] * signs))

"""A systolic array without any overlap: each fold fills, works and drains by itself, and no memory stalls it.

This is the model of SCALE-Sim (Samajdar et al., ISPASS 2020), whose cycles it equals for any matrix product:

* output-stationary (``os``): rows and columns hold outputs, the reduced rank streams. A fold takes its K steps and the
  skew of operands over rows and columns.
* weight-stationary (``ws``): rows hold the reduced rank, columns the outputs of one weight column. A fold first loads
  the weights row by row, then streams the other rank.

A fold that does not fill the array takes as long as one that does. Cycles are counted from 0, so the last is one less.
"""

from __future__ import annotations

from dataclasses import dataclass

from accelerator_sim.machine import ComputeUnit
from accelerator_sim.quantities import Quantity, ceil_div
from einsum_cascades.errors import DesignError, UnknownNameError
from einsum_cascades.ir import Access, Call, Cascade, Einsum, coords

DATAFLOWS = ("ws", "os")


@dataclass(frozen=True)
class Product:
    """A matrix product: ``m`` and ``n`` are the extents of outputs that only the first and only the second operand has,
    ``k`` that of what is reduced; ``instances`` independent ones follow one another."""

    m: int
    n: int
    k: int
    instances: int = 1


@dataclass(frozen=True, eq=False)
class SystolicTime:
    """``cycles`` of a product, and the share of PE-cycles in which a PE multiplies."""

    cycles: Quantity
    folds: Quantity
    utilization: Quantity


def product_of(cascade: Cascade, einsum: Einsum, extents: dict[str, int], instances: int = 1) -> Product:
    """Returns an Einsum as a matrix product.

    Raises: DesignError where it is none.
    """
    body = einsum.body
    if not (isinstance(body, Call) and body.op == "mul" and len(einsum.bodies) == 1 and einsum.where is None
            and all(isinstance(a, Access) for a in body.args) and einsum.reduced_ranks):
        raise DesignError(f"cascade {cascade.name!r}: Einsum {einsum.name!r}: it is no matrix product, got none of the form "
                          f"Z[m,n] = A[m,k] * B[k,n]; simulate it with another timing")
    left, right = (set(coords(a)) for a in body.args)
    kept = set(einsum.output_ranks)

    def size(ranks: set[str]) -> int:
        total = 1
        for rank in ranks:
            total *= extents[rank]
        return total

    return Product(size(kept & left - right), size(kept & right - left), size(set(einsum.reduced_ranks)),
                   instances * size(kept & left & right))


def no_overlap(product: Product, unit: ComputeUnit, dataflow: str) -> SystolicTime:
    """Returns the time of a matrix product on an array with rows and columns.

    Raises: UnknownNameError for an unknown dataflow, DesignError for a unit that is no array.
    """
    if dataflow not in DATAFLOWS:
        raise UnknownNameError("dataflow", dataflow, DATAFLOWS)
    if not {"rows", "cols"} <= set(unit.dimensions):
        raise DesignError(f"compute unit {unit.name!r}: a systolic array has rows and cols, got "
                          f"{', '.join(unit.dimensions)}; use another unit")
    rows, cols = unit.dimensions["rows"], unit.dimensions["cols"]
    skew = rows - 1 + cols - 1
    if dataflow == "os":
        folds = ceil_div(product.m, rows) * ceil_div(product.n, cols)
        each = product.k + skew
    else:
        folds = ceil_div(product.k, rows) * ceil_div(product.n, cols)
        each = rows + product.m + skew
    cycles = product.instances * folds * each - 1
    work = product.instances * product.m * product.n * product.k
    return SystolicTime(cycles, product.instances * folds, work / (rows * cols * (cycles + 1)))

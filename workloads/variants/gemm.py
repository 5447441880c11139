"""General matrix multiplication: the Einsum of which the projections and the products of attention are made.

No system of the catalogue: a yardstick for machines. Nothing is scaled, added or transposed (alpha = 1, beta = 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.variant import Case, Variant

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_ALGORITHMS = {
    "product": """
Z[m,n] = A[m,k] * B[k,n]
""",
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Z[m,n], the product of the matrices A[m,k] and B[k,n]."""
    return {"Z": inputs["A"] @ inputs["B"]}


def identity_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what the product with the identity is: A."""
    return {"Z": inputs["A"]}


def outer_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the outer product of the only column of A and the only row of B."""
    return {"Z": inputs["A"][:, 0, None] * inputs["B"][None, 0, :]}


def _identity(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    import numpy as np
    return np.eye(shape[0], shape[1])


_CASES = (
    Case("random", {"m": 24, "n": 16, "k": 32}),
    Case("odd extents", {"m": 5, "n": 7, "k": 3}),
    Case("one row and one column", {"m": 1, "n": 1, "k": 17}),
    Case("times the identity", {"m": 6, "n": 9, "k": 9}, {"B": _identity}, reference=identity_reference),
    Case("one term", {"m": 6, "n": 4, "k": 1}, reference=outer_reference),
)

VARIANT = Variant(
    id="gemm",
    title="General matrix multiplication",
    system="GEMM",
    source="Dongarra et al., A Set of Level 3 Basic Linear Algebra Subprograms, ACM TOMS 16(1), 1990: GEMM",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
)

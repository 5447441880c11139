"""The reference interpreter: the meaning of a cascade, in float64 with NumPy.

What it computes is defined by the rules of the notation; docs/notation.md has them by example. Of absence it says
more exactly: a reduction skips the elements whose absence depends on a rank that it reduces, and is itself absent
where the absence of its operands depends on other ranks only. So a row that masks every key sums to 0, while the
scores of keys beyond the end of a ragged tile do not exist.
"""

from __future__ import annotations

from einsum_cascades.interpreter.execution import run

__all__ = ["run"]

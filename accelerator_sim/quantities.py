"""Quantities: numbers that may also be NumPy arrays, one element for each design point of a batch.

Every evaluation is written once for both. Plain numbers stay Python numbers (exact integers, no NumPy import), so
that a single design is evaluated without arrays and a batch of machines in the same code, vectorised.
"""

from __future__ import annotations

import math
from typing import Any

Quantity = Any
"""An int, a float, or an array of them."""


def is_array(value: Quantity) -> bool:
    """Returns whether a quantity holds one value for each design point."""
    return hasattr(value, "shape")


def ceil_div(a: Quantity, b: Quantity) -> Quantity:
    """Returns a / b rounded up; exact for whole numbers below 2**53."""
    if is_array(a) or is_array(b):
        import numpy as np
        return np.ceil(a / b)
    return -(-a // b)


def smaller(a: Quantity, b: Quantity) -> Quantity:
    """Returns the smaller of two, point by point."""
    if is_array(a) or is_array(b):
        import numpy as np
        return np.minimum(a, b)
    return min(a, b)


def larger(a: Quantity, b: Quantity) -> Quantity:
    """Returns the larger of two, point by point. A plain 0 as the first stands for nothing yet: counts, sizes and times are
    never negative, and a maximum over a loop needs no array for its start."""
    if a is b or not is_array(a) and a == 0 and is_array(b):
        return b
    if is_array(a) or is_array(b):
        import numpy as np
        return np.maximum(a, b)
    return max(a, b)


def chosen(condition: Quantity, yes: Quantity, no: Quantity) -> Quantity:
    """Returns ``yes`` where the condition holds, else ``no``, point by point."""
    if is_array(condition):
        import numpy as np
        return np.where(condition, yes, no)
    return yes if condition else no


def everywhere(condition: Quantity) -> bool:
    """Returns whether a condition holds at every point."""
    return bool(condition.all()) if is_array(condition) else bool(condition)


def is_number(value: object) -> bool:
    """Returns whether a value is a plain finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

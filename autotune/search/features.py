"""Configurations as points of the unit cube: what a model of the search sees of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotune.space import Configuration

if TYPE_CHECKING:
    import numpy as np


def features(configurations: Sequence[Configuration]) -> np.ndarray[Any, Any]:
    """Returns an array of one row for each configuration, with columns from 0 to 1.

    A number gives its logarithm (tiles and warps are doubled, not added to), text and truth values a column for each
    value. Axes of one value give none.
    """
    import numpy as np
    columns: list[np.ndarray[Any, Any]] = []
    for name in sorted({name for c in configurations for name in c}):
        values = [c.get(name) for c in configurations]
        kinds = sorted(set(values), key=str)
        if len(kinds) < 2:
            continue
        if all(isinstance(v, (int, float)) and not isinstance(v, bool) and v >= 0 for v in kinds):
            logs = np.array([math.log2(1.0 + float(v)) for v in values])  # type: ignore[arg-type]
            columns.append((logs - logs.min()) / (logs.max() - logs.min()))
        else:
            columns.extend(np.array([float(v == kind) for v in values]) for kind in kinds[len(kinds) == 2:])
    return np.stack(columns, axis=1) if columns else np.zeros((len(configurations), 0))

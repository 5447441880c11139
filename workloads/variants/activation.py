"""What is done to each feature by itself: the activation between the linear layers of an MLP, the tanh of a pooler, and
the soft cap of logits, c * tanh(x / c)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant, normal
from workloads.variant import Case, Variant

if TYPE_CHECKING:
    from workloads.variant import Array, Reference

_ALGORITHMS = {
    "gelu": "Y[t,d] = gelu(X[t,d])",
    "gelu-tanh": "Y[t,d] = gelu_tanh(X[t,d])",
    "relu": "Y[t,d] = relu(X[t,d])",
    "silu": "Y[t,d] = silu(X[t,d])",
    "tanh": "Y[t,d] = tanh(X[t,d])",
    "soft-cap": "Y[t,d] = Cap[] * tanh(X[t,d] / Cap[])",
}


def gelu(x: Array) -> Array:
    """Returns x times the normal distribution's share below x."""
    import numpy as np
    out: Array = x * np.vectorize(lambda value: math.erfc(-value / math.sqrt(2)) / 2, otypes=[np.float64])(x)
    return out


def gelu_tanh(x: Array) -> Array:
    """Returns gelu in its approximation by tanh."""
    import numpy as np
    out: Array = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return out


def relu(x: Array) -> Array:
    """Returns x where it is positive, else 0."""
    return x * (x > 0)


def silu(x: Array) -> Array:
    """Returns x times its logistic function."""
    import numpy as np
    out: Array = x / (1 + np.exp(-x))
    return out


def _tanh(x: Array) -> Array:
    import numpy as np
    return np.tanh(x)


def of(function: Callable[[Array], Array]) -> Reference:
    """Returns the reference of a function of each feature."""
    def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
        return {"Y": function(inputs["X"])}
    return reference


def capped(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns c (1 - q) / (1 + q) with q = exp(-2 x / c), which is c * tanh(x / c)."""
    import numpy as np
    q = np.exp(-2 * inputs["X"] / inputs["Cap"])
    return {"Y": inputs["Cap"] * (1 - q) / (1 + q)}


def _cases(algorithm: str, reference: Reference) -> tuple[Case, ...]:
    return (Case(f"random, {algorithm}", {"t": 6, "d": 8}, algorithms=(algorithm,), reference=reference),
            Case(f"large, {algorithm}", {"t": 1, "d": 17}, {"X": normal(20.0)}, algorithms=(algorithm,),
                 reference=reference))


VARIANT = Variant(
    id="activation",
    title="Activation",
    system="Transformer",
    source="Hendrycks and Gimpel, Gaussian Error Linear Units, arXiv 1606.08415, section 2; soft caps: Gemma Team, "
           "Gemma 2, arXiv 2408.00118, section 2",
    algorithms=_ALGORITHMS,
    reference=of(gelu),
    cases=(
        *_cases("gelu", of(gelu)), *_cases("gelu-tanh", of(gelu_tanh)), *_cases("relu", of(relu)),
        *_cases("silu", of(silu)), *_cases("tanh", of(_tanh)), *_cases("soft-cap", capped),
        Case("0 stays 0", {"t": 3, "d": 4}, {"X": constant(0.0)}, reference=of(lambda x: x)),
        Case("a high cap changes nothing", {"t": 3, "d": 4}, {"Cap": constant(1e9)}, algorithms=("soft-cap",),
             reference=of(lambda x: x)),
    ),
    # A cap is positive.
    inputs={"Cap": constant(30.0)},
)

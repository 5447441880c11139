"""Rotary position embedding: pairs of features of every head, turned by an angle that grows with the position.

As in released models, feature j of the first half of a head is paired with feature j of the second: c = 0 and 1.
``Cos[p,j]`` and ``Sin[p,c,j]`` are tables made once for all layers, the second with the sign of the rotation (minus for
c = 0). An element then costs 2 multiplications and 1 addition; the angles cost nothing here. Scalings of the angles for
longer contexts change the tables alone. Features that are not rotated are not part of the cascade.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant
from workloads.variant import Case, Variant

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_ALGORITHMS = {
    "halves": """
extent C 2
Y[b,p,h,c,j] = X[b,p,h,c,j] * Cos[p,j] + X[b,p,h,1 - c,j] * Sin[p,c,j]
""",
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[b,p,h,c,j]: each half times the cosine, plus the other half times the signed sine."""
    x, cosine, sine = inputs["X"], inputs["Cos"][:, None, None, :], inputs["Sin"][:, None, :, :]
    return {"Y": x * cosine + x[..., ::-1, :] * sine}


def rotation_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the pairs as complex numbers, times exp(i p / 10000^(j/J))."""
    import numpy as np
    turned = (inputs["X"][..., 0, :] + 1j * inputs["X"][..., 1, :]) * np.exp(1j * _angles(extents))[:, None, :]
    return {"Y": np.stack((turned.real, turned.imag), axis=-2)}


def cosines(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws Cos[p,j] as it is in a model."""
    import numpy as np
    return np.cos(_angles(extents))


def signed_sines(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws Sin[p,c,j] as it is in a model."""
    import numpy as np
    signed: Array = np.sin(_angles(extents))[:, None, :] * np.array([-1.0, 1.0])[:, None]
    return signed


def _angles(extents: Mapping[str, int]) -> Array:
    import numpy as np
    angles: Array = np.arange(extents["p"])[:, None] * 10000.0 ** (-np.arange(extents["j"]) / extents["j"])
    return angles


VARIANT = Variant(
    id="rotary",
    title="Rotary position embedding",
    system="Transformer",
    source="Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding, arXiv 2104.09864, equation 34",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"b": 2, "p": 5, "h": 3, "j": 4}),
        Case("odd extents", {"b": 1, "p": 7, "h": 1, "j": 3}),
        Case("a rotation", {"b": 2, "p": 9, "h": 2, "j": 4}, {"Cos": cosines, "Sin": signed_sines},
             reference=rotation_reference),
        Case("angles of 0", {"b": 2, "p": 3, "h": 2, "j": 2}, {"Cos": constant(1.0), "Sin": constant(0.0)},
             reference=lambda inputs, extents: {"Y": inputs["X"]}),
    ),
)

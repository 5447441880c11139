"""The dynamical systems framework: attention, state space models and gated recurrences as one linear recurrence.

H[i+1] = Lam[i] H[i] + B[i] U[i] and Y[i] = C[i] H[i+1], all diagonal and varying with the token. Read as a matrix, Y is
lower triangular: token j weighs C[i] (product of Lam from j+1 to i) B[j] for token i. ``system`` is the recurrence with
everything given, ``operator`` the matrix.

``separable`` is attention whose weight is phi(Q) psi(K) over a normalizer Eta[i] > 0 that may be anything: Lam = Eta[i-1] /
Eta[i], so that the state is divided by it. ``linear`` takes Eta to be the sum of all weights so far (elu + 1 for both
features), for which it carries a state more, ``normalized`` the exponential of a projection of the token, which needs none.
``taylor2`` has the features of softmax attention up to the second power, 1 + E + E^2 of them: the whole series would need
a state without end. ``reversed-sigmoid`` writes the decay of Mamba's S6, exp(-exp(Alog) softplus(T)), as a power of a
sigmoid, sigmoid(-T)^exp(Alog), in which decay and step are seen to be coupled. ``qlstm`` is the gated recurrence of
quasi LSTMs, whose gates read the input alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, uniform
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Sieber et al., Understanding the differences in Foundation Models: Attention, State Space Models, and Recurrent Neural " \
         "Networks, NeurIPS 2024, arXiv 2405.15731"
_REPOSITORY = "github.com/IntelligentControlSystems/dsf-mqar"


def _separable(features: str, query: str, key: str, normalizer: str, rank: str) -> str:
    """The recurrence of attention with features over ``rank`` and a normalizer ET[i], ET[-1] being 1."""
    return f"""
init H[0,{rank},f] = 0
{features}{normalizer}
LM[i]        = ET[i - 1; fill=1] / ET[i]
BU[i,{rank},f] = {key} * V[i,f] / ET[i]
H[i+1,{rank},f] = LM[i] * H[i,{rank},f] + BU[i,{rank},f]
Y[i,f]       = {query} * H[i+1,{rank},f]
"""


_ELU = "PQ[i,e] = elu(Q[i,e]) + 1\nPK[i,e] = elu(K[i,e]) + 1\n"
_ALGORITHMS = {
    "system": """
init H[0,n,d] = 0
H[i+1,n,d] = Lam[i,n,d] * H[i,n,d] + B[i,n] * U[i,d]
Y[i,d]     = C[i,n] * H[i+1,n,d]
""",
    "operator": """
DK[i,j,n,d] = prod[l] Lam[l,n,d] where j < l and l <= i
PH[i,j,d]   = C[i,n] * DK[i,j,n,d] * B[j,n] where j <= i
Y[i,d]      = PH[i,j,d] * U[j,d]
""",
    "separable": _separable("", "Q[i,e]", "K[i,e]", "ET[i] = Eta[i]\n", "e"),
    "linear": _separable(_ELU, "PQ[i,e]", "PK[i,e]", "init Z[0,e] = 0\nZ[i+1,e] = Z[i,e] + PK[i,e]\nET[i] = PQ[i,e] * Z[i+1,e]\n", "e"),
    "normalized": _separable("", "Q[i,e]", "K[i,e]", "EW[i] = X[i,m] * We[m]\nET[i] = exp(EW[i] + Be[])\n", "e"),
    "taylor2": """
init H0[0,f]  = 0
init H1[0,e,f] = 0
init H2[0,e,g,f] = 0
init Z0[0]    = 0
init Z1[0,e]  = 0
init Z2[0,e,g] = 0
QS[i,e] = Q[i,e] * rsqrt(E)
H0[i+1,f] = H0[i,f] + V[i,f]
H1[i+1,e,f] = H1[i,e,f] + K[i,e] * V[i,f]
H2[i+1,e,g,f] = H2[i,e,g,f] + K[i,e] * K[i,g] * V[i,f]
Z0[i+1] = Z0[i] + 1
Z1[i+1,e] = Z1[i,e] + K[i,e]
Z2[i+1,e,g] = Z2[i,e,g] + K[i,e] * K[i,g]
N1[i,f] = QS[i,e] * H1[i+1,e,f]
N2[i,f] = QS[i,e] * QS[i,0 + g] * H2[i+1,e,g,f]
D1[i]   = QS[i,e] * Z1[i+1,e]
D2[i]   = QS[i,e] * QS[i,0 + g] * Z2[i+1,e,g]
Y[i,f]  = (H0[i+1,f] + N1[i,f] + N2[i,f] / 2) / (Z0[i+1] + D1[i] + D2[i] / 2)
""",
    "reversed-sigmoid": """
init H[0,e,n] = 0
AL[e,n]    = exp(Alog[e,n])
SG[i,e]    = sigmoid(-T[i,e])
LM[i,e,n]  = pow(SG[i,e], AL[e,n])
DL[i,e]    = softplus(T[i,e])
BU[i,e,n]  = DL[i,e] * U[i,e] * B[i,n]
H[i+1,e,n] = LM[i,e,n] * H[i,e,n] + BU[i,e,n]
Y[i,e]     = H[i+1,e,n] * C[i,n]
""",
    "qlstm": """
init H[0,d] = 0
X0[i,d] = U[i,m] * Win[d,m]
G0[i,d] = U[i,m] * Wg[d,m]
CV[i,d] = X0[i - W + 1 + w, d; fill=0] * Wc[d,w]
X[i,d]  = CV[i,d] + Bc[d]
F0[i,d] = X[i,c] * Wf[d,c]
I0[i,d] = X[i,c] * Wi[d,c]
O0[i,d] = X[i,c] * Wo[d,c]
LM[i,d] = sigmoid(F0[i,d] + Bf[d])
BU[i,d] = sigmoid(I0[i,d] + Bi[d]) * X[i,d]
H[i+1,d] = LM[i,d] * H[i,d] + BU[i,d]
HO[i,d] = sigmoid(O0[i,d] + Bo[d]) * H[i+1,d]
HG[i,d] = gelu(G0[i,d]) * HO[i,d]
Y[i,o]  = HG[i,d] * Wout[o,d]
""",
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[i,d] of the system: the matrix, entry by entry, times the inputs."""
    import numpy as np
    lam, b, c, u = (inputs[name] for name in ("Lam", "B", "C", "U"))
    out = np.zeros(u.shape)
    for i in range(len(u)):
        for j in range(i + 1):
            out[i] += np.einsum("n,nd,n->d", c[i], lam[j + 1:i + 1].prod(axis=0), b[j]) * u[j]
    return {"Y": out}


def separable_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what the normalizer divides: the weighted sum of the earlier values."""
    return {"Y": _weighted(inputs, inputs["Eta"])}


def normalized_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same with the exponential of a projection."""
    import numpy as np
    return {"Y": _weighted(inputs, np.exp(inputs["X"] @ inputs["We"] + inputs["Be"]))}


def linear_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns causal linear attention with features elu + 1: the weighted mean of the earlier values."""
    import numpy as np
    q, k = (np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))) for x in (inputs["Q"], inputs["K"]))
    weights = np.tril(q @ k.T)
    return {"Y": weights @ inputs["V"] / weights.sum(axis=1, keepdims=True)}


def taylor_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns causal attention with 1 + s + s^2/2 in place of exp(s)."""
    import numpy as np
    scores = inputs["Q"] @ inputs["K"].T / np.sqrt(inputs["Q"].shape[1])
    weights = np.tril(1 + scores + scores**2 / 2)
    return {"Y": weights @ inputs["V"] / weights.sum(axis=1, keepdims=True)}


def softmax_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns causal softmax attention, which small scores make of the series."""
    import numpy as np
    weights = np.tril(np.exp(inputs["Q"] @ inputs["K"].T / np.sqrt(inputs["Q"].shape[1])))
    return {"Y": weights @ inputs["V"] / weights.sum(axis=1, keepdims=True)}


def selective_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[i,e] of S6, with its decay as Mamba has it."""
    import numpy as np
    step, rate = np.logaddexp(0, inputs["T"]), np.exp(inputs["Alog"])
    state, out = np.zeros(rate.shape), np.empty(inputs["U"].shape)
    for i in range(len(step)):
        state = np.exp(-step[i][:, None] * rate) * state + np.outer(step[i] * inputs["U"][i], inputs["B"][i])
        out[i] = state @ inputs["C"][i]
    return {"Y": out}


def gated_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[i,o] of the quasi LSTM, token by token."""
    from math import erf, sqrt

    import numpy as np
    t = dict(inputs)
    x, gate, width = t["U"] @ t["Win"].T, t["U"] @ t["Wg"].T, t["Wc"].shape[1]
    padded = np.concatenate((np.zeros((width - 1, x.shape[1])), x))
    x = sum((padded[w:w + len(x)] * t["Wc"][:, w] for w in range(width)), np.zeros(())) + t["Bc"]
    forget, into, out = (1 / (1 + np.exp(-(x @ t[f"W{n}"].T + t[f"B{n}"]))) for n in "fio")
    state, hidden = np.zeros(x.shape[1]), np.empty(x.shape)
    for i in range(len(x)):
        state = forget[i] * state + into[i] * x[i]
        hidden[i] = out[i] * state
    return {"Y": np.vectorize(lambda one: one * (1 + erf(one / sqrt(2))) / 2)(gate) * hidden @ t["Wout"].T}


def _weighted(inputs: Mapping[str, Array], normalizer: Array) -> Array:
    import numpy as np
    out: Array = np.tril(inputs["Q"] @ inputs["K"].T) @ inputs["V"] / normalizer[:, None]
    return out


def _passes(algorithm: str) -> Published:
    return Published(f"passes of {algorithm} over the tokens", 1, "passes", "a linear recurrence", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["i"]))


VARIANT = Variant(
    id="dsf",
    title="Linear recurrences of the dynamical systems framework",
    system="Dynamical Systems Framework (DSF)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("system", {"i": 11, "n": 3, "d": 2}, algorithms=("system",)),
        Case("system of one token", {"i": 1, "n": 3, "d": 2}, algorithms=("system",)),
        Case("operator", {"i": 7, "j": 7, "l": 7, "n": 3, "d": 2}, algorithms=("operator",)),
        Case("any normalizer", {"i": 11, "e": 3, "f": 2}, algorithms=("separable",), reference=separable_reference),
        Case("sum of the weights", {"i": 11, "e": 3, "f": 2}, algorithms=("linear",), reference=linear_reference),
        Case("exponential of the token", {"i": 11, "e": 3, "f": 2, "m": 4}, algorithms=("normalized",), reference=normalized_reference),
        Case("second power", {"i": 9, "e": 3, "g": 3, "f": 2}, algorithms=("taylor2",), reference=taylor_reference),
        # The third power of scores of 1e-5 is 1e-15.
        Case("small scores are softmax", {"i": 9, "e": 3, "g": 3, "f": 2}, {"Q": normal(1e-6)}, algorithms=("taylor2",),
             reference=softmax_reference),
        Case("decays as powers of sigmoids", {"i": 11, "e": 3, "n": 2}, algorithms=("reversed-sigmoid",),
             reference=selective_reference),
        Case("strong decays as powers of sigmoids", {"i": 11, "e": 3, "n": 2}, {"Alog": uniform(4.0, 6.0)},
             algorithms=("reversed-sigmoid",), reference=selective_reference),
        Case("quasi LSTM", {"i": 9, "m": 3, "d": 4, "c": 4, "w": 4, "o": 3}, algorithms=("qlstm",), reference=gated_reference),
        Case("quasi LSTM that forgets nothing", {"i": 9, "m": 3, "d": 4, "c": 4, "w": 4, "o": 3}, {"Wf": constant(0.0), "Bf": constant(40.0)},
             algorithms=("qlstm",), reference=gated_reference),
    ),
    inputs={"Lam": uniform(0.5, 1.0), "Eta": uniform(0.5, 3.0)},
    shapes=tuple(Shape(f"mqar-{tokens}", {"i": tokens, "e": 128, "f": 256, "m": 256}, f"{_REPOSITORY}: recall of {tokens} tokens, one head, "
                       "width 256, 128 features", 1, ("separable", "linear", "normalized")) for tokens in (64, 128, 256, 512)),
    published=tuple(_passes(algorithm) for algorithm in _ALGORITHMS),
)

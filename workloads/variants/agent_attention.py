"""Agent attention: a few agents attend to all keys, then every query attends to the agents.

Two softmaxes, over the keys for each agent and over the agents for each query: the weights of both are a product of
two row-stochastic matrices of rank A, at 2 A N products of E where attention has N^2. ``3pass`` and ``1pass`` are those
two stages with agents AG that are given; in ``1pass`` the first runs over tiles of keys, and the agents of the second,
at most some tens, are one tile. The second stage waits for the first: no single loop over the tokens does both.

``grid-3pass`` and ``grid-1pass`` are the layer of a vision model on a grid, agents pooled from the queries (adaptive
means: pool a of A covers rows floor(a Y/A) to ceil((a+1) Y/A)), biases B1 and B2, and a depthwise 3x3 convolution of
the values; the second runs over rows of the grid. ``deit`` has a class token before the grid as well, a key and a query
that neither pools nor is convolved. ``bias`` makes B1 from its tables: one of U x U for each agent, interpolated
bilinearly between the centres of its cells, and one each for rows and columns (B2 likewise). ``sd`` is the form that
needs no training, for diffusion: agents are merged tokens, the scale of the second stage is s^0.3 in place of
s = 1/sqrt(E), and 0.075 V is added.

One copy is one head; the convolution of its channels is its own. Exactly counted, the keys have 3 passes or 1. Queries
are visited twice, pooled and then broadcast, where agents come from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes, two_passes

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "Han et al., Agent Attention: On the Integration of Softmax and Linear Attention, ECCV 2024, arXiv 2312.08874"
_REPOSITORY = "github.com/LeapLabTHU/Agent-Attention"

_SECOND = """
QK2[p,a] = Q[p,e] * AG[a,e]
S2[p,a]  = QK2[p,a] * {scale}
"""
_FIRST = """
QK1[a,m] = AG[a,e] * K[m,e]
S1[a,m]  = QK1[a,m] * rsqrt(E)
"""
_POOLED = """
AG[a,b,e] = mean[y,x] Q[{at},e] where a*Y//A <= y and y < ((a + 1)*Y + A - 1)//A \
    and b*X//B <= x and x < ((b + 1)*X + B - 1)//B
"""
_CONVOLVED = "CV[y,x,f] = V[y + j - 1, x + i - 1, f; fill=0] * Wc[f,j,i]\n"
_GRID = f"""
extent J 3
extent I 3
{_POOLED.format(at="y,x")}
QK1[a,b,y,x] = AG[a,b,e] * K[y,x,e]
S1[a,b,y,x]  = QK1[a,b,y,x] * rsqrt(E) + B1[a,b,y,x]
{{first}}
QK2[y,x,a,b] = Q[y,x,e] * AG[a,b,e]
S2[y,x,a,b]  = QK2[y,x,a,b] * rsqrt(E) + B2[y,x,a,b]
{two_passes("y,x", "a,b", "VA[a,b,f]", "OA[y,x,f]", tag="2")}
{_CONVOLVED}
O[y,x,f] = OA[y,x,f] + CV[y,x,f] + Bc[f]
"""

_ALGORITHMS = {
    "1pass": "QK1[a,m1,m0] = AG[a,e] * K[m1*M0 + m0, e]\nS1[a,m1,m0] = QK1[a,m1,m0] * rsqrt(E)\n"
             + one_pass("a", "m1", "m0", "V[m1*M0 + m0, f]", "VA[a,f]", tag="1")
             + _SECOND.format(scale="rsqrt(E)") + two_passes("p", "a", "VA[a,f]", "O[p,f]", tag="2"),
    "3pass": _FIRST + three_passes("a", "m", "V[m,f]", "VA[a,f]", tag="1")
             + _SECOND.format(scale="rsqrt(E)") + three_passes("p", "a", "VA[a,f]", "O[p,f]", tag="2"),
    "grid-3pass": _GRID.format(first=three_passes("a,b", "y,x", "V[y,x,f]", "VA[a,b,f]", tag="1")),
    "grid-1pass": _GRID.format(first=one_pass("a,b", "y", "x", "V[y,x,f]", "VA[a,b,f]", tag="1")),
    # Token 0 is the class token, then come the rows of the grid.
    "deit": f"""
extent J 3
extent I 3
{_POOLED.format(at="1 + y*X + x")}
QK1[a,b,m] = AG[a,b,e] * K[m,e]
S1[a,b,m]  = QK1[a,b,m] * rsqrt(E) + B1[a,b,m]
{three_passes("a,b", "m", "V[m,f]", "VA[a,b,f]", tag="1")}
QK2[m,a,b] = Q[m,e] * AG[a,b,e]
S2[m,a,b]  = QK2[m,a,b] * rsqrt(E) + B2[m,a,b]
{two_passes("m", "a,b", "VA[a,b,f]", "OA[m,f]", tag="2")}
CV[y,x,f] = V[1 + (y + j - 1)*X + x + i - 1, f] * Wc[f,j,i] \
    where 0 <= y + j - 1 and y + j - 1 < Y and 0 <= x + i - 1 and x + i - 1 < X
CB[y,x,f] = CV[y,x,f] + Bc[f]
O[m,f]    = OA[m,f] + CB[(m - 1)//X, (m - 1)%X, f; fill=0]
""",
    "bias": """
CY[y] = max((y + 0.5) * U / Y - 0.5, 0)
CX[x] = max((x + 0.5) * V / X - 0.5, 0)
FY[y] = CY[y] - floor(CY[y])
FX[x] = CX[x] - floor(CX[x])
BL[a,b,y,x] = An[a,b,floor(CY[y]),floor(CX[x])] * (1 - FX[x]) \
    + An[a,b,floor(CY[y]),min(floor(CX[x]) + 1, V - 1)] * FX[x]
BH[a,b,y,x] = An[a,b,min(floor(CY[y]) + 1, U - 1),floor(CX[x])] * (1 - FX[x]) \
    + An[a,b,min(floor(CY[y]) + 1, U - 1),min(floor(CX[x]) + 1, V - 1)] * FX[x]
BI[a,b,y,x] = BL[a,b,y,x] * (1 - FY[y]) + BH[a,b,y,x] * FY[y]
B1[a,b,y,x] = BI[a,b,y,x] + Ah[a,b,y] + Aw[a,b,x]
""",
    "sd": _FIRST + three_passes("a", "m", "V[m,f]", "VA[a,f]", tag="1")
          + _SECOND.format(scale="pow(E, -0.15)").replace("[p", "[m") + two_passes("m", "a", "VA[a,f]", "OA[m,f]", tag="2")
          + "O[m,f] = OA[m,f] + 0.075 * V[m,f]\n",
}
_GIVEN = ("1pass", "3pass")
_GRIDS = ("grid-3pass", "grid-1pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[p,f]: the product of two softmaxes, times the values."""
    import numpy as np
    scale = np.sqrt(inputs["Q"].shape[1])
    agents = softmax(inputs["AG"] @ inputs["K"].T / scale) @ inputs["V"]
    return {"O": softmax(inputs["Q"] @ inputs["AG"].T / scale) @ agents}


def grid_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[y,x,f] of the layer on a grid."""
    t = dict(inputs)
    (a, b), (y, x, _) = (extents["a"], extents["b"]), t["Q"].shape
    tokens = {name: t[name].reshape(y * x, -1) for name in ("Q", "K", "V")}
    out = _biased(tokens, _pooled(t["Q"], a, b), t["B1"].reshape(a * b, y * x), t["B2"].reshape(y * x, a * b))
    return {"O": out.reshape(y, x, -1) + _convolved(t["V"], t["Wc"]) + t["Bc"]}


def deit_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[m,f] where a class token stands before the grid."""
    t = dict(inputs)
    a, b, y, x = (extents[r] for r in "abyx")
    agents = _pooled(t["Q"][1:].reshape(y, x, -1), a, b)
    out = _biased(t, agents, t["B1"].reshape(a * b, -1), t["B2"].reshape(-1, a * b))
    out[1:] += _convolved(t["V"][1:].reshape(y, x, -1), t["Wc"]).reshape(y * x, -1) + t["Bc"]
    return {"O": out}


def sd_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[m,f] of the form without training."""
    scale = inputs["Q"].shape[1] ** -0.5
    agents = softmax(scale * inputs["AG"] @ inputs["K"].T) @ inputs["V"]
    return {"O": softmax(scale**0.3 * inputs["Q"] @ inputs["AG"].T) @ agents + 0.075 * inputs["V"]}


def bias_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns B1[a,b,y,x]: the table as a piecewise linear function of the row and of the column, and two more."""
    import numpy as np

    def along(table: Array, axis: int, length: int) -> Array:
        cells = table.shape[axis]
        at = (np.arange(length) + 0.5) * cells / length - 0.5
        out: Array = np.apply_along_axis(lambda own: np.interp(at, np.arange(cells), own), axis, table)
        return out
    table = along(along(inputs["An"], 2, extents["y"]), 3, extents["x"])
    return {"B1": table + inputs["Ah"][:, :, :, None] + inputs["Aw"][:, :, None, :]}


def attention_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns attention itself: what agents give that each are one query's, chosen by that query alone."""
    import numpy as np
    return {"O": softmax(inputs["AG"] @ inputs["K"].T / np.sqrt(inputs["Q"].shape[1])) @ inputs["V"]}


def mean_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what agents of 0 give: the mean of the values."""
    import numpy as np
    return {"O": np.tile(inputs["V"].mean(axis=0), (len(inputs["Q"]), 1))}


def _biased(tokens: Mapping[str, Array], agents: Array, first: Array, second: Array) -> Array:
    import numpy as np
    agents = agents.reshape(len(first), -1)
    scale = np.sqrt(agents.shape[1])
    values = softmax(agents @ tokens["K"].T / scale + first) @ tokens["V"]
    out: Array = softmax(tokens["Q"] @ agents.T / scale + second) @ values
    return out


def _pooled(queries: Array, a: int, b: int) -> Array:
    """Adaptive means, one pool at a time."""
    import numpy as np
    rows, columns = queries.shape[:2]

    def run(i: int, pools: int, length: int) -> slice:
        return slice(int(np.floor(i * length / pools)), int(np.ceil((i + 1) * length / pools)))
    return np.array([[queries[run(i, a, rows), run(j, b, columns)].mean(axis=(0, 1)) for j in range(b)] for i in range(a)])


def _convolved(values: Array, taps: Array) -> Array:
    import numpy as np
    rows, columns = values.shape[:2]
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    out: Array = sum((padded[j:j + rows, i:i + columns] * taps[:, j, i] for j in range(3) for i in range(3)), np.zeros(()))
    return out


def far(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws unit vectors, a thousand times as long as ``unit`` gives them."""
    import numpy as np
    return 1e3 * np.eye(shape[0], shape[1])


def unit(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws a unit vector for each row."""
    import numpy as np
    return np.eye(shape[0], shape[1])


MODELS = {"deit-t": (192, 3, 6.0, 1.2), "deit-s": (384, 6, 22.7, 4.4), "deit-b": (768, 12, 87.2, 17.6)}
"""Width, heads, millions of parameters and GMACs of the published Agent-DeiT models: 12 layers, 196 tokens of patches
of 16x16 and a class token, 49 agents."""


def parameters(model: str) -> float:
    """Returns the millions of parameters: those of DeiT, and of the tables and the convolution of each layer."""
    d, heads, _, _ = MODELS[model]
    layer = 12 * d * d + 9 * d + 4 * d
    agents = heads * (2 * 49 * 49 + 4 * 49 * 14 + 2 * 49) + 10 * d
    return (12 * (layer + agents) + 768 * d + d + d + 197 * d + 2 * d + 1000 * d + 1000) / 1e6


def gmacs(model: str) -> float:
    """Returns the GMACs: matrices of the layers, the two stages (both their products), convolution, patches, classes."""
    d = MODELS[model][0]
    layer = 12 * d * d * 197 + 4 * 49 * 197 * d + 9 * 196 * d
    return (12 * layer + 196 * 768 * d + 1000 * d) / 1e9


def _published(model: str) -> tuple[Published, Published]:
    _, _, millions, giga = MODELS[model]
    source = f"{_REPOSITORY}, README"
    return (Published(f"parameters of Agent-{model}", millions, "M", source, "read", lambda: parameters(model)),
            Published(f"multiplications of Agent-{model}", giga, "GMAC", source, "read", lambda: gmacs(model)))


def _passes(algorithm: str, rank: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", _PAPER, "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


_GRID_CASE = {"y": 7, "x": 6, "a": 3, "b": 2, "e": 4, "f": 3}
VARIANT = Variant(
    id="agent_attention",
    title="Agent attention",
    system="Agent Attention",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("agents that are given", {"p": 9, "m": 23, "a": 4, "e": 5, "f": 3, "m0": 6}, algorithms=_GIVEN),
        Case("one agent", {"p": 5, "m": 7, "a": 1, "e": 4, "f": 3, "m0": 9}, algorithms=_GIVEN),
        Case("logits of 80 and -80", {"p": 9, "m": 24, "a": 6, "e": 4, "f": 3, "m0": 8},
             {"Q": signs(160 / 4), "K": signs(160 / 4), "AG": signs()}, algorithms=_GIVEN),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        Case("logits beyond the range of exp", {"p": 9, "m": 24, "a": 6, "e": 4, "f": 3, "m0": 8},
             {"Q": normal(1e3), "K": normal(1e3)}, algorithms=_GIVEN, tolerance=1e-9),
        Case("an agent for each query, which it alone chooses", {"p": 6, "m": 9, "a": 6, "e": 6, "f": 3, "m0": 4},
             {"Q": far, "AG": unit}, algorithms=_GIVEN, reference=attention_reference),
        Case("agents of 0 give the mean", {"p": 6, "m": 9, "a": 3, "e": 4, "f": 3, "m0": 4}, {"AG": constant(0.0)},
             algorithms=_GIVEN, reference=mean_reference),
        Case("grid", _GRID_CASE, algorithms=_GRIDS, reference=grid_reference),
        Case("grid, as many agents as queries", {"y": 3, "x": 4, "a": 3, "b": 4, "e": 4, "f": 3}, algorithms=_GRIDS,
             reference=grid_reference),
        Case("grid with a class token", {**_GRID_CASE, "m": 43}, algorithms=("deit",), reference=deit_reference),
        Case("bias, finer than its table", {"y": 9, "x": 10, "a": 2, "b": 3, "u": 4, "v": 3}, algorithms=("bias",),
             reference=bias_reference),
        Case("bias, coarser than its table", {"y": 3, "x": 2, "a": 2, "b": 1, "u": 7, "v": 7}, algorithms=("bias",),
             reference=bias_reference),
        Case("without training", {"m": 11, "a": 4, "e": 5, "f": 3}, algorithms=("sd",), reference=sd_reference),
    ),
    # Read at computed cells alone, it does not say how many there are.
    input_shapes={"An": lambda n: (n["a"], n["b"], n["u"], n["v"])},
    shapes=(
        *(Shape(f"agent-{model}", {"m": 197, "y": 14, "x": 14, "a": 7, "b": 7, "e": 64, "f": 64},
                f"{_REPOSITORY}, agent_transformer/models/agent_deit.py", heads, ("deit",))
          for model, (_, heads, _, _) in MODELS.items()),
        Shape("agent-swin-t-stage-1", {"y": 56, "x": 56, "a": 3, "b": 3, "e": 32, "f": 32},
              f"{_REPOSITORY}, agent_transformer: 3 heads of 32, 9 agents, a window of the whole map", 3, _GRIDS),
    ),
    published=(
        _passes("3pass", "m", 3), _passes("1pass", "m", 1), _passes("grid-1pass", "y", 2),
        *(published for model in MODELS for published in _published(model)),
        Published("AgentSD over Stable Diffusion v1.5, r = 40 %", 1.70, "ratio", f"{_REPOSITORY}, README: RTX4090", "read"),
        Published("AgentSD over Stable Diffusion v1.5, r = 50 %", 1.84, "ratio", f"{_REPOSITORY}, README: RTX4090", "read"),
    ),
)

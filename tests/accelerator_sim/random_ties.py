"""Random small cascades in which windows, predicates, tuples or data tie ranks, with random designs; some made again in tiles."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import numpy as np

from accelerator_sim.design import Kept
from einsum_cascades.mapping import CascadeMapping
from tests.accelerator_sim.random_designs import Case, case_of

WINDOWS = ("i + j", "i - J + 1 + j", "2*i + j", "i + 2*j", "3*i + 2*j", "i + j - J//2", "clamp(i - J//2, 0, I - J) + j", "i // 2", "i // 2 + j",
           "(i + 1) % I", "(i + j) % I", "2 * (i // 2) + j", "min(i + j, I - 1)")
PREDICATES = ("j <= i", "j < i", "i - j <= 2", "i + j >= 3", "2*j <= i", "j < 2", "i // 2 == j // 2", "(i + j) % 3 != 0",
              "j <= i and i - j < 3", "j >= i and j < i + 2 and i > 0", "i != j", "j < 2 or i < 1")
PARTS = ("m0 <= i", "m1*M0 + m0 <= i", "m1 <= i", "m1 + m0 < 3", "m0 < 2 and i > 0")
PART_WINDOWS = ("m0 + i", "m1 + i", "m1*M0 + m0 + i", "2*m0 + i", "m1*M0 + m0 - i")
LINEAR = "op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative\n"
COMPLEX = "op cmul(r1, i1; r2, i2) = (r1*r2 - i1*i2, r1*i2 + i1*r2) identity (1, 0) associative commutative\n"
TUPLES = (
    LINEAR + "(P[i,k], S[i,k]) = lin[j] (A[j,k], B[j,k]) where j <= i\nH[i,k] = P[i,k] * C[k] + S[i,k]",
    LINEAR + "(P[k], S[k]) = lin[j] (A[j,k], B[j,k])\nH[k] = P[k] * C[k] + S[k]",
    COMPLEX + "(P[i,k], S[i,k]) = cmul(A[i], B[i]; C[k], D[k])\n(U[k], V[k]) = cmul[i] (P[i,k], S[i,k])\nY[k] = U[k] - V[k]",
    COMPLEX + "(P[k], S[k]) = cmul[j] (A[j,k,i] * E[i], B[j,k,i])\nY[k] = P[k] * S[k]",
    "op pair(x; y) = (x + y, x * y)\n(P[i,j], S[i,j]) = pair(A[i]; B[j])\nY[i] = P[i,j] * S[i,j]",
)
DATA = (
    "Y[i,k] = A[X[i], k] * B[i]\nZ[l] = A[l, 0]", "Y[i,k] = A[X[i,j], k] * B[j]\nZ[l] = A[l, 0]", "Y[i,j] = A[X[i] + j] * B[j]\nZ[l] = A[l]",
    "Y[i,j] = A[i, X[i,j]] * B[j]\nZ[l] = A[0, l]", "Y[X[i],k] = A[i,k] * B[i]\nZ[l,k] = Y[l,k] * B2[k]",
    "Y[k,X[i]] = max[i,j] A[i,k,j]\nZ[l,k] = Y[k,l] * B2[k]",
    "Y[i,k] = A[j,k] * B[i] where Off[i] <= j and j < Off[i + 1]", "Y[i] = sum[j] A[j,k] where Off[i] <= j and j < Off[i + 1]",
    "S[i,j] = A[i,k] * B[j,k] where Mask[i // 2, j // 2] > 0\nY[i] = max[j] S[i,j]",
    "S[i,j] = A[i,k] * B[j,k] where Mask[i // 2, j // 3] > 0 and j <= i\nT[i,j] = exp(S[i,j] - C[i])\nY[i] = T[i,j] * D[j]",
)
AGAIN = (
    "T[q] = A[q + i] * B[i]\nY[p] = T[p + j] * C[j]", "T[q,c] = A[q + i, d] * B[i,c,d]\nY[p] = T[p + j, c] * C[j,c]",
    "T[q] = exp(A[q] - B[q])\nY[p,k] = T[2*p + j] * C[j,k]", "T[p] = A[p + i] * B[i]\nY[p] = T[p + j] * C[j]",
    "U[r] = A[r] * D[r]\nT[q] = U[q + i] * B[i]\nY[p] = T[p + j] * C[j]", "T[i,j] = A[i,k] * B[j,k]\nY[i,l] = T[i,j] * C[j,l]",
    "T[i,j] = A[i,k] * B[j,k] where j <= i\nY[i,l] = T[i,j] * C[j,l]", "G[i] = max[j] A[i,j]\nY[i,j] = exp(A[i,j] - G[i])",
    "T[q] = A[q + i; fill=0] * B[i]\nY[p] = T[p + j - 1] * C[j]\nX2[q] = A[q] * D[q]\noutput X2",
    "T[x,y] = A[x + i, y] * B[i]\nY[x,y] = T[x + j, y + k] * C[j,k]", "T[m] = A[m] * B[m]\nY[k] = T[m1*M0 + m0] * C[m0,k]",
)


def random_tied_case(random: Random) -> Case:
    """Returns a random case."""
    kind = random.choice(("window", "window", "predicate", "predicate", "parts", "tuple", "data", "data", "again", "again"))
    case = case_of(random, _text(random, kind))
    if "I - J" in case.text and case.extents["j"] > case.extents["i"]:
        case = replace(case, extents={**case.extents, "i": case.extents["j"]})
    if kind == "data":
        case = replace(case, data=_values(random, case))
    return _remade(random, case) if kind == "again" else case


def _text(random: Random, kind: str) -> str:
    if kind == "window":
        window, fill = random.choice(WINDOWS), random.choice(("", "; fill=0"))
        read = random.choice(("A[{}{}]", "A[{},k{}]", "A[i,{}{}]", "A[{},j{}]")).format(window, fill)
        text = f"Y[i,k] = {read} * B[j,k]"
        return text + random.choice(("", "\nZ[i] = Y[i,k] * C[k]", "\nZ[i,k] = A2[i] * Y[i,k]")) + random.choice(("", f" where {_chosen(random)}"))
    if kind == "predicate":
        first = random.choice(("S[i,j] = A[i,k] * B[j,k]", "S[i,j] = exp(A[i] - B[j])", "S[i] = A[i,j] * B[j]", "S[i] = max[j] A[i,j]"))
        text = f"{first} where {random.choice(PREDICATES)}"
        return text + ("" if "S[i]" in first else random.choice(("", "\nG[i] = max[j] S[i,j]", "\nG[i] = max[j] S[i,j]\nN[i,j] = exp(S[i,j] - G[i])")))
    if kind == "parts":
        if random.random() < 0.5:
            return f"S[i] = A[m1*M0 + m0, i] * B[m0] where {random.choice(PARTS)}"
        return f"S[i] = A[m1*M0 + m0] * B[{random.choice(PART_WINDOWS)}; fill=0]"
    return random.choice({"tuple": TUPLES, "data": DATA, "again": AGAIN}[kind])


def _chosen(random: Random) -> str:
    return random.choice([p for p in PREDICATES if "j" not in p] or ["i < 3"]) if random.random() < 0.5 else "i > 0"


def _values(random: Random, case: Case) -> dict[str, Any]:
    """Values of the tensors that decide what is there."""
    extents = case.extents
    found: dict[str, Any] = {}
    if "Off" in case.text:
        cuts = sorted(random.randint(0, extents["j"]) for _ in range(extents["i"] + 1))
        found["Off"] = np.array(cuts)
    if "Mask" in case.text:
        found["Mask"] = np.array([[random.randint(0, 1) for _ in range(4)] for _ in range(4)])
    if "X[" in case.text:
        shape = (extents["i"], extents["j"]) if "X[i,j]" in case.text else (extents["i"],)
        found["X"] = np.array([random.randint(0, extents["l"] - 1) for _ in product(*(range(n) for n in shape))]).reshape(shape)
    return found


def _remade(random: Random, case: Case) -> Case:
    """The case in one nest, with what can be made again there."""
    einsums = list(case.cascade.einsums)
    from tests.accelerator_sim.random_designs import Builder
    builder = Builder(random, case.cascade, CascadeMapping((), case.design.mapping.partitions, case.design.mapping.instances))
    group = einsums if "output" not in case.text else einsums[:2]
    names = [e.name for e in group]
    again = [e for e in group[:-1] if random.random() < 0.8]
    nest, binding = builder.nest(group, "fused")
    last = group[-1]
    # All run in loops of the last one, which the others follow.
    own = case.design.mapping.parts(last)
    loops = tuple(x for x in nest.loops if x in own or x in case.design.mapping.instances)
    shared = set(loops)
    inner = {last.name: tuple(x for x in nest.inner[last.name] if x not in shared)}
    remade = {e.name for e in again}
    for e in group[:-1]:
        if e.name not in remade:
            inner[e.name] = tuple(x for x in nest.inner[e.name] if x not in shared)
    spread = dict(binding.spread)
    for e in again:
        ranks = [r for r in e.ranks if r not in case.design.mapping.partitions and r not in shared]
        side = {"array_2d": "rows", "array_1d": "lanes"}[binding.unit[e.name]]
        spread[e.name] = {random.choice(ranks): side} if ranks and random.random() < 0.6 else {}
    at = random.choice((None, *loops))
    kept = {m: tuple(k for k in own_kept if k.tensor not in names) for m, own_kept in binding.kept.items()}
    kept["global_buffer"] = (*kept["global_buffer"], *(Kept(name, at) for name in names[:-1]))
    kept["global_buffer"] = tuple(replace(k, at=None) if k.at is not None and k.at not in loops else k for k in kept["global_buffer"])
    kept["inner_buffer"] = ()
    nest = replace(nest, loops=loops, inner=inner, recompute=tuple(e.name for e in again),
                   parallel={n: tuple(s) for n, s in spread.items()})
    binding = replace(binding, spread=spread, kept=kept, forward={})
    nests, bindings = [nest], [binding]
    rest = [e for e in einsums if e not in group]
    for e in rest:
        more, bound = builder.nest([e], "stages")
        nests.append(more)
        bindings.append(bound)
    stages = tuple(replace(case.design.stages[0], name=f"s{n}", nests=(n,), off_chip=frozenset()) for n in range(len(nests)))
    mapping = CascadeMapping(tuple(nests), case.design.mapping.partitions, case.design.mapping.instances)
    return replace(case, design=replace(case.design, mapping=mapping, bindings=tuple(bindings), stages=stages))

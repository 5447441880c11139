"""Passes: the table of the definition, the cascades of the literature, and what must not change them."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.analysis.explanation import explain, reasons
from einsum_cascades.analysis.passes import passes, rank_passes, stages
from einsum_cascades.ir import Access, Cascade, Coord, Einsum, Expr, Extent, Reduction, transform
from einsum_cascades.notation import parse
from tests.benchmarks.test_language_benchmark import forty_einsums
from tests.einsum_cascades.strategies import random_cascade

SCAN = "init F[0] = 0; F[k+1] = F[k] * 0.5 + X[k]\n"
BACK = "init R[K] = 0; R[k] = R[k+1] * 0.5 + {}\n"

ONE_PASS = """
init RM[0,p] = -inf
init RD[0,p] = 0
init RNV[f,0,p] = 0
BK[e,m1,m0]   = K[m1*M0 + m0, e]
BV[f,m1,m0]   = V[m1*M0 + m0, f]
BQK[m1,m0,p]  = Q[p,e] * BK[e,m1,m0]
LM[m1,p]      = max[m0] BQK[m1,m0,p]
RM[m1+1,p]    = max(RM[m1,p], LM[m1,p])
SLN[m1,m0,p]  = exp(BQK[m1,m0,p] - RM[m1+1,p])
SLD[m1,p]     = SLN[m1,m0,p]
SLNV[f,m1,p]  = SLN[m1,m0,p] * BV[f,m1,m0]
PRM[m1,p]     = exp(RM[m1,p] - RM[m1+1,p])
SPD[m1,p]     = RD[m1,p] * PRM[m1,p]
RD[m1+1,p]    = SLD[m1,p] + SPD[m1,p]
SPNV[f,m1,p]  = RNV[f,m1,p] * PRM[m1,p]
RNV[f,m1+1,p] = SLNV[f,m1,p] + SPNV[f,m1,p]
AV[p,f]       = RNV[f,M1,p] / RD[M1,p]
"""

THREE_PASS = """
QK[p,m] = Q[p,e] * K[m,e]
GM[p]   = max[m] QK[p,m]
SN[p,m] = exp(QK[p,m] - GM[p])
SD[p]   = SN[p,m]
A[p,m]  = SN[p,m] / SD[p]
AV[p,f] = A[p,m] * V[m,f]
"""

DEFERRED = """
QK[p,m]  = Q[p,e] * K[m,e]
GM[p]    = max[m] QK[p,m]
SN[p,m]  = exp(QK[p,m] - GM[p])
SD[p]    = SN[p,m]
SNV[p,f] = SN[p,m] * V[m,f]
AV[p,f]  = SNV[p,f] / SD[p]
"""

LOCAL = """
BQK[m1,m0,p] = Q[p,e] * K[m1*M0 + m0, e]
LM[m1,p]     = max[m0] BQK[m1,m0,p]
SLN[m1,m0,p] = exp(BQK[m1,m0,p] - LM[m1,p])
SLD[m1,p]    = SLN[m1,m0,p]
GM[p]        = max[m1] LM[m1,p]
PLM[m1,p]    = exp(LM[m1,p] - GM[p])
SN[m1,m0,p]  = SLN[m1,m0,p] * PLM[m1,p]
SD[p]        = SLD[m1,p] * PLM[m1,p]
SNV[p,f]     = SN[m1,m0,p] * V[m1*M0 + m0, f]
AV[p,f]      = SNV[p,f] / SD[p]
"""

SINKHORN = """
init P[0,i,j] = exp(C[i,j])
Rows[t,i]    = P[t,i,j]
N[t,i,j]     = P[t,i,j] / Rows[t,i]
Columns[t,j] = N[t,i,j]
P[t+1,i,j]   = N[t,i,j] / Columns[t,j]
Z[i,j]       = P[T,i,j]
"""

TABLE = {
    "a gate of another tensor": ("G[] = A[k]; Z[k] = B[k] * G[]", {"k": 1}),
    "two opposite scans, combined": (SCAN + BACK.format("X[k]") + "Z[k] = F[k+1] + R[k]", {"k": 2}),
    "a scan back over the states of a scan": (SCAN + BACK.format("F[k+1]") + "Z[] = R[0]", {"k": 2}),
    "all means all present": ("G[] = X[k] where k < 2; Z[k] = X[k] * G[]", {"k": 2}),
    "a prefix, read again at its end": ("P[q] = X[k] where k <= q; Z[k] = P[k] * X[k]", {"k": 1, "q": 1}),
    "the last state, combined": (SCAN + "Z[k] = F[K] * X[k]", {"k": 2}),
    "a chain that loses the rank": ("G[] = A[k]; T[k] = G[] + B[k]; D[] = T[k]; Z[k] = T[k] * D[]", {"k": 2}),
    "one-pass attention": (ONE_PASS, {"m1": 1, "m0": 2, "m": 1, "p": 1, "e": 1, "f": 1}),
    "Sinkhorn": (SINKHORN, {"t": 1, "i": "T + 1", "j": "T + 1"}),
}
"""The table of the contract, and Sinkhorn."""

LITERATURE = {
    "3-pass attention": (THREE_PASS, {"p": 1, "m": 3, "e": 1, "f": 1}),
    "division deferral": (DEFERRED, {"p": 1, "m": 2, "e": 1, "f": 1}),
    "local statistics": (LOCAL, {"m1": 2, "m0": 2, "m": 2, "p": 1, "e": 1, "f": 1}),
    "C1": ("Y[] = A[k] * B[k]; Z[] = Y[] * A[k]", {"k": 2}),
    "C2": ("Y[] = A[k] * B[k]; X[] = A[k]; Z[] = Y[] * X[]", {"k": 1}),
    "C3": (("init RY[0] = 0; init RZ[0] = 0; RY[i+1] = RY[i] + A[i] * B[i]\n"
           "RZ[i+1] = RZ[i] * RY[i+1] / RY[i] + RY[i+1] * A[i]; Z[] = RZ[I]"), {"i": 1}),
    "layer norm": ("Mu[p] = mean[e] X[p,e]; Sq[p] = var[e] X[p,e]\nY[p,e] = (X[p,e] - Mu[p]) * rsqrt(Sq[p]) * G[e]",
                   {"p": 1, "e": 2}),
    "layer norm, centred first": (("Mu[p] = mean[e] X[p,e]; D[p,e] = X[p,e] - Mu[p]; V[p] = mean[e] D[p,e] * D[p,e]\n"
                                  "Y[p,e] = D[p,e] * rsqrt(V[p])"), {"p": 1, "e": 3}),
    "double softmax": ("""
        G[p] = max[m] S[p,m]; N[p,m] = exp(S[p,m] - G[p]); D[p] = N[p,m]; A[p,m] = N[p,m] / D[p]
        G2[p] = max[m] A[p,m]; N2[p,m] = exp(A[p,m] - G2[p]); D2[p] = N2[p,m]; A2[p,m] = N2[p,m] / D2[p]
        """, {"p": 1, "m": 5}),
    "grouped softmax": ("""
        X[p,g,t] = Q[p,e] * K[g,t,e]; GI[p,g] = max[t] X[p,g,t]; NI[p,g,t] = exp(X[p,g,t] - GI[p,g])
        DI[p,g] = NI[p,g,t]; L[p,g] = Q[p,e] * KL[g,e]; GO[p] = max[g] L[p,g]; NO[p,g] = exp(L[p,g] - GO[p])
        DO[p] = NO[p,g]; O[p,f] = NO[p,g] * NI[p,g,t] / DI[p,g] * V[g,t,f]; Z[p,f] = O[p,f] / DO[p]
        """, {"p": 1, "g": 2, "t": 3, "e": 1, "f": 1}),
    "batch norm, then softmax over another rank": (
        "Mu[e] = mean[p] X[p,e]; Y[p,e] = X[p,e] - Mu[e]; G[p] = max[e] Y[p,e]; N[p,e] = exp(Y[p,e] - G[p])",
        {"p": 2, "e": 2}),
    "selective scan": (
        "init H[0,n] = 0; H[i+1,n] = exp(D[i] * A[n]) * H[i,n] + D[i] * B[i,n] * U[i]; Y[i] = H[i+1,n] * C[i,n]",
        {"i": 1, "n": 1}),
    "linear attention, not causal": ("KV[e,f] = K[m,e] * V[m,f]; O[m,f] = Q[m,e] * KV[e,f]", {"m": 1, "e": 1, "f": 1}),
    "a gate of its own mean": ("G[c] = mean[t] X[t,c]; Y[t,c] = X[t,c] * sigmoid(G[c])", {"t": 2, "c": 1}),
    "top-k, gathered": ("S[p,m] = Q[p,e] * K[m,e]; I[p,j] = topk[m; j](S[p,m]); KG[p,j,e] = K[I[p,j],e]",
                        {"p": 1, "m": 2, "e": 2, "j": 1}),
    "a gather by an input": ("Y[p,e] = X[I[p],e]", {"p": 1, "e": 1}),
    "ragged segments": ("""
        Peak[s] = max[t] X[t] where Off[s] <= t and t < Off[s+1]
        Sum[s] = sum[t] exp(X[t] - Peak[s]) where Off[s] <= t and t < Off[s+1]
        """, {"s": 1, "t": 2}),
    "class token first": ("Y[t] = exp(X[t]); Z[t] = Y[t] * Y[0+0]", {"t": 1}),
    "class token last": ("Y[t] = exp(X[t]); Z[t] = Y[t] * Y[T-1]", {"t": 1}),
    "causal convolution": ("Y[t] = exp(X[t]); Z[t] = W[s] * Y[t - S + 1 + s; fill=0]", {"t": 1, "s": 1}),
    "symmetric window": ("Y[t] = exp(X[t]); Z[t] = W[s] * Y[t - S//2 + s; fill=0]", {"t": 1, "s": 1}),
    "shifted window at the borders": (
        "Y[t] = exp(X[t]); Z[t] = W[s] * Y[clamp(t - S//2, 0, T-S) + s]", {"t": 1, "s": 1}),
    "the whole past": ("init H[0] = 0; H[i+1] = G[i] + X[i]; G[i] = sum[k] H[k] where k <= i", {"i": 1, "k": 1}),
    "two gates in a row": ("G[] = X[k]; Y[k] = X[k] * G[]; D[] = Y[k]; Z[k] = Y[k] * D[]", {"k": 3}),
    "3-pass attention in a window": (THREE_PASS.replace("K[m,e]", "K[m,e] where m <= p and p - m < W") + "Z[w] = Y[w]",
                                     {"p": 1, "m": 3, "e": 1, "f": 1, "w": 1}),
    "2-pass attention in a window": (DEFERRED.replace("K[m,e]", "K[m,e] where m <= p and p - m < 3"),
                                     {"p": 1, "m": 2, "e": 1, "f": 1}),
    "1-pass attention in a window": (ONE_PASS.replace("BK[e,m1,m0]\n", "BK[e,m1,m0] where m1*M0 + m0 <= p and "
                                                      "p - m1*M0 - m0 < 5\n"),
                                     {"p": 1, "m1": 1, "m0": 2, "m": 1, "e": 1, "f": 1}),
    "a sum over a window, read at its end": ("P[q] = X[k] where k <= q and q - k < W; Z[k] = P[k] * X[k]; Y[w] = V[w]",
                                             {"q": 1, "k": 1, "w": 1}),
    "a sum over a window, read in its middle": ("P[q] = X[k] where k <= q + 1 and q - k < 2; Z[k] = P[k] * X[k]",
                                                {"q": 1, "k": 1}),
    "deferred gate of a filtered rest": ("G[] = X[k] where k < 2; Z[k] = X[k] * G[] where k >= 2", {"k": 1}),
}


@pytest.mark.parametrize(("text", "expected"), TABLE.values(), ids=TABLE)
def test_table(text: str, expected: dict[str, int | str]) -> None:
    assert passes(parse(text)) == expected


@pytest.mark.parametrize(("text", "expected"), LITERATURE.values(), ids=LITERATURE)
def test_literature(text: str, expected: dict[str, int | str]) -> None:
    assert passes(parse(text)) == expected


def test_counts_of_each_tensor() -> None:
    """The table counts by tensor: A once, B twice."""
    found = rank_passes(parse(TABLE["a chain that loses the rank"][0]))["k"]
    assert {tensor: count.plain() for tensor, count in found.tensors.items()} == {"A": 1, "B": 2, "T": 2}


@pytest.mark.parametrize("generations", [1, 2, 3, 5, 17])
def test_enclosing_iteration_with_its_extent(generations: int) -> None:
    cascade = parse(SINKHORN)
    assert passes(cascade, {"t": generations}) == {"t": 1, "i": generations + 1, "j": generations + 1}
    assert passes(cascade, {"i": 4}) == passes(cascade)


def test_enclosing_iteration_that_another_encloses() -> None:
    """Sinkhorn inside of layers: every generation of either is a pass more."""
    text = """
        init X[0,i,j] = C[i,j]; init P[l,0,i,j] = X[l,i,j]
        Rows[l,t,i] = P[l,t,i,j]; N[l,t,i,j] = P[l,t,i,j] / Rows[l,t,i]; Columns[l,t,j] = N[l,t,i,j]
        P[l,t+1,i,j] = N[l,t,i,j] / Columns[l,t,j]; X[l+1,i,j] = P[l,T,i,j]; Z[i,j] = X[L,i,j]
        """
    assert passes(parse(text)) == {"l": 1, "t": "L", "i": "L*T + 1", "j": "L*T + 1"}


def test_schedule_reaches_the_count() -> None:
    found = rank_passes(parse(THREE_PASS))["m"]
    tensor, stage, orders = stages(found)
    names = {found.plan.graph.nodes[n].name: sweep for n, sweep in stage.items()}
    assert (tensor, len(orders)) == ("QK", 3)
    assert names == {"QK": 1, "GM": 1, "SN": 2, "SD": 2, "A": 3, "AV": 3}


# --- what must not change anything ---

def _renamed(cascade: Cascade) -> Cascade:
    """The cascade with every tensor and every rank under another name; parts of a rank keep their digits."""
    def rank(name: str) -> str:
        stem = name.rstrip("0123456789")
        return f"z{stem}{name[len(stem):]}"

    def expr(node: Expr) -> Expr:
        match node:
            case Coord(rank=name):
                return Coord(rank(name))
            case Extent():
                return Extent(rank(node.rank).upper())
            case Access(tensor=tensor, indices=indices, fill=fill):
                return Access(f"Y{tensor}", indices, fill)
        return node

    def access(given: Access) -> Access:
        made = transform(given, expr)
        assert isinstance(made, Access)
        return made

    def einsum(given: Einsum) -> Einsum:
        head = given.reduction
        return Einsum(tuple(map(access, given.outputs)), tuple(transform(b, expr) for b in given.bodies),
                      None if head is None else
                      Reduction(head.op, tuple(map(rank, head.ranks)), tuple(map(rank, head.into))),
                      None if given.where is None else transform(given.where, expr))

    return Cascade(tuple(map(einsum, cascade.einsums)), tuple(map(einsum, cascade.inits)),
                   tuple(f"Y{t}" for t in cascade.declared_outputs), operators=cascade.operators)


@settings(max_examples=150, deadline=None)
@given(random_cascade())
def test_renaming_changes_nothing(cascade: Cascade) -> None:
    assert passes(_renamed(cascade)) == {f"z{rank}": count for rank, count in passes(cascade).items()}


@settings(max_examples=150, deadline=None)
@given(random_cascade(), st.randoms(use_true_random=False))
def test_order_of_lines_changes_nothing(cascade: Cascade, random: Random) -> None:
    einsums, inits = list(cascade.einsums), list(cascade.inits)
    random.shuffle(einsums)
    random.shuffle(inits)
    shuffled = Cascade(tuple(einsums), tuple(inits), cascade.declared_outputs, operators=cascade.operators)
    assert passes(shuffled) == passes(cascade)


@pytest.mark.parametrize("text", [ONE_PASS, SINKHORN, LOCAL, *(t for t, _ in LITERATURE.values())])
def test_order_of_lines_of_the_literature(text: str) -> None:
    cascade = parse(text)
    backwards = Cascade(cascade.einsums[::-1], cascade.inits[::-1])
    assert passes(backwards) == passes(cascade)
    expected = {f"z{rank}": count if isinstance(count, int) else count.replace("T", "ZT")
                for rank, count in passes(cascade).items()}
    assert passes(_renamed(cascade)) == expected


# --- the reads that force each pass ---

def test_explanation_of_three_passes() -> None:
    lines = explain(parse(THREE_PASS))
    assert lines == [
        "p: 1 pass",
        "m: 3 passes",
        "m: sweep 2: SN visits QK again: it reads GM[p], which is complete only after sweep 1, where GM runs",
        "m: sweep 3: A visits QK again: it reads SD[p], which is complete only after sweep 2, where SD runs",
        "e: 1 pass", "f: 1 pass"]


def test_explanation_of_opposite_scans() -> None:
    lines = explain(parse(TABLE["two opposite scans, combined"][0]))
    assert lines == ["k: 2 passes", ("k: sweep 2: R visits X again: it reads R[k+1], so that it has to go backwards "
                                     "over k, and sweep 1 goes forwards")]


def test_explanation_names_the_way() -> None:
    found = reasons(rank_passes(parse(ONE_PASS))["m0"])
    assert [(r.einsum, r.producer, r.path, r.sweep) for r in found] == [("SLN", "LM", ("RM", "LM"), 2)]
    assert "where LM runs and feeds it by way of RM" in str(found[0])


def test_explanation_of_an_enclosing_iteration() -> None:
    lines = explain(parse(SINKHORN))
    assert "i: T + 1 passes, shown for the first generations of t" in lines
    assert [line for line in lines if line.startswith("j: sweep")] == [
        f"j: sweep {t + 2}: N(t={t}) visits P again: it reads Rows[{t},i], which is complete only after sweep {t + 1}, "
        f"where Rows(t={t}) runs" for t in range(3)]


@settings(max_examples=100, deadline=None)
@given(random_cascade())
def test_every_pass_has_a_reason(cascade: Cascade) -> None:
    for found in rank_passes(cascade).values():
        if not found.unrolled:
            assert {r.sweep for r in reasons(found)} == set(range(2, int(str(found.count)) + 1))


# --- size ---

def test_long_cascades_stay_fast() -> None:
    softmaxes = "\n".join(f"G{i}[p] = max[m] X{i}[p,m]\nX{i + 1}[p,m] = exp(X{i}[p,m] - G{i}[p])" for i in range(30))
    scans = "\n".join(f"init F{i}[0] = 0; F{i}[k+1] = F{i}[k] * 0.5 + X[k] * {'1' if i < 2 else f'R{i - 2}[0]'}\n"
                      f"init R{i}[K] = 0; R{i}[k] = R{i}[k+1] * 0.5 + F{i}[k+1]" for i in range(20))
    ladder = "\n".join(f"Y{i}[k] = Y{i - 1}[k-1; fill=0] * Y{i - 1}[k+1; fill=0]" if i else "Y0[k] = X[k] * 1"
                       for i in range(40))
    started = time.process_time()
    assert passes(parse(softmaxes))["m"] == 31
    assert passes(parse(scans))["k"] == 20
    assert passes(parse(ladder)) == {"k": 1}
    assert passes(parse(forty_einsums()))["m1"] == 1
    assert time.process_time() - started < 2

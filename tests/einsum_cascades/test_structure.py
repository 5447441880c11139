"""What lines say together: inputs, outputs, iterations, composites, dimensions and the order of evaluation."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from einsum_cascades.dependencies import Loop, lag
from einsum_cascades.ir import Access, Cascade, Coord, Einsum
from einsum_cascades.notation import parse
from einsum_cascades.structure import Iteration, structure
from tests.einsum_cascades.strategies import random_cascade

ONE_PASS = """
AV[f,p] = RNV[f,M1,p] / RD[M1,p]
init RM[0,p] = -inf
init RD[0,p] = 0
init RNV[f,0,p] = 0
RNV[f,m1+1,p] = SLNV[f,m1,p] + RNV[f,m1,p] * PRM[m1,p]
RD[m1+1,p] = SLD[m1,p] + RD[m1,p] * PRM[m1,p]
PRM[m1,p] = exp(RM[m1,p] - RM[m1+1,p])
SLNV[f,m1,p] = SLN[m1,m0,p] * V[m1*M0 + m0, f]
SLD[m1,p] = SLN[m1,m0,p]
SLN[m1,m0,p] = exp(QK[m1,m0,p] - RM[m1+1,p])
RM[m1+1,p] = max(RM[m1,p], LM[m1,p])
LM[m1,p] = max[m0] QK[m1,m0,p]
QK[m1,m0,p] = Q[p,e] * K[m1*M0 + m0, e]
"""


def test_one_pass_attention() -> None:
    found = structure(parse(ONE_PASS))
    assert found.inputs == ("V", "Q", "K")
    assert found.outputs == ("AV",)
    assert dict(found.iterative) == {"RNV": Iteration("m1", 1, 1), "RD": Iteration("m1", 0, 1), "RM": Iteration("m1", 0, 1)}
    assert dict(found.composites) == {"m": ("m1", "m0")}
    assert found.dimensions["K"] == ("m", "e")
    assert found.dimensions["RNV"] == ("f", "m1", "p")
    assert found.index_tensors == frozenset()
    assert found.ranks == ("f", "p", "m1", "m0", "e")
    assert [e.name for e in found.order] == ["QK", "LM", "RM", "PRM", "SLN", "SLNV", "RNV", "SLD", "RD", "AV"]


def test_a_tensor_that_is_read_is_an_output_where_it_is_declared() -> None:
    cascade = parse("A[p] = X[p]\nB[p] = A[p]\nC[] = B[p]")
    assert structure(cascade).outputs == ("C",)
    assert structure(replace(cascade, declared_outputs=("A",))).outputs == ("A", "C")


def test_a_state_that_only_its_own_recurrence_reads_is_an_output() -> None:
    assert structure(parse("init H[0] = 0\nH[i+1] = H[i] + X[i]")).outputs == ("H",)


def test_a_recurrence_of_several_lines_with_nothing_after_it_gives_its_state() -> None:
    assert structure(parse("init H[0,n] = 0\nT[i,n] = W[n,k] * H[i,k]\nH[i+1,n] = tanh(T[i,n] + U[i,n])")).outputs == ("H",)


def test_reverse_iterations_are_known_by_their_seed() -> None:
    found = structure(parse("init R[I,n] = 0\nR[i,n] = R[i+1,n] * A[i] + B[i,n]\nY[i] = R[i,n]"))
    assert found.iterative["R"] == Iteration("i", 0, -1)
    (loop, last) = found.schedule[1:]
    assert isinstance(loop, Loop)
    assert (loop.rank, loop.step, [e.name for e in loop.body if isinstance(e, Einsum)]) == ("i", -1, ["R"])
    assert isinstance(last, Einsum)


def test_an_iteration_inside_an_iteration_is_a_loop_inside_a_loop() -> None:
    found = structure(parse("""init X[0,p] = X0[p]
        init H[l,0] = 0
        H[l,p+1] = A[] * H[l,p] + X[l,p]
        X[l+1,p] = X[l,p] + tanh(H[l,P])
        Y[p] = X[L,p]"""))
    outer = next(step for step in found.schedule if isinstance(step, Loop))
    inner = next(step for step in outer.body if isinstance(step, Loop))
    assert (outer.rank, inner.rank) == ("l", "p")
    assert [e.name for e in found.order] == ["H", "X", "Y"]


def test_a_history_read_is_ordered_by_its_predicate() -> None:
    cascade = parse("init X[0] = 1\nM[l] = sum[k] X[k] where k <= l\nX[l+1] = M[l]")
    assert isinstance(structure(cascade).schedule[-1], Loop)
    out, reader = cascade.einsums[1].output, cascade.einsums[0]
    assert lag(out, reader, Access("X", (Coord("k"),)), "l", 1) == 1


def test_composites_of_three_parts_and_of_parts_of_parts() -> None:
    assert dict(structure(parse("Z[] = A[(m2*M1 + m1)*M0 + m0]")).composites) == {"m": ("m2", "m1", "m0")}
    assert dict(structure(parse("Z[] = A[(m11*M10 + m10)*M0 + m0]")).composites) == {"m": ("m1", "m0"), "m1": ("m11", "m10")}
    assert dict(structure(parse("Z[] = A[m0 + M0*m1]")).composites) == {"m": ("m1", "m0")}
    assert not structure(parse("Z[] = A[g*R + r]")).composites


def test_dimensions_come_from_the_definition_then_bare_reads_then_composites_then_bounds() -> None:
    found = structure(parse("Z[p,j] = A[p] + B[p + j] + C[clamp(p - J//2, 0, M - J) + j] + D[p % G] + E[p; fill=0]\n"
                            "T[] = U[i]\nU[p] = X[p]"))
    assert found.dimensions == {"Z": ("p", "j"), "A": ("p",), "B": (None,), "C": ("m",), "D": ("g",), "E": (None,), "T": (),
                                "U": ("p",), "X": ("p",)}


def test_index_tensors_are_those_that_are_read_as_an_index() -> None:
    found = structure(parse("Z[p] = X[I[p], J[K[p]], floor(F[p])] where L[p] > 0\nY[S[p]] = Z[p]"))
    assert found.index_tensors == {"I", "J", "K", "S"}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_cascade(8), st.integers(0, 2**16))
def test_the_order_is_one_in_which_everything_is_there_when_it_is_read(cascade: Cascade, seed: int) -> None:
    lines = list(cascade.einsums)
    random.Random(seed).shuffle(lines)
    found = structure(replace(cascade, einsums=tuple(lines)))
    assert sorted(e.name for e in found.order) == sorted(e.name for e in lines)
    done = set(found.inputs)
    for step in found.schedule:
        group = [step] if isinstance(step, Einsum) else [e for e in step.body if isinstance(e, Einsum)]
        new = {out.tensor for e in group for out in e.outputs if e not in cascade.inits}
        for einsum in group:
            for access in einsum.reads:
                # Inside a loop a read of an earlier generation is the loop's own.
                assert access.tensor in done or (isinstance(step, Loop) and access.tensor in new)
        done |= new

"""Each communication is recognised from the access alone."""

from __future__ import annotations

import pytest

from einsum_cascades.collectives import KINDS, Collective, collectives
from einsum_cascades.notation import parse

HEAD = "device d, w\n"


@pytest.mark.parametrize(("text", "kinds"), [
    ("Z[d,x] = A[d,x] * B[x]", []),
    ("Z[w,d,x] = A[d,x]", ["all-gather"]),
    ("S[w,p,d,m] = Q[w,p,e] * K[d,m,e]", ["all-gather"]),
    ("O[w,p] = P[w,p,d,m] * V[d,m]", ["all-gather"]),
    ("Z[x] = A[d,x]", ["all-reduce"]),
    ("M[x] = max[d] A[d,x]", ["all-reduce"]),
    ("Z[w,x] = A[d,w,x]", ["reduce-scatter"]),
    ("Z[w,d,x] = A[d,w,x]", ["all-to-all"]),
    ("Z[d,x] = A[I[d,x], x]", ["all-to-all"]),
    ("Z[d,x] = A[d-1, x]", ["point-to-point"]),
    ("Z[d,x] = A[(d + 1) % D, x]", ["point-to-point"]),
    ("init H[0,x] = 0\nH[d+1,x] = H[d,x] + A[d,x]\nZ[x] = H[D,x]", ["broadcast"]),
    ("Z[d,x] = A[0,x]", ["broadcast"]),
    ("Z[w,x] = sum[d] A[d,x] where d < w", ["scan"]),
])
def test_kinds(text: str, kinds: list[str]) -> None:
    # A is spread over devices because another line reads it with a bare device rank.
    spread = "\nU1[d,x] = A[d,x]" if "A[" in text and "A[d," not in text else ""
    found = collectives(parse(("device d\n" if "w" not in text else HEAD) + text + spread))
    assert [c.kind for c in found] == kinds
    assert set(kinds) <= set(KINDS)


def test_a_cascade_without_devices_has_none() -> None:
    assert collectives(parse("Z[x] = A[d,x]")) == ()


def test_a_collective_says_what_moves_and_for_whom() -> None:
    found = collectives(parse("device d\nT[d] = A[d,x]\nZ[] = T[d]"))
    assert found == (Collective("all-reduce", "Z", "T", "d"),)

"""What has no kernel is refused, with the reason and what to do: a silently wrong kernel is the worst defect there is."""

from __future__ import annotations

import pytest

from autotune.errors import ConfigError, LoweringError
from autotune.lowering import lower
from autotune.lowering.defaults import default_config
from einsum_cascades.notation import parse
from tests.autotune.lowering.configs import config

CASES = (
    ("a populate", "I[p,j] = topk[m; j](S[p,m])\nG[p,j] = S[p,I[p,j]]", {"p": 8, "m": 8, "j": 2},
     "G: p=grid m=tile j=tile",
     ("cascade: tensor 'I': topk makes coordinates by sorting, which no kernel does, got topk[m; j]; compute 'I' outside and "
     "give it as an input")),
    ("a scatter", "Y[I[t],e] = X[t,e]", {"t": 8, "e": 4}, "Y: t=tile e=tile",
     ("cascade: tensor 'Y': it is written at other places than its own coordinates, got [I[t], e]; a scatter has no kernel; "
     "compute it outside and give it as an input")),
    ("a reduction over the grid", "S[p] = X[p,m]", {"p": 8, "m": 8}, "S: p=grid m=grid",
     ("cascade_s: tensor 'S': it reduces rank 'm', which is spread over programs, got the role grid; give 'm' the role loop or "
     "tile, or store 'S' between two kernels")),
    ("a scan over the grid", "Y[p] = sum[m] X[m] where m <= p", {"p": 8, "m": 8}, "Y: p=grid:4 m=grid",
     ("cascade_y: tensor 'Y': it reduces rank 'm', which is spread over programs, got the role grid; give 'm' the role loop or "
     "tile, or store 'Y' between two kernels")),
    ("an argmax", "I[p] = argmax[m] S[p,m]", {"p": 8, "m": 8}, "I: p=grid m=tile",
     ("cascade_i: tensor 'I': reduction 'argmax' has no source, got argmax; use one of all, any, count, max, mean, min, prod, sum, "
     "or a kernel before")),
    ("a map without source", "Y[p] = atan2(A[p], B[p])", {"p": 8}, "Y: p=grid",
     "cascade_y: map 'atan2' has no source, got atan2; write it with abs, ceil, cos, elu, erf, exp, exp2, expm1, ..., + - * /"),
    ("an earlier slot", "init R[0] = 0\nR[i+1] = R[i] + X[i]\nY[] = R[I] + R[2]", {"i": 8}, "Y: i=loop",
     "cascade: tensor 'R': a state keeps its last slot alone, not slot 2, got R[2]; store 'R' between two kernels"),
    ("a state that reads beside itself", "init R[0,p] = X[p]\nR[i+1,p] = R[i, p - 1; fill=0] + R[i,p]\nY[p] = R[I,p]", {"i": 3, "p": 8},
     "Y: i=loop p=tile",
     ("cascade: tensor 'R': it reads itself at other coordinates of an earlier slot, which other programs write, got "
     "R[i,p-1; fill=0]; no kernel waits for others at each step: use another algorithm")),
    ("a fill beyond a computed tensor", "A[p] = X[p] + 1\nY[p] = A[p - 1; fill=0]", {"p": 8}, "Y: p=grid",
     ("cascade: tensor 'A': it is read beyond its coordinates with a fill, but is not in memory, got A[p-1; fill=0]; store 'A' "
     "between two kernels")),
    ("a state over a looped rank",
     "init R[0,m] = 0\nS[t] = R[t,m]\nR[t+1,m] = R[t,m] + S[t] * X[t,m]\nY[] = R[T,m]", {"t": 4, "m": 64},
     "Y: t=loop m=loop:16",
     "cascade_y: rank 'm': a state over it needs a result over all of it, got a circle of S, R, Y; loop over another rank outside"),
    ("two seeds", "init R[0,p] = 0\ninit R[0,p] = 1\nR[i+1,p] = R[i,p] + X[i,p]\nY[p] = R[I,p]", {"i": 4, "p": 4}, "Y: i=loop p=grid",
     None),
    ("a tile beyond Triton's", "S[a,d] = X[a,d,c] * Y[a,d,c]", {"a": 128, "d": 128, "c": 128}, "S: a=tile d=tile c=tile",
     ("cascade_s: value 'X' is a tile of 128 x 128 x 128 (a, d, c), got 2097152 elements; at most 1048576 fit: give one of its ranks "
     "the role loop, or smaller blocks")),
    ("half of a packed axis", "S[a] = X[a,d]", {"a": 8, "d": 8}, "S: a=tile d=tile packed=a*d",
     "cascade_s: tensor 'S': it reduces d alone of the packed ranks a, d, got one axis; do not pack them"),
)


@pytest.mark.parametrize(("text", "extents", "given", "message"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_cannot_be_lowered_is_refused(text: str, extents: dict[str, int], given: str, message: str | None) -> None:
    if message is None:
        with pytest.raises(Exception, match=r"R|seed"):
            lower(parse(text), extents, config(given))
        return
    with pytest.raises(LoweringError) as error:
        lower(parse(text), extents, config(given))
    assert str(error.value) == message


WRONG = (
    ("Y: p=grid q=tile", "configuration of the kernel of Y: it has no rank 'q', got a role for it; did you mean 'm'? valid: m, p"),
    ("Y: p=grid", "configuration of the kernel of Y: rank 'm' has no role, got roles for p; give it one"),
    ("Y: p=grid:12 m=tile", "configuration of the kernel of Y: rank 'p': a block is a power of two, got 12; give 1, 2, 4, ..."),
    ("Z: p=grid m=tile", "configuration: cascade has no such tensor, got 'Z'; did you mean 'Y'? valid: X, Y"),
    ("X: p=grid m=tile\nY: p=grid m=tile", "configuration: a kernel writes what the cascade defines, once, got 'X'; name another tensor"),
)


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_a_configuration_that_does_not_fit_is_refused(given: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        lower(parse("Y[p] = X[p,m]"), {"p": 8, "m": 8}, config(given))
    assert str(error.value).replace("did you mean 'm'? ", "").replace("did you mean 'Y'? ", "") == message.replace(
        "did you mean 'm'? ", "").replace("did you mean 'Y'? ", "")


def test_an_instance_is_no_rank() -> None:
    with pytest.raises(ConfigError) as error:
        lower(parse("Y[b] = X[b,m]"), {"b": 8, "m": 8}, config("Y: b=grid m=tile"))
    assert str(error.value) == ("configuration: an instance is a dimension that the cascade lacks, got 'b', a rank of cascade; leave it "
                                "out, or call it otherwise")


def test_an_iterative_rank_is_a_loop() -> None:
    with pytest.raises(ConfigError, match=r"rank 'i' is iterative, got the role tile; give it loop:1"):
        lower(parse("init R[0] = 0\nR[i+1] = R[i] + X[i]\nY[] = R[I]"), {"i": 8}, config("Y: i=tile"))


@pytest.mark.parametrize("name", ["class", "tl", "float", "range"])
def test_names_of_the_language_are_no_trouble(name: str) -> None:
    """A rank or tensor that is called like a word of the source gets another name there, or is refused."""
    try:
        plan = lower(parse(f"Y[p,{name}] = X[p,{name}] * 2"), {"p": 8, name: 8}, config(f"Y: p=grid {name}=tile"))
    except LoweringError as error:
        assert "a name that cannot stand in source" in str(error)
    else:
        compile(plan.kernels[0].source, "kernel", "exec")
        assert f"\n    {name} = " not in plan.kernels[0].source


def test_default_configurations_store_what_several_programs_need() -> None:
    """Non-causal linear attention: the sum over the keys is a kernel of its own, not done again for each block of queries."""
    cascade = parse("KV[e,f] = K[m,e] * V[m,f]\nO[p,f] = Q[p,e] * KV[e,f]")
    found = default_config(cascade, {"p": 4096, "m": 4096, "e": 64, "f": 64})
    assert [stage.writes for stage in found.stages] == [("KV",), ("O",)]

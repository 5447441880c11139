"""Every declared property of an operator holds on numbers, and the two tables of functions agree."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum_cascades import scalars
from einsum_cascades.ir import Access, Call, Num
from einsum_cascades.notation import parse
from einsum_cascades.operators import (
    DTYPE_BITS,
    DTYPES,
    MAPS,
    POPULATES,
    REDUCTIONS,
    inlined,
    map_operator,
    reduces,
    reduction_operator,
)

SAMPLES = (-2.0, -0.5, 0.0, 0.25, 1.0, 3.0)
POSITIVE = (0.25, 1.0, 3.0, 0.6)
VALUES = {name: m for name, m in MAPS.items() if m.kind == "value"}


def close(a: float, b: float) -> bool:
    return bool(np.isclose(a, b, rtol=1e-12, atol=1e-12)) or a == b


def f(name: str, *operands: float) -> float:
    return float(MAPS[name].function(*operands))


@pytest.mark.parametrize("name", [n for n, m in MAPS.items() if m.associative])
def test_associative(name: str) -> None:
    values = (0.0, 1.0) if MAPS[name].kind == "logic" else SAMPLES
    for x, y, z in itertools.product(values, repeat=3):
        assert close(f(name, f(name, x, y), z), f(name, x, f(name, y, z)))


@pytest.mark.parametrize("name", [n for n, m in MAPS.items() if m.commutative])
def test_commutative(name: str) -> None:
    for x, y in itertools.product(SAMPLES, repeat=2):
        assert close(f(name, x, y), f(name, y, x))


@pytest.mark.parametrize("name", [n for n, m in MAPS.items() if m.arity == 2 and not m.commutative and m.kind == "value"])
def test_what_is_not_declared_commutative_is_not(name: str) -> None:
    assert any(not close(f(name, x, y), f(name, y, x)) for x, y in itertools.product(SAMPLES, repeat=2))


@pytest.mark.parametrize("name", [n for n, m in MAPS.items() if m.idempotent])
def test_idempotent(name: str) -> None:
    for x in (0.0, 1.0) if MAPS[name].kind == "logic" else SAMPLES:
        assert close(f(name, x, x), x)


@pytest.mark.parametrize("name", [n for n, m in MAPS.items() if m.identity is not None])
def test_identity(name: str) -> None:
    identity = MAPS[name].identity
    assert identity is not None
    for x in (0.0, 1.0) if MAPS[name].kind == "logic" else SAMPLES:
        assert close(f(name, x, identity), x)


@pytest.mark.parametrize("name", [n for n, m in MAPS.items() if m.absorbing is not None])
def test_absorbing(name: str) -> None:
    absorbing = MAPS[name].absorbing
    assert absorbing is not None
    for x in SAMPLES:
        assert close(f(name, x, absorbing), absorbing)


@pytest.mark.parametrize("name", [n for n, m in MAPS.items() if m.inverse and m.kind == "value"])
def test_inverse(name: str) -> None:
    inverse = MAPS[name].inverse
    assert inverse is not None
    if MAPS[name].arity == 2:
        for x, y in itertools.product(SAMPLES, POSITIVE):
            assert close(f(inverse, f(name, x, y), y), x)
    else:
        for x in POSITIVE:
            assert close(f(inverse, f(name, x)), x)


@pytest.mark.parametrize("name", [n for n, m in MAPS.items() if m.monotone])
def test_monotone(name: str) -> None:
    operator = MAPS[name]
    assert len(operator.monotone) == operator.arity
    for rest in itertools.product((-1.0, 0.5, 2.0), repeat=operator.arity - 1):
        for position, direction in enumerate(operator.monotone):
            curve = [f(name, *rest[:position], x, *rest[position:]) for x in np.linspace(-3, 3, 41)]
            for before, after in itertools.pairwise(curve):
                assert after == before or (after - before) * direction >= -1e-12


def test_what_is_not_declared_monotone_is_not() -> None:
    for name in ("silu", "gelu", "mish", "sin", "cos", "square", "abs", "hard_swish"):
        steps = np.diff(VALUES[name].function(np.linspace(-3, 3, 41)))
        assert MAPS[name].monotone == ()
        assert (steps > 0).any()
        assert (steps < 0).any()


@pytest.mark.parametrize(("name", "law"), [(n, d) for n, m in MAPS.items() for d in m.distributions],
                         ids=lambda v: v if isinstance(v, str) else f"{v.over}-{v.operand}")
def test_distributions(name: str, law: object) -> None:
    distribution = next(d for d in MAPS[name].distributions if d == law)
    for x, y, c in itertools.product(SAMPLES, SAMPLES, (*POSITIVE, *(() if distribution.needs_nonnegative else (-1.5,)))):
        def g(value: float, c: float = c) -> float:
            return f(name, value, c) if distribution.operand == 0 else f(name, c, value)
        assert close(g(f(distribution.over, x, y)), f(distribution.result, g(x), g(y)))


def test_a_product_distributes_over_max_only_with_a_factor_of_at_least_0() -> None:
    assert not MAPS["mul"].distributes_over("max")
    law = MAPS["mul"].distribution("max", 0)
    assert law is not None
    assert law.needs_nonnegative
    assert not close(f("mul", f("max", 1.0, 2.0), -1.0), f("max", f("mul", 1.0, -1.0), f("mul", 2.0, -1.0)))
    assert MAPS["mul"].distributes_over("add")
    assert MAPS["div"].distributes_over("add", 0)
    assert not MAPS["div"].distributes_over("add", 1)


@pytest.mark.parametrize(("name", "source"), [(n, h.source) for n, m in MAPS.items() for h in m.homomorphisms])
def test_homomorphisms(name: str, source: str) -> None:
    law = MAPS[name].homomorphism(source)
    assert law is not None
    for x, y in itertools.product(POSITIVE, repeat=2):
        assert close(f(name, f(source, x, y)), f(law.target, f(name, x), f(name, y)))


def test_exp_of_a_difference_is_not_safe_to_split() -> None:
    law = MAPS["exp"].homomorphism("sub")
    assert law is not None
    assert not law.safe_to_split
    # Why: the parts overflow where the whole does not.
    assert f("div", f("exp", 800.0), f("exp", 799.0)) == 0.0
    assert close(f("exp", f("sub", 800.0, 799.0)), math.e)


@pytest.mark.parametrize("name", [n for n, m in VALUES.items() if m.arity == 1])
def test_bounds(name: str) -> None:
    values = VALUES[name].function(np.linspace(-30, 30, 401))
    assert (values >= MAPS[name].minimum).all()
    assert (values <= MAPS[name].maximum).all()


@pytest.mark.parametrize("name", list(MAPS))
def test_scalars_and_arrays_agree(name: str) -> None:
    points = (-math.inf, -2.5, -1.0, 0.0, 0.5, 3.0)
    for operands in itertools.product(points, repeat=MAPS[name].arity):
        a, b = scalars.call(name, list(operands), {}), f(name, *operands)
        assert close(a, b) or math.isnan(a), (name, operands, a, b)


@pytest.mark.parametrize("name", list(MAPS))
def test_no_map_makes_a_nan(name: str) -> None:
    points = np.array([-math.inf, -2.5, -1.0, 0.0, 0.5, 3.0])
    for operands in itertools.product(points, repeat=MAPS[name].arity):
        if name in ("sin", "cos") and math.isinf(operands[0]):
            continue
        assert not math.isnan(f(name, *operands)), operands


@pytest.mark.parametrize(("expression", "value"), [
    (("div", 0.0, 0.0), 0.0), (("sub", -math.inf, -math.inf), -math.inf), (("mul", 0.0, -math.inf), 0.0),
    (("log", 0.0), -math.inf), (("exp", -math.inf), 0.0), (("mod", -1.0, 3.0), 2.0), (("floordiv", -1.0, 3.0), -1.0),
    (("clamp", 5.0, 0.0, 3.0), 3.0), (("clamp", 1.0, 0.0, -2.0), -2.0), (("silu", -math.inf), 0.0),
])
def test_safe_rules(expression: tuple[str, float], value: float) -> None:
    name, *operands = expression
    assert f(name, *operands) == value
    assert scalars.call(name, list(operands), {}) == value


def test_reductions_name_a_map_that_combines_their_parts() -> None:
    for name, reduction in REDUCTIONS.items():
        if reduction.combine is None:
            assert reduction.parts or reduction.index or name == "count"
            continue
        combine = MAPS[reduction.combine]
        assert combine.associative == reduction.associative
        assert combine.commutative == reduction.commutative
        assert combine.idempotent == reduction.idempotent
        assert (combine.identity,) == reduction.identity


def test_names_are_unique_over_the_tables_that_a_head_is_looked_up_in() -> None:
    assert not set(REDUCTIONS) & set(POPULATES)
    assert set(REDUCTIONS) & set(MAPS) == {"max", "min"}
    assert set(DTYPE_BITS) == set(DTYPES)
    assert DTYPE_BITS["bf16"] == 16


def test_operators_of_a_cascade_join_the_tables() -> None:
    cascade = parse("""op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative cost mul
        op sq(a) = a*a homomorphism(mul, mul) cost square
        op scale(a; b) = a*b distributes_over(add) commutative inverse(div) identity 1 associative
        Z[i] = sq(A[i])""")
    lin = reduction_operator("lin", cascade)
    assert lin is not None
    assert (lin.arity, lin.identity, lin.associative, lin.commutative, lin.counts) == (2, (1.0, 0.0), True, False, "mul")
    assert map_operator("lin", cascade) is None
    assert reduction_operator("sq", cascade) is None
    assert not reduces(cascade.operators[1])
    square = map_operator("sq", cascade)
    assert square is not None
    assert square.homomorphism("mul") is not None
    assert square.cost == ("square",)
    scale = map_operator("scale", cascade)
    assert scale is not None
    assert scale.distributes_over("add", 0)
    assert scale.distributes_over("add", 1)
    assert (scale.inverse, scale.identity) == ("div", 1.0)
    assert map_operator("sq") is None
    assert map_operator("exp") is MAPS["exp"]
    assert reduction_operator("max", cascade) is REDUCTIONS["max"]
    x = Access("X", ())
    assert inlined(cascade.operators[1], (Call("add", (x, Num(1.0))),)) == (
        Call("mul", (Call("add", (x, Num(1.0))), Call("add", (x, Num(1.0))))),)


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_false_declarations_are_found_and_true_ones_are_not(slope: float, shift: float) -> None:
    text = f"op aff(a; b) = a + b + ({slope!r}) * a * b identity 0 associative commutative\nZ[i] = A[i]"
    assert parse(text).operators[0].properties == {"associative", "commutative"}
    broken = parse(f"op aff(a; b) = a + b + ({shift!r})\nZ[i] = A[i]").operators[0]
    claimed = broken.__class__(broken.name, broken.operands, broken.bodies, (0.0,), frozenset({"associative"}))
    found = scalars.broken_property(claimed, {})
    assert (found is None) == (abs(shift) < 1e-8) or abs(shift) < 1e-6


def test_the_language_starts_without_numpy() -> None:
    code = ("import sys; import einsum_cascades.notation, einsum_cascades.loading, einsum_cascades.extents; "
            "einsum_cascades.notation.parse('op f(a; b) = a + b identity 0 associative\\nZ[i] = f(A[i], A[i])'); "
            "assert 'numpy' not in sys.modules and 'yaml' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)

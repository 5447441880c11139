"""The operators of the language: maps, reductions and populates, with the algebra that rewrites need.

A rewrite asks an operator for a property and never for its name: whether it distributes over another, whether it
is a homomorphism, whether a result may be split. A cascade's own operators (``op lin(...) = ...``) join these
tables through :func:`map_operator` and :func:`reduction_operator`.

Importing this module costs nothing: the NumPy functions are looked up when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from einsum_cascades.ir import Cascade, Expr, UserOperator

INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class Distribution:
    """``f`` distributes over ``over`` in operand ``operand``: f(over(a, b)) = result(f(a), f(b)).

    ``needs_nonnegative`` says that it holds only where every other operand is at least 0 (a product over max).
    """

    over: str
    operand: int
    result: str
    needs_nonnegative: bool = False


@dataclass(frozen=True, slots=True)
class Homomorphism:
    """A map of one operand with f(source(a, b)) = target(f(a), f(b)).

    ``safe_to_split`` is whether the right side may be computed in place of the left. For exp over a difference it
    is not: exp(s)/exp(g) overflows where exp(s - g) does not. Such a map may only be *rebased* on another
    reference, f(s - g') = f(s - g) * f(g - g'). ``needs_nonnegative`` says that it holds where a and b are at least 0
    (a logarithm, a root).
    """

    source: str
    target: str
    safe_to_split: bool = False
    needs_nonnegative: bool = False


@dataclass(frozen=True, slots=True)
class MapOperator:
    """A map: an operator on the values of one coordinate.

    ``arity`` counts operands. ``symbol`` is its infix or prefix spelling, None for a function. ``cost`` names the
    primitive operations that one application counts. ``monotone`` holds, for each operand, +1 (never decreasing),
    -1 (never increasing) or 0 (neither). ``inverse`` is the map that undoes it: op(op(a, b), b) = a for two
    operands, op(op(a)) = a for one. ``identity`` is the right-hand operand that changes nothing, ``absorbing`` the
    operand that decides the result alone. ``polynomial`` maps build polynomials, whose sums are closed under
    translation (moments). ``minimum`` and ``maximum`` bound the result. ``kind`` is value, comparison or logic.
    ``factor`` is the number that a map of one operand multiplies by; ``power`` says how often the first operand is combined
    with itself by the map ``power_of`` (as often as the second operand says where it is -1; 0: it is no power). ``selects`` maps take the
    second operand where the first holds and else the third; ``keeps_nonnegative`` maps give at least 0 where every operand
    that is a value is at least 0.
    """

    name: str
    arity: int
    symbol: str | None = None
    cost: tuple[str, ...] = ()
    kind: str = "value"
    associative: bool = False
    commutative: bool = False
    idempotent: bool = False
    identity: float | None = None
    absorbing: float | None = None
    inverse: str | None = None
    monotone: tuple[int, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    homomorphisms: tuple[Homomorphism, ...] = ()
    polynomial: bool = False
    integral: bool = False
    minimum: float = -INFINITY
    maximum: float = INFINITY
    factor: float | None = None
    power: int = 0
    power_of: str = "mul"
    selects: bool = False
    keeps_nonnegative: bool = False
    user: UserOperator | None = None

    def distribution(self, over: str, operand: int) -> Distribution | None:
        """Returns how this map distributes over the map ``over`` in operand ``operand``, or None."""
        return next((d for d in self.distributions if d.over == over and d.operand == operand), None)

    def distributes_over(self, over: str, operand: int = 0) -> bool:
        """Returns whether f(over(a, b), c) = over(f(a, c), f(b, c)) without a condition, in that operand."""
        found = self.distribution(over, operand)
        return found is not None and found.result == over and not found.needs_nonnegative

    def homomorphism(self, source: str) -> Homomorphism | None:
        """Returns the homomorphism of this map from the map ``source``, or None."""
        return next((h for h in self.homomorphisms if h.source == source), None)

    @property
    def function(self) -> Callable[..., Any]:
        """The NumPy function, with the safe rules of the notation (0/0 = 0, -inf - x = -inf, 0*x = 0)."""
        from einsum_cascades.elementwise import function_of
        return function_of(self.name)


@dataclass(frozen=True, slots=True)
class ReductionOperator:
    """A reduction: ``combine`` is the map that combines two partial results, ``identity`` that of an empty fiber.

    ``arity`` is the number of values an element has (2 for a scan pair). A reduction without ``combine`` is a
    function of other reductions over the same elements, named in ``parts`` (mean = sum / count). ``index`` says
    that it gives a coordinate. ``commutative`` reductions may visit a fiber in any order; the others go by
    ascending coordinate. ``counts`` is the class that each element counts. ``merged_by`` names the reduction of partial
    results where that is another one (counts are merged by sum), "" where it is the same.
    """

    name: str
    identity: tuple[float, ...] = (0.0,)
    combine: str | None = None
    arity: int = 1
    associative: bool = True
    commutative: bool = True
    idempotent: bool = False
    monotone: bool = False
    parts: tuple[str, ...] = ()
    index: bool = False
    counts: str = ""
    merged_by: str = ""
    user: UserOperator | None = None


@dataclass(frozen=True, slots=True)
class PopulateOperator:
    """A populate: makes a rank of coordinates from the values of a fiber.

    ``whole`` says that the rank made is as long as the rank consumed (sort); otherwise its extent is given (topk)
    or bounds it (threshold).
    """

    name: str
    meaning: str
    whole: bool = False
    descending: bool = False
    counts: str = ""


def _over(over: str, *operands: int, result: str | None = None, nonnegative: bool = False) -> tuple[Distribution, ...]:
    return tuple(Distribution(over, operand, result or over, nonnegative) for operand in operands)


def _value(name: str, arity: int, symbol: str | None = None, **properties: Any) -> MapOperator:
    return MapOperator(name, arity, symbol, properties.pop("cost", (name,)), **properties)


_UP = (1,)
_MAP_LIST: tuple[MapOperator, ...] = (
    _value("add", 2, "+", associative=True, commutative=True, identity=0.0, inverse="sub", monotone=(1, 1),
           distributions=_over("max", 0, 1) + _over("min", 0, 1), polynomial=True, integral=True,
           keeps_nonnegative=True),
    _value("sub", 2, "-", identity=0.0, inverse="add", monotone=(1, -1), polynomial=True, integral=True,
           distributions=_over("max", 0) + _over("min", 0) + _over("max", 1, result="min")
           + _over("min", 1, result="max")),
    _value("mul", 2, "*", associative=True, commutative=True, identity=1.0, absorbing=0.0, inverse="div",
           distributions=_over("add", 0, 1) + _over("sub", 0, 1) + _over("max", 0, 1, nonnegative=True)
           + _over("min", 0, 1, nonnegative=True), polynomial=True, integral=True, keeps_nonnegative=True),
    _value("div", 2, "/", identity=1.0, inverse="mul",
           distributions=_over("add", 0) + _over("sub", 0) + _over("max", 0, nonnegative=True)
           + _over("min", 0, nonnegative=True), keeps_nonnegative=True),
    _value("neg", 1, "-", inverse="neg", monotone=(-1,), polynomial=True, integral=True, factor=-1.0,
           homomorphisms=(Homomorphism("add", "add", True), Homomorphism("sub", "sub", True),
                          Homomorphism("max", "min", True), Homomorphism("min", "max", True))),
    _value("max", 2, associative=True, commutative=True, idempotent=True, identity=-INFINITY, absorbing=INFINITY,
           monotone=(1, 1), distributions=_over("min", 0, 1) + _over("max", 0, 1), integral=True,
           keeps_nonnegative=True),
    _value("min", 2, associative=True, commutative=True, idempotent=True, identity=INFINITY, absorbing=-INFINITY,
           monotone=(1, 1), distributions=_over("max", 0, 1) + _over("min", 0, 1), integral=True,
           keeps_nonnegative=True),
    _value("exp", 1, inverse="log", monotone=_UP, minimum=0.0,
           homomorphisms=(Homomorphism("add", "mul"), Homomorphism("sub", "div"),
                          Homomorphism("max", "max", True), Homomorphism("min", "min", True))),
    _value("exp2", 1, inverse="log2", monotone=_UP, minimum=0.0,
           homomorphisms=(Homomorphism("add", "mul"), Homomorphism("sub", "div"),
                          Homomorphism("max", "max", True), Homomorphism("min", "min", True))),
    _value("log", 1, inverse="exp", monotone=_UP,
           homomorphisms=(Homomorphism("mul", "add", True, True), Homomorphism("div", "sub", True, True))),
    _value("log2", 1, inverse="exp2", monotone=_UP,
           homomorphisms=(Homomorphism("mul", "add", True, True), Homomorphism("div", "sub", True, True))),
    _value("log1p", 1, inverse="expm1", monotone=_UP),
    _value("expm1", 1, inverse="log1p", monotone=_UP, minimum=-1.0),
    _value("sqrt", 1, monotone=_UP, minimum=0.0,
           homomorphisms=(Homomorphism("mul", "mul", True, True), Homomorphism("div", "div", True, True))),
    _value("rsqrt", 1, monotone=(-1,), minimum=0.0,
           homomorphisms=(Homomorphism("mul", "mul", True, True), Homomorphism("div", "div", True, True))),
    _value("square", 1, minimum=0.0, polynomial=True, power=2,
           homomorphisms=(Homomorphism("mul", "mul", True), Homomorphism("div", "div", True))),
    _value("pow", 2, identity=1.0, power=-1, keeps_nonnegative=True),
    _value("abs", 1, minimum=0.0, integral=True,
           homomorphisms=(Homomorphism("mul", "mul", True), Homomorphism("div", "div", True))),
    _value("sign", 1, monotone=_UP, minimum=-1.0, maximum=1.0, integral=True,
           homomorphisms=(Homomorphism("mul", "mul", True),)),
    _value("floor", 1, monotone=_UP, integral=True, keeps_nonnegative=True),
    _value("ceil", 1, monotone=_UP, integral=True, keeps_nonnegative=True),
    _value("round", 1, monotone=_UP, integral=True, keeps_nonnegative=True),
    _value("sigmoid", 1, monotone=_UP, minimum=0.0, maximum=1.0),
    _value("tanh", 1, monotone=_UP, minimum=-1.0, maximum=1.0),
    _value("silu", 1), _value("gelu", 1), _value("gelu_tanh", 1), _value("mish", 1),
    _value("relu", 1, monotone=_UP, minimum=0.0,
           homomorphisms=(Homomorphism("max", "max", True), Homomorphism("min", "min", True))),
    _value("softplus", 1, monotone=_UP, minimum=0.0),
    _value("elu", 1, monotone=_UP, minimum=-1.0),
    _value("leaky_relu", 2), _value("hard_sigmoid", 1, monotone=_UP, minimum=0.0, maximum=1.0),
    _value("hard_swish", 1),
    _value("erf", 1, monotone=_UP, minimum=-1.0, maximum=1.0),
    _value("sin", 1, minimum=-1.0, maximum=1.0), _value("cos", 1, minimum=-1.0, maximum=1.0), _value("atan2", 2),
    _value("where", 3, selects=True, keeps_nonnegative=True), _value("clamp", 3, monotone=(1, 1, 1), integral=True),
    _value("floordiv", 2, "//", integral=True), _value("mod", 2, "%", integral=True),
    _value("lt", 2, "<", kind="comparison"), _value("le", 2, "<=", kind="comparison"),
    _value("gt", 2, ">", kind="comparison"), _value("ge", 2, ">=", kind="comparison"),
    _value("eq", 2, "==", kind="comparison", commutative=True),
    _value("ne", 2, "!=", kind="comparison", commutative=True),
    _value("and", 2, "and", kind="logic", associative=True, commutative=True, idempotent=True, identity=1.0,
           absorbing=0.0),
    _value("or", 2, "or", kind="logic", associative=True, commutative=True, idempotent=True, identity=0.0,
           absorbing=1.0),
    _value("not", 1, "not", kind="logic", inverse="not"),
)
MAPS: dict[str, MapOperator] = {m.name: m for m in _MAP_LIST}

_REDUCTION_LIST: tuple[ReductionOperator, ...] = (
    ReductionOperator("sum", (0.0,), "add", monotone=True, counts="add"),
    ReductionOperator("prod", (1.0,), "mul", counts="mul"),
    ReductionOperator("max", (-INFINITY,), "max", idempotent=True, monotone=True, counts="max"),
    ReductionOperator("min", (INFINITY,), "min", idempotent=True, monotone=True, counts="min"),
    ReductionOperator("any", (0.0,), "or", idempotent=True, monotone=True, counts="or"),
    ReductionOperator("all", (1.0,), "and", idempotent=True, monotone=True, counts="and"),
    ReductionOperator("count", (0.0,), None, counts="count", merged_by="sum"),
    ReductionOperator("mean", (0.0,), None, monotone=True, parts=("sum", "count"), counts="mean"),
    ReductionOperator("var", (0.0,), None, parts=("sum", "count"), counts="var"),
    ReductionOperator("argmax", (0.0,), None, idempotent=True, index=True, counts="argmax"),
    ReductionOperator("argmin", (0.0,), None, idempotent=True, index=True, counts="argmin"),
)
REDUCTIONS: dict[str, ReductionOperator] = {r.name: r for r in _REDUCTION_LIST}

POPULATES: dict[str, PopulateOperator] = {p.name: p for p in (
    PopulateOperator("topk", "coordinates of the largest, largest first", descending=True, counts="topk"),
    PopulateOperator("bottomk", "coordinates of the smallest, smallest first", counts="bottomk"),
    PopulateOperator("sort", "coordinates by ascending value", whole=True, counts="sort"),
    PopulateOperator("sort_descending", "coordinates by descending value", whole=True, descending=True,
                     counts="sort_descending"),
    PopulateOperator("threshold", "coordinates whose value is positive, in ascending order; the rest is absent",
                     counts="threshold"),
)}

OPERATOR_PROPERTIES = ("associative", "commutative", "idempotent", "monotone", "polynomial", "distributes_over",
                       "homomorphism", "inverse")
"""Words that a cascade's own operator may carry; the last three take names of maps in parentheses."""

DTYPES = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8_e4m3", "fp8_e5m2", "fp4_e2m1", "int64", "int32", "int16",
          "int8", "int4", "uint8", "bool")
"""Precisions that ``dtype`` names."""

DTYPE_BITS: dict[str, int] = dict(zip(DTYPES, (64, 32, 32, 16, 16, 8, 8, 4, 64, 32, 16, 8, 4, 8, 8), strict=True))
"""Bits of one stored value of each precision."""


def property_arguments(operator: UserOperator, word: str) -> tuple[tuple[str, ...], ...]:
    """Returns the argument lists of every ``word(...)`` property that the operator declares."""
    return tuple(tuple(part.strip() for part in text[len(word) + 1:-1].split(","))
                 for text in sorted(operator.properties) if text.startswith(word + "("))


def map_operator(name: str, cascade: Cascade | None = None) -> MapOperator | None:
    """Returns the map of that name, a cascade's own ones included, or None.

    A cascade's operator on tuples (more than one result) is no map.
    """
    if name in MAPS:
        return MAPS[name]
    user = _user(name, cascade)
    if user is None or len(user.bodies) != 1:
        return None
    has = user.properties.__contains__
    arity = sum(len(operand) for operand in user.operands)
    return MapOperator(
        name, arity, None, (user.cost_class or name,), associative=has("associative"),
        commutative=has("commutative"), idempotent=has("idempotent"), polynomial=has("polynomial"),
        identity=user.identity[0] if user.identity else None, monotone=(1,) * arity if has("monotone") else (),
        inverse=next((a[0] for a in property_arguments(user, "inverse")), None),
        distributions=tuple(d for a in property_arguments(user, "distributes_over")
                            for d in _over(a[0], *((0, 1) if has("commutative") else (0,)))),
        homomorphisms=tuple(Homomorphism(a[0], a[1]) for a in property_arguments(user, "homomorphism")), user=user)


def reduction_operator(name: str, cascade: Cascade | None = None) -> ReductionOperator | None:
    """Returns the reduction of that name, a cascade's own ones included, or None.

    A cascade's operator reduces where it has two operands of as many values as it gives, and an identity.
    """
    if name in REDUCTIONS:
        return REDUCTIONS[name]
    user = _user(name, cascade)
    if user is None or not reduces(user):
        return None
    assert user.identity is not None
    has = user.properties.__contains__
    return ReductionOperator(name, user.identity, name, len(user.bodies), has("associative"), has("commutative"),
                             has("idempotent"), has("monotone"), counts=user.cost_class or name, user=user)


def reduces(user: UserOperator) -> bool:
    """Returns whether a cascade's operator can stand at the head of a right side."""
    return (len(user.operands) == 2 and {len(o) for o in user.operands} == {len(user.bodies)}
            and user.identity is not None)


def parameters(user: UserOperator) -> tuple[str, ...]:
    """Returns the parameters of a cascade's operator in the order of a call's arguments."""
    return tuple(name for operand in user.operands for name in operand)


def inlined(user: UserOperator, arguments: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Returns the operator's bodies with its parameters replaced by the arguments."""
    from einsum_cascades.ir import Access, transform
    table = dict(zip(parameters(user), arguments, strict=True))

    def place(node: Expr) -> Expr:
        return table[node.tensor] if isinstance(node, Access) and node.tensor in table else node

    return tuple(transform(body, place) for body in user.bodies)


def _user(name: str, cascade: Cascade | None) -> UserOperator | None:
    return next((o for o in cascade.operators if o.name == name), None) if cascade is not None else None

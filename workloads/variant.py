"""A variant: one published operator, with its cascades, a reference and what there is to check.

A module of workloads/variants (or of another distribution, see there) defines one as ``VARIANT`` and needs little:
the text of each algorithm, the formula in NumPy, and cases. An input that nothing is said about is drawn from the
normal distribution, in the shape that the cascade gives it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from einsum_cascades.errors import DefinitionError, UnknownNameError
from einsum_cascades.expressions import ExpressionParser
from einsum_cascades.ir import Call, Cascade, Expr
from einsum_cascades.notation import parse
from einsum_cascades.tokens import tokenize

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Draw = Callable[[np.random.Generator, tuple[int, ...], Mapping[str, int]], Array]
    """Draws an input: a generator, the shape and all extents into an array; workloads/draws.py has the usual ones."""
    Reference = Callable[[Mapping[str, Array], Mapping[str, int]], Mapping[str, Array]]
    """The published formula: inputs and extents into outputs by name; written without the cascade, in float64."""

Confidence = Literal["read", "abstract", "calculated", "secondary", "recalled", "reconstructed"]
"""How well a published figure is known: read in the paper or its code, stated in the abstract, calculated from what
was read, quoted elsewhere, recalled, or reconstructed. The last three are never asserted as published."""

_ID = re.compile(r"[a-z][a-z0-9_]*")
_ALGORITHM = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class Shape:
    """A published shape: ``extents`` of the ranks, for ``instances`` independent copies of the cascade (batch times
    heads, where the cascade has no such ranks). ``algorithms`` are those that it is for (none: all); extents may be
    of ranks that only some of them have."""

    id: str
    extents: Mapping[str, int]
    source: str
    instances: int = 1
    algorithms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """A published figure. ``computed`` returns the suite's own value of it, where the suite has one."""

    title: str
    value: float
    unit: str
    source: str
    confidence: Confidence
    computed: Callable[[], float] | None = None


@dataclass(frozen=True)
class Case:
    """One way in which verification runs a variant.

    ``extents`` may name ranks that only some algorithms have (the tile of a partition). ``inputs`` says how inputs
    are drawn, over what the variant says. ``where`` adds a predicate to Einsums by name, in each algorithm that has
    them: ``{"QK": "Mask[p,m]"}``; tensors that it reads become inputs. ``algorithms`` are those that the case is
    for (none: all). ``reference`` replaces the variant's: that of a simpler operator makes a degenerate case.
    ``tolerance`` is of the largest error over the largest output, in float64.
    """

    name: str
    extents: Mapping[str, int]
    inputs: Mapping[str, Draw] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    algorithms: tuple[str, ...] = ()
    reference: Reference | None = None
    tolerance: float = 1e-12


@dataclass(frozen=True, eq=False)
class Variant:
    """A published operator.

    ``system`` is its name in the catalogue, ``source`` the paper. ``algorithms`` are the cascades by name, in the
    notation; the first is the default. ``inputs`` says how inputs are drawn that are not just numbers (index tensors,
    masks, decays); ``input_shapes`` gives the shape of an input, from the extents, where its ranks do not say it (one
    offset more than there are segments). ``shapes`` are
    published ones of its own. ``workloads`` are the models that it is run for, and ``workload_ranks`` says which of
    a workload's figures is the extent of a rank (``{"p": "seq_len", "e": "e"}``; the figures are seq_len, batch, heads,
    d_model, e, f, ffn): a batch or heads that no rank takes make independent copies.

    Raises: DefinitionError where names are malformed or missing.
    """

    id: str
    title: str
    system: str
    source: str
    algorithms: Mapping[str, str]
    reference: Reference
    cases: tuple[Case, ...]
    inputs: Mapping[str, Draw] = field(default_factory=dict)
    input_shapes: Mapping[str, Callable[[Mapping[str, int]], tuple[int, ...]]] = field(default_factory=dict)
    shapes: tuple[Shape, ...] = ()
    published: tuple[Published, ...] = ()
    workloads: tuple[str, ...] = ()
    workload_ranks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise self._fail("id: it is lower case letters, digits and '_'", self.id, "rename it")
        if not self.algorithms:
            raise self._fail("algorithms: at least one is needed", "none", "give the text of a cascade")
        for name in self.algorithms:
            if not _ALGORITHM.fullmatch(name):
                raise self._fail("algorithms: a name is lower case letters, digits and '-'", name, "rename it")
        names = [case.name for case in self.cases]
        if not names:
            raise self._fail("cases: at least one is needed", "none", "give Case('random', {...})")
        for name in names:
            if names.count(name) > 1:
                raise self._fail("cases: two have one name", name, "rename one")
        for algorithms in (*(case.algorithms for case in self.cases), *(shape.algorithms for shape in self.shapes)):
            for name in algorithms:
                self.check(name)

    @property
    def default_algorithm(self) -> str:
        """The algorithm of the bare id."""
        return next(iter(self.algorithms))

    def check(self, algorithm: str) -> None:
        """Checks that there is such an algorithm.

        Raises: UnknownNameError.
        """
        if algorithm not in self.algorithms:
            raise UnknownNameError(f"algorithm of {self.id!r}", algorithm, self.algorithms)

    def cascade(self, algorithm: str | None = None, where: Mapping[str, str] | None = None) -> Cascade:
        """Returns the cascade of an algorithm, named ``id:algorithm``; ``where`` adds predicates as in a Case.

        Raises: UnknownNameError for an algorithm that there is not, NotationError for text that is no cascade.
        """
        algorithm = self.default_algorithm if algorithm is None else algorithm
        self.check(algorithm)
        return _cascade(self.algorithms[algorithm], f"{self.id}:{algorithm}", tuple((where or {}).items()))

    def _fail(self, wrong: str, value: str, remedy: str) -> DefinitionError:
        return DefinitionError(f"{wrong}, got {value!r}; {remedy}", source=f"variant {self.id!r}")


@lru_cache(maxsize=512)
def _cascade(text: str, name: str, where: tuple[tuple[str, str], ...]) -> Cascade:
    cascade = parse(text, source=name)
    if not where:
        return cascade
    predicates = {einsum: _predicate(predicate, name) for einsum, predicate in where}
    if not predicates.keys() & {einsum.name for einsum in cascade.einsums}:
        raise UnknownNameError("Einsum", ", ".join(predicates), [einsum.name for einsum in cascade.einsums], place=name)
    return replace(cascade, einsums=tuple(
        replace(einsum, where=_both(einsum.where, predicates[einsum.name])) if einsum.name in predicates else einsum
        for einsum in cascade.einsums))


def _predicate(text: str, name: str) -> Expr:
    parser = ExpressionParser(tokenize(text, source=name), name)
    predicate = parser.expression()
    if parser.token.kind not in ("newline", "end"):
        parser.fail(f"predicate: it should end here, got {parser.token.text!r}; give one predicate")
    return predicate


def _both(first: Expr | None, second: Expr) -> Expr:
    return second if first is None else Call("and", (first, second))

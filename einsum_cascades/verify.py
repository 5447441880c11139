"""The checks that make a cascade a valid one; every message names the place, the thing, its value and a remedy."""

from __future__ import annotations

from typing import NoReturn

from einsum_cascades.errors import ExtentError, NotationError, suggest
from einsum_cascades.extents import DeclaredExtentError, known_extents
from einsum_cascades.indices import Offset, affine, offset
from einsum_cascades.ir import (
    Access,
    Call,
    Cascade,
    Coord,
    Einsum,
    Expr,
    Extent,
    Num,
    coords,
    kept_coords,
)
from einsum_cascades.operators import DTYPES, POPULATES, REDUCTIONS, reduces, reduction_operator
from einsum_cascades.structure import all_accesses, composites, extent_names, iterations, producers, ranks, structure
from einsum_cascades.verify_operators import OperatorCheck


class DeclarationError(NotationError):
    """A declaration is wrong. ``keyword`` and ``name`` say which, for a parser that knows where it stands."""

    def __init__(self, message: str, *, source: str, keyword: str, name: str) -> None:
        super().__init__(message, source=source)
        self.message, self.keyword, self.name = message, keyword, name


def verify(cascade: Cascade) -> None:
    """Checks a cascade.

    Raises: NotationError where it breaks a rule of the notation.
    """
    check = _Check(cascade)
    for einsum in (*cascade.einsums, *cascade.inits):
        check.expressions(einsum)
    check.operators()
    check.definitions()
    check.dimensions()
    for einsum in cascade.einsums:
        check.reduction(einsum)
        check.left_side(einsum)
        check.additive_terms(einsum)
    check.seeds()
    check.declarations()
    structure(cascade)
    check.extents()


class _Check(OperatorCheck):
    """Checks a whole cascade."""

    def __init__(self, cascade: Cascade) -> None:
        super().__init__(cascade)
        self.seeded = frozenset(out.tensor for seed in cascade.inits for out in seed.outputs)

    # --- definitions ---

    def definitions(self) -> None:
        seen: dict[str, Access] = {}
        for einsum in self.cascade.einsums:
            for out in einsum.outputs:
                if out.tensor in seen:
                    first = seen[out.tensor].span
                    at = f" (first in line {first.line})" if first else ""
                    self.fail(f"tensor {out.tensor!r}: it is defined twice, got a second definition{at}; rename one, or "
                              f"write 'init' before a seed", out.span or einsum.span)
                seen[out.tensor] = out

    def dimensions(self) -> None:
        first: dict[str, Access] = {out.tensor: out for e in self.cascade.einsums for out in e.outputs}
        for access in all_accesses(self.cascade):
            known = first.setdefault(access.tensor, access)
            if len(known.indices) != len(access.indices):
                at = f" in line {known.span.line}" if known.span else ""
                self.fail(f"tensor {access.tensor!r}: it has {len(known.indices)} "
                          f"dimension{'s' if len(known.indices) != 1 else ''}{at}, got {len(access.indices)} here; give it "
                          f"the same number of indices everywhere", access.span)

    # --- one Einsum ---

    def reduction(self, einsum: Einsum) -> None:
        head = einsum.reduction
        if head is None:
            return
        populate = POPULATES.get(head.op)
        known = (*REDUCTIONS, *POPULATES, *(o.name for o in self.cascade.operators if reduces(o)))
        if populate is None and reduction_operator(head.op, self.cascade) is None:
            user = next((o for o in self.cascade.operators if o.name == head.op), None)
            if user is not None:
                self.fail(f"reduction {head.op!r}: the operator cannot reduce, got operands of "
                          f"{' and '.join(str(len(o)) for o in user.operands)} values, {len(user.bodies)} results and "
                          f"{'an' if user.identity else 'no'} identity; give it two operands as wide as its result, and "
                          f"'identity'", head.span)
            self.fail(f"reduction {head.op!r}: there is none of that name, got {head.op!r}; {suggest(head.op, known)}",
                      head.span)
        for rank in (*head.ranks, *head.into):
            self.rank_name(rank, head.span)
        kept, available = set(einsum.output_ranks), set(einsum.ranks_of_right_side)
        for rank in head.ranks:
            if rank in kept:
                self.fail(f"rank {rank!r}: {head.op!r} reduces it but the left side keeps it, got it in both; remove it from "
                          f"one of them", head.span)
            if rank not in available:
                self.fail(f"rank {rank!r}: {head.op!r} reduces it but the right side lacks it, got {head.op}"
                          f"[{', '.join(head.ranks)}]; {suggest(rank, available - kept)}", head.span)
        if len(set(head.ranks)) != len(head.ranks):
            self.fail(f"reduction {head.op!r}: a rank stands twice, got [{', '.join(head.ranks)}]; name each once",
                      head.span)
        if populate is not None:
            self.populate(einsum)
        elif head.into:
            self.fail(f"reduction {head.op!r}: it makes no rank, got '; {', '.join(head.into)}'; only the populates do: "
                      f"{', '.join(POPULATES)}", head.span)
        else:
            self.width(einsum)

    def populate(self, einsum: Einsum) -> None:
        head = einsum.reduction
        assert head is not None
        if len(head.ranks) != 1 or len(head.into) != 1:
            self.fail(f"populate {head.op!r}: it takes one rank and makes one, got [{', '.join(head.ranks)}"
                      f"{'; ' if head.into else ''}{', '.join(head.into)}]; write {head.op}[m; j](...)", head.span)
        made = head.into[0]
        if made not in einsum.output_ranks:
            self.fail(f"rank {made!r}: {head.op!r} makes it but the left side lacks it, got "
                      f"{', '.join(einsum.output_ranks) or 'a scalar'} there; put {made!r} on the left", head.span)
        used = next((r for b in einsum.bodies for r in coords(b) if r == made), None)
        if used is not None or (einsum.where is not None and made in coords(einsum.where)):
            self.fail(f"rank {made!r}: {head.op!r} makes it but the right side reads it, got both; rename one", head.span)
        if len(einsum.bodies) != 1:
            self.fail(f"populate {head.op!r}: it takes one value, got {len(einsum.bodies)}; split the line", head.span)

    def width(self, einsum: Einsum) -> None:
        head = einsum.reduction
        assert head is not None
        found = reduction_operator(head.op, self.cascade)
        if found is not None and found.user is not None and found.arity != len(einsum.bodies):
            self.fail(f"reduction {head.op!r}: it reduces {found.arity} values together, got {len(einsum.bodies)}; give "
                      f"{found.arity} tensors on the left and as many values on the right", head.span)
        if found is not None and found.index and len(head.ranks) != 1:
            self.fail(f"reduction {head.op!r}: it takes one rank, got [{', '.join(head.ranks)}]; reduce the others first",
                      head.span)

    def left_side(self, einsum: Einsum) -> None:
        for out in einsum.outputs:
            for index in out.indices:
                self.left_index(out, index, einsum)
            own = [r for index in out.indices for r in kept_coords(index)]
            twice = next((r for r in own if own.count(r) > 1), None)
            if twice is not None:
                self.fail(f"rank {twice!r}: it stands twice on the left side of {out.tensor!r}, got [{', '.join(own)}]; "
                          f"write a predicate 'where i == j' instead", out.span)
            if set(own) != set(einsum.output_ranks):
                lacking = next(r for r in einsum.output_ranks if r not in own)
                self.fail(f"tensor {out.tensor!r}: the tensors of a tuple have the same ranks, got none of rank "
                          f"{lacking!r}; add it or split the line", out.span)
        moving = [p for p in (offset(i) for i in einsum.output.indices) if p is not None and p.constant == 1]
        if len(moving) > 1:
            self.fail(f"tensor {einsum.name!r}: it iterates over two ranks, got {moving[0].rank!r} and {moving[1].rank!r}; "
                      f"make one of them an ordinary rank", einsum.output.span)

    def left_index(self, out: Access, index: Expr, einsum: Einsum) -> None:
        if isinstance(index, (Coord, Access)):
            return
        place = offset(index)
        if isinstance(index, (Num, Extent)) or place is None and affine(index) is not None and not coords(index):
            self.fail(f"tensor {out.tensor!r}: a fixed slot stands on the left of a seed only, got one here; write 'init' "
                      f"before the line, or a predicate such as 'where i == 0'", out.span)
        if place is None or place.extents:
            self.fail(f"tensor {out.tensor!r}: the left side holds ranks, an iterative rank + 1, or an index tensor, got "
                      f"another expression; move it to the right side (floor // and modulo % take a rank apart)", out.span)
        assert isinstance(place, Offset)
        if place.constant != 1:
            sign = "-" if place.constant < 0 else "+"
            self.fail(f"tensor {out.tensor!r}: an iterative rank steps by 1, got {place.rank}{sign}{abs(place.constant)}; "
                      f"write {out.tensor}[{place.rank}+1] = ... {out.tensor}[{place.rank}] ...", out.span)
        if out.tensor not in self.seeded:
            self.fail(f"tensor {out.tensor!r}: it is iterative over {place.rank!r} but has no seed, got no 'init' for it; "
                      f"add 'init {_seed_text(out, index)} = ...'", out.span)

    def additive_terms(self, einsum: Einsum) -> None:
        summed = einsum.summed_ranks
        if not summed:
            return
        for body in einsum.bodies:
            for term in _terms(body):
                present = set(coords(term))
                for rank in summed:
                    if rank not in present:
                        self.fail(f"rank {rank!r}: it is summed without a name but a term lacks it, got "
                                  f"{_shown(term)!r}, which would be added once for each {rank}; give the term a line of "
                                  f"its own, or name the reduction at the head (sum[{', '.join(summed)}] ...)",
                                  getattr(term, "span", None) or einsum.span)

    # --- seeds and declarations ---

    def seeds(self) -> None:
        defined = producers(self.cascade)
        iterative = iterations(self.cascade)
        seeded: set[str] = set()
        for seed in self.cascade.inits:
            if seed.reduction is not None:
                self.reduction(seed)
            self.additive_terms(seed)
            for out in seed.outputs:
                if out.tensor not in defined:
                    self.fail(f"tensor {out.tensor!r}: it has a seed but no definition, got only 'init'; "
                              f"{suggest(out.tensor, defined)}", out.span)
                if out.tensor in seeded:
                    self.fail(f"tensor {out.tensor!r}: it has two seeds, got a second 'init'; remove one", out.span)
                seeded.add(out.tensor)
                own = iterative.get(out.tensor)
                if own is None:
                    self.backwards(out, defined[out.tensor])
                    self.fail(f"tensor {out.tensor!r}: it has a seed but does not iterate, got no rank + 1 on its left side; "
                              f"write {out.tensor}[i+1,...] = ..., or remove 'init'", out.span)
                assert own is not None
                self.slot(out, own.rank, own.dimension, own.step)
        self.unseeded(defined, seeded)

    def backwards(self, seed: Access, einsum: Einsum) -> None:
        """A seed whose tensor reads itself one step away, but not in the form of an iteration."""
        left = next(out for out in einsum.outputs if out.tensor == seed.tensor)
        for access in einsum.reads:
            for here, there in zip(map(offset, left.indices), map(offset, access.indices), strict=False):
                if access.tensor != seed.tensor or here is None or there is None or here.rank != there.rank:
                    continue
                if here.constant == 0 and there.constant == 1:
                    self.fail(f"tensor {seed.tensor!r}: the seed of a reverse iteration over {here.rank!r} stands in slot "
                              f"{here.rank.upper()}, got {_shown(seed)!r}; write that slot", seed.span)
                if here.constant == 0 and there.constant < 0:
                    self.fail(f"tensor {seed.tensor!r}: an iteration writes slot {here.rank}+1 from slot {here.rank}, got "
                              f"{_shown(left)!r} from {_shown(access)!r}; write {seed.tensor}[{here.rank}+1,...] = ... "
                              f"{seed.tensor}[{here.rank},...] ...", access.span)

    def slot(self, out: Access, rank: str, dimension: int, step: int) -> None:
        for number, index in enumerate(out.indices):
            if number != dimension:
                if not isinstance(index, Coord):
                    self.fail(f"tensor {out.tensor!r}: a seed has plain ranks beside its slot, got another index in "
                              f"dimension {number + 1}; name a rank there", out.span)
                continue
            right = (isinstance(index, Num) and index.value == 0) if step > 0 else \
                (isinstance(index, Extent) and index.rank == rank)
            if not right:
                want = "0" if step > 0 else rank.upper()
                self.fail(f"tensor {out.tensor!r}: the seed of an iteration over {rank!r} stands in slot {want}, got "
                          f"{_shown(index)!r}; write init {_seed_text(out, index, want)} = ...", out.span)

    def unseeded(self, defined: dict[str, Einsum], seeded: set[str]) -> None:
        """A tensor that reads itself one step away, in another form than that of an iteration."""
        for name, einsum in defined.items():
            if name in seeded:
                continue
            own = next(out for out in einsum.outputs if out.tensor == name)
            for access in einsum.reads:
                if access.tensor != name:
                    continue
                for left, right in zip(own.indices, access.indices, strict=True):
                    here, there = offset(left), offset(right)
                    if here is not None and there is not None and here.rank == there.rank \
                            and here.constant == 0 and there.constant != 0:
                        r = here.rank
                        form = f"{name}[{r}+1,...] = ... {name}[{r},...] ... and 'init {name}[0,...] = ...'" \
                            if there.constant < 0 else f"'init {name}[{r.upper()},...] = ...' for a reverse iteration"
                        self.fail(f"tensor {name!r}: it is iterative over {r!r} but has no seed, got "
                                  f"{_shown(access)!r} on its right side; write {form}", access.span)

    def extents(self) -> None:
        if not self.cascade.extents:
            return
        try:
            known_extents(self.cascade, {})
        except DeclaredExtentError as error:
            message = str(error).removeprefix(f"{self.cascade.name}: ")
            raise DeclarationError(message, source=self.cascade.name, keyword="extent", name=error.rank) from None
        except ExtentError as error:
            self.fail(str(error).removeprefix(f"{self.cascade.name}: "), None)

    def declared(self, keyword: str, name: str, message: str) -> NoReturn:
        raise DeclarationError(f"{keyword} {name!r}: {message}", source=self.cascade.name, keyword=keyword, name=name)

    def declarations(self) -> None:
        cascade, defined = self.cascade, producers(self.cascade)
        tensors = dict.fromkeys(a.tensor for a in all_accesses(cascade))
        known = ranks(cascade)
        for name in cascade.declared_outputs:
            if name not in defined:
                what = "it is an input" if name in tensors else "nothing defines it"
                self.declared("output", name, f"{what}, got it as an output; {suggest(name, defined)}")
        for name, kind in cascade.dtypes:
            if name not in tensors:
                self.declared("dtype", name, f"the cascade has no such tensor, got {name!r}; {suggest(name, tensors)}")
            if kind not in DTYPES:
                self.declared("dtype", name, f"unknown precision, got {kind!r}; {suggest(kind, DTYPES)}")
        for rank in cascade.devices:
            if rank not in known:
                self.declared("device", rank, f"the cascade has no such rank, got {rank!r}; {suggest(rank, known)}")
        named = (*known, *composites(cascade), *extent_names(cascade))
        for rank, size in cascade.extents:
            if rank not in named:
                self.declared("extent", rank, f"the cascade has no such rank, got {rank!r}; {suggest(rank, named)}")
            if size < 1:
                self.declared("extent", rank, f"it needs a whole number of at least 1, got {size}; give one")
        for keyword, names in (("dtype", [n for n, _ in cascade.dtypes]), ("extent", [n for n, _ in cascade.extents])):
            twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
            if twice is not None:
                self.declared(keyword, twice, "it is given twice, got a second value; remove one")


def _terms(body: Expr) -> tuple[Expr, ...]:
    """The top-level additive terms of an expression."""
    match body:
        case Call(op="add" | "sub", args=(left, right)):
            return (*_terms(left), *_terms(right))
        case Call(op="neg", args=(inner,)):
            return _terms(inner)
    return (body,)


def _seed_text(out: Access, index: Expr, slot: str = "0") -> str:
    return f"{out.tensor}[{','.join(slot if i is index else _shown(i) for i in out.indices)}]"


def _shown(expr: Expr) -> str:
    from einsum_cascades.printing import expr_text
    text = expr_text(expr)
    return text if len(text) <= 60 else text[:57] + "..."

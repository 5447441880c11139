"""The parser of expressions: tokens into values, indices and predicates, by recursive descent."""

from __future__ import annotations

from typing import NoReturn

from einsum_cascades.errors import NotationError
from einsum_cascades.ir import Access, Call, Coord, Expr, Extent, Num, Span, UserOperator
from einsum_cascades.operators import MAPS, POPULATES, REDUCTIONS
from einsum_cascades.tokens import Token

DEEPEST_NESTING = 64
"""Brackets and prefix operators that may stand inside one another."""

RESERVED = frozenset(("where", "and", "or", "not", "inf"))
"""Words that name neither a rank nor a tensor."""

_COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
_SUMS = {"+": "add", "-": "sub"}
_PRODUCTS = {"*": "mul", "/": "div", "//": "floordiv", "%": "mod"}


class ExpressionParser:
    """Reads tokens; ``parameters`` are the names that stand for operands while an operator's body is read."""

    def __init__(self, tokens: list[Token], source: str) -> None:
        self.tokens, self.source = tokens, source
        self.position = self.depth = 0
        self.parameters: frozenset[str] = frozenset()
        self.operators: dict[str, UserOperator] = {}
        self.places: dict[tuple[str, str], Span] = {}

    # --- the tokens ---

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    @property
    def following(self) -> Token:
        return self.tokens[min(self.position + 1, len(self.tokens) - 1)]

    def take(self) -> Token:
        token = self.token
        self.position = min(self.position + 1, len(self.tokens) - 1)
        return token

    def at(self, *texts: str) -> bool:
        return self.token.text in texts and self.token.kind in ("symbol", "name")

    def accept(self, *texts: str) -> Token | None:
        return self.take() if self.at(*texts) else None

    def expect(self, text: str, where: str) -> Token:
        if not self.at(text):
            self.fail(f"{where}: {text!r} is missing, got {shown(self.token)}; write it here")
        return self.take()

    def fail(self, message: str, span: Span | None = None) -> NoReturn:
        span = span or self.token.span
        raise NotationError(message, source=self.source, line=span.line, column=span.column)

    def names(self, keyword: str, what: str) -> list[str]:
        names = []
        while True:
            token = self.name(keyword, what)
            self.places[keyword, token.text] = token.span
            names.append(token.text)
            if not self.accept(","):
                return names

    def name(self, where: str, what: str) -> Token:
        if self.token.kind != "name" or self.token.text in RESERVED:
            self.fail(f"{where}: {what} is missing, got {shown(self.token)}; write it here")
        return self.take()

    def signed(self, where: str) -> float:
        negative = self.accept("-") is not None
        if self.accept("inf"):
            value = float("inf")
        elif self.token.kind == "number":
            value = self.take().number
        else:
            self.fail(f"{where}: a number is missing, got {shown(self.token)}; write a literal such as 0, 1.5 or -inf")
        return -value if negative else value


    # --- expressions, loosest first ---

    def expression(self) -> Expr:
        self.deeper()
        left = self.conjunction()
        while token := self.accept("or"):
            left = Call("or", (left, self.conjunction()), token.span)
        self.depth -= 1
        return left

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST_NESTING:
            self.fail(f"expression: nested too deeply, got more than {DEEPEST_NESTING} levels; give an inner part a line "
                      f"of its own")

    def conjunction(self) -> Expr:
        left = self.negation()
        while token := self.accept("and"):
            left = Call("and", (left, self.negation()), token.span)
        return left

    def negation(self) -> Expr:
        if token := self.accept("not"):
            self.deeper()
            inner = self.negation()
            self.depth -= 1
            return Call("not", (inner,), token.span)
        return self.comparison()

    def comparison(self) -> Expr:
        left = self.sum()
        result: Expr | None = None
        while self.token.kind == "symbol" and self.token.text in _COMPARISONS:
            token = self.take()
            right = self.sum()
            part = Call(_COMPARISONS[token.text], (left, right), token.span)
            result = part if result is None else Call("and", (result, part), token.span)
            left = right
        return left if result is None else result

    def sum(self) -> Expr:
        left = self.product()
        while self.token.kind == "symbol" and self.token.text in _SUMS:
            token = self.take()
            left = Call(_SUMS[token.text], (left, self.product()), token.span)
        return left

    def product(self) -> Expr:
        left = self.prefix()
        while self.token.kind == "symbol" and self.token.text in _PRODUCTS:
            token = self.take()
            left = Call(_PRODUCTS[token.text], (left, self.prefix()), token.span)
        return left

    def prefix(self) -> Expr:
        token = self.accept("-")
        if token is None:
            return self.operand()
        if self.token.kind == "number" or self.at("inf"):
            literal = self.operand()
            assert isinstance(literal, Num)
            return Num(-literal.value, token.span)
        self.deeper()
        inner = self.prefix()
        self.depth -= 1
        return Call("neg", (inner,), token.span)

    def operand(self) -> Expr:
        token = self.token
        if token.kind == "number":
            return Num(self.take().number, token.span)
        if self.at("("):
            self.take()
            inner = self.expression()
            if self.at(","):
                self.fail("tuple: it stands where one value is wanted, got ','; give one tensor on the left for each value, "
                          "as in '(A[i], B[i]) = (..., ...)'")
            self.expect(")", f"bracket '(' of line {token.span.line}, column {token.span.column}")
            return inner
        if token.kind == "name":
            return self.named()
        if token.text == "*" and self.tokens[self.position - 1].text == "*":
            self.fail("expression: there is no operator '**', got '**'; write pow(a, b), or square(a)")
        self.fail(f"expression: an operand is missing, got {shown(token)}; write a tensor, a rank, an extent, a number or "
                  f"an operator")

    def named(self) -> Expr:
        token = self.token
        if token.text == "inf":
            return Num(float("inf"), self.take().span)
        if token.text in ("and", "or", "not") or token.text == "where" and self.following.text != "(":
            self.fail(f"expression: an operand is missing, got {token.text!r}; write one before it")
        if self.following.text == "[":
            return self.read()
        if self.following.text == "(":
            return self.call()
        self.take()
        if token.text in self.parameters:
            return Access(token.text, (), None, token.span)
        if token.text in MAPS or token.text in self.operators:
            self.fail(f"operator {token.text!r}: its operands are missing, got {shown(self.token)}; write "
                      f"'{token.text}(...)'", token.span)
        if token.text[0].isupper():
            return Extent(token.text, token.span)
        return Coord(token.text, token.span)

    def read(self) -> Access:
        token = self.token
        if token.text[0].isupper():
            return self.access()
        if token.text in REDUCTIONS or token.text in POPULATES or token.text in self.operators:
            self.fail(f"reduction {token.text!r}: it stands inside an expression, got '{token.text}[' here; a named reduction "
                      f"stands only at the head of the right side: give it a line of its own")
        self.fail(f"tensor {token.text!r}: names of tensors begin with a capital letter, got {token.text!r}; write "
                  f"{capital(token.text)!r}")

    def call(self) -> Call:
        name = self.take()
        if name.text[0].isupper():
            self.fail(f"tensor {name.text!r}: coordinates stand in square brackets, got '('; write '{name.text}[...]'",
                      name.span)
        arguments = self.arguments(name)
        if name.text in ("max", "min") and len(arguments) > 2:
            folded = Call(name.text, arguments[:2], name.span)
            for argument in arguments[2:]:
                folded = Call(name.text, (folded, argument), name.span)
            return folded
        return Call(name.text, arguments, name.span)

    def arguments(self, name: Token) -> tuple[Expr, ...]:
        self.expect("(", f"operator {name.text!r}")
        if self.accept(")"):
            return ()
        arguments = [self.expression()]
        while self.accept(",") or (name.text in self.operators and self.accept(";")):
            arguments.append(self.expression())
        self.expect(")", f"operator {name.text!r}")
        return tuple(arguments)

    def access(self) -> Access:
        name = self.take()
        where = f"tensor {name.text!r}"
        self.expect("[", where)
        indices: list[Expr] = []
        fill: float | None = None
        if not self.at("]", ";"):
            indices.append(self.expression())
            while self.accept(","):
                indices.append(self.expression())
        if self.accept(";"):
            if not self.accept("fill"):
                self.fail(f"{where}: only 'fill=' may follow ';', got {shown(self.token)}; write "
                          f"'{name.text}[...; fill=0]'")
            self.expect("=", where)
            fill = self.signed(where)
        self.expect("]", where)
        return Access(name.text, tuple(indices), fill, name.span)


def shown(token: Token) -> str:
    """Returns a token as a message shows it."""
    if token.kind in ("end", "newline"):
        return "the end of the line" if token.kind == "newline" else token.text
    return repr(token.text if len(token.text) <= 40 else token.text[:37] + "...")


def capital(name: str) -> str:
    """Returns the nearest name that a tensor may have."""
    return name.lstrip("_")[:1].upper() + name.lstrip("_")[1:] or "T"

"""The parser of the notation: text into a cascade, by recursive descent.

docs/notation.md teaches the language. Text is only ever parsed; nothing in it is evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from einsum_cascades.errors import NotationError, suggest
from einsum_cascades.ir import (
    Access,
    Call,
    Cascade,
    Coord,
    Einsum,
    Expr,
    Extent,
    Num,
    Reduction,
    Span,
    UserOperator,
    unique,
)
from einsum_cascades.operators import MAPS, OPERATOR_PROPERTIES, POPULATES, REDUCTIONS, inlined, parameters
from einsum_cascades.tokens import Token, tokenize

DEEPEST_NESTING = 64
"""Brackets and prefix operators that may stand inside one another."""

KEYWORDS = ("init", "output", "op", "dtype", "device", "extent")
"""Words that begin a line which is no Einsum."""

_WORDS = frozenset(("where", "and", "or", "not", "inf"))
_COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
_SUMS = {"+": "add", "-": "sub"}
_PRODUCTS = {"*": "mul", "/": "div", "//": "floordiv", "%": "mod"}


def parse(text: str, *, source: str = "cascade") -> Cascade:
    """Returns the cascade that a text describes, verified; ``source`` names the text in messages.

    Raises: NotationError with line and column where the text cannot be read or is not a valid cascade.
    """
    lines = _Parser(tokenize(text, source=source), source).lines()
    if not lines.einsums:
        raise NotationError("cascade: it has no Einsum, got "
                            f"{'an empty text' if not text.strip() else 'declarations or comments only'}; write at least "
                            "one line such as 'Z[m] = A[k,m] * B[k]'", source=source)
    return Cascade(tuple(lines.einsums), tuple(lines.inits), unique(tuple(lines.outputs)), tuple(lines.dtypes),
                   unique(tuple(lines.devices)), tuple(lines.operators), tuple(lines.extents), source)


@dataclass
class _Lines:
    einsums: list[Einsum] = field(default_factory=list)
    inits: list[Einsum] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    dtypes: list[tuple[str, str]] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    operators: list[UserOperator] = field(default_factory=list)
    extents: list[tuple[str, int]] = field(default_factory=list)


class _Parser:
    def __init__(self, tokens: list[Token], source: str) -> None:
        self.tokens, self.source = tokens, source
        self.position = self.depth = 0
        self.parameters: frozenset[str] = frozenset()
        self.operators: dict[str, UserOperator] = {}

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
            self.fail(f"{where}: {text!r} is missing, got {_shown(self.token)}; write it here")
        return self.take()

    def fail(self, message: str, span: Span | None = None) -> NoReturn:
        span = span or self.token.span
        raise NotationError(message, source=self.source, line=span.line, column=span.column)

    # --- lines ---

    def lines(self) -> _Lines:
        found = _Lines()
        # Operators may be used above their definition: order of lines has no meaning.
        for number, token in enumerate(self.tokens):
            if token.text == "op" and token.kind == "name" and self._begins_line(number):
                self.position = number + 1
                operator = self.operator(token.span)
                found.operators.append(operator)
                self.operators.setdefault(operator.name, operator)
        self.position = 0
        while self.token.kind != "end":
            if self.token.kind == "newline" or self.at(";"):
                self.take()
                continue
            self.line(found)
            if self.token.kind not in ("newline", "end") and not self.at(";"):
                self.fail(f"line: it should end here, got {_shown(self.token)}; begin a new line, or put an operator "
                          f"before it")
        return found

    def _begins_line(self, number: int) -> bool:
        return number == 0 or self.tokens[number - 1].kind == "newline" or self.tokens[number - 1].text == ";"

    def line(self, found: _Lines) -> None:
        keyword = self.token
        if keyword.kind == "name" and keyword.text in KEYWORDS and self.following.text not in ("[", "="):
            self.take()
            match keyword.text:
                case "init":
                    found.inits.append(self.einsum("seed"))
                case "output":
                    found.outputs += self.names("output", "a tensor's name")
                case "op":
                    self.operator(keyword.span)
                case "dtype":
                    found.dtypes += self.dtype()
                case "device":
                    found.devices += self.names("device", "a rank's name")
                case "extent":
                    found.extents += self.extents()
            return
        found.einsums.append(self.einsum("line"))

    def names(self, keyword: str, what: str) -> list[str]:
        names = [self.name(keyword, what).text]
        while self.accept(","):
            names.append(self.name(keyword, what).text)
        return names

    def name(self, where: str, what: str) -> Token:
        if self.token.kind != "name" or self.token.text in _WORDS:
            self.fail(f"{where}: {what} is missing, got {_shown(self.token)}; write it here")
        return self.take()

    def dtype(self) -> list[tuple[str, str]]:
        tensors = self.names("dtype", "a tensor's name")
        kind = self.name("dtype", "a precision such as bf16").text
        return [(tensor, kind) for tensor in tensors]

    def extents(self) -> list[tuple[str, int]]:
        found = []
        while True:
            name = self.name("extent", "a rank's or an extent's name").text.lower()
            self.accept("=")
            token = self.token
            if token.kind != "number" or not token.text.isdigit() or not 0 < token.number < 2**53:
                self.fail(f"extent {name!r}: it needs a whole number of at least 1, got {_shown(token)}; write for "
                          f"example 'extent {name.upper()} 64'")
            found.append((name, int(self.take().number)))
            if not self.accept(","):
                return found

    # --- Einsums ---

    def einsum(self, where: str) -> Einsum:
        span = self.token.span
        if self.at("("):
            self.take()
            outputs = [self.left(where)]
            while self.accept(","):
                outputs.append(self.left(where))
            self.expect(")", "left side")
        else:
            outputs = [self.left(where)]
        if self.at("=="):
            self.fail(f"tensor {outputs[0].tensor!r}: '==' compares, got '=='; define with a single '='")
        if not self.at("="):
            self.fail(f"tensor {outputs[0].tensor!r}: '=' is missing after its left side, got {_shown(self.token)}; write "
                      f"'{outputs[0].tensor}[...] = ...'")
        self.take()
        reduction = self.reduction() if self._at_reduction() else None
        bodies = self.bodies(len(outputs))
        if len(bodies) != len(outputs):
            self.fail(f"tensor {outputs[0].tensor!r}: the two sides differ in their number of values, got {len(outputs)} on "
                      f"the left and {len(bodies)} on the right; give one value for each tensor", span)
        predicate = self.expression() if self.accept("where") else None
        return Einsum(tuple(outputs), bodies, reduction, predicate, span)

    def left(self, where: str) -> Access:
        token = self.token
        if token.kind != "name":
            self.fail(f"{where}: it should begin with a tensor, got {_shown(token)}; write 'Name[ranks] = ...', or one of "
                      f"the keywords {', '.join(KEYWORDS)}")
        if self.following.text != "[":
            near = suggest(token.text, KEYWORDS) if token.text[0].islower() else \
                f"write '{token.text}[...] = ...', with its ranks in brackets ({token.text}[] is a scalar)"
            self.fail(f"{where}: a tensor with its ranks in brackets or a keyword should begin it, got {token.text!r}; "
                      f"{near}")
        if not token.text[0].isupper():
            self.fail(f"tensor {token.text!r}: names of tensors begin with a capital letter, got {token.text!r}; write "
                      f"{_capital(token.text)!r}")
        access = self.access()
        if access.fill is not None:
            self.fail(f"tensor {access.tensor!r}: a left side takes no fill, got fill={access.fill:g}; put it on the reads",
                      token.span)
        return access

    def bodies(self, wanted: int) -> tuple[Expr, ...]:
        if wanted > 1 and self.at("(") and self._tuple_ahead():
            return self.tuple()
        if wanted > 1 and self.token.text in self.operators and self.following.text == "(":
            user = self.operators[self.token.text]
            name = self.take()
            arguments = self.arguments(name)
            if len(arguments) != len(parameters(user)):
                self.fail(f"operator {name.text!r}: it takes {len(parameters(user))} values, got {len(arguments)}; give "
                          f"{', '.join(parameters(user))}", name.span)
            return inlined(user, arguments)
        return (self.expression(),)

    def tuple(self) -> tuple[Expr, ...]:
        self.expect("(", "tuple")
        parts = [self.expression()]
        while self.accept(","):
            parts.append(self.expression())
        self.expect(")", "tuple")
        return tuple(parts)

    def _tuple_ahead(self) -> bool:
        depth = 0
        for token in self.tokens[self.position:]:
            if token.text in ("(", "["):
                depth += 1
            elif token.text in (")", "]"):
                depth -= 1
                if depth == 0:
                    return False
            elif token.text == "," and depth == 1:
                return True
        return False

    def _at_reduction(self) -> bool:
        return self.token.kind == "name" and self.token.text[0].islower() and self.following.text == "["

    def reduction(self) -> Reduction:
        name = self.take()
        self.expect("[", f"reduction {name.text!r}")
        ranks = self.names(f"reduction {name.text!r}", "a rank")
        into = self.names(f"populate {name.text!r}", "a rank") if self.accept(";") else []
        self.expect("]", f"reduction {name.text!r}")
        if not self._begins_operand() and name.text not in REDUCTIONS and name.text not in POPULATES \
                and name.text not in self.operators:
            self.fail(f"tensor {name.text!r}: names of tensors begin with a capital letter, got {name.text!r}; write "
                      f"{_capital(name.text)!r}", name.span)
        return Reduction(name.text, tuple(ranks), tuple(into), name.span)

    def _begins_operand(self) -> bool:
        return self.token.kind in ("name", "number") and self.token.text not in ("where", "and", "or") or self.at("(", "-")

    # --- operators ---

    def operator(self, span: Span) -> UserOperator:
        name = self.name("op", "the operator's name")
        if not name.text[0].islower():
            self.fail(f"operator {name.text!r}: names of operators are in lower case, got {name.text!r}; write "
                      f"{name.text.lower()!r}", name.span)
        where = f"operator {name.text!r}"
        self.expect("(", where)
        operands = [tuple(self.names(where, "a parameter"))]
        while self.accept(";"):
            operands.append(tuple(self.names(where, "a parameter")))
        self.expect(")", where)
        self.expect("=", where)
        self.parameters = frozenset(p for operand in operands for p in operand)
        bodies = self.tuple() if self.at("(") and self._tuple_ahead() else (self.expression(),)
        self.parameters = frozenset()
        identity: tuple[float, ...] | None = None
        cost: str | None = None
        properties: set[str] = set()
        while self.token.kind == "name":
            word = self.take()
            if word.text == "identity":
                identity = self.values(where)
            elif word.text == "cost":
                cost = self.name(where, "a cost class").text
            elif word.text in OPERATOR_PROPERTIES:
                properties.add(word.text + self.property_arguments(where))
            else:
                self.fail(f"{where}: unknown property, got {word.text!r}; "
                          f"{suggest(word.text, (*OPERATOR_PROPERTIES, 'identity', 'cost'))}", word.span)
        return UserOperator(name.text, tuple(operands), bodies, identity, frozenset(properties), cost, span)

    def values(self, where: str) -> tuple[float, ...]:
        if not self.accept("("):
            return (self.signed(where),)
        values = [self.signed(where)]
        while self.accept(","):
            values.append(self.signed(where))
        self.expect(")", where)
        return tuple(values)

    def property_arguments(self, where: str) -> str:
        if not self.accept("("):
            return ""
        names = self.names(where, "an operator's name")
        self.expect(")", where)
        return f"({','.join(names)})"

    def signed(self, where: str) -> float:
        negative = self.accept("-") is not None
        if self.accept("inf"):
            value = float("inf")
        elif self.token.kind == "number":
            value = self.take().number
        else:
            self.fail(f"{where}: a number is missing, got {_shown(self.token)}; write a literal such as 0, 1.5 or -inf")
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
        self.fail(f"expression: an operand is missing, got {_shown(token)}; write a tensor, a rank, an extent, a number or "
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
            self.fail(f"operator {token.text!r}: its operands are missing, got {_shown(self.token)}; write "
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
                  f"{_capital(token.text)!r}")

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
                self.fail(f"{where}: only 'fill=' may follow ';', got {_shown(self.token)}; write "
                          f"'{name.text}[...; fill=0]'")
            self.expect("=", where)
            fill = self.signed(where)
        self.expect("]", where)
        return Access(name.text, tuple(indices), fill, name.span)


def _shown(token: Token) -> str:
    if token.kind in ("end", "newline"):
        return "the end of the line" if token.kind == "newline" else token.text
    return repr(token.text if len(token.text) <= 40 else token.text[:37] + "...")


def _capital(name: str) -> str:
    return name.lstrip("_")[:1].upper() + name.lstrip("_")[1:] or "T"

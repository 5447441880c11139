"""The parser of the notation: text into a cascade, by recursive descent.

docs/notation.md teaches the language. Text is only ever parsed; nothing in it is evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from einsum_cascades.errors import NotationError, suggest
from einsum_cascades.expressions import ExpressionParser, capital, shown
from einsum_cascades.ir import Access, Cascade, Einsum, Expr, Reduction, Span, UserOperator, unique
from einsum_cascades.operators import OPERATOR_PROPERTIES, POPULATES, REDUCTIONS, inlined, parameters
from einsum_cascades.tokens import tokenize
from einsum_cascades.verify import DeclarationError

KEYWORDS = ("init", "output", "op", "dtype", "device", "extent")
"""Words that begin a line which is no Einsum."""


def parse(text: str, *, source: str = "cascade") -> Cascade:
    """Returns the cascade that a text describes, verified; ``source`` names the text in messages.

    Raises: NotationError with line and column where the text cannot be read or is not a valid cascade.
    """
    lines = _Parser(tokenize(text, source=source), source).lines()
    if not lines.einsums:
        raise NotationError("cascade: it has no Einsum, got "
                            f"{'an empty text' if not text.strip() else 'declarations or comments only'}; write at least "
                            "one line such as 'Z[m] = A[k,m] * B[k]'", source=source)
    try:
        return Cascade(tuple(lines.einsums), tuple(lines.inits), unique(tuple(lines.outputs)), tuple(lines.dtypes),
                       unique(tuple(lines.devices)), tuple(lines.operators), tuple(lines.extents), source)
    except DeclarationError as error:
        # The cascade's declarations are plain names: only the parser knows where they stand.
        span = lines.places.get((error.keyword, error.name))
        raise NotationError(error.message, source=source, line=span.line if span else None,
                            column=span.column if span else None) from None


@dataclass
class _Lines:
    einsums: list[Einsum] = field(default_factory=list)
    inits: list[Einsum] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    dtypes: list[tuple[str, str]] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    operators: list[UserOperator] = field(default_factory=list)
    extents: list[tuple[str, int]] = field(default_factory=list)
    places: dict[tuple[str, str], Span] = field(default_factory=dict)


class _Parser(ExpressionParser):
    """Reads lines."""

    # --- lines ---

    def lines(self) -> _Lines:
        found = _Lines(places=self.places)
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
            if self.at("="):
                self.fail("line: '=' stands where a comparison is wanted, got '='; write '==' to compare, or begin a new line")
            if self.token.kind not in ("newline", "end") and not self.at(";"):
                self.fail(f"line: it should end here, got {shown(self.token)}; begin a new line, or put an operator "
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

    def dtype(self) -> list[tuple[str, str]]:
        tensors = self.names("dtype", "a tensor's name")
        kind = self.name("dtype", "a precision such as bf16").text
        return [(tensor, kind) for tensor in tensors]

    def extents(self) -> list[tuple[str, int]]:
        found = []
        while True:
            token = self.name("extent", "a rank's or an extent's name")
            name = token.text.lower()
            self.places["extent", name] = token.span
            self.accept("=")
            token = self.token
            if token.kind != "number" or not token.text.isdigit() or not 0 < token.number < 2**53:
                self.fail(f"extent {name!r}: it needs a whole number of at least 1, got {shown(token)}; write for "
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
            self.fail(f"tensor {outputs[0].tensor!r}: '=' is missing after its left side, got {shown(self.token)}; write "
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
            self.fail(f"{where}: it should begin with a tensor, got {shown(token)}; write 'Name[ranks] = ...', or one of "
                      f"the keywords {', '.join(KEYWORDS)}")
        if self.following.text != "[":
            near = suggest(token.text, KEYWORDS) if token.text[0].islower() else \
                f"write '{token.text}[...] = ...', with its ranks in brackets ({token.text}[] is a scalar)"
            self.fail(f"{where}: a tensor with its ranks in brackets or a keyword should begin it, got {token.text!r}; "
                      f"{near}")
        if not token.text[0].isupper():
            self.fail(f"tensor {token.text!r}: names of tensors begin with a capital letter, got {token.text!r}; write "
                      f"{capital(token.text)!r}")
        access = self.access()
        if access.fill is not None:
            self.fail(f"tensor {access.tensor!r}: a left side takes no fill, got fill={access.fill:g}; put it on the reads",
                      token.span)
        return access

    def bodies(self, wanted: int) -> tuple[Expr, ...]:
        if wanted > 1 and self.at("(") and self._tuple_ahead():
            return self.tuple_of_values()
        if wanted > 1 and self.token.text in self.operators and self.following.text == "(":
            user = self.operators[self.token.text]
            name = self.take()
            arguments = self.arguments(name)
            if len(arguments) != len(parameters(user)):
                self.fail(f"operator {name.text!r}: it takes {len(parameters(user))} values, got {len(arguments)}; give "
                          f"{', '.join(parameters(user))}", name.span)
            return inlined(user, arguments)
        return (self.expression(),)

    def tuple_of_values(self) -> tuple[Expr, ...]:
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
                      f"{capital(name.text)!r}", name.span)
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
        bodies = self.tuple_of_values() if self.at("(") and self._tuple_ahead() else (self.expression(),)
        self.parameters = frozenset()
        identity: tuple[float, ...] | None = None
        cost: str | None = None
        properties: set[str] = set()
        while self.token.kind == "name":
            word = self.take()
            if word.text == "identity":
                identity = self.literals(where)
            elif word.text == "cost":
                cost = self.name(where, "a cost class").text
            elif word.text in OPERATOR_PROPERTIES:
                properties.add(word.text + self.property_arguments(where))
            else:
                self.fail(f"{where}: unknown property, got {word.text!r}; "
                          f"{suggest(word.text, (*OPERATOR_PROPERTIES, 'identity', 'cost'))}", word.span)
        return UserOperator(name.text, tuple(operands), bodies, identity, frozenset(properties), cost, span)

    def literals(self, where: str) -> tuple[float, ...]:
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

"""The tokenizer of the notation: text into tokens, each with its line and column."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from einsum_cascades.errors import NotationError
from einsum_cascades.ir import Span

LONGEST_TEXT = 1_000_000
"""Characters that a cascade's text may have."""

_TOKEN = re.compile(r"""
    (?P<space>[ \t\r\f\v]+|\#[^\n]*)
  | (?P<newline>\n)
  | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<symbol>//|<=|>=|==|!=|[-+*/%<>=,;()\[\]])
""", re.VERBOSE)
_CONTINUES_AFTER = frozenset(("+", "-", "*", "/", "//", "%", "<", "<=", ">", ">=", "==", "!=", "=", ",", "where", "and",
                              "or", "not"))
_CONTINUES_BEFORE = frozenset(("where", "and", "or"))
_CLOSES = {")": "(", "]": "["}


@dataclass(frozen=True, slots=True)
class Token:
    """One token: ``kind`` is name, number, symbol, newline or end; ``number`` is the value of a literal."""

    kind: str
    text: str
    span: Span
    number: float = 0.0


def tokenize(text: str, *, source: str = "cascade") -> list[Token]:
    """Returns the tokens of a text, ending with one of kind ``end``.

    Lines go on inside brackets, after an operator, and before ``where``, ``and`` and ``or``.

    Raises: NotationError for a character that is not of the notation, an unclosed bracket, a literal that overflows.
    """
    if len(text) > LONGEST_TEXT:
        raise NotationError(f"text: too long, got {len(text)} characters; at most {LONGEST_TEXT} are read", source=source)
    tokens: list[Token] = []
    opened: list[Token] = []
    line, start, position = 1, 0, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        span = Span(line, position - start + 1)
        if match is None:
            raise NotationError(f"character: none that the notation has, got {text[position]!r}; use ASCII letters, "
                                f"digits and + - * / // % < <= > >= == != = , ; ( ) [ ] #", source=source,
                                line=span.line, column=span.column)
        kind, position = match.lastgroup or "", match.end()
        if kind == "newline":
            line, start = line + 1, position
            if not opened and tokens and tokens[-1].kind != "newline":
                tokens.append(Token("newline", "\n", span))
        elif kind == "number":
            tokens.append(Token(kind, match.group(), span, _number(match.group(), span, source)))
        elif kind != "space":
            token = Token(kind, match.group(), span)
            _balance(token, opened, source)
            tokens.append(token)
    if opened:
        _fail(f"bracket {opened[-1].text!r}: it is never closed, got the end of the text; close it", opened[-1].span,
              source)
    tokens.append(Token("end", "the end of the text", Span(line, len(text) - start + 1)))
    return _joined(tokens)


def _joined(tokens: list[Token]) -> list[Token]:
    """Drops the line ends across which a line goes on."""
    kept: list[Token] = []
    for token, following in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.kind == "newline" and ((kept and kept[-1].text in _CONTINUES_AFTER)
                                        or following.text in _CONTINUES_BEFORE):
            continue
        kept.append(token)
    return kept


def _balance(token: Token, opened: list[Token], source: str) -> None:
    if token.text in ("(", "["):
        opened.append(token)
    elif token.text in _CLOSES:
        if not opened:
            _fail(f"bracket {token.text!r}: nothing is open here, got it without a {_CLOSES[token.text]!r}; remove it or "
                  f"open one", token.span, source)
        last = opened.pop()
        if last.text != _CLOSES[token.text]:
            _fail(f"bracket {token.text!r}: it does not close the {last.text!r} of line {last.span.line}, column "
                  f"{last.span.column}, got {token.text!r}; close that one first", token.span, source)


def _number(text: str, span: Span, source: str) -> float:
    value = float(text)
    if math.isinf(value):
        _fail(f"number: too large for a float64, got {_short(text)}; write inf where infinity is meant", span, source)
    return value


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _fail(message: str, span: Span, source: str) -> None:
    raise NotationError(message, source=source, line=span.line, column=span.column)

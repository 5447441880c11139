"""Selective scans of images along routes: in which order, with which parameters, and how the results are put together.

No variant: those that scan images share it. A layout is data (routes, shared or separate parameters, merge), of which
both the lines of a cascade and the formula in NumPy follow. A route takes step i of I = Y X to a pixel, and back. Lines
have the rank k of routes, and name the tensors of ``mamba_s6``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from workloads.variant import Array

_STEP = "(I - 1 - i)"


@dataclass(frozen=True)
class Route:
    """An order of the pixels. ``row`` and ``column`` are where step i is, ``step`` when pixel y, x is; ``snake`` routes
    turn at the end of a line, ``columns`` go down before they go across, and ``backward`` ones begin at the end."""

    columns: bool = False
    snake: bool = False
    backward: bool = False

    @property
    def pixel(self) -> tuple[str, str]:
        """Row and column of step i."""
        i, length = (_STEP if self.backward else "i"), ("Y" if self.columns else "X")
        line, along = f"{i} // {length}", f"{i} % {length}"
        if self.snake:
            along = f"where({line} % 2 == 0, {along}, {length} - 1 - {along})"
        return (along, line) if self.columns else (line, along)

    @property
    def step(self) -> str:
        """The step of pixel y, x."""
        line, along, length = ("x", "y", "Y") if self.columns else ("y", "x", "X")
        inside = f"where({line} % 2 == 0, {along}, {length} - 1 - {along})" if self.snake else along
        forward = f"{line}*{length} + {inside}"
        return f"I - 1 - ({forward})" if self.backward else forward

    def order(self, rows: int, columns: int) -> list[int]:
        """Returns the pixels (row * columns + column) in the order of the route, walked line by line."""
        lines = [[y * columns + x for x in range(columns)] for y in range(rows)]
        if self.columns:
            lines = [list(line) for line in zip(*lines, strict=True)]
        if self.snake:
            lines = [line[::-1] if number % 2 else line for number, line in enumerate(lines)]
        whole = [pixel for line in lines for pixel in line]
        return whole[::-1] if self.backward else whole


Parameters = Literal["separate", "shared"]
"""Whether each route has weights of its own (with the rank k), or all have the same."""

ROWS, COLUMNS = Route(), Route(columns=True)
CROSS = (ROWS, COLUMNS, Route(backward=True), Route(columns=True, backward=True))
"""Rows, columns, and both backwards: the cross scan."""
SNAKES = (Route(snake=True), Route(snake=True, backward=True), Route(columns=True, snake=True), Route(columns=True, snake=True, backward=True))
"""Rows that turn at their end, columns likewise, each also backwards."""


def scanned(routes: tuple[Route, ...], parameters: Parameters) -> str:
    """Returns the lines from U[y,x,e] to Y[k,i,e], the scan of each route with its skip; parameters are of U itself."""
    k = "k," if parameters == "separate" else ""
    return f"""
{gathered(routes)}
DR[k,i,r]   = US[k,i,e] * WxDt[{k}r,e]
B[k,i,n]    = US[k,i,e] * WxB[{k}n,e]
C[k,i,n]    = US[k,i,e] * WxC[{k}n,e]
DP[k,i,e]   = DR[k,i,r] * Wdt[{k}e,r]
DL[k,i,e]   = softplus(DP[k,i,e] + Bdt[{k}e])
{recurrence(parameters)}"""


def gathered(routes: tuple[Route, ...]) -> str:
    """Returns the line that reads U[y,x,e] along each route: US[k,i,e]."""
    row, column = pixel_of(routes)
    return f"extent K {len(routes)}\nUS[k,i,e]   = U[{row}, {column}, e]\n"


def pixel_of(routes: tuple[Route, ...]) -> tuple[str, str]:
    """Returns row and column of step i of route k."""
    return _chosen([route.pixel[0] for route in routes]), _chosen([route.pixel[1] for route in routes])


def recurrence(parameters: Parameters) -> str:
    """Returns the lines of the scans from steps DL, inputs US, B and C to Y[k,i,e]."""
    k = "k," if parameters == "separate" else ""
    return f"""
init H[k,0,e,n] = 0
A[{k}e,n]     = -exp(Alog[{k}e,n])
DA[k,i,e,n] = DL[k,i,e] * A[{k}e,n]
AB[k,i,e,n] = exp(DA[k,i,e,n])
DU[k,i,e]   = DL[k,i,e] * US[k,i,e]
BX[k,i,e,n] = DU[k,i,e] * B[k,i,n]
H[k,i+1,e,n] = AB[k,i,e,n] * H[k,i,e,n] + BX[k,i,e,n]
YS[k,i,e]   = H[k,i+1,e,n] * C[k,i,n]
Y[k,i,e]    = YS[k,i,e] + D[{k}e] * US[k,i,e]
"""


def merged(routes: tuple[Route, ...], reduction: str = "sum") -> str:
    """Returns the line that puts the routes together: V[y,x,e], their sum or mean."""
    return f"V[y,x,e] = {reduction}[k] Y[k, {_chosen([route.step for route in routes])}, e]\n"


def scan(inputs: Array, step: Array, log_rate: Array, b: Array, c: Array, skip: Array) -> Array:
    """Returns Y[i,e] of one scan, token by token: inputs and steps [i,e], rates [e,n], b and c [i,n], skip [e]."""
    import numpy as np
    state, out = np.zeros(log_rate.shape), np.empty(inputs.shape)
    for i in range(len(inputs)):
        state = state * np.exp(-step[i][:, None] * np.exp(log_rate)) + np.outer(step[i] * inputs[i], b[i])
        out[i] = state @ c[i] + skip * inputs[i]
    return out


def along(routes: tuple[Route, ...], image: Array, weights: Mapping[str, Array]) -> Array:
    """Returns the results of all routes, [route, pixel, e], from an image [y,x,e] and the weights of each route."""
    import numpy as np
    rows, columns, channels = image.shape
    pixels = image.reshape(-1, channels)
    out = np.empty((len(routes), *pixels.shape))
    separate = weights["D"].ndim == 2
    for k, route in enumerate(routes):
        own = {name: weight[k] if separate else weight for name, weight in weights.items()}
        order = route.order(rows, columns)
        u = pixels[order]
        step = np.logaddexp(0, u @ own["WxDt"].T @ own["Wdt"].T + own["Bdt"])
        out[k, order] = scan(u, step, own["Alog"], u @ own["WxB"].T, u @ own["WxC"].T, own["D"])
    return out


WEIGHTS = ("WxDt", "WxB", "WxC", "Wdt", "Bdt", "Alog", "D")
"""The tensors of ``scanned`` that are parameters."""


def _chosen(expressions: list[str]) -> str:
    """The expression of route k."""
    *before, last = expressions
    for k in reversed(range(len(before))):
        last = f"where(k == {k}, {before[k]}, {last})"
    return last

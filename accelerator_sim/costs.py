"""Costs of components by technology node: arithmetic by operator and format, SRAM beyond its table, scaling between nodes.

* Scaling: Stillmaker and Baas, "Scaling equations for the accurate prediction of CMOS device performance from 180 nm
  to 7 nm", Integration 58 (2017), tables 1 (area) and 5 (energy, high performance), at each node's nominal voltage.
* Arithmetic at 45 nm: Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014; areas as given
  with them by Dally (NIPS 2015 tutorial). At 7 nm: Jouppi et al., "Ten lessons from three generations shaped Google's
  TPUv4i", ISCA 2021, table 2. Between the two nodes costs are interpolated in log space, and the low end of the band is
  what scaling from 45 nm gives; above 45 nm they are scaled, with a band to the classical law. The high end of 16-bit formats at 45 nm is the FuseMax
  artifact's (Accelergy with Aladdin).
* Below 7 nm no published rule reaches: components cost what they do at 7 nm, with a band down to half of it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from accelerator_sim.errors import ComponentError
from accelerator_sim.numbers import Provenance
from accelerator_sim.quantities import Quantity
from accelerator_sim.sram import SramCost, nodes_of_the_table, sram_cost
from einsum_cascades.errors import UnknownNameError

SCALING = "Stillmaker and Baas, Integration 58 (2017)"
SOURCES: Mapping[str, str] = {"horowitz": "Horowitz, ISSCC 2014 (45 nm)", "jouppi": "Jouppi et al., ISCA 2021, table 2 (7 nm)"}
SMALLEST_NM = 7
ENDS = ("nominal", "low", "high")

_FOLDER = Path(__file__).with_name("components")
_PRODUCTS, _SUMS = ("mul",), ("add", "sub")
_COMPARISONS = ("max", "min", "abs", "neg", "relu", "sign", "where")
_ELEMENTARY = ("exp", "exp2", "expm1", "log", "log2", "log1p", "div", "rcp", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid",
               "silu", "softplus", "gelu", "erf", "pow")
_COMPARED_AS = {"int8": "int8", "fp8": "int8", "int16": "int16", "fp16": "int16", "bf16": "int16", "int32": "int32",
                "fp32": "int32"}


@dataclass(frozen=True, slots=True)
class Cost:
    """A cost with its band, and where it is from."""

    nominal: float
    low: float
    high: float
    text: str
    estimated: bool = False

    def at(self, end: str) -> float:
        """Returns the cost at an end of its band (``nominal``, ``low`` or ``high``)."""
        return {"nominal": self.nominal, "low": self.low, "high": self.high}[end]

    def provenance(self, end: str = "nominal") -> Provenance:
        """Returns where it is from, with the band unless one of its ends is taken."""
        band = (self.low, self.high) if self.low < self.high and end == "nominal" else None
        text = self.text if end == "nominal" else f"{self.text}; the {end} end of its band"
        return Provenance(text, self.estimated, band)

    def plus(self, other: Cost) -> Cost:
        """Returns the cost of both together."""
        texts = dict.fromkeys((self.text, other.text))
        return Cost(self.nominal + other.nominal, self.low + other.low, self.high + other.high, "; ".join(texts),
                    self.estimated or other.estimated)

    def times(self, low: float, nominal: float, high: float, rule: str) -> Cost:
        """Returns an estimate: this cost so many times."""
        return Cost(self.nominal * nominal, self.low * low, self.high * high, f"{rule}; {self.text}", True)


def energy_factor(from_nm: float, to_nm: float, *, from_v: float | None = None, to_v: float | None = None) -> float:
    """Returns the energy of an operation at one node over that at another, at nominal voltages unless others are given.

    Raises: ComponentError for a node that the rule does not reach.
    """
    return _energy(to_nm, to_v) / _energy(from_nm, from_v)


def area_factor(from_nm: float, to_nm: float) -> float:
    """Returns the area of a circuit at one node over that at another.

    Raises: ComponentError for a node that the rule does not reach.
    """
    def area(node: float) -> float:
        return _between(node, lambda row: row.area)
    return area(to_nm) / area(from_nm)


def arithmetic_energy(operator: str, number_format: str, node_nm: float, accumulate: str | None = None) -> Cost:
    """Returns pJ of one operation: of a sum or product, of a multiply-add (whose sum is in the format ``accumulate``), of
    a comparison (an integer's sum), or of an elementary function.

    Raises: UnknownNameError for an operator or format without a figure, ComponentError for a node out of reach.
    """
    if operator == "mac":
        return arithmetic_energy("mul", number_format, node_nm).plus(
            arithmetic_energy("add", accumulate or number_format, node_nm))
    if operator in _COMPARISONS:
        _check_format(number_format)
        return arithmetic_energy("add", _COMPARED_AS[number_format], node_nm).times(
            1, 1, 2, "a comparison costs what the sum of integers of its width does, at most two")
    if operator in _ELEMENTARY:
        return arithmetic_energy("mac", number_format, node_nm, accumulate).times(
            1.5, 3, 6, "an elementary function by quadratic interpolation takes three multiply-adds (Oberman and Siu, ARITH "
                       "2005), as a polynomial up to six (FuseMax, section V)")
    return _figure("energy", "mul" if operator in _PRODUCTS else "add" if operator in _SUMS else operator, number_format, node_nm)


def arithmetic_area(operator: str, number_format: str, node_nm: float, accumulate: str | None = None) -> Cost:
    """Returns um2 of a unit for an operator, as :func:`arithmetic_energy`.

    Raises: UnknownNameError, ComponentError.
    """
    if operator == "mac":
        return arithmetic_area("mul", number_format, node_nm).plus(arithmetic_area("add", accumulate or number_format, node_nm))
    if operator in _COMPARISONS:
        _check_format(number_format)
        return arithmetic_area("add", _COMPARED_AS[number_format], node_nm).times(1, 1, 2, "the area of an integer adder")
    if operator in _ELEMENTARY:
        return arithmetic_area("mac", number_format, node_nm, accumulate).times(
            1, 3, 6, "an elementary function has three multiply-adds in a row, or shares one, or has six")
    return _figure("area", "mul" if operator in _PRODUCTS else "add" if operator in _SUMS else operator, number_format, node_nm)


def circuit_of(operator: str) -> str:
    """Returns the circuit of a PE that performs an operator: comparisons share one, and so do elementary functions and sums."""
    return "elementary" if operator in _ELEMENTARY else "compare" if operator in _COMPARISONS else \
        "add" if operator in _SUMS else operator


def sram_cost_at(size_bytes: Quantity, row_bits: Quantity, technology_nm: float, *, name: str = "sram") -> SramCost:
    """Returns the cost of an SRAM at any node from 7 to 180 nm: the table's at its nodes, else scaled from the nearest one.

    Raises: ComponentError for a node, a width or a size out of reach.
    """
    known = nodes_of_the_table()
    if technology_nm in known:
        return sram_cost(size_bytes, row_bits, int(technology_nm), name=name)
    node = max(technology_nm, SMALLEST_NM)
    nearest = min(known, key=lambda n: abs(math.log(n / node)))
    energy, area = energy_factor(nearest, node), area_factor(nearest, node)
    found = sram_cost(size_bytes, row_bits, nearest, name=name)
    # Leakage follows other laws; the rule has none that can be told apart from the circuit's activity.
    return SramCost(found.read_pj * energy, found.write_pj * energy, found.area_mm2 * area, found.leakage_mw * area)


def sram_cost_by_hwcomponents(size_bytes: int, row_bits: int, technology_nm: float) -> SramCost:
    """Returns the cost of an SRAM as the installed package ``hwcomponents-cacti`` models it (it runs CACTI).

    Raises: ComponentError where the package is not installed, or cannot model it.
    """
    try:
        model = import_module("hwcomponents_cacti.hwcomponents_cacti")
    except ImportError:
        raise ComponentError("SRAM: the package hwcomponents-cacti is not installed, got no module of that name; install it "
                             "(Python 3.12 or later), or use the shipped table") from None
    try:
        made = model.SRAM(tech_node=technology_nm * 1e-9, width=row_bits, depth=size_bytes * 8 // row_bits)
    except (AssertionError, OSError, ValueError) as reason:
        text = " ".join(str(reason).split())
        raise ComponentError(f"SRAM: hwcomponents-cacti cannot model it, got {text!r}; use another size or width") from None
    joule, square_metre, watt = 1e12, 1e6, 1e3
    return SramCost(float(made.read_energy) * joule, float(made.write_energy) * joule, float(made.area) * square_metre,
                    float(made.leak_power) * watt)


# --- figures of operators ---


@dataclass(frozen=True, slots=True)
class _Row:
    node: float
    energy: Cost
    area: Cost | None


def _figure(what: str, operator: str, number_format: str, node_nm: float) -> Cost:
    table = _arithmetic()
    _check_format(number_format)
    if (operator, number_format) not in table:
        raise UnknownNameError("operator with a known cost", operator, ("mac", "mul", *_SUMS, *_COMPARISONS, *_ELEMENTARY))
    node = max(node_nm, SMALLEST_NM)
    rows = table[operator, number_format]
    if what == "area":
        base = next(row for row in rows if row.area is not None)
        assert base.area is not None
        found = _scaled(base.area, base.node, node, area_factor, 2)
    else:
        found = _energy_of(rows, node)
    if node_nm >= SMALLEST_NM:
        return found
    if node_nm <= 0:
        _no_node(node_nm)
    return Cost(found.nominal, found.low / 2, found.high, f"the cost at 7 nm, at least half of it: no rule reaches {node_nm:g} nm; "
                f"{found.text}", True)


def _energy_of(rows: list[_Row], node: float) -> Cost:
    old, new = rows[-1], rows[0]
    if node in (old.node, new.node):
        return old.energy if node == old.node else new.energy
    if node > old.node:
        return _scaled(old.energy, old.node, node, energy_factor, 3)
    share = math.log(node / new.node) / math.log(old.node / new.node)
    nominal = new.energy.nominal ** (1 - share) * old.energy.nominal ** share
    low = min(nominal, old.energy.low * energy_factor(old.node, node))
    high = nominal * (old.energy.high / old.energy.nominal) ** share
    return Cost(nominal, low, high, f"between {old.node:g} and {new.node:g} nm in log space ({old.energy.text}; {new.energy.text}); "
                f"at least as {SCALING} scale the first", True)


def _scaled(cost: Cost, from_nm: float, to_nm: float, factor: Callable[[float, float], float], classical: int) -> Cost:
    """A cost at another node by the published rule; the other end of its band is the classical law (a power of the ratio)."""
    if from_nm == to_nm:
        return cost
    by, other = factor(from_nm, to_nm), (to_nm / from_nm) ** classical
    return cost.times(min(by, other), by, max(by, other), f"scaled from {from_nm:g} to {to_nm:g} nm by {SCALING}, with a band to "
                                                          f"the classical law (power {classical} of the ratio)")


def _check_format(number_format: str) -> None:
    if number_format not in _COMPARED_AS:
        raise UnknownNameError("number format", number_format, _COMPARED_AS)


@lru_cache(maxsize=1)
def _arithmetic() -> dict[tuple[str, str], list[_Row]]:
    table: dict[tuple[str, str], list[_Row]] = {}
    with (_FOLDER / "arithmetic.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            energy = float(row["energy_pj"])
            text = SOURCES[row["source"]] if row["source"] else row["estimated"]
            cost = Cost(energy, float(row["low_pj"] or energy), float(row["high_pj"] or energy), text, not row["source"])
            area = float(row["area_um2"]) if row["area_um2"] else None
            table.setdefault((row["operator"], row["format"]), []).append(
                _Row(float(row["node_nm"]), cost, None if area is None else Cost(area, area, area, text, not row["source"])))
    for rows in table.values():
        rows.sort(key=lambda r: r.node)
    return table


# --- nodes ---


@dataclass(frozen=True, slots=True)
class _Node:
    nm: float
    area: float
    vdd: float
    polynomial: tuple[float, float, float]


def _energy(node_nm: float, volts: float | None) -> float:
    def energy(row: _Node) -> float:
        v = row.vdd if volts is None else volts
        a, b, c = row.polynomial
        return a * v * v + b * v + c
    return _between(node_nm, energy)


def _between(node_nm: float, value: Callable[[_Node], float]) -> float:
    """The value at a node: of the table, else between its neighbours in log space."""
    rows = _nodes()
    if not rows[0].nm <= node_nm <= rows[-1].nm:
        _no_node(node_nm)
    below, above = max((r for r in rows if r.nm <= node_nm), key=lambda r: r.nm), min((r for r in rows if r.nm >= node_nm),
                                                                                       key=lambda r: r.nm)
    if below is above:
        return value(below)
    share = math.log(node_nm / below.nm) / math.log(above.nm / below.nm)
    return float(value(below) ** (1 - share) * value(above) ** share)


def _no_node(node_nm: float) -> NoReturn:
    raise ComponentError(f"technology_nm: costs scale between {SMALLEST_NM} and 180 nm, got {node_nm:g}; give the costs in the "
                         f"machine file")


@lru_cache(maxsize=1)
def _nodes() -> tuple[_Node, ...]:
    with (_FOLDER / "node_scaling.csv").open(newline="") as file:
        rows = [_Node(float(r["node_nm"]), float(r["area_of_45nm"]), float(r["vdd_v"]),
                      (float(r["energy_v2"]), float(r["energy_v1"]), float(r["energy_v0"]))) for r in csv.DictReader(file)]
    return tuple(sorted(rows, key=lambda r: r.nm))

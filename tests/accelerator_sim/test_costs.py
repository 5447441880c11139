"""Costs of components: against the published tables, the paper's own example, and laws that any rule keeps."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelerator_sim.costs import (
    area_factor,
    arithmetic_area,
    arithmetic_energy,
    energy_factor,
    sram_cost_at,
    sram_cost_by_hwcomponents,
)
from accelerator_sim.errors import ComponentError
from accelerator_sim.sram import BAND_FACTOR, nodes_of_the_table, sram_cost
from einsum_cascades.errors import UnknownNameError

# Horowitz, ISSCC 2014, figure 1.1.9, and Jouppi et al., ISCA 2021, table 2.
PUBLISHED = [("add", "int8", 45, 0.03), ("add", "int32", 45, 0.1), ("add", "fp16", 45, 0.4), ("add", "fp32", 45, 0.9),
             ("mul", "int8", 45, 0.2), ("mul", "int32", 45, 3.1), ("mul", "fp16", 45, 1.1), ("mul", "fp32", 45, 3.7),
             ("add", "int8", 7, 0.007), ("add", "bf16", 7, 0.11), ("add", "fp16", 7, 0.16), ("add", "fp32", 7, 0.38),
             ("mul", "int8", 7, 0.07), ("mul", "bf16", 7, 0.21), ("mul", "fp16", 7, 0.34), ("mul", "fp32", 7, 1.31)]
NODES = st.floats(7, 180)
FORMATS = ("int8", "int16", "int32", "fp8", "bf16", "fp16", "fp32")
OPERATORS = ("mac", "mul", "add", "sub", "max", "exp", "div")


@pytest.mark.parametrize(("operator", "number_format", "node", "pj"), PUBLISHED)
def test_published_energies_come_out_as_published(operator: str, number_format: str, node: int, pj: float) -> None:
    found = arithmetic_energy(operator, number_format, node)
    assert found.nominal == pj
    assert not found.estimated


def test_scaling_gives_the_papers_own_example() -> None:
    # Corrigendum to section 4.2.1: 1 pJ at 65 nm and 1.3 V is 0.1755 pJ at 32 nm and 0.9 V.
    assert energy_factor(65, 32, from_v=1.3, to_v=0.9) == pytest.approx(0.1755, abs=1e-4)
    assert area_factor(65, 32) == pytest.approx(0.31, abs=0.005)  # table 1, whose rows are rounded by themselves
    assert area_factor(32, 7) == pytest.approx(0.13, abs=0.005)


@given(NODES, NODES, NODES)
def test_scaling_goes_by_way_of_any_node_and_falls_with_it(a: float, b: float, c: float) -> None:
    for factor in (energy_factor, area_factor):
        assert factor(a, b) * factor(b, c) == pytest.approx(factor(a, c), rel=1e-9)
        if a >= b:
            assert factor(a, b) <= 1 + 1e-12


@given(st.sampled_from(OPERATORS), st.sampled_from(FORMATS), st.floats(2, 180), st.floats(2, 180))
def test_a_band_is_around_its_cost_and_costs_fall_with_the_node(operator: str, number_format: str, a: float, b: float) -> None:
    for cost in (arithmetic_energy, arithmetic_area):
        small, large = cost(operator, number_format, min(a, b)), cost(operator, number_format, max(a, b))
        assert 0 < small.low <= small.nominal <= small.high
        assert small.nominal <= large.nominal * (1 + 1e-12)
        assert (small.at("low"), small.at("nominal"), small.at("high")) == (small.low, small.nominal, small.high)


@pytest.mark.parametrize("node", [65, 45, 28, 7, 5])
def test_wider_formats_and_longer_operators_cost_more(node: int) -> None:
    def pj(operator: str, number_format: str) -> float:
        return arithmetic_energy(operator, number_format, node).nominal
    for operator in ("add", "mul", "mac"):
        assert pj(operator, "int8") < pj(operator, "int16") < pj(operator, "int32")
        assert pj(operator, "fp8") < pj(operator, "bf16") < pj(operator, "fp16") < pj(operator, "fp32")
    assert pj("max", "fp32") < pj("add", "fp32") < pj("mul", "fp32") < pj("mac", "fp32") < pj("exp", "fp32")
    mixed = arithmetic_energy("mac", "bf16", node, "fp32")
    assert mixed.nominal == pytest.approx(pj("mul", "bf16") + pj("add", "fp32"))


def test_the_artifacts_arithmetic_is_the_high_end_of_16_bits() -> None:
    # The FuseMax artifact has 17.1645 pJ for a multiply-add and 8.3395 pJ for a sum at 45 nm, ten times Horowitz'.
    assert arithmetic_energy("mac", "fp16", 45).high == pytest.approx(17.1645)
    assert arithmetic_energy("add", "fp16", 45).high == 8.3395
    assert arithmetic_energy("mac", "fp16", 45).nominal == pytest.approx(1.5)


def test_below_7_nm_costs_stay_with_a_wider_band() -> None:
    at_7, at_4 = (arithmetic_energy("mul", "fp32", n) for n in (7, 4))
    assert at_4.nominal == at_7.nominal
    assert at_4.low == at_7.low / 2
    assert at_4.estimated
    assert "no rule reaches 4 nm" in at_4.text


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: arithmetic_energy("mul", "fp12", 45), UnknownNameError, "unknown number format, got 'fp12'; did you mean 'fp"),
    (lambda: arithmetic_energy("wink", "fp16", 45), UnknownNameError, "unknown operator with a known cost, got 'wink'; "),
    (lambda: arithmetic_energy("mul", "fp16", 250), ComponentError, "technology_nm: costs scale between 7 and 180 nm, got 250; give"),
    (lambda: arithmetic_energy("mul", "fp16", 0), ComponentError, "technology_nm: costs scale between 7 and 180 nm, got 0; give"),
    (lambda: energy_factor(45, 5), ComponentError, "technology_nm: costs scale between 7 and 180 nm, got 5; give"),
])
def test_what_has_no_figure_is_refused(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()  # type: ignore[operator]
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("node", nodes_of_the_table())
def test_sram_at_a_node_of_the_table_is_the_tables(node: int) -> None:
    assert sram_cost_at(1 << 20, 256, node) == sram_cost(1 << 20, 256, node)


def test_sram_elsewhere_is_scaled_from_the_nearest_node() -> None:
    found, base = sram_cost_at(1 << 20, 256, 7), sram_cost(1 << 20, 256, 22)
    assert found.read_pj / base.read_pj == pytest.approx(energy_factor(22, 7))
    assert found.area_mm2 / base.area_mm2 == pytest.approx(area_factor(22, 7))
    assert sram_cost_at(1 << 20, 256, 5) == found
    assert sram_cost_at(1 << 20, 256, 28).read_pj == pytest.approx(sram_cost(1 << 20, 256, 32).read_pj * energy_factor(32, 28))


def test_horowitz_srams_lie_in_the_tables_band() -> None:
    # ISSCC 2014: 64 bits of 8 KiB, 32 KiB and 1 MiB take 10, 20 and 100 pJ at 45 nm.
    for size, pj in ((8 << 10, 10), (32 << 10, 20), (1 << 20, 100)):
        table = sram_cost(size, 64, 45).read_pj
        assert table * BAND_FACTOR[0] <= pj <= table * BAND_FACTOR[1]


def test_hwcomponents_says_so_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hwcomponents_cacti.hwcomponents_cacti", None)
    with pytest.raises(ComponentError, match="hwcomponents-cacti is not installed, got no module of that name; install it"):
        sram_cost_by_hwcomponents(1 << 20, 64, 45)


def test_hwcomponents_is_asked_in_its_units(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def sram(**given: float) -> SimpleNamespace:
        asked.update(given)
        return SimpleNamespace(read_energy=3e-12, write_energy=4e-12, area=5e-6, leak_power=6e-3)
    module = ModuleType("hwcomponents_cacti.hwcomponents_cacti")
    module.SRAM = sram  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hwcomponents_cacti", ModuleType("hwcomponents_cacti"))
    monkeypatch.setitem(sys.modules, "hwcomponents_cacti.hwcomponents_cacti", module)
    found = sram_cost_by_hwcomponents(1 << 20, 64, 45)
    assert asked == {"tech_node": pytest.approx(45e-9), "width": 64, "depth": 131072}
    assert (found.read_pj, found.write_pj, found.area_mm2, found.leakage_mw) == pytest.approx((3, 4, 5, 6))

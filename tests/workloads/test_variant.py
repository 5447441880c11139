"""Variants: what makes one, their cascades with predicates added, and how they are found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any

import pytest

import workloads.variants as registry
from einsum_cascades.errors import DefinitionError, NotationError, UnknownNameError
from einsum_cascades.notation import parse
from workloads.variant import Case, Shape, Variant
from workloads.variants import ENTRY_POINTS, load_variant, variant_ids, variants


def reference(inputs: Mapping[str, Any], extents: Mapping[str, int]) -> dict[str, Any]:
    return {"Z": inputs["A"]}


def variant(**changed: Any) -> Variant:
    fields: dict[str, Any] = {"id": "copy", "title": "Copy", "system": "none", "source": "none", "reference": reference,
                              "algorithms": {"plain": "Z[k] = A[k]", "tiled": "B[k1,k0] = A[k1*K0 + k0]\nZ[k] = B[k//K0,k%K0]"},
                              "cases": (Case("random", {"k": 4, "k0": 2}),)}
    return Variant(**{**fields, **changed})


def test_the_first_algorithm_is_the_default() -> None:
    found = variant()
    assert found.default_algorithm == "plain"
    assert found.cascade() == parse("Z[k] = A[k]")
    assert found.cascade().name == "copy:plain"
    assert found.cascade("tiled") is found.cascade("tiled")


@pytest.mark.parametrize(("changed", "message"), [
    ({"id": "Copy-1"}, "variant 'Copy-1': id: it is lower case letters, digits and '_', got 'Copy-1'; rename it"),
    ({"algorithms": {}}, "variant 'copy': algorithms: at least one is needed, got 'none'; give the text of a cascade"),
    ({"algorithms": {"1 pass": ""}}, (
        "variant 'copy': algorithms: a name is lower case letters, digits and '-', got '1 pass'; rename it")),
    ({"cases": ()}, "variant 'copy': cases: at least one is needed, got 'none'; give Case('random', {...})"),
    ({"cases": (Case("a", {}), Case("a", {}))}, "variant 'copy': cases: two have one name, got 'a'; rename one"),
    ({"cases": (Case("a", {}, algorithms=("plane",)),)}, (
        "unknown algorithm of 'copy', got 'plane'; did you mean 'plain'? valid: plain, tiled")),
    ({"shapes": (Shape("a", {}, "none", algorithms=("tile",)),)}, (
        "unknown algorithm of 'copy', got 'tile'; did you mean 'tiled'? valid: plain, tiled")),
])
def test_wrong_definitions(changed: dict[str, Any], message: str) -> None:
    with pytest.raises((DefinitionError, UnknownNameError)) as caught:
        variant(**changed)
    assert str(caught.value) == message


def test_text_that_is_no_cascade_is_named() -> None:
    with pytest.raises(NotationError, match=r"^copy:plain:1:8: "):
        variant(algorithms={"plain": "Z[k] = ?"}).cascade()


def test_predicates_join_those_that_are_there() -> None:
    found = variant(algorithms={"plain": "S[p,m] = A[p,m] where m <= p\nZ[p] = S[p,m]"})
    assert found.cascade(where={"S": "p - m < W or Mask[p,m]", "Other": "p < 1"}) == parse(
        "S[p,m] = A[p,m] where m <= p and (p - m < W or Mask[p,m])\nZ[p] = S[p,m]")
    assert found.cascade(where={"Z": "m > 0"}) == parse("S[p,m] = A[p,m] where m <= p\nZ[p] = S[p,m] where m > 0")
    with pytest.raises(UnknownNameError, match=r"^copy:plain: unknown Einsum, got 'T'; valid: S, Z$"):
        found.cascade(where={"T": "m > 0"})
    with pytest.raises(NotationError, match="predicate: it should end here, got '='"):
        found.cascade(where={"S": "m = p"})


def test_every_module_with_a_variant_is_found() -> None:
    assert {"attention", "gemm"} <= set(variant_ids())
    assert list(variant_ids()) == sorted(v.id for v in variants())
    by_id = dict(zip(variant_ids(), variants(), strict=True))
    assert load_variant("attention") is load_variant("attention") is by_id["attention"]
    with pytest.raises(UnknownNameError, match=r"^unknown variant, got 'atention'; did you mean 'attention'\? valid: "):
        load_variant("atention")


def test_listing_imports_no_numpy() -> None:
    code = "from workloads.variants import variants\nvariants()\nimport sys\nprint('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


OWN = variant(id="own")
WRONG_ID = variant(id="another")


@pytest.fixture(autouse=True)
def fresh_registry() -> Iterator[None]:
    registry._variants.cache_clear()
    yield
    registry._variants.cache_clear()


def add(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    entry = EntryPoint(name=name, value=value, group=ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == ENTRY_POINTS else [])


def test_other_distributions_add_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    add(monkeypatch, "own", f"{__name__}:OWN")
    assert "own" in variant_ids()
    assert load_variant("own").id == "own"
    assert load_variant("attention").id == "attention"


@pytest.mark.parametrize(("name", "value", "message"), [
    ("own", "no_such_module:VARIANT", "it cannot be loaded, got ModuleNotFoundError (No module named 'no_such_module') from "),
    ("own", f"{__name__}:NONE", "it cannot be loaded, got AttributeError"),
    ("own", f"{__name__}:add", "it should be a workloads.variant.Variant, got function; define one"),
    ("own", f"{__name__}:WRONG_ID", "the variant's id should be 'own', got 'another'; rename one of the two"),
    ("attention", f"{__name__}:OWN", "there is a variant of this id already, got "),
])
def test_entry_points_that_give_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    add(monkeypatch, name, value)
    with pytest.raises(DefinitionError) as caught:
        variants()
    assert str(caught.value).startswith(f"entry point {ENTRY_POINTS}:{name} of a distribution: {message}")
    assert load_variant("attention").id == "attention"

"""Golden files of derived cascades: what a change of the rewrites changes is seen in the text.

``pytest tests/einsum_cascades/test_rewrites_golden.py --update-golden`` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from einsum_cascades.printing import to_text
from einsum_cascades.rewrites import apply, rewrite
from tests.einsum_cascades.rewrite_cases import CASES, Case
from workloads.variants import load_variant

FOLDER = Path(__file__).parent / "golden_rewrites"

SCANS = (
    ("mamba_s6", "sequential", "associative-scan"),
    ("mamba2_ssd", "sequential", "chunked-scan"),
)


def check(name: str, source: Cascade, derived: Cascade, applied: tuple[str, ...], update: bool) -> None:
    file = FOLDER / f"{name}.cascade"
    text = f"# applied: {', '.join(applied)}\n{to_text(derived)}"
    if update:
        file.write_text(text, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text, f"{name}: another one is derived; look at it, then --update-golden"
    assert parse(text) == derived
    assert derived != source


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_derived_cascades_are_those_of_the_files(case: Case, update_golden: bool) -> None:
    made = rewrite(case.cascade, 1, case.over)
    check(case.name, case.cascade, made.cascade, made.applied, update_golden)


@pytest.mark.parametrize(("variant", "algorithm", "name"), SCANS)
def test_scans_are_those_of_the_files(variant: str, algorithm: str, name: str, update_golden: bool) -> None:
    source = load_variant(variant).cascade(algorithm)
    made = apply(source, name)
    check(f"{variant}_{name}", source, made.cascade, made.applied, update_golden)


def test_no_file_is_left_over() -> None:
    names = {c.name for c in CASES} | {f"{variant}_{name}" for variant, _, name in SCANS}
    assert {f.stem for f in FOLDER.glob("*.cascade")} == names

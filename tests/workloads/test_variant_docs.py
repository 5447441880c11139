"""The example of docs/variants.md is a variant, and its algorithms are its formula."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from einsum_cascades.interpreter import run
from workloads.variant import Variant
from workloads.verification import verify

PAGE = (Path(__file__).parents[2] / "docs" / "variants.md").read_text(encoding="utf-8")


def test_the_example_is_verified(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "masked_mean.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("masked_mean", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    variant = module.VARIANT
    assert isinstance(variant, Variant)
    assert variant.id == spec.name
    found = verify(variant, run)
    assert [r.reason for r in found.results if r.reason] == []
    assert len(found.results) == 4

"""Workloads: the models of the paper, files of one's own, and the shapes of variants in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from einsum_cascades.errors import DefinitionError, UnknownNameError
from workloads.models import load_workload, shape_of, workload_ids
from workloads.variants import load_variant

GOOD = "title: T\nsource: S\nbatch: 2\nheads: 3\nd_model: 12\ne: 4\nf: 5\nffn: 48\nseq_lens: [7, 14]\n"


@pytest.mark.parametrize(("name", "figures"), [
    ("bert", (12, 768, 64, 64, 3072)), ("trxl", (16, 1024, 64, 64, 4096)), ("t5", (8, 512, 64, 64, 2048)),
    ("xlm", (16, 2048, 128, 128, 8192)),
])
def test_the_models_of_the_paper(name: str, figures: tuple[int, ...]) -> None:
    found = load_workload(name)
    assert (found.id, found.batch) == (name, 64)
    assert (found.heads, found.d_model, found.e, found.f, found.ffn) == figures
    assert found.seq_lens == tuple(1024 * 4**n for n in range(6))
    assert "arXiv 2406.10491" in found.source
    # Their heads divide the model's features among themselves.
    assert found.heads * found.e == found.d_model


def test_ids() -> None:
    assert workload_ids() == ("bert", "t5", "trxl", "xlm")
    with pytest.raises(UnknownNameError) as caught:
        load_workload("berd")
    assert str(caught.value) == "unknown workload, got 'berd'; did you mean 'bert'? valid: bert, t5, trxl, xlm"


def test_a_file_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert load_workload(path).to_dict() == {"id": "mine", "title": "T", "batch": 2, "heads": 3, "d_model": 12, "e": 4, "f": 5,
                                             "ffn": 48, "seq_lens": [7, 14], "source": "S"}
    monkeypatch.chdir(tmp_path)
    assert load_workload("mine.yaml").id == "mine"


@pytest.mark.parametrize(("old", "new", "message"), [
    ("heads: 3", "head: 3", "heads: it is missing, got no value; write one"),
    ("heads: 3", "heads: 3\nhaeds: 4", (
        "unknown key, got 'haeds'; did you mean 'heads'? valid: batch, d_model, e, f, ffn, heads, seq_lens, source, title")),
    ("heads: 3", "heads: three", "heads: it should be a whole number of at least 1, got 'three'; write one"),
    ("heads: 3", "heads: 0", "heads: it should be a whole number of at least 1, got 0; correct it"),
    ("heads: 3", "heads: 2.5", "heads: it should be a whole number, got 2.5; round it"),
    ("[7, 14]", "[]", "seq_lens: at least one length is needed, got a list of 0; give one"),
    ("[7, 14]", "[7, -1]", "seq_lens[1]: it should be a whole number of at least 1, got -1; correct it"),
    ("[7, 14]", "7", "seq_lens: it should be a list, got 7; begin each entry with '- '"),
    ("title: T", "title: 5", "title: it should be text, got 5; write some, in quotes where it is a number"),
])
def test_wrong_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(DefinitionError) as caught:
        load_workload(path)
    assert str(caught.value) == f"{path}: {message}"


def test_the_shape_of_attention_in_a_model() -> None:
    attention, xlm = load_variant("attention"), load_workload("xlm")
    shape = shape_of(attention, xlm, seq_len=4096)
    assert (shape.id, shape.extents, shape.instances) == ("xlm-4096", {"p": 4096, "m": 4096, "e": 128, "f": 128}, 64 * 16)
    assert shape_of(attention, xlm).extents["p"] == 1024
    assert shape_of(attention, xlm, batch=2).instances == 2 * 16


def test_a_rank_that_takes_a_figure_makes_no_copies_of_it() -> None:
    batched = replace(load_variant("attention"), workload_ranks={"b": "batch", "p": "seq_len"})
    shape = shape_of(batched, load_workload("bert"))
    assert (shape.extents, shape.instances) == ({"b": 64, "p": 1024}, 12)


def test_variants_without_a_shape_in_a_model() -> None:
    with pytest.raises(DefinitionError) as caught:
        shape_of(load_variant("gemm"), load_workload("bert"))
    assert str(caught.value) == "variant 'gemm': it has no shape in a model, got workload 'bert'; give extents"
    wrong = replace(load_variant("attention"), workload_ranks={"p": "seqlen"})
    with pytest.raises(DefinitionError) as caught:
        shape_of(wrong, load_workload("bert"))
    assert str(caught.value).startswith("variant 'attention': workload_ranks.p: unknown figure of a model, got 'seqlen'; "
                                        "did you mean 'seq_len'? valid: batch, d_model, ")

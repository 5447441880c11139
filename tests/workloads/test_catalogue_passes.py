"""The taxonomy of passes, extended to the catalogue: written out, and at best, by the analysis alone.

Where the specification counts one more than here, two of its steps are one sweep: gated pooling's weights, their logarithms
and sums, a subspace's scores and their maximum, or levels of convolutions, which reach back a constant way.
"""

from __future__ import annotations

import pytest

from einsum_cascades.analysis.footprint import live_footprint
from einsum_cascades.analysis.passes import passes
from workloads.variants import load_variant

TABLE = (
    # variant, rank, written out: algorithm, passes; at best: algorithm, passes
    ("moh", "m", "3pass", 3, "1pass", 1),
    ("agent_attention", "m", "3pass", 3, "1pass", 1),
    ("s2_attention", "m", "3pass", 3, "1pass", 1),
    ("landmark", "m", "grouped", 3, "1pass", 1),
    ("fna", "wy", "2d", 3, "2d-1pass", 1),
    ("dinat", "wy", "3pass", 3, "1pass", 1),
    ("halonet", "wy", "3pass", 3, "1pass", 1),
    ("davit", "v0", "spatial-3pass", 3, "spatial-1pass", 1),
    ("flash_sigmoid", "m", "sigmoid", 1, "streamed", 1),
    ("ssa", "m", "3pass", 3, "1pass", 1),
    ("attn_sink", "m", "kv-bias-3pass", 3, "kv-bias-1pass", 1),
    ("rcmha", "m", "3pass", 3, "1pass", 1),
    ("shvit", "m", "core-3pass", 3, "core-1pass", 1),
    ("linfusion", "m", "core", 1, "core", 1),
    ("linear_attention", "m", "noncausal", 1, "noncausal", 1),
    ("scatterformer", "n", "segments", 1, "segments", 1),
    ("gaam", "n", "moments", 4, "direct", 3),
    ("dist_attention", "m", "shards-2pass", 2, "shards-1pass", 1),
    ("lasp2h", "u", "gathered-3pass", 3, "gathered-1pass", 1),
    ("sat_spatial_query_attention", "m", "3pass", 3, "vgate-1pass", 1),
    ("danet_pam", "m", "3pass", 3, "1pass", 1),
    ("danet_cam", "n", "released", 2, "direct", 2),
    ("focal_modulation", "y", "levels3", 2, "split", 2),
    ("ulsam", "y", "3pass", 3, "1pass", 2),
    ("acmil_mba_stkim", "n", "3pass", 3, "1pass", 1),
    ("aem_entropy_mil", "n", "5pass", 3, "1pass", 1),
    ("attention_taxonomy", "m", "flat", 3, "flashattention2", 1),
    ("vim", "i", "flipped", 3, "reversed", 2),
    ("s5", "i", "bidirectional", 2, "sequential", 1),
)
HELD = (
    # variant, algorithm, tensor: what one query (or row) of it keeps at least
    ("attention_lse", "3pass", "SN", "M"), ("attention_lse", "1pass", "SLN", "1"), ("attention_lse", "1pass", "S", "M0"),
    ("s2_attention", "1pass", "S", "M0"), ("s2_attention", "blocks-1pass", "S", "M0"), ("halonet", "3pass", "SN", "WX*WY"),
    ("agent_attention", "3pass", "SN2", "A"), ("danet_cam", "direct", "E", "D"), ("ulsam", "3pass", "SN", "X*Y"),
    ("retnet", "recurrent", "S", "1"), ("gla", "recurrent", "S", "1"), ("mambaout", "block", "CV", "1"),
    ("gaam", "direct", "G", "N"),
)


@pytest.mark.parametrize(("name", "rank", "written", "most", "best", "least"), TABLE, ids=[row[0] for row in TABLE])
def test_passes_written_out_and_at_best(name: str, rank: str, written: str, most: int, best: str, least: int) -> None:
    variant = load_variant(name)
    assert passes(variant.cascade(written))[rank] == most
    assert passes(variant.cascade(best))[rank] == least


@pytest.mark.parametrize(("name", "algorithm", "tensor", "values"), HELD, ids=[f"{row[0]}-{row[1]}-{row[2]}" for row in HELD])
def test_what_is_held(name: str, algorithm: str, tensor: str, values: str) -> None:
    assert str(live_footprint(load_variant(name).cascade(algorithm))[tensor].values) == values

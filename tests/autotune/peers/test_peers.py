"""Peers on the CPU: torch's own attention computes what the cascades mean, and what does not fit is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotune.peers import PeerError, make_peer, peer_ids
from autotune.peers.flex_attention import predicate
from einsum_cascades.errors import NotationError
from einsum_cascades.interpreter import run
from workloads.variants import load_variant

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
NAMES = {"q": "Q", "k": "K", "v": "V", "out": "AV"}


def case(variant: str, extents: dict[str, int], shapes: dict[str, tuple[str, ...]], copies: int = 3) -> tuple[Any, Any, Any]:
    """Inputs of several instances, their dimensions, and what the interpreter makes of each."""
    cascade = load_variant(variant).cascade("3pass")
    arrays = {name: RNG.normal(size=(copies, *(extents[r] for r in ranks))) for name, ranks in shapes.items()}
    want = np.stack([run(cascade, {name: a[i] for name, a in arrays.items()}, extents)["AV"] for i in range(copies)])
    out = ("r", "p", "f") if "r" in shapes["Q"] else ("p", "f")
    dimensions = {name: ("b", "h", *ranks) for name, ranks in {**shapes, "AV": out}.items()}
    return {name: torch.from_numpy(a).float()[None] for name, a in arrays.items()}, dimensions, want[None]


def attention() -> tuple[Any, Any, Any]:
    return case("attention", {"p": 12, "m": 20, "e": 16, "f": 16}, {"Q": ("p", "e"), "K": ("m", "e"), "V": ("m", "f")})


def grouped() -> tuple[Any, Any, Any]:
    return case("causal_attention", {"p": 20, "m": 20, "e": 16, "f": 16, "r": 4}, {"Q": ("r", "p", "e"), "K": ("m", "e"), "V": ("m", "f")})


def test_sdpa_is_attention_and_grouped_causal_attention() -> None:
    for (tensors, dimensions, want), causal in ((attention(), False), (grouped(), True)):
        got = make_peer("sdpa", {**NAMES, "backend": "math", "causal": causal}, tensors, dimensions)()
        assert got.numpy() == pytest.approx(want, abs=2e-5)


def test_flex_attention_takes_its_mask_from_a_predicate() -> None:
    tensors, dimensions, want = grouped()
    got = make_peer("flex_attention", {**NAMES, "mask": "m <= p", "compile": False}, tensors, dimensions)()
    assert got.numpy() == pytest.approx(want, abs=2e-5)


def test_a_function_of_a_package_is_called_in_its_own_layout() -> None:
    tensors, dimensions, want = attention()
    call = {"function": "torch.nn.functional:scaled_dot_product_attention", "out": {"tensor": "AV", "order": ["h", "b", "p", "f"]},
            "arguments": {"query": {"tensor": "Q", "order": ["h", "b", "p", "e"]}, "key": {"tensor": "K", "order": ["h", "b", "m", "e"]},
                          "value": {"tensor": "V", "order": ["h", "b", "m", "f"]}, "scale": 1.0}}
    assert make_peer("call", call, tensors, dimensions)().numpy() == pytest.approx(want, abs=2e-5)


@pytest.mark.parametrize("text", ["m <= p", "m <= p and p - m < W", "m >= clamp(p - W//2, 0, P - W) and m < clamp(p - W//2, 0, P - W) + W"])
def test_a_predicate_is_the_same_on_numbers_and_tensors(text: str) -> None:
    keep = predicate(text, {"W": 5, "P": 16, "M": 16})
    rows, columns = torch.arange(16)[:, None], torch.arange(16)[None, :]
    whole = keep(rows, columns).expand(16, 16)
    assert [[bool(keep(p, m)) for m in range(16)] for p in range(16)] == whole.tolist()
    assert 0 < int(whole.sum()) < 256


@pytest.mark.parametrize(("peer", "options", "message"), [
    ("sdpa", {**NAMES, "backend": "cudn"}, "torch has no such backend, got 'cudn'; use one of cudnn"),
    ("sdpa", {**NAMES, "backend": "math", "casual": True}, "unknown option, got 'casual'; did you mean 'causal'"),
    ("sdpa", {**NAMES, "q": "X", "backend": "math"}, "there is no such tensor, got 'X'"),
    ("sdpa", {**NAMES, "backend": "math", "scale": "1"}, "option 'scale' is missing or of another type, got '1'"),
    ("call", {"function": "os:system", "arguments": {}, "out": {}}, "it calls 'module:function' of .*, got 'os:system'"),
    ("call", {"function": "mamba_ssm.ops:scan", "arguments": {}, "out": {}}, "its package is not installed, got no 'mamba_ssm'"),
    ("call", {"function": "torch:nothing", "arguments": {}, "out": {}}, "there is no such function, got 'torch:nothing'"),
    ("flex_attention", {**NAMES, "mask": "m <= q"}, "the mask has what it cannot have"),
])
def test_what_does_not_fit_is_refused(peer: str, options: dict[str, Any], message: str) -> None:
    tensors, dimensions, _ = attention()
    with pytest.raises(PeerError, match=message):
        make_peer(peer, options, tensors, dimensions)


def test_names_and_malformed_masks() -> None:
    assert peer_ids() == ("call", "flex_attention", "sdpa")
    with pytest.raises(NotationError):
        predicate("m <= ", {})

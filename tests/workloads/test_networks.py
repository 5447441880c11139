"""Networks: the paper's workloads as one layer, totals, closed forms of their work, other algorithms, wrong calls."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.errors import DefinitionError, ExtentError, UnknownNameError
from einsum_cascades.extents import known_extents, mentioned
from workloads.architectures import Attention
from workloads.huggingface import load_config
from workloads.layers import network
from workloads.models import load_workload, workload_ids
from workloads.networks import Layer, Network, load_network, network_of_workload

CONFIGS = Path(__file__).parent / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.json"))
DECODERS = [name for name in NAMES if name != "bert-base"]


def loaded(name: str, **how: Any) -> Network:
    return load_network(CONFIGS / f"{name}.json", **how)


def layer(found: Network, name: str) -> Layer:
    (own,) = (each for each in found.layers if each.name == name)
    return own


# --- the workloads of the paper ---

@pytest.mark.parametrize("name", workload_ids())
def test_a_workload_is_attention_and_six_linear_layers(name: str) -> None:
    work, found = load_workload(name), load_network(name, seq_len=4096)
    assert [each.name.removeprefix("layer.") for each in found.layers] == \
        ["query", "key", "value", "scores", "output", "ffn1", "ffn2"]
    assert found == network_of_workload(work, seq_len=4096)
    assert (found.batch, found.seq_len, found.phase) == (64, 4096, "prefill")
    # Its four square projections and the two of the MLP.
    assert found.parameters == 4 * work.d_model**2 + 2 * work.d_model * work.ffn
    tokens, counts = 64 * 4096, found.operations()
    assert counts["mul"] == tokens * found.parameters + 64 * work.heads * 4096**2 * (work.e + work.f)
    assert counts["exp"] == 64 * work.heads * 4096**2
    assert found.cache_values == found.state_values == 0


@pytest.mark.parametrize("name", workload_ids())
def test_a_step_of_a_workload(name: str) -> None:
    work, found = load_workload(name), load_network(name, phase="decode", seq_len=4096, batch=2)
    scores = layer(found, "layer.scores")
    assert (scores.extents, scores.instances) == ({"p": 1, "m": 4096, "e": work.e, "f": work.f}, 2 * work.heads)
    assert layer(found, "layer.ffn1").extents == {"m": 2, "n": work.ffn, "k": work.d_model}
    assert found.cache_values == 2 * 2 * 4096 * work.d_model
    assert found.operations()["mul"] == 2 * found.parameters + 2 * 4096 * 2 * work.d_model


def test_a_workload_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("title: T\nsource: S\nbatch: 2\nheads: 3\nd_model: 12\ne: 4\nf: 5\nffn: 48\nseq_lens: [7]\n")
    found = load_network(path, seq_len=7)
    assert (found.id, found.batch, found.parameters) == ("mine", 2, 2 * 12 * 12 + 2 * 12 * 15 + 2 * 12 * 48)


def test_the_example_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert 'load_network("tests/workloads/configs/llama-3-8b.json", phase="decode", seq_len=4096, batch=8)' in code
    model = loaded("llama-3-8b", phase="decode", seq_len=4096, batch=8)
    shown = {name: int(value) for name, value in re.findall(r"^model\.(\w+)[()]* +# (\d+)", code, re.MULTILINE)}
    assert shown == {"parameters": model.parameters, "weight_bytes": model.weight_bytes(), "cache_values": model.cache_values}


# --- every layer of every model ---

@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("name", NAMES)
def test_layers_are_whole(name: str, phase: str) -> None:
    if name == "bert-base" and phase == "decode":
        with pytest.raises(DefinitionError, match="model 'bert-base': phase: an encoder makes no next token, got 'decode'"):
            loaded(name, phase=phase, seq_len=96)
        return
    found = loaded(name, phase=phase, seq_len=96, batch=3)
    assert [n for n, times in Counter(each.name for each in found.layers).items() if times > 1] == []
    for each in found.layers:
        cascade = each.cascade
        # No rank is without an extent, and no extent without a rank.
        assert set(known_extents(cascade, each.extents)) >= set(mentioned(cascade)) >= set(each.extents), each.name
        assert min(each.instances, each.count, *each.extents.values()) >= 1
        assert all(each.shape(tensor) for tensor in each.weights)
        assert each.cascade.name == each.cascade_name
    document = json.loads(json.dumps(found.to_dict()))
    assert document["parameters"] == found.parameters
    assert [entry["name"] for entry in document["layers"]] == [each.name for each in found.layers]


@pytest.mark.parametrize("name", DECODERS)
def test_a_step_keeps_what_the_prompt_kept(name: str) -> None:
    prompt, step = loaded(name, seq_len=640, batch=2), loaded(name, phase="decode", seq_len=640, batch=2)
    assert (prompt.cache_values, prompt.state_values) == (step.cache_values, step.state_values)


# --- caches and states ---

@pytest.mark.parametrize(("name", "values"), [
    # 2 (keys and values) * layers * heads of keys * features, for each token.
    ("llama-2-7b", 2 * 32 * 32 * 128), ("llama-3-8b", 2 * 32 * 8 * 128), ("qwen2-7b", 2 * 28 * 4 * 128),
    ("qwen3-8b", 2 * 36 * 8 * 128), ("gemma-2b", 2 * 18 * 1 * 256), ("gpt-neox-20b", 2 * 44 * 6144),
    ("jamba-v0.1", 2 * 4 * 8 * 128),
])
def test_values_in_the_cache_for_each_token(name: str, values: int) -> None:
    assert loaded(name, phase="decode", seq_len=1000, batch=3).cache_values == 3 * 1000 * values


def test_published_cache_sizes() -> None:
    # Lieber et al., arXiv 2403.19887, table 1, at 256K tokens in 16 bits: Llama-2-7B 128 GB, Mistral-7B 32 GB, Jamba 4 GB. That
    # of Mistral is without its window: Llama-3-8B has as many heads of keys.
    def gigabytes(found: Network) -> float:
        return 2 * found.cache_values / 2**30
    assert gigabytes(loaded("jamba-v0.1", phase="decode", seq_len=2**18)) == 4
    assert gigabytes(loaded("llama-2-7b", phase="decode", seq_len=2**18)) == 128
    assert gigabytes(loaded("llama-3-8b", phase="decode", seq_len=2**18)) == 32


def test_windows_bound_caches() -> None:
    assert loaded("mistral-7b", phase="decode", seq_len=10**6).cache_values == 2 * 32 * 8 * 128 * 4096
    assert loaded("mistral-7b", phase="decode", seq_len=100).cache_values == 2 * 32 * 8 * 128 * 100
    # Half of the layers have one.
    assert loaded("gemma-2-2b", phase="decode", seq_len=8192).cache_values == 2 * 13 * 4 * 256 * (4096 + 8192)


@pytest.mark.parametrize(("name", "scan", "convolution"), [
    ("mamba-130m", 24 * 1536 * 16, 24 * 1536 * 4), ("mamba-2.8b", 64 * 5120 * 16, 64 * 5120 * 4),
    ("mamba2-130m", 24 * 24 * 64 * 128, 24 * (1536 + 2 * 128) * 4), ("jamba-v0.1", 28 * 8192 * 16, 28 * 8192 * 4),
])
def test_states_do_not_grow(name: str, scan: int, convolution: int) -> None:
    for length in (1, 17, 100_000):
        assert loaded(name, phase="decode", seq_len=length, batch=5).state_values == 5 * (scan + convolution)


def test_caches_of_an_encoder_and_its_decoder() -> None:
    found = loaded("t5-small", phase="decode", seq_len=100, target_len=30, batch=2)
    assert found.cache_values == 2 * 2 * 6 * 512 * (100 + 30)
    assert not any(each.name.startswith("encoder") for each in found.layers)
    scores = [layer(found, f"decoder.layer.{which}.scores").extents["m"] for which in ("attention", "cross_attention")]
    assert scores == [30, 100]


# --- work against closed forms ---

def pairs(length: int, window: int | None) -> int:
    return sum(min(query + 1, window or length) for query in range(length))


def products(found: Network, *, matrices: bool) -> int:
    """The multiplications of linear layers, or of attention's two products."""
    total = 0
    for each in found.layers:
        if matrices and each.variant in ("gemm", "linear"):
            total += each.count * each.operations()["mul"]
        elif not matrices and each.name.endswith("scores"):
            own = each.operations()
            # One for each pair is the cap's.
            total += each.count * (own["mul"] - own["exp"] * (each.variant == "soft_capped_attention"))
    return total


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["llama-2-7b", "llama-3-8b", "mistral-7b", "qwen3-8b", "gemma-2b", "gemma-2-2b", "gpt-neox-20b"]),
       st.integers(1, 6000), st.integers(1, 4))
def test_work_of_a_prompt(name: str, length: int, batch: int) -> None:
    model, found = load_config(CONFIGS / f"{name}.json"), loaded(name, seq_len=length, batch=batch)
    matrices = sum(each.count * each.extents["n"] * each.extents["k"] for each in found.layers
                   if each.variant in ("gemm", "linear") and each.name != "head")
    assert products(found, matrices=True) == batch * (length * matrices + model.width * model.vocabulary)
    mixers = [(block.count, block.mixer) for block in model.blocks if isinstance(block.mixer, Attention)]
    assert products(found, matrices=False) == sum(count * batch * own.heads * 2 * own.features * pairs(length, own.window)
                                                  for count, own in mixers)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["llama-3-8b", "mistral-7b", "qwen2-7b", "gemma-2-2b"]), st.integers(1, 10_000), st.integers(1, 4))
def test_work_of_a_step(name: str, length: int, batch: int) -> None:
    model, found = load_config(CONFIGS / f"{name}.json"), loaded(name, phase="decode", seq_len=length, batch=batch)
    mixers = [(block.count, block.mixer) for block in model.blocks if isinstance(block.mixer, Attention)]
    assert products(found, matrices=False) == sum(
        count * batch * own.heads * 2 * own.features * min(length, own.window or length) for count, own in mixers)
    assert products(found, matrices=True) == batch * (sum(
        each.count * each.extents["n"] * each.extents["k"] for each in found.layers if each.variant in ("gemm", "linear")))


@pytest.mark.parametrize("name", ["llama-2-7b", "llama-3-8b", "qwen2-7b", "gpt-neox-20b"])
def test_the_usual_estimate_of_a_forward_pass(name: str) -> None:
    # 2 N FLOPs a token for the N parameters that are not the embedding, and 2 * 2 * layers * width of queries for each pair
    # (Chowdhery et al., PaLM, arXiv 2204.02311, appendix B, forward and causal): norms and activations are less than 1%.
    model, length = load_config(CONFIGS / f"{name}.json"), 2048
    ((count, own),) = [(b.count, b.mixer) for b in model.blocks]
    assert isinstance(own, Attention)
    found = loaded(name, seq_len=length, logits="all")
    estimate = 2 * (found.parameters - model.vocabulary * model.width) * length \
        + 4 * count * own.heads * own.features * pairs(length, None)
    operations = found.operations()
    assert operations["mul"] + operations["add"] == pytest.approx(estimate, rel=0.01)


def test_work_of_scans() -> None:
    # State-space models do the same for each token, whatever was before it.
    short, long = (loaded("mamba-2.8b", seq_len=length).operations() for length in (1000, 2000))
    once = loaded("mamba-2.8b", phase="decode", seq_len=2000).operations()
    head = 2560 * 50280
    assert long["mul"] - short["mul"] == 1000 * (once["mul"] - head)
    assert long["exp"] - short["exp"] == 1000 * 64 * 5120 * 16
    # Per token and layer: 6 E N for the recurrence (exp aside) beside the projections' 2 for each parameter.
    step = layer(loaded("mamba-2.8b", phase="decode", seq_len=1), "layer.mixer.scan").operations()
    assert step["mul"] + step["add"] == 6 * 5120 * 16 + 3 * 5120 + 2 * 5120


def test_experts_do_the_work_of_those_chosen() -> None:
    found = loaded("jamba-v0.1", seq_len=512, batch=2)
    gate = layer(found, "mamba_experts.mlp.experts.gate")
    assert gate.operations()["mul"] == 2 * 512 * 2 * 4096 * 14336
    assert gate.parameters == 16 * 4096 * 14336
    assert found.notes == ("mamba_experts: 16 of 16 experts get 128 tokens each (an even spread)",)
    # A single token reaches two experts.
    assert layer(loaded("jamba-v0.1", phase="decode", seq_len=9), "mamba_experts.mlp.experts.gate").instances == 2


# --- lengths, logits, algorithms ---

def test_logits_of_the_last_token_or_of_all() -> None:
    assert layer(loaded("llama-3-8b", seq_len=50, batch=3), "head").extents["m"] == 3
    assert layer(loaded("llama-3-8b", seq_len=50, batch=3, logits="all"), "head").extents["m"] == 150
    assert layer(loaded("gemma-2b", seq_len=50), "head").parameters == 0


def test_an_encoder_and_its_decoder_see_their_own_lengths() -> None:
    found = loaded("t5-small", seq_len=100, target_len=30, batch=2)
    assert layer(found, "encoder.layer.attention.query").extents["m"] == 200
    assert layer(found, "decoder.layer.attention.query").extents["m"] == 60
    assert layer(found, "decoder.layer.cross_attention.key").extents["m"] == 200
    assert layer(found, "decoder.layer.cross_attention.scores").extents == {"p": 30, "m": 100, "e": 64, "f": 64}
    assert layer(found, "encoder.relative_bias").extents["d"] == 199
    assert [layer(found, f"{stack}.embedding").parameters for stack in ("encoder", "decoder")] == [32128 * 512, 0]


def test_weight_bytes() -> None:
    assert loaded("llama-3-8b", seq_len=1).weight_bytes() == 2 * 8_030_261_248
    assert loaded("llama-3-8b", seq_len=1).weight_bytes(0.5) == 8_030_261_248 / 2
    with pytest.raises(DefinitionError) as caught:
        load_network("bert", seq_len=1).weight_bytes()
    assert str(caught.value) == "network 'bert': value_bytes: the model does not say it, got none; give one"


def test_other_algorithms() -> None:
    found = loaded("t5-small", seq_len=64).with_passes(1)
    assert {each.cascade_name for each in found.layers if each.group == "attention" and "attention" in each.variant} == {
        "attention:1pass", "relative_bias_attention:full-1pass", "relative_bias_attention:causal-1pass",
        "relative_bias_attention:buckets"}
    # A tile has no extent until something chooses it.
    with pytest.raises(ExtentError, match="rank 'm1': it has no extent"):
        found.operations()
    scans = loaded("mamba-130m", seq_len=64).with_algorithms({"mamba_s6:sequential": "associative"})
    assert layer(scans, "layer.mixer.scan").cascade_name == "mamba_s6:associative"
    with pytest.raises(UnknownNameError) as caught:
        scans.with_algorithms({"mamba_s6:sequential": "associative"})
    assert str(caught.value).startswith("unknown cascade of network 'mamba-130m', got 'mamba_s6:sequential'; did you mean ")
    with pytest.raises(UnknownNameError, match="unknown algorithm of 'mamba_s6', got 'parallel'"):
        scans.with_algorithms({"mamba_s6:associative": "parallel"})


@pytest.mark.parametrize(("how", "kind", "message"), [
    ({"seq_len": 0}, ExtentError, "seq_len: it should be at least 1, got 0; correct it"),
    ({"seq_len": 4, "batch": 0}, ExtentError, "batch: it should be at least 1, got 0; correct it"),
    ({"seq_len": 4, "phase": "decoding"}, UnknownNameError,
     "unknown phase, got 'decoding'; did you mean 'decode'? valid: decode, prefill"),
    ({"seq_len": 4, "logits": "first"}, UnknownNameError, "unknown logits, got 'first'; valid: all, last"),
    ({"seq_len": 4, "target_len": 4}, DefinitionError,
     "model 'bert-base': target_len: the model has no encoder, got 4; give seq_len alone"),
    ({"seq_len": 513}, DefinitionError, "model 'bert-base': seq_len: there are 512 positions, got 513; give a shorter one"),
])
def test_wrong_calls(how: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        loaded("bert-base", **how)
    assert str(caught.value) == message


def test_a_workload_has_no_target_length() -> None:
    with pytest.raises(DefinitionError, match=r"^workload 'xlm': target_len: one layer has no encoder, got 4; give seq_len alone$"):
        load_network("xlm", seq_len=8, target_len=4)


def test_names_that_are_none() -> None:
    with pytest.raises(UnknownNameError, match="unknown workload, got 'llama'; "):
        load_network("llama", seq_len=8)


def test_target_length_needs_a_decoder_of_an_encoder() -> None:
    with pytest.raises(DefinitionError, match="target_len: the model has no encoder"):
        network(load_config(CONFIGS / "llama-3-8b.json"), seq_len=8, target_len=4)


def test_a_shape_that_does_not_follow() -> None:
    odd = Layer("odd", "mlp", "gemm", "product", {"m": 2, "n": 3}, weights=("B",))
    with pytest.raises(DefinitionError, match=r"layer 'odd': B: its shape does not follow from the extents, got ranks "
                                              r"\('k', 'n'\)"):
        _ = odd.parameters

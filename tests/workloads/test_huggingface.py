"""Models from config.json: published parameter counts, what is refused, and what each key does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from einsum_cascades.errors import DefinitionError, UnknownNameError
from workloads.architectures import Attention, Experts, Mlp, SelectiveScan
from workloads.huggingface import load_config
from workloads.model_families import FAMILIES
from workloads.networks import load_network
from workloads.variants import mamba2_ssd

CONFIGS = Path(__file__).parent / "configs"


def config(name: str, **changed: Any) -> dict[str, Any]:
    """A fixture's keys with others in their place; those that are None are taken out."""
    found = {**json.loads((CONFIGS / f"{name}.json").read_text()), **changed}
    return {key: value for key, value in found.items() if value is not None}


def written(folder: Path, keys: dict[str, Any]) -> Path:
    path = folder / "model.json"
    path.write_text(json.dumps(keys))
    return path


# The number of parameters that the released weights have: of GPT-NeoX-20B by the model's card, of Jamba by the index of its
# files (103140646656 bytes of bfloat16), of the others by the metadata of their files or a count of the loaded model
# (Mamba-2.8B: the output of its own example). A table that is tied to another counts once.
PUBLISHED = {
    "llama-2-7b": 6_738_415_616, "llama-3-8b": 8_030_261_248, "mistral-7b": 7_241_732_096, "qwen2-7b": 7_615_616_512,
    "qwen3-8b": 8_190_735_360, "gemma-2b": 2_506_172_416, "gemma-2-2b": 2_614_341_888, "gpt-neox-20b": 20_554_567_680,
    "bert-base": 109_482_240, "t5-small": 60_506_624, "mamba-130m": 129_135_360, "mamba-2.8b": 2_768_345_600,
    "jamba-v0.1": 51_570_323_328,
}

# Further models of the same families, by what differs from a fixture.
VARIATIONS: list[tuple[str, dict[str, Any], int]] = [
    ("llama-3-8b", {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True,
                    "rope_scaling": {"rope_type": "llama3", "factor": 32.0}}, 1_235_814_400),                   # Llama-3.2-1B
    ("qwen2-7b", {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
                  "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True}, 494_032_768),   # Qwen2-0.5B
    ("qwen3-8b", {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
                  "tie_word_embeddings": True}, 596_049_920),                                                  # Qwen3-0.6B
    ("gemma-2b", {"hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28, "num_attention_heads": 16,
                  "num_key_value_heads": 16}, 8_537_680_896),                                                  # Gemma-7B
    ("gemma-2-2b", {"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42, "num_attention_heads": 16,
                    "num_key_value_heads": 8}, 9_241_705_984),                                                 # Gemma-2-9B
    ("gpt-neox-20b", {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
                      "vocab_size": 50304}, 405_334_016),                                                      # Pythia-410M
    ("bert-base", {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
     335_141_888),                                                                                             # BERT-large
    ("t5-small", {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}, 222_903_552),              # T5-base
    ("t5-small", {"d_ff": 1024, "num_layers": 8, "num_decoder_layers": 8, "num_heads": 6, "tie_word_embeddings": False,
                  "feed_forward_proj": "gated-gelu"}, 76_961_152),                                             # T5 v1.1 small
    ("mamba-130m", {"hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 48, "time_step_rank": 64},
     371_516_416),                                                                                             # Mamba-370M
    ("mamba-130m", {"hidden_size": 2048, "intermediate_size": 4096, "num_hidden_layers": 48, "time_step_rank": "auto"},
     1_372_178_432),                                                                                           # Mamba-1.4B
    ("mamba2-130m", {"hidden_size": 4096, "num_heads": 128, "n_groups": 8, "num_hidden_layers": 64, "vocab_size": 32768,
                     "tie_word_embeddings": False}, 7_285_403_648),                                # Mamba-Codestral-7B
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_published(name: str) -> None:
    found = load_network(CONFIGS / f"{name}.json", seq_len=64)
    assert found.parameters == PUBLISHED[name]
    assert found.parameters == sum(layer.count * layer.parameters for layer in found.layers)


@pytest.mark.parametrize(("name", "changed", "parameters"), VARIATIONS)
def test_parameters_of_further_models(tmp_path: Path, name: str, changed: dict[str, Any], parameters: int) -> None:
    assert load_network(written(tmp_path, config(name, **changed)), seq_len=64).parameters == parameters


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "bert-base"])
def test_a_step_has_the_parameters_of_the_model(name: str) -> None:
    step = load_network(CONFIGS / f"{name}.json", phase="decode", seq_len=64, batch=3)
    assert step.parameters == PUBLISHED[name]
    here = sum(layer.count * layer.parameters for layer in step.layers)
    assert here < step.parameters if name == "t5-small" else here == step.parameters


def test_mamba_2_has_the_parameters_that_its_own_cascade_has() -> None:
    found = load_network(CONFIGS / "mamba2-130m.json", seq_len=64).parameters
    assert found == round(mamba2_ssd.parameters("130m") * 1e6)
    assert found / 1e6 == pytest.approx(mamba2_ssd.MODELS["130m"][2], abs=0.05)


def test_every_known_model_type_has_a_fixture() -> None:
    assert {config(path.stem)["model_type"] for path in CONFIGS.glob("*.json")} == set(FAMILIES)


# --- what keys do ---

def test_where_a_description_is_from() -> None:
    model = load_config(CONFIGS / "llama-3-8b.json")
    assert (model.id, model.title, model.value_bytes) == ("llama-3-8b", "llama-3-8b (llama)", 2)
    assert "arXiv" in model.source
    assert model.source.startswith(str(CONFIGS))
    assert {"rope_theta", "rope_scaling", "use_cache", "rms_norm_eps"} <= set(model.ignored)
    assert not {"hidden_size", "num_key_value_heads", "torch_dtype", "model_type", "architectures"} & set(model.ignored)


def test_a_folder_names_its_model(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config("mistral-7b")))
    assert load_config(folder / "config.json").id == "my-model"
    assert load_network(folder, seq_len=8).id == "my-model"
    (tmp_path / "other.json").write_text(json.dumps(config("mistral-7b")))
    assert load_network(tmp_path / "other.json", seq_len=8).id == "other"


def mixers(folder: Path, name: str, **changed: Any) -> list[tuple[str, int, Any]]:
    return [(block.name, block.count, block.mixer) for block in load_config(written(folder, config(name, **changed))).blocks]


def attention(folder: Path, name: str, **changed: Any) -> Attention:
    ((_, _, found),) = mixers(folder, name, **changed)
    assert isinstance(found, Attention)
    return found


def test_heads_of_keys_and_their_size(tmp_path: Path) -> None:
    assert attention(tmp_path, "llama-2-7b") == Attention(32, 32, 128, rotary=128)
    assert attention(tmp_path, "llama-2-7b", num_key_value_heads=None).key_heads == 32
    assert attention(tmp_path, "llama-3-8b").key_heads == 8
    assert attention(tmp_path, "llama-3-8b", head_dim=64).features == 64
    assert attention(tmp_path, "llama-3-8b", attention_bias=True) == \
        Attention(32, 8, 128, rotary=128, input_bias=True, output_bias=True)
    assert attention(tmp_path, "qwen2-7b") == Attention(28, 4, 128, rotary=128, input_bias=True)
    assert attention(tmp_path, "qwen3-8b").head_norm
    assert attention(tmp_path, "gpt-neox-20b") == \
        Attention(64, 64, 96, rotary=24, joint=True, input_bias=True, output_bias=True)
    assert attention(tmp_path, "gpt-neox-20b", rotary_pct=None).rotary == 24
    assert attention(tmp_path, "gpt-neox-20b", rotary_pct=None, rope_parameters={"partial_rotary_factor": 0.5}).rotary == 48
    assert attention(tmp_path, "bert-base") == Attention(12, 12, 64, causal=False, input_bias=True, output_bias=True)


def test_windows(tmp_path: Path) -> None:
    assert attention(tmp_path, "mistral-7b").window == 4096
    # Null is none; a key that is not there has the library's value.
    ((block,),) = (load_config(written(tmp_path, {**config("mistral-7b"), "sliding_window": None})).blocks,)
    assert isinstance(block.mixer, Attention)
    assert block.mixer.window is None
    assert attention(tmp_path, "mistral-7b", sliding_window=None).window == 4096
    # Qwen has a window that it does not use, or uses from a layer on.
    assert attention(tmp_path, "qwen2-7b").window is None
    used = mixers(tmp_path, "qwen2-7b", use_sliding_window=True, max_window_layers=20)
    assert [(name, count, own.window) for name, count, own in used] == [("global", 20, None), ("local", 8, 131072)]
    assert [(name, count, own.window) for name, count, own in mixers(tmp_path, "gemma-2-2b")] == \
        [("local", 13, 4096), ("global", 13, None)]
    listed = ["full_attention"] * 20 + ["sliding_attention"] * 6
    assert [(name, count, own.window) for name, count, own in mixers(tmp_path, "gemma-2-2b", layer_types=listed)] == \
        [("global", 20, None), ("local", 6, 4096)]


def test_caps_and_scales_of_gemma(tmp_path: Path) -> None:
    gemma2 = load_config(CONFIGS / "gemma-2-2b.json")
    assert gemma2.head_capped
    assert all(isinstance(b.mixer, Attention) and b.mixer.soft_capped and b.norms == "around" for b in gemma2.blocks)
    assert (gemma2.norm, gemma2.embedding_scaled, gemma2.head) == ("rms_norm:unit-offset", True, "tied")
    plain = load_config(written(tmp_path, config("gemma-2-2b", attn_logit_softcapping=None, final_logit_softcapping=None)))
    assert not plain.head_capped
    assert not any(isinstance(b.mixer, Attention) and b.mixer.soft_capped for b in plain.blocks)
    # 'hidden_act' says gelu, and the code takes its approximation.
    ((gemma,),) = (load_config(CONFIGS / "gemma-2b.json").blocks,)
    assert gemma.mlp == Mlp(16384, "gelu-tanh", gated=True)


def test_activations(tmp_path: Path) -> None:
    def mlp(name: str, **changed: Any) -> object:
        return load_config(written(tmp_path, config(name, **changed))).blocks[0].mlp
    assert mlp("llama-2-7b") == Mlp(11008, "silu", gated=True)
    assert mlp("llama-2-7b", mlp_bias=True) == Mlp(11008, "silu", gated=True, bias=True)
    assert mlp("bert-base") == Mlp(3072, "gelu", bias=True)
    assert mlp("gpt-neox-20b") == Mlp(24576, "gelu-tanh", bias=True)
    assert mlp("t5-small") == Mlp(2048, "relu")
    assert mlp("t5-small", feed_forward_proj="gated-gelu") == Mlp(2048, "gelu-tanh", gated=True)
    assert mlp("t5-small", feed_forward_proj="gated-silu") == Mlp(2048, "silu", gated=True)


def test_layers_of_a_hybrid(tmp_path: Path) -> None:
    blocks = load_config(CONFIGS / "jamba-v0.1.json").blocks
    assert {block.name: block.count for block in blocks} == {"mamba_mlp": 12, "mamba_experts": 16, "attention_mlp": 4}
    experts = next(block.mlp for block in blocks if block.name == "mamba_experts")
    assert experts == Experts(Mlp(14336, "silu", gated=True), 16, 2)
    # No rotary embedding: the scans know positions.
    assert next(block.mixer for block in blocks if block.name == "attention_mlp") == Attention(32, 8, 128)
    assert next(block.mixer for block in blocks if block.name == "mamba_mlp") == \
        SelectiveScan(8192, 16, 4, 256, inner_norms=True)
    dense = load_config(written(tmp_path, config("jamba-v0.1", num_experts=1, num_experts_per_tok=1)))
    assert {block.name: block.count for block in dense.blocks} == {"mamba_mlp": 28, "attention_mlp": 4}


def test_models_without_a_head(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, config("llama-2-7b", architectures=["LlamaModel"]))).head == "none"
    assert load_config(written(tmp_path, config("llama-2-7b", architectures=None))).head == "own"
    bert = load_config(CONFIGS / "bert-base.json")
    assert (bert.head, bert.pooler, bert.generates) == ("none", True, False)
    assert bert.notes == ("the head of BertForMaskedLM is left out; the pooler is there",)
    assert load_config(written(tmp_path, config("bert-base", architectures=["BertModel"]))).notes == ()


def test_the_class_alone_says_the_model_type(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, config("qwen2-7b", model_type=None))).title == "model (qwen2)"


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2), ("bfloat16", 2), ("float8_e4m3fn", 1), (None, None)])
def test_sizes_of_values(tmp_path: Path, dtype: str | None, size: int | None) -> None:
    assert load_config(written(tmp_path, config("llama-2-7b", torch_dtype=dtype))).value_bytes == size
    assert load_config(written(tmp_path, config("llama-2-7b", torch_dtype=None, dtype=dtype))).value_bytes == size


# --- what is refused ---

@pytest.mark.parametrize("kind", ["mixtral", "falcon_mamba", "gpt2", "lama", "llama4", "Llama", ""])
def test_unknown_model_types_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    with pytest.raises((UnknownNameError, DefinitionError)) as caught:
        load_config(written(tmp_path, config("llama-2-7b", model_type=kind)))
    if kind:
        assert str(caught.value).startswith(f"{tmp_path}/model.json: model_type: unknown model type, got {kind!r}; ")
        assert str(caught.value).endswith("valid: bert, gemma, gemma2, gpt_neox, jamba, llama, mamba, mamba2, mistral, qwen2, "
                                          "qwen3, t5")


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("llama-2-7b", {"model_type": None, "architectures": None},
     ("model_type: it is missing, got neither it nor 'architectures'; write one of llama, mistral, qwen2, qwen3, gemma, gemma2, "
     "gpt_neox, bert, t5, mamba, mamba2, jamba")),
    ("llama-2-7b", {"architectures": ["MistralForCausalLM"]},
     ("architectures[0]: it is no architecture of model type 'llama' that is known, got 'MistralForCausalLM'; did you mean "
     "'LlamaForCausalLM'? valid: LlamaForCausalLM, LlamaModel")),
    ("llama-2-7b", {"architectures": ["LlamaForSequenceClassification"]},
     ("architectures[0]: it is no architecture of model type 'llama' that is known, got 'LlamaForSequenceClassification'; did "
     "you mean 'LlamaForCausalLM'? valid: LlamaForCausalLM, LlamaModel")),
    ("llama-2-7b", {"hidden_size": None}, "hidden_size: it is missing, got no value; write one"),
    ("llama-2-7b", {"hidden_size": 4095}, ("num_attention_heads: it should divide hidden_size = 4095, got 32; correct one of them, "
                                          "or give head_dim")),
    ("llama-2-7b", {"num_hidden_layers": 0},
     "num_hidden_layers: it should be a whole number of at least 1 and at most 100000, got 0; correct it"),
    ("llama-2-7b", {"vocab_size": "32000"},
     "vocab_size: it should be a whole number of at least 1 and at most 1.09951e+12, got '32000'; write one"),
    ("llama-2-7b", {"intermediate_size": 2.5}, "intermediate_size: it should be a whole number, got 2.5; round it"),
    ("llama-2-7b", {"intermediate_size": True},
     "intermediate_size: it should be a whole number of at least 1 and at most 1.09951e+12, got True; write one"),
    ("llama-2-7b", {"tie_word_embeddings": "no"}, "tie_word_embeddings: it should be true or false, got 'no'; write one of them"),
    ("llama-3-8b", {"num_key_value_heads": 5},
     "num_key_value_heads: it should divide num_attention_heads = 32, got 5; correct one of them"),
    ("llama-2-7b", {"hidden_act": "mish"}, ("hidden_act: unknown name, got 'mish'; did you mean 'swish'? valid: gelu, gelu_fast, "
                                           "gelu_new, gelu_pytorch_tanh, relu, silu, swish")),
    ("llama-2-7b", {"torch_dtype": "int4"}, ("torch_dtype: unknown name, got 'int4'; valid: bfloat16, float16, float32, float64, "
                                            "float8_e4m3fn, float8_e5m2")),
    ("llama-2-7b", {"num_experts": 8}, ("num_experts: it would add or change layers, which is not modelled for this model type, got "
                                       "8; remove it where the model runs without it")),
    ("mistral-7b", {"num_local_experts": 8, "num_experts_per_tok": 2},
     ("num_local_experts: it would add or change layers, which is not modelled for this model type, got 8; remove it where the "
     "model runs without it")),
    ("mistral-7b", {"is_encoder_decoder": True},
     ("is_encoder_decoder: it would add or change layers, which is not modelled for this model type, got True; remove it where "
     "the model runs without it")),
    ("mistral-7b", {"num_key_value_heads": None}, "num_key_value_heads: it is missing, got no value; write one"),
    ("mistral-7b", {"sliding_window": 0},
     "sliding_window: it should be a whole number of at least 1 and at most 1.09951e+12, got 0; correct it"),
    ("gemma-2b", {"head_dim": None}, "head_dim: it is missing, got no value; write one"),
    ("gemma-2-2b", {"layer_types": ["full_attention"]},
     "layer_types: it should have num_hidden_layers = 26 entries, got a list of 1; correct one of them"),
    ("gemma-2-2b", {"layer_types": ["full_attention"] * 25 + ["linear_attention"]},
     "layer_types[25]: it is not modelled, got 'linear_attention'; use 'full_attention' or 'sliding_attention'"),
    ("qwen3-8b", {"layer_types": ["sliding_attention"] * 36},
     "layer_types[0]: there is no window for it, got 'sliding_attention'; give sliding_window"),
    ("gpt-neox-20b", {"rotary_pct": 0.2605},
     "rotary_pct: pairs of features are rotated, and 25 of the 96 of a head is odd, got 0.2605; correct it"),
    ("gpt-neox-20b", {"rotary_pct": 1.5}, "rotary_pct: it should be a number of more than 0 and at most 1, got 1.5; correct it"),
    ("bert-base", {"position_embedding_type": "relative_key"},
     "position_embedding_type: only learned absolute positions are modelled, got 'relative_key'; write 'absolute'"),
    ("bert-base", {"is_decoder": True}, "is_decoder: only the encoder is modelled, got True; write false"),
    ("bert-base", {"pruned_heads": {"1": [0, 2]}},
     ("pruned_heads: it would add or change layers, which is not modelled for this model type, got a mapping of '1'; remove it "
     "where the model runs without it")),
    ("t5-small", {"feed_forward_proj": "double-relu"},
     ("feed_forward_proj: it should be an activation, or one after 'gated-', got 'double-relu'; use one of gelu, gelu_new, "
     "gelu_fast, gelu_pytorch_tanh, relu, silu, swish")),
    ("t5-small", {"is_encoder_decoder": False},
     "is_encoder_decoder: only the encoder with its decoder is modelled, got False; write true"),
    ("mamba-130m", {"intermediate_size": 1000},
     "intermediate_size: it should be expand * hidden_size = 1536, got 1000; correct one of them"),
    ("mamba-130m", {"hidden_act": "relu"}, "hidden_act: only silu is modelled in this mixer, got 'relu'; write 'silu'"),
    ("mamba2-130m", {"num_heads": 20}, ("num_heads: times head_dim = 64 it should be the channels, 1536 = expand * hidden_size, got "
                                       "20; correct one of them")),
    ("mamba2-130m", {"n_groups": 5}, "n_groups: it should divide num_heads = 24, got 5; correct one of them"),
    ("mamba2-130m", {"rms_norm": False}, "rms_norm: only the gated norm is modelled, got False; write true"),
    ("jamba-v0.1", {"num_experts_per_tok": 17},
     "num_experts_per_tok: it should be at most num_experts = 16, got 17; correct one of them"),
    ("jamba-v0.1", {"attn_layer_offset": 8},
     "attn_layer_offset: it should be less than attn_layer_period = 8, got 8; correct one of them"),
]


@pytest.mark.parametrize(("name", "changed", "message"), WRONG)
def test_wrong_keys(tmp_path: Path, name: str, changed: dict[str, Any], message: str) -> None:
    path = written(tmp_path, config(name, **changed))
    with pytest.raises(DefinitionError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: {message}"


def test_keys_that_say_that_there_is_nothing_more_are_ignored(tmp_path: Path) -> None:
    path = written(tmp_path, config("llama-2-7b", num_experts=1, num_local_experts=0, pruned_heads={}, is_encoder_decoder=False))
    assert {"num_experts", "num_local_experts", "pruned_heads", "is_encoder_decoder"} <= set(load_config(path).ignored)


@pytest.mark.parametrize(("text", "message"), [
    ("{", ":1:2: JSON: it cannot be read, got 'Expecting property name enclosed in double quotes'; check commas and quotes"),
    ("[1, 2]", ": file: it should be an object, got list; give a model's config.json"),
    ("", ":1:1: JSON: it cannot be read, got 'Expecting value'; check commas and quotes"),
    ('{"hidden_size": 1, "hidden_size": 2}',
     ": key 'hidden_size': it stands twice in one mapping, got another value; keep one of the two"),
    ("[" * 100_000, ": JSON: it cannot be read, got RecursionError; simplify it"),
])
def test_files_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}{message}"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="file: there is none, got a path that does not exist; check the spelling"):
        load_network(tmp_path, seq_len=8)

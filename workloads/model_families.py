"""What a ``config.json`` of each known model type says: from its keys to an architecture.

The meaning of keys, and the value of one that is missing, is that of the public ``transformers`` library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from einsum_cascades.definitions import Fields
from workloads.architectures import (
    Activation,
    Architecture,
    Attention,
    Block,
    Experts,
    Mlp,
    Norm,
    SelectiveScan,
    StateSpaceDuality,
)

_MOST, _MOST_LAYERS = 2**40, 100_000
_ACTIVATIONS: Mapping[str, Activation] = {"gelu": "gelu", "gelu_new": "gelu-tanh", "gelu_fast": "gelu-tanh",
                                          "gelu_pytorch_tanh": "gelu-tanh", "relu": "relu", "silu": "silu", "swish": "silu"}


class Keys(Fields):
    """The keys of a configuration, which remembers those that nothing has asked for."""

    def unread(self) -> tuple[str, ...]:
        """Returns the keys that nothing has asked for, in order."""
        return tuple(key for key in self.mapping if key not in self._known)

    def size(self, key: str, default: int | None = None) -> int:
        """Returns a whole number of at least 1."""
        return self.integer(key, least=1, most=_MOST, default=default)

    def layers(self, key: str, default: int | None = None) -> int:
        """Returns a number of layers, of which each is looked at."""
        return self.integer(key, least=1, most=_MOST_LAYERS, default=default)

    def odds(self, key: str, wrong: str, remedy: str) -> NoReturn:
        """Raises the error of a key that is at odds with others."""
        self.fail(key, wrong, self.mapping.get(key), remedy)


@dataclass(frozen=True)
class Family:
    """A model type: the class ``with_head`` that makes tokens (or the encoder itself), the ``bare`` one without a head,
    further ones that are read like the first, and how its keys are read."""

    with_head: str
    bare: str
    read: Callable[[Keys], Architecture]
    source: str
    further: tuple[str, ...] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """The classes besides the one with the head."""
        return (self.bare, *self.further)


# --- decoders with rotary embedding ---

def _llama(keys: Keys) -> Architecture:
    bias = keys.flag("attention_bias", default=False)
    return _decoder(keys, _attention(keys, key_heads_missing=True, input_bias=bias, output_bias=bias),
                    mlp_bias=keys.flag("mlp_bias", default=False))


def _mistral(keys: Keys) -> Architecture:
    return _decoder(keys, replace(_attention(keys), window=_window(keys, missing=4096)))


def _qwen2(keys: Keys) -> Architecture:
    return _decoder(keys, _attention(keys, input_bias=True), windows=_qwen_windows(keys))


def _qwen3(keys: Keys) -> Architecture:
    bias = keys.flag("attention_bias", default=False)
    return _decoder(keys, replace(_attention(keys, input_bias=bias, output_bias=bias), head_norm=True),
                    windows=_qwen_windows(keys))


def _gemma(keys: Keys) -> Architecture:
    return _gemma_around(keys, _gemma_attention(keys))


def _gemma2(keys: Keys) -> Architecture:
    own = replace(_gemma_attention(keys), soft_capped=_cap(keys, "attn_logit_softcapping"))
    layers, window = keys.layers("num_hidden_layers"), _window(keys, missing=4096)
    windows = _layer_types(keys, layers, window) or tuple(None if layer % 2 else window for layer in range(layers))
    model = _gemma_around(keys, own, windows)
    return replace(model, blocks=tuple(replace(block, norms="around") for block in model.blocks),
                   head_capped=_cap(keys, "final_logit_softcapping"))


def _gemma_attention(keys: Keys) -> Attention:
    bias = keys.flag("attention_bias", default=False)
    return _attention(keys, head_size_needed=True, input_bias=bias, output_bias=bias)


def _gemma_around(keys: Keys, own: Attention, windows: tuple[int | None, ...] = ()) -> Architecture:
    # 'hidden_act' of released files may say gelu, where its approximation by tanh is meant.
    activation = _activation(keys, "hidden_activation", "gelu_pytorch_tanh")
    return replace(_decoder(keys, own, tied=True, windows=windows, activation=activation), norm="rms_norm:unit-offset",
                   embedding_scaled=True)


def _gpt_neox(keys: Keys) -> Architecture:
    bias = keys.flag("attention_bias", default=True)
    own = _attention(keys, alone=True, rotary=("rotary_pct", 0.25), input_bias=bias, output_bias=bias)
    # Attention and MLP beside each other or one after the other: the same layers.
    keys.flag("use_parallel_residual", default=True)
    mlp = Mlp(keys.size("intermediate_size"), _activation(keys, "hidden_act", "gelu"), bias=True)
    return _whole(keys, (Block("layer", keys.layers("num_hidden_layers"), replace(own, joint=True), mlp),),
                  "layer_norm:centred", tied=keys.flag("tie_word_embeddings", default=False))


def _decoder(keys: Keys, own: Attention, *, tied: bool = False, mlp_bias: bool = False,
             windows: tuple[int | None, ...] = (), activation: Activation | None = None) -> Architecture:
    """A decoder with root mean square norms and gated MLPs; ``windows`` has that of each layer where they differ."""
    mlp = Mlp(keys.size("intermediate_size"), activation or _activation(keys, "hidden_act", "silu"), True, mlp_bias)
    layers = keys.layers("num_hidden_layers")
    windows = windows or (own.window,) * layers
    kinds = dict.fromkeys(windows)
    blocks = tuple(Block("layer" if len(kinds) == 1 else "local" if window else "global", windows.count(window),
                         replace(own, window=window), mlp) for window in kinds)
    return _whole(keys, blocks, "rms_norm:scaled", tied=keys.flag("tie_word_embeddings", default=tied))


# --- encoders ---

def _bert(keys: Keys) -> Architecture:
    if keys.text("position_embedding_type", default="absolute") != "absolute":
        keys.odds("position_embedding_type", "only learned absolute positions are modelled", "write 'absolute'")
    if keys.flag("is_decoder", default=False):
        keys.odds("is_decoder", "only the encoder is modelled", "write false")
    own = replace(_attention(keys, alone=True, input_bias=True, output_bias=True, rotary=None), causal=False)
    mlp = Mlp(keys.size("intermediate_size"), _activation(keys, "hidden_act", "gelu"), bias=True)
    model = _whole(keys, (Block("layer", keys.layers("num_hidden_layers"), own, mlp, norms="after"),), "layer_norm:centred",
                   tied=True)
    # The heads of tasks are no part of the encoder; its pooler is.
    left_out = tuple(f"the head of {name} is left out; the pooler is there"
                     for name in keys.texts("architectures", default=()) if name != "BertModel")
    return replace(model, notes=left_out, generates=False, positions=keys.size("max_position_embeddings"),
                   segments=keys.size("type_vocab_size"), last_norm=False, head="none", pooler=True)


def _t5(keys: Keys) -> Architecture:
    heads, features = keys.size("num_heads"), keys.size("d_kv")
    layers = keys.layers("num_layers")
    decoder_layers = keys.layers("num_decoder_layers", default=layers)
    if not keys.flag("is_encoder_decoder", default=True):
        keys.odds("is_encoder_decoder", "only the encoder with its decoder is modelled", "write true")
    own = Attention(heads, heads, features, buckets=keys.size("relative_attention_num_buckets", default=32))
    mlp = _t5_mlp(keys)
    decoder = Block("layer", decoder_layers, own, mlp, Attention(heads, heads, features, causal=False))
    tied = keys.flag("tie_word_embeddings", default=True)
    return replace(_whole(keys, (decoder,), "rms_norm:scaled", tied=tied, width="d_model"),
                   encoder=(Block("layer", layers, replace(own, causal=False), mlp),))


def _t5_mlp(keys: Keys) -> Mlp:
    text = keys.text("feed_forward_proj", default="relu")
    gate, _, name = text.rpartition("-")
    # The original's gated gelu is the approximation.
    name = "gelu_new" if text == "gated-gelu" else name
    if gate not in ("", "gated") or name not in _ACTIVATIONS:
        keys.odds("feed_forward_proj", "it should be an activation, or one after 'gated-'",
                  f"use one of {', '.join(_ACTIVATIONS)}")
    return Mlp(keys.size("d_ff"), _ACTIVATIONS[name], bool(gate))


# --- state-space models and hybrids ---

def _mamba(keys: Keys) -> Architecture:
    width = keys.size("hidden_size")
    _only_silu(keys)
    scan = SelectiveScan(_channels(keys, width), keys.size("state_size"), keys.size("conv_kernel"),
                         _step_rank(keys, "time_step_rank", width), keys.flag("use_bias", default=False),
                         keys.flag("use_conv_bias", default=True))
    return _whole(keys, (Block("layer", keys.layers("num_hidden_layers"), scan),), "rms_norm:scaled",
                  tied=keys.flag("tie_word_embeddings", default=True))


def _mamba2(keys: Keys) -> Architecture:
    width, heads, features = keys.size("hidden_size"), keys.size("num_heads"), keys.size("head_dim")
    groups = keys.size("n_groups")
    _only_silu(keys)
    if heads % groups:
        keys.odds("n_groups", f"it should divide num_heads = {heads}", "correct one of them")
    channels = _channels(keys, width)
    if channels != heads * features:
        keys.odds("num_heads", f"times head_dim = {features} it should be the channels, {channels} = expand * hidden_size",
                  "correct one of them")
    if not keys.flag("rms_norm", default=True):
        keys.odds("rms_norm", "only the gated norm is modelled", "write true")
    mixer = StateSpaceDuality(heads, features, groups, keys.size("state_size"), keys.size("conv_kernel"),
                              keys.size("chunk_size"), keys.flag("use_bias", default=False),
                              keys.flag("use_conv_bias", default=True))
    return _whole(keys, (Block("layer", keys.layers("num_hidden_layers"), mixer),), "rms_norm:scaled",
                  tied=keys.flag("tie_word_embeddings", default=False))


def _jamba(keys: Keys) -> Architecture:
    width = keys.size("hidden_size")
    own = replace(_attention(keys, rotary=None), window=_window(keys))
    scan = SelectiveScan(keys.size("mamba_expand") * width, keys.size("mamba_d_state"), keys.size("mamba_d_conv"),
                         _step_rank(keys, "mamba_dt_rank", width), keys.flag("mamba_proj_bias", default=False),
                         keys.flag("mamba_conv_bias", default=True), inner_norms=True)
    _only_silu(keys)
    mlp = Mlp(keys.size("intermediate_size"), "silu", True)
    experts = Experts(mlp, keys.size("num_experts"), keys.size("num_experts_per_tok"))
    if experts.chosen > experts.experts:
        keys.odds("num_experts_per_tok", f"it should be at most num_experts = {experts.experts}", "correct one of them")
    attends, sparse = _every(keys, "attn_layer"), _every(keys, "expert_layer")
    layers = keys.layers("num_hidden_layers")
    kinds = [(attends(layer), experts.experts > 1 and sparse(layer)) for layer in range(layers)]
    blocks = tuple(Block(f"{'attention' if attention else 'mamba'}_{'experts' if routed else 'mlp'}", kinds.count(kind),
                         own if attention else scan, experts if routed else mlp)
                   for kind in dict.fromkeys(kinds) for attention, routed in [kind])
    return _whole(keys, blocks, "rms_norm:scaled", tied=keys.flag("tie_word_embeddings", default=False))


def _every(keys: Keys, name: str) -> Callable[[int], bool]:
    """Which layers a period and an offset choose."""
    period = keys.size(f"{name}_period")
    offset = keys.integer(f"{name}_offset", least=0, most=_MOST)
    if offset >= period:
        keys.odds(f"{name}_offset", f"it should be less than {name}_period = {period}", "correct one of them")
    return lambda layer: layer % period == offset


def _channels(keys: Keys, width: int) -> int:
    """The channels of a mixer: those that are given, or the width times 'expand', and the same where both are."""
    if not keys.given("intermediate_size"):
        return int(keys.number("expand", above=0) * width)
    channels = keys.size("intermediate_size")
    if keys.given("expand") and int(keys.number("expand", above=0) * width) != channels:
        keys.odds("intermediate_size", f"it should be expand * hidden_size = {keys.mapping['expand'] * width}",
                  "correct one of them")
    return channels


def _step_rank(keys: Keys, key: str, width: int) -> int:
    keys.given(key)
    return -(-width // 16) if keys.mapping.get(key) == "auto" else keys.size(key)


def _only_silu(keys: Keys) -> None:
    if _activation(keys, "hidden_act", "silu") != "silu":
        keys.odds("hidden_act", "only silu is modelled in this mixer", "write 'silu'")


# --- parts ---

def _whole(keys: Keys, blocks: tuple[Block, ...], norm: Norm, *, tied: bool, width: str = "hidden_size") -> Architecture:
    """The model around its blocks; its name and source are the reader's."""
    return Architecture("", "", "", keys.size(width), keys.size("vocab_size"), norm, blocks,
                        head="tied" if tied else "own")


def _attention(keys: Keys, *, alone: bool = False, key_heads_missing: bool = False, head_size_needed: bool = False,
               rotary: tuple[str, float] | None = ("partial_rotary_factor", 1.0), input_bias: bool = False,
               output_bias: bool = False) -> Attention:
    """Causal attention. Heads are ``alone`` where none share keys; some configurations may leave the heads of keys out.
    ``rotary`` is the key of the share of features that are rotated, and the share where it is missing."""
    width, heads = keys.size("hidden_size"), keys.size("num_attention_heads")
    key_heads = heads if alone else keys.size("num_key_value_heads", default=heads if key_heads_missing else None)
    if heads % key_heads:
        keys.odds("num_key_value_heads", f"it should divide num_attention_heads = {heads}", "correct one of them")
    if not alone and (head_size_needed or keys.given("head_dim")):
        features = keys.size("head_dim")
    elif width % heads:
        keys.odds("num_attention_heads", f"it should divide hidden_size = {width}",
                  "correct one of them, or give head_dim")
    else:
        features = width // heads
    return Attention(heads, key_heads, features, rotary=_rotary(keys, *rotary, features) if rotary else 0,
                     input_bias=input_bias, output_bias=output_bias)


def _rotary(keys: Keys, key: str, missing: float, features: int) -> int:
    """The features of a head that are rotated: a share of them, of which newer files keep record beside the angles."""
    inside = keys.mapping.get("rope_parameters")
    share = keys.number(key, above=0, most=1, default=missing)
    if isinstance(inside, Mapping) and "partial_rotary_factor" in inside:
        share = keys.fields("rope_parameters").number("partial_rotary_factor", above=0, most=1)
    rotated = int(features * share)
    if rotated % 2:
        keys.odds(key, f"pairs of features are rotated, and {rotated} of the {features} of a head is odd", "correct it")
    return rotated


def _window(keys: Keys, missing: int | None = None) -> int | None:
    """The window: none where the key is null, ``missing`` where it is not there."""
    if keys.given("sliding_window"):
        return keys.size("sliding_window")
    return None if "sliding_window" in keys.mapping else missing


def _qwen_windows(keys: Keys) -> tuple[int | None, ...]:
    """The window of each layer: none, or that of the layers from 'max_window_layers' on."""
    layers, window = keys.layers("num_hidden_layers"), _window(keys, missing=4096)
    if not keys.flag("use_sliding_window", default=False):
        window = None
    first = keys.integer("max_window_layers", least=0, most=_MOST, default=layers)
    return _layer_types(keys, layers, window) or tuple(window if layer >= first else None for layer in range(layers))


def _layer_types(keys: Keys, layers: int, window: int | None) -> tuple[int | None, ...]:
    """The window of each layer as newer files list them; nothing where they do not."""
    kinds = keys.texts("layer_types", default=())
    if not kinds:
        return ()
    if len(kinds) != layers:
        keys.odds("layer_types", f"it should have num_hidden_layers = {layers} entries", "correct one of them")
    for number, kind in enumerate(kinds):
        if kind not in ("full_attention", "sliding_attention"):
            keys.fail(f"layer_types[{number}]", "it is not modelled", kind, "use 'full_attention' or 'sliding_attention'")
        if kind == "sliding_attention" and window is None:
            keys.fail(f"layer_types[{number}]", "there is no window for it", kind, "give sliding_window")
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _cap(keys: Keys, key: str) -> bool:
    """Whether scores or logits are capped: how far is a number that no count depends on."""
    return keys.given(key) and keys.number(key, above=0) > 0


def _activation(keys: Keys, key: str, missing: str) -> Activation:
    return _ACTIVATIONS[keys.choice(key, _ACTIVATIONS, default=missing)]


def _code(name: str, paper: str) -> str:
    return f"{paper}; meaning of the keys: github.com/huggingface/transformers, models/{name}"


FAMILIES: Mapping[str, Family] = {
    "llama": Family("LlamaForCausalLM", "LlamaModel", _llama, _code("llama", "Touvron et al., Llama 2, arXiv 2307.09288")),
    "mistral": Family("MistralForCausalLM", "MistralModel", _mistral,
                      _code("mistral", "Jiang et al., Mistral 7B, arXiv 2310.06825")),
    "qwen2": Family("Qwen2ForCausalLM", "Qwen2Model", _qwen2, _code("qwen2", "Qwen2 Technical Report, arXiv 2407.10671")),
    "qwen3": Family("Qwen3ForCausalLM", "Qwen3Model", _qwen3, _code("qwen3", "Qwen3 Technical Report, arXiv 2505.09388")),
    "gemma": Family("GemmaForCausalLM", "GemmaModel", _gemma, _code("gemma", "Gemma Team, Gemma, arXiv 2403.08295")),
    "gemma2": Family("Gemma2ForCausalLM", "Gemma2Model", _gemma2,
                     _code("gemma2", "Gemma Team, Gemma 2, arXiv 2408.00118")),
    "gpt_neox": Family("GPTNeoXForCausalLM", "GPTNeoXModel", _gpt_neox,
                       _code("gpt_neox", "Black et al., GPT-NeoX-20B, arXiv 2204.06745")),
    "bert": Family("BertModel", "BertModel", _bert, _code("bert", "Devlin et al., BERT, NAACL 2019, arXiv 1810.04805"),
                   ("BertForMaskedLM", "BertForPreTraining")),
    "t5": Family("T5ForConditionalGeneration", "T5Model", _t5,
                 _code("t5", "Raffel et al., T5, JMLR 21, 2020, arXiv 1910.10683"),
                 ("T5WithLMHeadModel",)),
    "mamba": Family("MambaForCausalLM", "MambaModel", _mamba, _code("mamba", "Gu and Dao, Mamba, arXiv 2312.00752")),
    "mamba2": Family("Mamba2ForCausalLM", "Mamba2Model", _mamba2,
                     _code("mamba2", "Dao and Gu, Transformers are SSMs, ICML 2024, arXiv 2405.21060")),
    "jamba": Family("JambaForCausalLM", "JambaModel", _jamba, _code("jamba", "Lieber et al., Jamba, arXiv 2403.19887")),
}
"""The model types that are known."""

"""From a model's description to the layers that one pass through it runs, in a phase, at a length, for a batch.

What is counted: norms, activations and residual additions are layers of their own. Tokens of all sequences are one rank
where weights are shared (t or m); attention and scans are one instance for each sequence and head of keys. Attention
with one query has its query heads that share keys as its queries. Keys and values go to the cache as their
projections write them. Rotary tables, token numbers and the buckets of distances are given. Experts share the tokens
evenly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from einsum_cascades.errors import DefinitionError
from workloads.architectures import (
    Activation,
    Architecture,
    Attention,
    Block,
    Experts,
    Mlp,
    SelectiveScan,
    StateSpaceDuality,
)
from workloads.networks import Group, Layer, Network, Phase, parameter_total

_GATES: Mapping[Activation, str] = {"silu": "swiglu", "gelu": "geglu", "gelu-tanh": "geglu-tanh", "relu": "reglu"}


@dataclass(frozen=True)
class Pass:
    """A pass of ``batch`` sequences through a stack: ``queries`` new tokens in each, the last of ``keys`` tokens, which
    see ``sources`` tokens of an encoder. ``kept`` says whether keys, values and states serve a next token; ``cached``
    whether those of the tokens before, and of the encoder's, are there already."""

    batch: int
    queries: int
    keys: int
    sources: int = 0
    kept: bool = True
    cached: bool = False

    @property
    def tokens(self) -> int:
        """The new tokens of all sequences."""
        return self.batch * self.queries


def network(model: Architecture, *, phase: Phase = "prefill", seq_len: int, batch: int = 1,
            target_len: int | None = None, all_logits: bool = False) -> Network:
    """Returns a model in a phase.

    ``seq_len`` tokens are in each sequence; with an encoder, those are its, and the decoder has ``target_len``
    (default: as many). Logits are made of each sequence's last token, or of all new ones.

    Raises: DefinitionError where the model cannot run so: a decode phase of an encoder, more tokens than positions, a
    target length without an encoder.
    """
    target = target_len or seq_len
    if target_len is not None and not model.encoder:
        raise _refusal(model, "target_len", "the model has no encoder", target_len, "give seq_len alone")
    if phase == "decode" and not model.generates:
        raise _refusal(model, "phase", "an encoder makes no next token", phase, "use prefill")
    if model.positions and target > model.positions:
        raise _refusal(model, "seq_len", f"there are {model.positions} positions", target, "give a shorter one")
    prefill = Pass(batch, target, target, seq_len if model.encoder else 0, model.generates)
    now = prefill if phase == "prefill" else replace(prefill, queries=1, cached=True)
    layers = tuple(_layers(model, now, all_logits))
    # A step leaves out an encoder, but its parameters are there.
    total = parameter_total(_layers(model, prefill, all_logits) if model.encoder else layers)
    return Network(model.id, model.title, model.source, phase, seq_len, batch, layers, total, model.value_bytes,
                   tuple(_notes(model, now)), model.ignored)


def _layers(model: Architecture, now: Pass, all_logits: bool) -> Iterator[Layer]:
    if model.encoder and not now.cached:
        before = Pass(now.batch, now.sources, now.sources, kept=False)
        yield from _embedding(model, before, "encoder")
        yield from _stack(model, model.encoder, before, "encoder")
    stack = "decoder" if model.encoder else ""
    yield from _embedding(model, now, stack)
    yield from _stack(model, model.blocks, now, stack)
    yield from _head(model, now, all_logits)


def _refusal(model: Architecture, path: str, wrong: str, value: object, remedy: str) -> DefinitionError:
    return DefinitionError(f"{wrong}, got {value!r}; {remedy}", source=f"model {model.id!r}", path=path)


def _notes(model: Architecture, now: Pass) -> Iterator[str]:
    yield from model.notes
    for block in model.blocks:
        if isinstance(block.mlp, Experts):
            used, rows = _shared_out(block.mlp, now)
            yield f"{block.name}: {used} of {block.mlp.experts} experts get {rows} tokens each (an even spread)"


# --- the ends of a model ---

def _embedding(model: Architecture, now: Pass, stack: str) -> Iterator[Layer]:
    name = f"{stack}.embedding" if stack else "embedding"
    # An encoder and its decoder have one table.
    own = stack != "decoder" or now.cached
    if model.positions:
        yield Layer(name, "embedding", "embedding", "positions",
                    {"b": now.batch, "p": now.queries, "d": model.width, "v": model.vocabulary, "l": model.positions,
                     "c": model.segments}, weights=("Table", "Place", "Kind"))
        yield _norm(f"{name}.norm", model.norm, now.tokens, model.width)
        return
    yield Layer(name, "embedding", "embedding", "scaled" if model.embedding_scaled else "lookup",
                {"t": now.tokens, "d": model.width, "v": model.vocabulary}, weights=("Table",) if own else ())


def _head(model: Architecture, now: Pass, all_logits: bool) -> Iterator[Layer]:
    if model.pooler:
        yield _linear("pooler", "head", now.batch, model.width, model.width, bias=True)
        yield Layer("pooler.activation", "head", "activation", "tanh", {"t": now.batch, "d": model.width})
    if model.head == "none":
        return
    rows = now.tokens if all_logits else now.batch
    head = _linear("head", "head", rows, model.width, model.vocabulary)
    yield replace(head, weights=()) if model.head == "tied" else head
    if model.head_capped:
        yield Layer("head.cap", "head", "activation", "soft-cap", {"t": rows, "d": model.vocabulary})


# --- stacks and blocks ---

def _stack(model: Architecture, blocks: tuple[Block, ...], now: Pass, stack: str) -> Iterator[Layer]:
    prefix = f"{stack}." if stack else ""
    first = blocks[0].mixer
    if isinstance(first, Attention) and first.buckets:
        # The bias of a distance is the same in all layers of a stack.
        yield Layer(f"{prefix}relative_bias", "attention", "relative_bias_attention", "buckets",
                    {"h": first.heads, "d": now.queries + now.keys - 1, "b": first.buckets}, weights=("Table",))
    for block in blocks:
        for layer in _block(model, block, now):
            yield replace(layer, name=f"{prefix}{block.name}.{layer.name}", count=block.count)
    if model.last_norm:
        yield _norm(f"{prefix}last_norm", model.norm, now.tokens, model.width)


def _block(model: Architecture, block: Block, now: Pass) -> Iterator[Layer]:
    match block.mixer:
        case Attention() as attention:
            yield from _sublayer(model, block, "attention", _self_attention(model, attention, now), now)
        case SelectiveScan() as scan:
            yield from _sublayer(model, block, "mixer", _selective_scan(model, scan, now), now)
        case StateSpaceDuality() as duality:
            yield from _sublayer(model, block, "mixer", _state_space_duality(model, duality, now), now)
    if block.cross is not None:
        yield from _sublayer(model, block, "cross_attention", _cross_attention(model, block.cross, now), now)
    match block.mlp:
        case Mlp() as mlp:
            yield from _sublayer(model, block, "mlp", _mlp(model, mlp, now.tokens), now)
        case Experts() as experts:
            yield from _sublayer(model, block, "mlp", _experts(model, experts, now), now)


def _sublayer(model: Architecture, block: Block, name: str, inside: Iterator[Layer], now: Pass) -> Iterator[Layer]:
    """A part of a block with its norms and its residual addition."""
    if block.norms != "after":
        yield _norm(f"{name}.norm", model.norm, now.tokens, model.width)
    for layer in inside:
        yield replace(layer, name=f"{name}.{layer.name}")
    if block.norms == "around":
        yield _norm(f"{name}.norm_after", model.norm, now.tokens, model.width)
    yield Layer(f"{name}.residual", "residual", "residual", "add", {"t": now.tokens, "d": model.width})
    if block.norms == "after":
        yield _norm(f"{name}.norm", model.norm, now.tokens, model.width)


# --- attention ---

def _self_attention(model: Architecture, own: Attention, now: Pass) -> Iterator[Layer]:
    queries, keys = own.heads * own.features, own.key_heads * own.features
    projections = {"query_key_value": queries + 2 * keys} if own.joint else {"query": queries, "key": keys, "value": keys}
    for name, features in projections.items():
        yield _linear(name, "attention", now.tokens, model.width, features, own.input_bias)
    if own.head_norm:
        for name, heads in (("query_norm", own.heads), ("key_norm", own.key_heads)):
            yield _norm(name, "rms_norm:scaled", now.tokens * heads, own.features)
    if own.rotary:
        yield Layer("rotary", "attention", "rotary", "halves",
                    {"b": now.batch, "p": now.queries, "h": own.heads + own.key_heads, "c": 2, "j": own.rotary // 2})
    yield _scores(own, now)
    yield _linear("output", "attention", now.tokens, queries, model.width, own.output_bias)


def _scores(own: Attention, now: Pass) -> Layer:
    window = own.window if own.window is not None and own.window < now.keys else None
    # One query sees all that is kept. In a prompt, keys that have left the last window were seen by earlier queries.
    masked = own.causal and now.queries > 1
    kept = window or now.keys
    kind = "window" if masked and window else "causal" if masked or own.soft_capped else "full"
    if own.soft_capped:
        variant, algorithm = "soft_capped_attention", f"{kind}-3pass"
    elif own.buckets:
        variant, algorithm = "relative_bias_attention", f"{kind}-3pass"
    elif masked:
        variant, algorithm = "sliding_window_attention" if window else "causal_attention", "3pass"
    else:
        return _plain_scores(own, now, kept)
    extents = {"r": own.heads // own.key_heads, "p": now.queries, "m": now.keys if masked else kept, "e": own.features,
               "f": own.features, **({"w": window} if masked and window else {})}
    return Layer("scores", "attention", variant, algorithm, extents, now.batch * own.key_heads,
                 kept_values=_cache(own, now, kept))


def _plain_scores(own: Attention, now: Pass, keys: int) -> Layer:
    """Attention without a mask: query heads that share keys are further queries."""
    return Layer("scores", "attention", "attention", "3pass",
                 {"p": now.queries * own.heads // own.key_heads, "m": keys, "e": own.features, "f": own.features},
                 now.batch * own.key_heads, kept_values=_cache(own, now, keys))


def _cache(own: Attention, now: Pass, keys: int) -> int:
    return 2 * now.batch * own.key_heads * own.features * keys if now.kept else 0


def _cross_attention(model: Architecture, own: Attention, now: Pass) -> Iterator[Layer]:
    queries, keys = own.heads * own.features, own.key_heads * own.features
    yield _linear("query", "attention", now.tokens, model.width, queries, own.input_bias)
    for name in () if now.cached else ("key", "value"):
        yield _linear(name, "attention", now.batch * now.sources, model.width, keys, own.input_bias)
    yield _plain_scores(own, now, now.sources)
    yield _linear("output", "attention", now.tokens, queries, model.width, own.output_bias)


# --- state-space mixers ---

def _selective_scan(model: Architecture, own: SelectiveScan, now: Pass) -> Iterator[Layer]:
    rank, states = own.step_rank, own.states
    yield _linear("in_proj", "mixer", now.tokens, model.width, 2 * own.channels, own.bias)
    yield _convolution(own.channels, own.taps, own.convolution_bias, now)
    yield _linear("x_proj", "mixer", now.tokens, own.channels, rank + 2 * states)
    if own.inner_norms:
        for name, features in (("step_norm", rank), ("b_norm", states), ("c_norm", states)):
            yield _norm(name, "rms_norm:scaled", now.tokens, features)
    yield _linear("dt_proj", "mixer", now.tokens, rank, own.channels)
    kept = now.batch * own.channels * states
    if now.cached:
        yield Layer("scan", "mixer", "state_update", "s6", {"b": now.batch, "e": own.channels, "n": states},
                    weights=("Bdt", "Alog", "D"), kept_values=kept)
    else:
        yield Layer("scan", "mixer", "mamba_s6", "sequential", {"i": now.queries, "e": own.channels, "n": states},
                    now.batch, weights=("Bdt", "Alog", "D"), kept_values=kept)
    yield _linear("out_proj", "mixer", now.tokens, own.channels, model.width, own.bias)


def _state_space_duality(model: Architecture, own: StateSpaceDuality, now: Pass) -> Iterator[Layer]:
    shared = 2 * own.groups * own.states
    yield _linear("in_proj", "mixer", now.tokens, model.width, 2 * own.channels + shared + own.heads, own.bias)
    yield _convolution(own.channels + shared, own.taps, own.convolution_bias, now)
    kept = now.batch * own.channels * own.states
    sizes = {"g": own.groups, "p": own.features, "n": own.states}
    if now.cached:
        yield Layer("scan", "mixer", "state_update", "ssd", {"b": now.batch, "h": own.heads // own.groups, **sizes},
                    weights=("Bdt", "Alog", "D"), kept_values=kept)
    else:
        yield Layer("scan", "mixer", "mamba2_ssd", "chunked",
                    {"i": now.queries, "h": own.heads, **sizes, "i0": min(own.chunk, now.queries)}, now.batch,
                    weights=("Bdt", "Alog", "D"), kept_values=kept)
    yield Layer("gated_norm", "norm", "gated_rms_norm", "gate-first",
                {"t": now.tokens, "g": own.groups, "d": own.channels // own.groups}, weights=("Scale",))
    yield _linear("out_proj", "mixer", now.tokens, own.channels, model.width, own.bias)


def _convolution(channels: int, taps: int, bias: bool, now: Pass) -> Layer:
    extents = {"b": now.batch, "e": channels, "w": taps}
    algorithm = "step" if now.cached else "sequence"
    return Layer("conv1d", "mixer", "depthwise_conv1d", algorithm if bias else f"{algorithm}-unbiased",
                 extents if now.cached else {**extents, "i": now.queries}, weights=("Wc", "Bc") if bias else ("Wc",),
                 kept_values=now.batch * channels * taps)


# --- MLPs ---

def _mlp(model: Architecture, own: Mlp, rows: int) -> Iterator[Layer]:
    if own.gated:
        yield _linear("gate", "mlp", rows, model.width, own.features, own.bias)
    yield _linear("up", "mlp", rows, model.width, own.features, own.bias)
    variant, algorithm = ("gated_linear_unit", _GATES[own.activation]) if own.gated else ("activation", own.activation)
    yield Layer("activation", "mlp", variant, algorithm, {"t": rows, "d": own.features})
    yield _linear("down", "mlp", rows, own.features, model.width, own.bias)


def _experts(model: Architecture, own: Experts, now: Pass) -> Iterator[Layer]:
    yield _linear("router", "mlp", now.tokens, model.width, own.experts)
    yield Layer("route", "mlp", "expert_router", "route", {"t": now.tokens, "x": own.experts, "j": own.chosen})
    used, rows = _shared_out(own, now)
    for layer in _mlp(model, own.mlp, rows):
        yield replace(layer, name=f"experts.{layer.name}", instances=used, weight_sets=own.experts)
    yield Layer("combine", "mlp", "expert_router", "combine", {"t": now.tokens, "j": own.chosen, "d": model.width})


def _shared_out(own: Experts, now: Pass) -> tuple[int, int]:
    """How many experts get tokens, and how many each, if tokens spread evenly."""
    used = min(own.experts, now.tokens * own.chosen)
    return used, -(-now.tokens * own.chosen // used)


# --- single layers ---

def _linear(name: str, group: Group, rows: int, given: int, made: int, bias: bool = False) -> Layer:
    extents = {"m": rows, "n": made, "k": given}
    if bias:
        return Layer(name, group, "linear", "biased", extents, weights=("B", "Bias"))
    return Layer(name, group, "gemm", "product", extents, weights=("B",))


def _norm(name: str, norm: str, tokens: int, features: int) -> Layer:
    variant, algorithm = norm.split(":")
    return Layer(name, "norm", variant, algorithm, {"t": tokens, "d": features},
                 weights=("Scale", "Shift") if variant == "layer_norm" else ("Scale",))

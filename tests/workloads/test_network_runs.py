"""Networks that are run: the layers of small models, wired together, against models written out in NumPy."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from einsum_cascades.interpreter import run
from einsum_cascades.structure import structure
from workloads.networks import Network, load_network
from workloads.variants import mamba_s6
from workloads.variants.activation import gelu_tanh, silu

Array = np.ndarray[Any, Any]
SMALL = {"hidden_size": 8, "intermediate_size": 12, "vocab_size": 11, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 6, "tie_word_embeddings": False}
CONFIGS = {
    "llama": {**SMALL, "model_type": "llama"},
    "mistral": {**SMALL, "model_type": "mistral", "sliding_window": 3},
    "qwen3": {**SMALL, "model_type": "qwen3", "attention_bias": True},
    "gemma2": {**SMALL, "model_type": "gemma2", "sliding_window": 4, "attn_logit_softcapping": 2.0,
               "final_logit_softcapping": 3.0, "num_hidden_layers": 4},
    "jamba": {**SMALL, "model_type": "jamba", "num_hidden_layers": 4, "num_experts": 3, "num_experts_per_tok": 2,
              "expert_layer_period": 2, "expert_layer_offset": 1, "attn_layer_period": 4, "attn_layer_offset": 2,
              "mamba_expand": 2, "mamba_d_state": 3, "mamba_d_conv": 4, "mamba_dt_rank": "auto"},
    "mamba2": {"model_type": "mamba2", "hidden_size": 8, "vocab_size": 11, "num_hidden_layers": 2, "num_heads": 4, "head_dim": 4,
               "n_groups": 2, "state_size": 3, "conv_kernel": 4, "expand": 2, "chunk_size": 4},
    "bert": {"model_type": "bert", "hidden_size": 8, "intermediate_size": 12, "vocab_size": 11, "num_hidden_layers": 2,
             "num_attention_heads": 4, "max_position_embeddings": 16, "type_vocab_size": 2},
    "t5": {"model_type": "t5", "d_model": 8, "d_kv": 3, "d_ff": 12, "num_heads": 4, "num_layers": 2, "num_decoder_layers": 3,
           "vocab_size": 11},
    "gpt_neox": {"model_type": "gpt_neox", "hidden_size": 16, "intermediate_size": 12, "vocab_size": 11, "num_hidden_layers": 2,
                 "num_attention_heads": 4, "rotary_pct": 0.5},
    "mamba": {"model_type": "mamba", "hidden_size": 6, "vocab_size": 11, "num_hidden_layers": 2, "expand": 2, "state_size": 3,
              "conv_kernel": 4, "time_step_rank": "auto"},
}


def small(folder: Path, kind: str, **how: Any) -> Network:
    path = folder / f"{kind}.json"
    path.write_text(json.dumps(CONFIGS[kind]))
    return load_network(path, **how)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_every_layer_runs_at_its_shape(tmp_path: Path, kind: str, phase: str) -> None:
    if (kind, phase) == ("bert", "decode"):
        phase = "prefill"
    rng = np.random.default_rng(0)
    for layer in small(tmp_path, kind, phase=phase, seq_len=6, batch=2).layers:
        cascade = layer.cascade
        found = structure(cascade)
        inputs = {name: rng.integers(0, 2, layer.shape(name)) if name in found.index_tensors
                  else rng.normal(size=layer.shape(name)) for name in found.inputs}
        results = run(cascade, inputs, layer.extents)
        assert all(np.isfinite(array).all() for array in results.values()), layer.name


# --- a decoder, from its layers ---

@dataclass
class Model:
    """A network with weights; ``kept`` is what it keeps for the next token, by layer of the model."""

    network: Network
    weights: dict[tuple[str, int, str], Array]
    kept: dict[tuple[str, int], Array] = field(default_factory=dict)

    def run(self, name: str, number: int = 0, /, **inputs: Array) -> dict[str, Array]:
        """Runs one layer, the ``number``-th of its count, once for each instance that inputs are given for."""
        (layer,) = (each for each in self.network.layers if each.name == name)
        own = {tensor: self.weights[name, number, tensor] for tensor in layer.weights}
        return run(layer.cascade, {**own, **inputs}, layer.extents)


def weights_of(found: Network) -> dict[tuple[str, int, str], Array]:
    rng = np.random.default_rng(1)
    return {(layer.name, number, tensor): rng.normal(0.5 if tensor == "Scale" else 0, 0.5, layer.shape(tensor))
            for layer in found.layers for number in range(layer.count) for tensor in layer.weights}


def order_of(kind: str) -> list[tuple[str, int]]:
    """The blocks of a model in their order: the name of each, and the number among those of the name."""
    return [("local", 0), ("global", 0), ("local", 1), ("global", 1)] if kind == "gemma2" else [("layer", 0), ("layer", 1)]


def decoder(model: Model, kind: str, tokens: Array, start: int) -> Array:
    """The logits of tokens [b,p] that follow ``start`` earlier ones, through the layers of a network."""
    batch, length = tokens.shape
    factor = {"Factor": np.array(8**0.5)} if kind == "gemma2" else {}
    x = model.run("embedding", I=tokens.ravel(), **factor)["Y"]
    for block, number in order_of(kind):
        normed = model.run(f"{block}.attention.norm", number, X=x)["Y"]
        heads = {name: model.run(f"{block}.attention.{name}", number, A=normed)["Z"].reshape(batch, length, -1, 6)
                 for name in ("query", "key", "value")}
        if kind == "qwen3":
            for name in ("query", "key"):
                flat = heads[name].reshape(-1, 6)
                heads[name] = model.run(f"{block}.attention.{name}_norm", number, X=flat)["Y"].reshape(heads[name].shape)
        both = np.concatenate((heads["query"], heads["key"]), axis=2).reshape(batch, length, -1, 2, 3)
        angles = np.arange(start, start + length)[:, None] * 10000.0 ** (-np.arange(3) / 3)
        signed = np.stack((-np.sin(angles), np.sin(angles)), axis=1)
        turned = model.run(f"{block}.attention.rotary", number, X=both, Cos=np.cos(angles), Sin=signed)["Y"].reshape(
            batch, length, -1, 6)
        attended = attention(model, kind, block, number, turned[:, :, :4], turned[:, :, 4:], heads["value"])
        out = model.run(f"{block}.attention.output", number, A=attended.reshape(batch * length, -1))["Z"]
        x = added(model, kind, f"{block}.attention", number, x, out)
        normed = model.run(f"{block}.mlp.norm", number, X=x)["Y"]
        gate, up = (model.run(f"{block}.mlp.{name}", number, A=normed)["Z"] for name in ("gate", "up"))
        hidden = model.run(f"{block}.mlp.activation", number, G=gate, U=up)["Y"]
        x = added(model, kind, f"{block}.mlp", number, x, model.run(f"{block}.mlp.down", number, A=hidden)["Z"])
    last = model.run("last_norm", X=x)["Y"]
    logits = model.run("head", A=last)["Z"]
    if kind == "gemma2":
        logits = model.run("head.cap", X=logits, Cap=np.array(3.0))["Y"]
    return logits.reshape(batch, length, -1)


def added(model: Model, kind: str, part: str, number: int, x: Array, out: Array) -> Array:
    if kind == "gemma2":
        out = model.run(f"{part}.norm_after", number, X=out)["Y"]
    return model.run(f"{part}.residual", number, X=out, R=x)["Y"]


def attention(model: Model, kind: str, block: str, number: int, query: Array, key: Array, value: Array) -> Array:
    """Each instance by itself: a sequence and a head of keys, with the two query heads that share it."""
    cap = {"Cap": np.array(2.0)} if kind == "gemma2" else {}
    scale = 6**-0.5 / (2.0 if cap else 1.0)
    window = {"mistral": 3, "gemma2": 4 if block == "local" else None}.get(kind)
    single = query.shape[1] == 1
    out = np.empty_like(query)
    for name, new in (("K", key), ("V", value)):
        before = model.kept.get((f"{block}.{name}", number))
        whole = new if before is None else np.concatenate((before, new), axis=1)
        model.kept[f"{block}.{name}", number] = whole[:, -window:] if single and window else whole
    keys, values = (model.kept[f"{block}.{name}", number] for name in "KV")
    for b in range(query.shape[0]):
        for g in range(2):
            own = query[b, :, 2 * g:2 * g + 2].transpose(1, 0, 2) * scale
            plain = single and kind != "gemma2"
            found = model.run(f"{block}.attention.scores", number, Q=own[:, 0] if plain else own, K=keys[b, :, g],
                              V=values[b, :, g], **cap)["AV"]
            out[b, :, 2 * g:2 * g + 2] = found[None] if plain else found.transpose(1, 0, 2)
    return out


# --- the same decoder in NumPy, token by token and head by head ---

def written_out(weights: dict[tuple[str, int, str], Array], kind: str, tokens: Array) -> Array:
    unit = 1.0 if kind == "gemma2" else 0.0
    def norm(x: Array, name: str, number: int = 0) -> Array:
        out: Array = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * (weights[name, number, "Scale"] + unit)
        return out

    def linear(x: Array, name: str, number: int = 0) -> Array:
        out: Array = x @ weights[name, number, "B"] + weights.get((name, number, "Bias"), 0.0)
        return out

    def turned(x: Array) -> Array:
        angles = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(3) / 3)
        pairs = (x[..., :3] + 1j * x[..., 3:]) * np.exp(1j * angles)[:, None]
        return np.concatenate((pairs.real, pairs.imag), axis=-1)
    results = []
    for sequence in tokens:
        x = weights["embedding", 0, "Table"][sequence] * (8**0.5 if kind == "gemma2" else 1.0)
        for block, number in order_of(kind):
            h = norm(x, f"{block}.attention.norm", number)
            q, k, v = (linear(h, f"{block}.attention.{name}", number).reshape(len(x), -1, 6) for name in ("query", "key", "value"))
            if kind == "qwen3":
                q, k = norm(q, f"{block}.attention.query_norm", number), norm(k, f"{block}.attention.key_norm", number)
            q, k = turned(q), turned(k)
            mixed = np.zeros_like(q)
            window = {"mistral": 3, "gemma2": 4 if block == "local" else None}.get(kind) or len(x)
            for head in range(4):
                for token in range(len(x)):
                    seen = range(max(0, token - window + 1), token + 1)
                    scores = np.array([q[token, head] @ k[other, head // 2] / 6**0.5 for other in seen])
                    if kind == "gemma2":
                        scores = 2 * np.tanh(scores / 2)
                    shares = np.exp(scores) / np.exp(scores).sum()
                    mixed[token, head] = sum(share * v[other, head // 2] for share, other in zip(shares, seen, strict=True))
            out = linear(mixed.reshape(len(x), -1), f"{block}.attention.output", number)
            x = x + (norm(out, f"{block}.attention.norm_after", number) if kind == "gemma2" else out)
            h = norm(x, f"{block}.mlp.norm", number)
            gate = (gelu_tanh if kind == "gemma2" else silu)(linear(h, f"{block}.mlp.gate", number))
            out = linear(gate * linear(h, f"{block}.mlp.up", number), f"{block}.mlp.down", number)
            x = x + (norm(out, f"{block}.mlp.norm_after", number) if kind == "gemma2" else out)
        logits = linear(norm(x, "last_norm"), "head")
        results.append(3 * np.tanh(logits / 3) if kind == "gemma2" else logits)
    return np.stack(results)


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3", "gemma2"])
def test_the_layers_of_a_decoder_are_the_model(tmp_path: Path, kind: str) -> None:
    tokens = np.random.default_rng(2).integers(0, 11, (2, 7))
    prompt = small(tmp_path, kind, seq_len=7, batch=2, logits="all")
    weights = weights_of(prompt)
    expected = written_out(weights, kind, tokens)
    np.testing.assert_allclose(decoder(Model(prompt, weights), kind, tokens, 0), expected, rtol=1e-10, atol=1e-12)
    # All tokens but the last, then the last alone with what was kept.
    before = Model(small(tmp_path, kind, seq_len=6, batch=2, logits="all"), weights)
    decoder(before, kind, tokens[:, :-1], 0)
    step = Model(small(tmp_path, kind, phase="decode", seq_len=7, batch=2), weights, before.kept)
    np.testing.assert_allclose(decoder(step, kind, tokens[:, -1:], 6)[:, 0], expected[:, -1], rtol=1e-10, atol=1e-12)


# --- Mamba ---

def mamba(model: Model, tokens: Array) -> Array:
    """The logits of tokens [b,p] through the layers of a network of Mamba; states are kept."""
    batch, length = tokens.shape
    x = model.run("embedding", I=tokens.ravel())["Y"]
    for number in range(2):
        def of(name: str, number: int = number, /, **inputs: Array) -> dict[str, Array]:
            return model.run(f"layer.mixer.{name}", number, **inputs)
        projected = of("in_proj", A=of("norm", X=x)["Y"])["Z"].reshape(batch, length, 2, 12)
        if ("window", number) in model.kept:
            convolved = of("conv1d", XN=projected[:, 0, 0], S0=model.kept["window", number])
            model.kept["window", number] = convolved["S1"]
        else:
            convolved = of("conv1d", X=projected[:, :, 0])
            model.kept["window", number] = convolved["CS"]
        u = convolved["U"].reshape(batch * length, 12)
        rest = of("x_proj", A=u)["Z"]
        steps = {"DP": of("dt_proj", A=rest[:, :1])["Z"], "B": rest[:, 1:4], "C": rest[:, 4:], "U": u,
                 "Z": projected[:, :, 1].reshape(-1, 12)}
        if ("state", number) in model.kept:
            scanned = of("scan", H0=model.kept["state", number], **steps)
            model.kept["state", number] = scanned["H1"]
            mixed = scanned["G"]
        else:
            each = [of("scan", H0=np.zeros((12, 3)), **{name: array.reshape(batch, length, -1)[b] for name, array in steps.items()})
                    for b in range(batch)]
            model.kept["state", number] = np.stack([found["HL"] for found in each])
            mixed = np.concatenate([found["G"] for found in each])
        x = of("residual", X=of("out_proj", A=mixed)["Z"], R=x)["Y"]
    # The head is the embedding's table.
    return model.run("head", A=model.run("last_norm", X=x)["Y"], B=model.weights["embedding", 0, "Table"].T)["Z"].reshape(
        batch, length, -1)


def test_the_layers_of_mamba_are_the_model(tmp_path: Path) -> None:
    tokens = np.random.default_rng(3).integers(0, 11, (2, 7))
    prompt = small(tmp_path, "mamba", seq_len=7, batch=2, logits="all")
    weights = weights_of(prompt)
    expected = []
    for sequence in tokens:
        x = np.zeros((7, 6))
        out = weights["embedding", 0, "Table"][sequence]
        for number in range(2):
            own = {name: weights[f"layer.mixer.{layer}", number, tensor] for name, layer, tensor in (
                ("Wn", "norm", "Scale"), ("Wc", "conv1d", "Wc"), ("Bc", "conv1d", "Bc"), ("Bdt", "scan", "Bdt"),
                ("Alog", "scan", "Alog"), ("D", "scan", "D"))}
            into, rest = weights["layer.mixer.in_proj", number, "B"].T, weights["layer.mixer.x_proj", number, "B"].T
            block = mamba_s6.block_reference({
                **own, "RES": x, "X": out, "WinX": into[:12], "WinZ": into[12:], "WxDt": rest[:1], "WxB": rest[1:4],
                "WxC": rest[4:], "Wdt": weights["layer.mixer.dt_proj", number, "B"].T,
                "Wout": weights["layer.mixer.out_proj", number, "B"].T}, {})
            x, out = block["RS"], block["O"]
        x = x + out
        normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weights["last_norm", 0, "Scale"]
        expected.append(normed @ weights["embedding", 0, "Table"].T)
    np.testing.assert_allclose(mamba(Model(prompt, weights), tokens), expected, rtol=1e-10, atol=1e-12)
    before = Model(small(tmp_path, "mamba", seq_len=6, batch=2, logits="all"), weights)
    mamba(before, tokens[:, :-1])
    step = Model(small(tmp_path, "mamba", phase="decode", seq_len=7, batch=2), weights, before.kept)
    np.testing.assert_allclose(mamba(step, tokens[:, -1:])[:, 0], np.stack(expected)[:, -1], rtol=1e-10, atol=1e-12)

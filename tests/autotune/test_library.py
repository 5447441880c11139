"""Kernels as a library, in Triton's interpreter: results, what the store decides, and refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None or find_spec("torch") is None, reason="needs torch and triton")

SETUP = """
import sys, numpy as np, torch, autotune
from dataclasses import replace
from autotune.store import *
from autotune.tuner.kernels import Work, kernel_key
from einsum_cascades.errors import FusebenchError
folder = sys.argv[1]
torch.manual_seed(0)
q, k, v = torch.randn(2, 3, 20, 16), torch.randn(2, 3, 24, 16), torch.randn(2, 3, 24, 16)
want = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)
"""


def interpreted(code: str, folder: Path) -> str:
    """Returns what some code prints where Triton interprets its kernels."""
    ran = subprocess.run([sys.executable, "-c", SETUP + code, str(folder)], capture_output=True, text=True, check=False,
                         env={**os.environ, "TRITON_INTERPRET": "1", "XDG_DATA_HOME": str(folder / "none")})
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_loaded_kernel_is_attention_and_takes_what_the_store_has(tmp_path: Path) -> None:
    out = interpreted("""
plain = autotune.load("attention:1pass")
assert plain.lookup(Q=q, K=k, V=v).status == "miss"
assert torch.allclose(plain(Q=q, K=k, V=v)["AV"], want, atol=1e-5)
one = plain(Q=q[0, 0], K=k[0, 0], V=v[0, 0])["AV"]
assert torch.allclose(one.reshape(20, 16), want[0, 0], atol=1e-5)
batch = plain(Q=q[0], K=k[0], V=v[0])["AV"]
assert torch.allclose(batch.reshape(3, 20, 16), want[0], atol=1e-5)

key = kernel_key(Work("attention:1pass", {"p": 20, "m": 24, "e": 16, "f": 16}, "fp32", 6), "cpu", "3.7.1")
from autotune.timing.environment import installed
key = replace(key, triton=installed("triton"))
place = Environment("cpu", "interpreter", triton=key.triton)
trial = Trial(key.kernel, key.kernel_digest, {}, {}, key.bucket, {"part.m0": 16, "p": 16, "num_warps": 2, "num_stages": 1}, Status.OK, place)
winner = Winner("s", key.kernel, key.kernel_digest, key.bucket, "cpu", key.triton, trial.id, (trial.id,), "fastest", 1.0)
with Store(folder + "/s") as store:
    store.add([trial], [winner])
tuned = autotune.load("attention:1pass", store=folder + "/s")
assert tuned.lookup(Q=q, K=k, V=v).status == "hit"
(kernel,) = tuned.plan(Q=q, K=k, V=v).kernels
print(kernel.num_warps, tuned.plan(Q=q, K=k, V=v).extents["m0"], plain.plan(Q=q, K=k, V=v).kernels[0].num_warps)
assert torch.allclose(tuned(Q=q, K=k, V=v)["AV"], want, atol=1e-5)
assert tuned.lookup(Q=q.half(), K=k.half(), V=v.half()).status == "miss"
""", tmp_path)
    assert out.split() == ["2", "16", "4"]


def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    out = interpreted("""
plain = autotune.load("attention:1pass")
for tensors in ({"Q": q, "K": k}, {"Q": q, "K": k, "V": v, "X": v}, {"Q": q.double(), "K": k.double(), "V": v.double()}, {"Q": q[0, 0, 0], "K": k, "V": v}):
    try:
        plain(**tensors)
    except FusebenchError as error:
        print(error)
for name, options in (("atention", {}), ("attention", {"store": folder + "/absent"})):
    try:
        autotune.load(name, **options)(Q=q, K=k, V=v)
    except FusebenchError as error:
        print(error)
""", tmp_path)
    lines = out.splitlines()
    assert "an input is missing, got Q, K; give 'V'" in lines[0]
    assert "it reads no such tensor, got 'X'" in lines[1]
    assert "give bf16, fp16 or fp32" in lines[2]
    assert "up to two dimensions before them, got shape (16,)" in lines[3]
    assert "did you mean 'attention'" in lines[4]
    assert "there is no store" in lines[5]


def test_shapes_of_one_bucket_share_their_key() -> None:
    from autotune.tuner.kernels import Work, kernel_key
    keys = {kernel_key(Work("attention:1pass", {"p": p, "m": m, "e": 64, "f": 64}, "bf16", 12), "x", "3")
            for p, m in ((4096, 4096), (3000, 3000), (4000, 2049))}
    assert len(keys) == 1
    assert kernel_key(Work("attention:1pass", {"p": 4097, "m": 4096, "e": 64, "f": 64}, "bf16", 12), "x", "3") not in keys


def test_the_model_of_the_docs_is_the_same_with_our_kernel_and_with_torchs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text()
    (block,) = [part.split("```", 1)[0] for part in page.split("```python\n")[1:]]
    interpreted(block + """
model = Attention(32, 2)
x = torch.randn(2, 20, 32)
assert torch.allclose(model(x), model(x, ours=False), atol=1e-5)
""", tmp_path)

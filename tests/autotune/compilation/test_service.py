"""Kernels compiled without a GPU: facts against NVIDIA's own tools, attributes, limits, cache, failures."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.compilation import service
from autotune.compilation.cache import Cache
from autotune.compilation.request import CompileRequest
from autotune.compilation.service import Compiled, compile_all, triton_version
from autotune.compilation.targets import TARGETS, target
from einsum_cascades.errors import UnknownNameError
from reports.devices import limits_of_target
from tests.autotune.compilation.kernels import ADD, HOPPER, add, attention

pytest.importorskip("triton")
_LIMITS = {"sm_90": HOPPER}


def compiled(requests: Sequence[CompileRequest], **options: Any) -> list[Compiled]:
    found = dict(compile_all(requests, **options))
    return [found[number] for number in range(len(requests))]


def one(request: CompileRequest, **options: Any) -> Compiled:
    return compiled([request], **options)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_every_target_compiles(name: str) -> None:
    made = one(attention(name))
    assert made.ok, made.error
    assert made.facts is not None
    assert made.facts.complete
    assert made.facts.instructions["mma" if target(name).backend == "hip" or name in ("sm_80", "sm_86", "sm_89", "sm_120") else
                                   "wgmma" if name == "sm_90" else "tcgen05_mma"] > 0


@pytest.fixture(scope="module")
def hopper() -> list[Compiled]:
    """Attention that fits, that spills, that is not aligned, and whose rows are not."""
    return compiled([attention(), attention(bm=128, bn=128, num_warps=4, num_stages=2), attention(aligned=False),
                     attention(stride=72)], limits=_LIMITS, jobs=2)


def test_facts_are_those_of_nvidias_own_tools(hopper: list[Compiled], tmp_path: Path) -> None:
    """The assembly is assembled again, with the same tool, and cuobjdump says what the binary needs."""
    triton = pytest.importorskip("triton")
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    for number, made in enumerate(hopper[:2]):
        assert made.facts is not None
        ptx, cubin = tmp_path / f"{number}.ptx", tmp_path / f"{number}.cubin"
        ptx.write_text(made.assembly)
        version = re.search(r"\.version (\d+)\.(\d+)", made.assembly)
        assert version is not None
        ptxas = tools / ("ptxas-blackwell" if triton.__version__ >= "3.9" else "ptxas")
        # As Triton calls it from 3.7 on.
        options = ["--regAllocOptLevel=2"] if triton.__version__ >= "3.7" else []
        subprocess.run([ptxas, "-lineinfo", "-suppress-debug-info", *options, "--gpu-name=sm_90a", ptx, "-o", cubin], check=True)
        said = subprocess.run([tools / "cuobjdump", "--dump-resource-usage", cubin], capture_output=True, text=True, check=True).stdout
        found = {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", said.split("Function attention")[1])}
        assert (found["REG"], found["STACK"]) == (made.facts.registers, made.facts.stack_bytes)


def test_spills_and_serialized_products_are_seen(hopper: list[Compiled]) -> None:
    fits, spills = (made.facts for made in hopper[:2])
    assert fits is not None
    assert spills is not None
    assert (fits.spill_bytes, fits.stack_bytes, fits.serialized_wgmma) == (0, 0, "")
    assert spills.registers == 255
    assert spills.spill_bytes is not None
    assert spills.spill_bytes > 0
    assert spills.serialized_wgmma.startswith("insufficient register resources")


def test_alignment_decides_as_in_a_launch(hopper: list[Compiled]) -> None:
    """Without it Triton can not copy asynchronously, and needs less shared memory: pruning on that would be wrong."""
    aligned, unaligned, odd_rows = (hopper[n].facts for n in (0, 2, 3))
    assert aligned is not None
    assert unaligned is not None
    assert odd_rows is not None
    assert aligned.instructions["cp_async"] > 0 == unaligned.instructions["cp_async"]
    assert aligned.shared_bytes == 131_072
    assert unaligned.shared_bytes is not None
    assert odd_rows.shared_bytes is not None
    assert max(unaligned.shared_bytes, odd_rows.shared_bytes) < aligned.shared_bytes


def test_accumulators_are_what_the_loops_carry(hopper: list[Compiled]) -> None:
    assert hopper[0].facts is not None
    assert hopper[0].facts.carried_bytes == 4 * (128 * 128 + 2 * 128)
    assert set(hopper[0].facts.stage_seconds) == {"ttir", "ttgir", "llir", "ptx", "cubin"}


@pytest.mark.parametrize(("request_", "limit", "stages"), [
    (attention(num_warps=64), "threads_per_block", set()),
    (attention(bm=256, bn=64, d=256, num_warps=4), "accumulator_bytes", {"ttir"}),
    (attention(bm=128, bn=256, num_stages=4), "shared_bytes_per_block", {"ttir", "ttgir", "llir"}),
])
def test_what_exceeds_a_limit_is_compiled_no_further(request_: CompileRequest, limit: str, stages: set[str]) -> None:
    made = one(request_, limits=_LIMITS)
    assert made.rejection is not None
    assert made.facts is not None
    assert (made.ok, made.rejection.limit) == (False, limit)
    assert set(made.facts.stage_seconds) == stages
    assert made.facts.registers is None


def test_tensor_memory_beyond_the_columns_is_rejected() -> None:
    """Triton compiles it to a body of traps, which would look ideal."""
    limits = limits_of_target("sm_100")
    assert limits is not None
    made = one(attention("sm_100", bm=128, bn=128, num_stages=1), limits={"sm_100": replace(limits, tensor_memory_columns=128,
                                                                                          registers_per_sm=1 << 20)})
    assert made.rejection is not None
    assert made.rejection.limit == "tensor_memory_columns"
    assert made.rejection.stage == "llir"


def test_the_cache_answers_without_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path, "compiled")
    first = one(add(), cache=cache)
    monkeypatch.setattr(service, "run_tasks", lambda *a, **k: iter(()))
    again = one(add(), cache=cache)
    assert (first.cached, again.cached) == (False, True)
    assert replace(again, cached=False) == first
    assert first.assembly


def test_what_a_limit_stopped_is_compiled_when_the_limit_is_gone(tmp_path: Path) -> None:
    cache, request = Cache(tmp_path, "compiled"), attention(bm=64, bn=32, d=32, num_warps=4)
    tight = {"sm_90": replace(HOPPER, shared_bytes_per_block=1024)}
    assert one(request, cache=cache, limits=tight).rejection is not None
    assert one(request, cache=cache, limits=tight).cached
    made = one(request, cache=cache, limits=_LIMITS)
    assert (made.ok, made.cached) == (True, False)
    refused = one(request, cache=cache, limits=tight)
    assert refused.cached
    assert refused.rejection is not None
    assert refused.rejection.limit == "shared_bytes_per_block"


def test_keys_tell_apart_what_compiles_apart() -> None:
    base = add()
    others = [add("sm_80"), add(n=4097), add(block=512), add(num_warps=8), add(source=ADD + "\n"), replace(base, num_stages=2),
              replace(base, arguments=tuple(replace(a, aligned=False) for a in base.arguments)),
              replace(base, arguments=tuple(replace(a, type="*bf16") if a.type == "*fp32" else a for a in base.arguments))]
    assert len({r.digest("3.7.1") for r in (base, *others)} | {base.digest("3.9.0")}) == len(others) + 2
    assert CompileRequest.from_dict(base.to_dict()) == base


def test_the_digest_of_the_assembly_depends_on_what_is_compiled_alone() -> None:
    first, again, other = compiled([add(), add(), add(n=4097)])
    assert first.facts is not None
    assert again.facts is not None
    assert other.facts is not None
    assert first.facts.ptx_sha256 == again.facts.ptx_sha256 != other.facts.ptx_sha256


def test_failures_cost_themselves_alone(tmp_path: Path) -> None:
    wrong = add(source=ADD.replace("tl.exp2(a)", "tl.exp3(a)"))
    dies = add(source=ADD.replace("import triton\n", "import os\nimport triton\nos.abort()\n", 1))
    hangs = add(source=ADD.replace("import triton\n", "import time\nimport triton\ntime.sleep(60)\n", 1))
    cache = Cache(tmp_path, "compiled")
    made = compiled([wrong, dies, add(), add(function="nothing"), add(num_warps=3)], cache=cache, jobs=2)
    assert [m.ok for m in made] == [False, False, True, False, False]
    assert "add for sm_90: Triton does not compile it, got " in made[0].error
    assert "exp3" in made[0].error
    assert made[1].error.startswith("add for sm_90: its process ended with signal 6")
    assert made[3].error.startswith("nothing for sm_90: the source does not define it")
    assert "num_warps must be a power of 2" in made[4].error
    assert one(hangs, cache=cache, timeout_s=2.0).error == "add for sm_90: it took longer than 2 s and was ended"
    assert all("\n" not in m.error for m in made)
    # What Triton refuses it always will; a death or a hang may have been bad luck.
    assert [one(r, cache=cache, timeout_s=1.0).cached for r in (wrong, hangs)] == [True, False]


def test_settings_of_the_user_do_not_change_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    before = one(add())
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "0")
    after = one(add())
    assert before.facts is not None
    assert after.facts is not None
    assert after.facts.ptx_sha256 == before.facts.ptx_sha256


def test_unknown_targets_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown target, got 'sm90'; did you mean 'sm_90'"):
        target("sm90")


def test_the_release_is_known_without_importing_triton() -> None:
    import triton
    assert triton_version() == triton.__version__

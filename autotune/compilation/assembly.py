"""Reads what assemblers print and write: registers, spills and stack, and the instructions of a kernel by class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

_SPILL_BYTES = 4
"""AMD counts spilled registers, of 32 bits."""


@dataclass(frozen=True)
class Registers:
    """What a thread has: registers, bytes on its stack, and bytes that it spills and loads again."""

    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int
    serialized_wgmma: str = ""


def read_ptxas(log: str) -> Registers | None:
    """Returns what ``ptxas -v`` says of the one kernel that it compiled, None where it says nothing."""
    used = re.findall(r"Used (\d+) registers", log)
    frame = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    if not used or not frame:
        return None
    # A function that is not inlined has a line of its own; registers are those of the kernel, which stands last.
    stack, stores, loads = (max(int(line[i]) for line in frame) for i in range(3))
    serialized = re.search(r"wgmma\.mma_async instructions are serialized due to (.*?)(?: (?:in|for)(?: the)? function '.*)?$", log, re.M)
    return Registers(int(used[-1]), stack, stores, loads, serialized[1].strip() if serialized else "")


def read_amdgcn(text: str) -> Registers | None:
    """Returns what the metadata at the end of AMD's assembly say, None where there are none."""
    found = {key: re.search(rf"^\s*\.{key}:\s*(\d+)", text, re.M)
             for key in ("vgpr_count", "vgpr_spill_count", "private_segment_fixed_size")}
    if any(match is None for match in found.values()):
        return None
    count, spilled, private = (int(match[1]) for match in found.values() if match is not None)
    return Registers(count, private, spilled * _SPILL_BYTES, spilled * _SPILL_BYTES)


def carried_bytes(ttir: str) -> int:
    """Returns the bytes of the tensors that the loops of a kernel carry, at the loop that carries most.

    They are alive together throughout the loop, so that registers must hold at least these. Pointers are left out: they
    are most often computed again. So are the loops of functions that are called (scans): their tensors are small.
    """
    carried = re.findall(r"scf\.(?:for|while)[^\n]*?->\s*\(?([^\n{]*?)\)?\s*(?::[^\n{]*)?\{", ttir)
    return max((sum(_tensor_bytes(shape) for shape in re.findall(r"tensor<([^<>!]+)>", types)) for types in carried), default=0)


def _tensor_bytes(shape: str) -> int:
    *sizes, element = shape.split(",")[0].split("x")
    bits = re.search(r"(\d+)$", element.removesuffix("E4M3FN").removesuffix("E5M2"))
    values = 1
    for size in sizes:
        values *= int(size)
    return values * int(bits[1]) // 8 if bits else 0


# --- instructions ---

_PTX = {
    "mma": re.compile(r"mma\."),
    "wgmma": re.compile(r"wgmma\.mma_async"),
    "tcgen05_mma": re.compile(r"tcgen05\.mma"),
    "ex2": re.compile(r"ex2\."),
    "ld_global": re.compile(r"ld\.global"),
    "st_global": re.compile(r"st\.global"),
    "ld_shared": re.compile(r"ld\.shared|ldmatrix"),
    "st_shared": re.compile(r"st\.shared|stmatrix"),
    "ld_tensor_memory": re.compile(r"tcgen05\.ld"),
    "st_tensor_memory": re.compile(r"tcgen05\.st"),
    "cp_async": re.compile(r"cp\.async\.c[ag]\."),
    "tma_load": re.compile(r"cp\.async\.bulk\.[a-z0-9.]*shared::(?:cluster|cta)\.global"),
    "tma_store": re.compile(r"cp\.async\.bulk\.[a-z0-9.]*global\.shared::cta"),
    "atomic": re.compile(r"atom\.|red\."),
    "barrier": re.compile(r"bar\.sync|barrier\."),
    "shuffle": re.compile(r"shfl\."),
}

_AMDGCN = {
    "mma": re.compile(r"v_s?mfma_"),
    "ex2": re.compile(r"v_exp_f"),
    "ld_global": re.compile(r"(?:global|buffer|flat)_load"),
    "st_global": re.compile(r"(?:global|buffer|flat)_store"),
    "ld_shared": re.compile(r"ds_read|ds_load"),
    "st_shared": re.compile(r"ds_write|ds_store"),
    "atomic": re.compile(r"(?:global|buffer|flat)_atomic"),
    "barrier": re.compile(r"s_barrier"),
    "shuffle": re.compile(r"ds_bpermute|ds_permute|ds_swizzle|v_permlane|v_[a-z0-9_]+_dpp"),
}


def ptx_instructions(text: str) -> dict[str, int]:
    """Returns how many instructions of PTX there are of each class, those under a predicate and of inline text included."""
    return _counted(text, _PTX, lambda line: re.sub(r"^(?:\{\s*)?(?:@!?%?\w+\s+)?", "", line))


def amdgcn_instructions(text: str) -> dict[str, int]:
    """Returns how many instructions of AMD's assembly there are of each class."""
    return _counted(text, _AMDGCN, lambda line: line)


def _counted(text: str, classes: dict[str, re.Pattern[str]], opcode: Callable[[str], str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    total = 0
    for raw in text.splitlines():
        line = opcode(raw.strip())
        if not line or not line[0].isalpha() or line.split(maxsplit=1)[0].endswith(":"):
            continue
        total += 1
        for name, pattern in classes.items():
            if pattern.match(line):
                counts[name] += 1
    return {"all": total, **{name: counts[name] for name in classes}}

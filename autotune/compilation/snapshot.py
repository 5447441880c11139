"""What kernels need, kept as files: a change of ours, or of Triton's, that costs registers or shared memory is seen without a GPU.

There is one file for each release of Triton, whose code differs: ``snapshots/3.7.1.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.compilation.errors import CompileError
from autotune.compilation.service import Compiled

FOLDER = Path(__file__).parent / "snapshots"

FACTS = ("num_warps", "shared_bytes", "tensor_memory_columns", "registers", "stack_bytes", "spill_store_bytes", "spill_load_bytes")
"""Facts that are kept of a kernel, beside the counts of some instructions."""

_INSTRUCTIONS = ("mma", "wgmma", "tcgen05_mma", "ex2", "cp_async", "ld_global", "st_global", "ld_shared", "st_shared", "barrier")

Entry = Mapping[str, Any]
"""A kernel: its facts by name, or the limit that it exceeds."""


@dataclass(frozen=True)
class Change:
    """A fact that differs; a kernel that is only on one side has the fact ``kernel``. ``family`` is ``variant:algorithm``."""

    family: str
    target: str
    kernel: str
    fact: str
    before: Any
    after: Any

    @property
    def text(self) -> str:
        """One line."""
        return f"{self.family} for {self.target}: {self.kernel}: {self.fact} {_shown(self.before)} -> {_shown(self.after)}"


def entry_of(made: Compiled) -> dict[str, Any]:
    """Returns what is kept of a kernel: of one that does not compile, or not in time, only that."""
    if made.rejection is not None:
        return {"rejected": made.rejection.limit, "value": made.rejection.value}
    if made.facts is None:
        return {"failed": True}
    known = made.facts.to_dict()
    counts = {name: made.facts.instructions[name] for name in _INSTRUCTIONS if made.facts.instructions.get(name)}
    return {**{name: known[name] for name in FACTS}, **counts, "serialized_wgmma": bool(made.facts.serialized_wgmma)}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Returns what differs between two snapshots, for the families and targets that the second has.

    Both are mappings family -> target -> kernel -> :data:`Entry`.
    """
    found = []
    for family, targets in after.items():
        for target, kernels in targets.items():
            old = before.get(family, {}).get(target, {})
            for kernel in dict.fromkeys((*old, *kernels)):
                was, now = old.get(kernel), kernels.get(kernel)
                if was is None or now is None:
                    found.append(Change(family, target, kernel, "kernel", was and "there", now and "there"))
                    continue
                found += [Change(family, target, kernel, fact, was.get(fact), now.get(fact)) for fact in dict.fromkeys((*was, *now))
                          if was.get(fact) != now.get(fact)]
    return found


def releases(folder: Path = FOLDER) -> tuple[str, ...]:
    """Returns the releases of Triton that there are snapshots of."""
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


def read_snapshot(release: str, folder: Path = FOLDER) -> dict[str, Any] | None:
    """Returns the snapshot of a release, None where there is none.

    Raises: CompileError for a file that is none.
    """
    path = folder / f"{release}.json"
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CompileError(f"{path}: it is no snapshot, got {str(error)!r}; write it anew with fusebench snapshot --update") from None
    if not isinstance(found, dict):
        raise CompileError(f"{path}: it is no snapshot, got a {type(found).__name__}; write it anew with fusebench snapshot --update")
    return found


def snapshot_text(families: Mapping[str, Any], older: Mapping[str, Any] | None, order: Sequence[str]) -> str:
    """Returns the file's text: new families in the place of older ones, those that are not in ``order`` left out."""
    whole = {name: {**(older or {}).get(name, {}), **families.get(name, {})} for name in order}
    return json.dumps({name: targets for name, targets in whole.items() if targets}, indent=1) + "\n"


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

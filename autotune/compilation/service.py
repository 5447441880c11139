"""Compiles many kernels: what the cache has is taken from it, the rest is built in worker processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autotune.compilation.cache import Cache
from autotune.compilation.errors import MissingPackageError
from autotune.compilation.facts import CompiledFacts
from autotune.compilation.request import CompileRequest, first_facts
from autotune.limits import DeviceLimits, Rejection, rejection
from autotune.workers import run_tasks

TIMEOUT_S = 120.0
"""Seconds that one kernel may take."""



@dataclass(frozen=True)
class Compiled:
    """What became of a request.

    ``facts`` are None where it does not compile, and ``error`` says why; they are incomplete where ``rejection`` names a
    limit that is exceeded. ``cached`` says that nothing had to be built; ``assembly`` is the text of the machine's code.
    """

    request: CompileRequest
    facts: CompiledFacts | None
    rejection: Rejection | None = None
    error: str = ""
    cached: bool = False
    assembly: str = ""

    @property
    def ok(self) -> bool:
        """Whether it compiles and no limit is exceeded."""
        return self.facts is not None and self.rejection is None


def triton_version() -> str:
    """Returns the release of Triton that is installed, without importing it.

    Raises: MissingPackageError where there is none.
    """
    try:
        return version("triton")
    except PackageNotFoundError:
        raise MissingPackageError("triton: kernels need it, got no installation; run pip install 'fusebench[gpu]'") from None


def compile_all(requests: Sequence[CompileRequest], limits: Mapping[str, DeviceLimits] | None = None, *, jobs: int = 1,
                cache: Cache | None = None, timeout_s: float = TIMEOUT_S) -> Iterator[tuple[int, Compiled]]:
    """Yields the number of each request with what became of it, as they end: cached ones first.

    ``limits`` are those of each target; a target without limits rejects nothing. What exceeds a limit is compiled only
    until that is known.

    Raises: MissingPackageError without Triton; CacheError where the cache cannot be written.
    """
    known, release = limits or {}, triton_version()
    code = _code()
    missing: list[int] = []
    for number, request in enumerate(requests):
        own = known.get(request.target)
        before = first_facts(request, release)
        if own is not None and (exceeded := rejection(before, own)) is not None:
            # No process has to be started for that.
            yield number, Compiled(request, before, exceeded)
            continue
        entry = cache.get(request.digest(release, code)) if cache is not None else None
        found = _of_entry(request, entry, own, cached=True) if entry is not None else None
        if found is None:
            missing.append(number)
        else:
            yield number, found
    payloads = [{"request": requests[n].to_dict(), "limits": asdict(known[goal]) if (goal := requests[n].target) in known else None}
                for n in missing]
    for task, outcome in run_tasks("autotune.compilation.build:build", payloads, jobs=jobs, timeout_s=timeout_s,
                                   environment=_environment()):
        request = requests[missing[task]]
        if outcome.error and not outcome.refused:
            yield missing[task], Compiled(request, None, error=f"{request.function} for {request.target}: {outcome.error}")
            continue
        entry = {"error": outcome.error} if outcome.error else outcome.result
        if cache is not None:
            cache.put(request.digest(release, code), entry)
        made = _of_entry(request, entry, known.get(request.target), cached=False)
        assert made is not None
        yield missing[task], made


def _of_entry(request: CompileRequest, entry: Mapping[str, Any], limits: DeviceLimits | None, *, cached: bool) -> Compiled | None:
    """What an entry says under the limits of now; None where it stopped at a limit that is none any more."""
    if "error" in entry:
        return Compiled(request, None, error=entry["error"], cached=cached)
    facts = CompiledFacts(**entry["facts"])
    exceeded = rejection(facts, limits) if limits is not None else None
    if exceeded is None and not facts.complete:
        return None
    return Compiled(request, facts, exceeded, cached=cached, assembly=entry["assembly"])


@lru_cache(maxsize=1)
def _code() -> str:
    """A digest of what compiles and reads: what an older form of it has found is not taken from the cache."""
    own = Path(__file__).parent
    return hashlib.sha256(b"".join((own / name).read_bytes() for name in ("assembly.py", "build.py", "offline.py", "facts.py"))).hexdigest()


def _environment() -> dict[str, str | None]:
    """What workers get: none of the user's settings of Triton, which no key of the cache knows; multiply-adds are fused, as
    releases up to 3.9 do without being told."""
    return {**{name: None for name in os.environ if name.startswith("TRITON_")}, "TRITON_DEFAULT_FP_FUSION": "1"}

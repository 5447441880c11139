"""The ceilings of a device as candidates: a copy, a matrix product on random data, and exponentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.space import Configuration
from autotune.store.record import Scalar, digest_of
from autotune.timing import Candidate, Device, Evidence
from autotune.tuner.kernels import guarded

FACTORY = "autotune.campaign.ceilings:subject"

COPY_BYTES = 4 << 30
"""Bytes that are copied: far more than any L2."""
MATRIX_SIDE = 8192
EXPONENTIALS_WIDTH = 1 << 26


class CeilingSubject:
    """Ceilings on a device; ``shrink`` divides the sizes (for tests)."""

    def __init__(self, device: Device, where: str, shrink: int = 1) -> None:
        self.device, self.where, self.shrink = device, where, shrink
        self._checks: dict[str, Evidence] = {}

    def prepare(self, configuration: Configuration) -> Candidate:
        """Returns the candidate of ``{"ceiling": name}``; its facts tell the amount of work."""
        makers = {"copy": self._copy, "matrix": self._matrix, "exp": self._exp}
        return guarded(makers[str(configuration["ceiling"])])

    def check(self, configuration: Configuration, candidate: Candidate, *, thorough: bool, seed: int) -> Evidence:
        """Returns how the result differs from torch's own in higher precision."""
        guarded(candidate.launches[0])
        return self._checks[str(configuration["ceiling"])]

    def _copy(self) -> Candidate:
        import torch
        count = COPY_BYTES // 4 // self.shrink
        source = torch.randint(0, 1 << 30, (count,), dtype=torch.int32, device=self.where)
        target = torch.zeros_like(source)
        target.copy_(source)
        self._checks["copy"] = Evidence("equal", 0.0 if torch.equal(source, target) else 1.0, 0.0)
        return _candidate(lambda: target.copy_(source), {"amount": 8 * count}, "copy")

    def _matrix(self) -> Candidate:
        import torch
        side = MATRIX_SIDE // self.shrink
        a, b = (torch.randn(side, side, device=self.where).to(torch.bfloat16) for _ in range(2))
        out = torch.empty_like(a)
        torch.matmul(a, b, out=out)
        rows = slice(0, min(64, side))
        exact = a[rows].double() @ b.double()
        error = float((out[rows].double() - exact).norm() / exact.norm())
        self._checks["matrix"] = Evidence("64 rows in float64, relative norm", error, 1e-2)
        return _candidate(lambda: torch.matmul(a, b, out=out), {"amount": 2 * side**3}, f"matrix {side}")

    def _exp(self) -> Candidate:
        import torch

        from autotune.campaign.exponentials import BLOCK, CHAIN, exponentials
        width = EXPONENTIALS_WIDTH // self.shrink // BLOCK * BLOCK
        x = torch.rand(width, device=self.where)
        y = torch.full_like(x, float("nan"))

        def run() -> object:
            return exponentials[(width // BLOCK,)](x, y, CHAIN, BLOCK, num_warps=4)
        run()
        want = x[:BLOCK].double()
        for _ in range(CHAIN):
            want = torch.exp2(-want)
        error = float((y[:BLOCK].double() - want).abs().max()) + (0.0 if bool(torch.isfinite(y).all()) else float("inf"))
        self._checks["exp"] = Evidence("float64", error, 1e-5)
        return _candidate(run, {"amount": width * CHAIN}, "exp")


def subject(arguments: Mapping[str, Any]) -> CeilingSubject:
    """Returns the subject on the current CUDA device.

    Raises: TimingError where there is none.
    """
    from autotune.timing.cuda import CudaDevice
    return CeilingSubject(CudaDevice(), "cuda")


def _candidate(run: Any, facts: Mapping[str, Scalar], name: str) -> Candidate:
    return Candidate((run,), facts, digest_of(name))

"""Where something runs: versions of what decides a kernel's time, without naming the machine."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autotune.store.record import Environment
from einsum_cascades import __version__

_LIBRARIES = ("numpy", "flash-attn", "flash-linear-attention", "mamba-ssm", "causal-conv1d", "natten", "xformers", "nvidia-cudnn-cu12",
              "nvidia-cudnn-cu13")
"""Packages that kernels or peers come from."""

_GIT_S = 10.0


def environment(gpu: str, architecture: str, *, driver: str = "", cuda: str = "") -> Environment:
    """Returns the environment of a card here and now. Versions are read from what is installed, without importing it."""
    libraries = {name: found for name in _LIBRARIES if (found := installed(name))}
    return Environment(gpu, architecture, driver, cuda, installed("torch"), installed("triton"), platform.python_version(), __version__,
                       commit(), _host(), libraries)


def installed(package: str) -> str:
    """Returns the version of a package; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def commit() -> str:
    """Returns the commit of this code, with ``-dirty`` where files differ from it.

    Outside of its repository, or where it is one of several installed there: ``tree-`` and a digest of its files.
    """
    folder = Path(__file__).parent
    try:
        head, own, changes = [
            subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True,  # noqa: S603, S607
                           timeout=_GIT_S).stdout
            for arguments in (("rev-parse", "HEAD"), ("ls-files", "--", __file__), ("status", "--porcelain", "-uno"))]
    except (OSError, subprocess.SubprocessError):
        own = ""
    return (head.strip() + ("-dirty" if changes.strip() else "")) if own.strip() else f"tree-{_tree(folder.parents[1])}"


def _tree(root: Path) -> str:
    found = hashlib.sha256()
    for package in ("einsum_cascades", "workloads", "autotune"):
        for path in sorted((root / package).rglob("*.py")):
            found.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def _host() -> str:
    """Tells machines apart; the name cannot be found from it."""
    try:
        identity = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        identity = ""
    return hashlib.sha256(f"{platform.node()} {identity}".encode()).hexdigest()[:12]

"""The distribution: its packages, data, command and dependencies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from einsum_cascades import __version__

ROOT = Path(__file__).parents[2]
PACKAGES = {"einsum_cascades", "accelerator_sim", "autotune", "workloads", "reports"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_nothing_heavy_is_required() -> None:
    names = {re.match(r"[A-Za-z0-9_-]+", d).group().lower() for d in PROJECT["dependencies"]}  # type: ignore[union-attr]
    assert names == {"numpy", "click", "pyyaml", "pandas", "matplotlib", "networkx"}
    assert {"torch==2.13.0", "triton==3.7.1; sys_platform == 'linux'"} <= set(PROJECT["optional-dependencies"]["test"])
    assert PROJECT["optional-dependencies"]["gpu"] == ["torch>=2.11", "triton>=3.6"]


def test_the_readme_and_ci_run_the_same_commands() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    commands = re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert commands[0] == "pip install . && fusebench reproduce fusemax\n"
    assert commands[1] == 'pip install -e ".[test]" && pytest\n'
    for command in commands[1].strip().split(" && "):
        assert re.search(rf"^{re.escape(command)}\b", ci, re.MULTILINE) or command in ci.splitlines()


@pytest.mark.slow
def test_the_wheel_has_five_packages_and_their_data(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE", "tests", "docs"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    ran = subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
                          "--wheel-dir", str(tmp_path), str(tree)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"fusebench-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert {name.split("/")[0] for name in names} == PACKAGES | {f"fusebench-{__version__}.dist-info"}
        assert archive.read(f"fusebench-{__version__}.dist-info/entry_points.txt").decode().split() == [
            "[console_scripts]", "fusebench", "=", "reports.cli:main"]
    for folder in PACKAGES:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(ROOT).as_posix() in names

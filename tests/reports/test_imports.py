"""What is imported when: the command starts light, and the model side never needs torch or triton."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "pandas", "matplotlib", "networkx", "scipy", "yaml", "torch", "triton", "autotune", "accelerator_sim")
PACKAGES = ("einsum_cascades", "workloads", "accelerator_sim", "autotune", "reports")


def imported(code: str) -> set[str]:
    """Returns the top-level modules that another Python has after running some code."""
    told = "import sys\nprint('modules:', *{m.split('.')[0] for m in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", f"{code}\n{told}"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.rsplit("modules:", 1)[1].split())


@pytest.mark.parametrize("arguments", [
    "'--help'", "'--version'", "'list', '--help'", "'list', 'variants'", "'lst'"])
def test_light_commands_import_nothing_heavy(arguments: str) -> None:
    found = imported(f"from reports.cli import main\nmain([{arguments}])")
    assert found & set(HEAVY) == set()
    assert "click" in found


def test_show_needs_a_graph_and_nothing_else_that_is_heavy() -> None:
    assert imported("from reports.cli import main\nmain(['show', 'attention'])") & set(HEAVY) == {"networkx"}


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_nothing_heavy(package: str) -> None:
    assert imported(f"import {package}") & {"numpy", "pandas", "matplotlib", "networkx", "scipy", "torch", "triton"} == set()


def test_only_the_command_that_is_used_is_imported() -> None:
    code = "from reports.cli import main\nmain(['list', 'variants'])\nimport sys\n" \
           "print('modules:', *(m for m in sys.modules if m.startswith('reports.commands.')))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.rsplit("modules:", 1)[1].split() == ["reports.commands.list"]


def test_torch_and_triton_are_not_needed() -> None:
    """Every module of the model side is imported where torch and triton cannot be."""
    code = """
import importlib, pkgutil, sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'triton'):
            raise ImportError(name)
sys.meta_path.insert(0, Refused())
for top in ('einsum_cascades', 'workloads', 'accelerator_sim', 'reports'):
    package = importlib.import_module(top)
    for module in pkgutil.walk_packages(package.__path__, top + '.'):
        importlib.import_module(module.name)
"""
    found = imported(code)
    assert {"torch", "triton"} & found == set()
    assert "numpy" in found

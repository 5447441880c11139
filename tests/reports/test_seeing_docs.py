"""docs/seeing.md: what it says that commands print is what they print, and its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.reports.command import Command

PAGE = (Path(__file__).parents[2] / "docs" / "seeing.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"^```console\n\$ fusebench ([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHELL = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize(("arguments", "text"), CONSOLE)
def test_commands_print_what_the_page_shows(fusebench: Command, arguments: str, text: str) -> None:
    assert f"\n{text}" in fusebench(*arguments.split()).out


@pytest.mark.parametrize("line", SHELL)
def test_commands_run(fusebench: Command, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program, *arguments = line.split()
    assert program == "fusebench"
    assert fusebench(*arguments).status == 0
    assert len(list(tmp_path.iterdir())) == 1


def test_the_page_names_the_keys_of_the_graph(fusebench: Command) -> None:
    dag = fusebench("show", "attention:1pass", "--json").json["dag"]
    for key in (*dag, *dag["nodes"][0], *dag["edges"][0]):
        assert f"`{key}`" in PAGE


def test_the_page_has_blocks() -> None:
    assert (len(CONSOLE), len(SHELL)) == (2, 2)


def test_its_python_makes_the_graph() -> None:
    from reports.dag import cascade_graph
    from workloads.variants import load_variant
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert block.splitlines()[:2] == ["from reports.dag import cascade_graph", "from workloads.variants import load_variant"]
    assert 'cascade_graph(load_variant("attention").cascade("1pass"), "m0")' in block
    graph = cascade_graph(load_variant("attention").cascade("1pass"), "m0")
    assert graph.is_multigraph()
    assert graph.is_directed()

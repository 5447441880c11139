"""The tile program: what stands between a cascade and source. Instructions on tiles, in blocks and loops.

A value has axes (named, in one order for the whole kernel) and a type; an instruction has one operator and operands that
are brought to the axes of its result when it is printed as source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of tiles: ``size`` lanes for the coordinates of ``ranks``, ``blocks`` of each, the last one fastest."""

    name: str
    ranks: tuple[str, ...]
    blocks: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of lanes, a power of two."""
        total = 1
        for block in self.blocks:
            total *= block
        return total


@dataclass(frozen=True, slots=True)
class Operand:
    """A value or a literal, with its axes."""

    text: str
    axes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.text}[{','.join(self.axes)}]" if self.axes else self.text


@dataclass(frozen=True, slots=True)
class Instruction:
    """``target = op(operands)``; ``axes`` and ``type`` are those of the result, ``detail`` what the operator needs besides:
    the axis of a reduction, the tensor of a load, the name of a function."""

    target: str
    op: str
    operands: tuple[Operand, ...]
    axes: tuple[str, ...] = ()
    type: str = "fp32"
    detail: tuple[str, ...] = ()

    def __str__(self) -> str:
        shape = f"[{','.join(self.axes)}]" if self.axes else ""
        what = f" {' '.join(self.detail)}" if self.detail else ""
        return f"{self.target}{shape}: {self.type} = {self.op}{what}({', '.join(map(str, self.operands))})"


@dataclass(slots=True)
class Block:
    """Instructions and loops in order."""

    steps: list[Instruction | Loop] = field(default_factory=list)

    def instructions(self) -> Iterator[Instruction]:
        """Yields every instruction, those of loops included."""
        for step in self.steps:
            if isinstance(step, Loop):
                yield from step.body.instructions()
            else:
                yield step


@dataclass(slots=True)
class Loop:
    """``for variable in range(start, stop, step)``; ``carried`` are the values that it changes; ``note`` says which part it is."""

    variable: str
    start: Operand
    stop: Operand
    step: int
    body: Block
    carried: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class TileProgram:
    """One kernel as instructions on tiles. ``functions`` are the helpers that its instructions call."""

    name: str
    axes: tuple[Axis, ...]
    body: Block

    def __str__(self) -> str:
        lines = [f"kernel {self.name}"]
        lines += [f"axis {a.name}: {a.size} lanes of {'*'.join(a.ranks)}" for a in self.axes]
        return "\n".join([*lines, *_lines(self.body, "")])


def _lines(block: Block, indent: str) -> Iterator[str]:
    for step in block.steps:
        if isinstance(step, Loop):
            note = f"  # {step.note}" if step.note else ""
            yield f"{indent}loop {step.variable} from {step.start} to {step.stop} by {step.step}, carries " \
                  f"{', '.join(step.carried) or 'nothing'}{note}"
            yield from _lines(step.body, indent + "  ")
        else:
            yield indent + str(step)

"""Emitting instructions: values with axes, types and pads, placed in the outermost block that has their operands."""

from __future__ import annotations

import builtins
import keyword
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autotune.errors import LoweringError
from autotune.lowering.pads import FINITE, Pad, join
from autotune.lowering.parameters import RESERVED
from autotune.lowering.tile import Axis, Block, Instruction, Loop, Operand
from einsum_cascades.ir import Expr

MOST_ELEMENTS = 2**20
"""Elements that a tile may have: Triton's limit."""

_ARGUMENT = re.compile(r"_ptr$|_stride_|_size_\d+$|_extent$|_EXTENT$|^BLOCK_")
"""Names that only arguments have."""

_INTEGER = ("int1", "int32", "int64")


@dataclass(frozen=True)
class Value:
    """A value of the tile program. ``depth`` is the loop that it lives in (0: none).

    ``pads`` says for each condition what lanes hold where it fails, whatever the others; ``real`` what the others hold.
    ``infinite`` says that a lane that counts may be -inf, ``constant`` is its number where it has one.
    """

    text: str
    axes: tuple[str, ...] = ()
    type: str = "fp32"
    depth: int = 0
    pads: Mapping[Expr, Pad] = field(default_factory=dict)
    real: Pad = FINITE
    infinite: bool = False
    constant: float | None = None

    @property
    def operand(self) -> Operand:
        """As an operand of an instruction."""
        return Operand(self.text, self.axes)

    @property
    def is_integer(self) -> bool:
        """Whether it is a whole number or a truth value."""
        return self.type in _INTEGER

    def at(self, condition: Expr) -> Pad:
        """What lanes hold where a condition fails."""
        if condition in self.pads:
            return self.pads[condition]
        return join((self.real, *self.pads.values()))


class Emitter:
    """Blocks that are open, outermost first, and what has been computed in each."""

    def __init__(self, name: str, axes: Sequence[Axis]) -> None:
        self.name = name
        self.axes = {axis.name: axis for axis in axes}
        self.order = tuple(self.axes)
        self.blocks: list[Block] = [Block()]
        self.memo: list[dict[object, Value]] = [{}]
        self.taken: set[str] = set()

    # --- names and blocks ---

    def fresh(self, stem: str) -> str:
        """Returns a name that no value has yet."""
        stem = f"v{stem}" if stem.startswith("_") or _ARGUMENT.search(stem) else stem
        name, number = stem, 1
        while name in self.taken or name in RESERVED or keyword.iskeyword(name) or hasattr(builtins, name):
            name, number = f"{stem}_{number}", number + 1
        self.taken.add(name)
        return name

    @property
    def depth(self) -> int:
        """The depth of the innermost open block."""
        return len(self.blocks) - 1

    def open(self) -> None:
        """Opens a loop's block."""
        self.blocks.append(Block())
        self.memo.append({})

    def close(self) -> Block:
        """Closes the innermost block."""
        self.memo.pop()
        return self.blocks.pop()

    def snapshot(self) -> tuple[list[int], list[dict[object, Value]], set[str]]:
        """Returns what :meth:`restore` needs to forget everything that is emitted from now on."""
        return [len(b.steps) for b in self.blocks], [dict(m) for m in self.memo], set(self.taken)

    def restore(self, saved: tuple[list[int], list[dict[object, Value]], set[str]]) -> None:
        """Forgets what was emitted since a snapshot."""
        lengths, memo, taken = saved
        del self.blocks[len(lengths):]
        for block, length in zip(self.blocks, lengths, strict=True):
            del block.steps[length:]
        self.memo, self.taken = [dict(m) for m in memo], set(taken)

    # --- instructions ---

    def sorted_axes(self, *groups: Sequence[str]) -> tuple[str, ...]:
        """Returns the axes of several values together, in the order of the kernel."""
        present = {a for g in groups for a in g}
        return tuple(a for a in self.order if a in present)

    def emit(self, stem: str, op: str, operands: Sequence[Value], axes: tuple[str, ...] | None = None, type: str = "fp32",
             detail: tuple[str, ...] = (), depth: int = 0, pads: Mapping[Expr, Pad] | None = None, real: Pad = FINITE,
             infinite: bool = False) -> Value:
        """Returns the result of an instruction, computed once for the same operands in an open block.

        Raises: LoweringError where its tile has more elements than Triton allows.
        """
        axes = self.sorted_axes(*(o.axes for o in operands)) if axes is None else axes
        self.check_size(axes, stem)
        depth = max((depth, *(o.depth for o in operands)))
        key = (op, tuple(o.operand for o in operands), axes, type, detail)
        for level in range(depth, len(self.memo)):
            if key in self.memo[level]:
                return replace(self.memo[level][key], pads=pads or {}, real=real, infinite=infinite)
        target = self.fresh(stem)
        self.blocks[depth].steps.append(Instruction(target, op, tuple(o.operand for o in operands), axes, type, detail))
        value = Value(target, axes, type, depth, pads or {}, real, infinite)
        self.memo[depth][key] = value
        return value

    def check_size(self, axes: tuple[str, ...], what: str) -> None:
        """Raises LoweringError where a tile has more elements than Triton allows."""
        total = math.prod(self.axes[a].size for a in axes)
        if total > MOST_ELEMENTS:
            raise LoweringError(f"{self.name}: value {what!r} is a tile of {' x '.join(str(self.axes[a].size) for a in axes)} "
                                f"({', '.join(axes)}), got {total} elements; at most {MOST_ELEMENTS} fit: give one of its ranks "
                                f"the role loop, or smaller blocks")

    def effect(self, op: str, operands: Sequence[Value], axes: tuple[str, ...], detail: tuple[str, ...]) -> None:
        """Emits an instruction without a result in the innermost block."""
        self.blocks[-1].steps.append(Instruction("", op, tuple(o.operand for o in operands), axes, "", detail))

    def assign(self, target: str, value: Value) -> None:
        """Gives a carried value its next value, at the end of the innermost block."""
        if target != value.text:
            self.blocks[-1].steps.append(Instruction(target, "copy", (value.operand,), value.axes, value.type))

    def loop(self, loop: Loop) -> None:
        """Appends a loop to the innermost block."""
        self.blocks[-1].steps.append(loop)

    # --- simple values ---

    def number(self, value: float, type: str = "fp32") -> Value:
        """Returns a literal."""
        return Value(literal(value, type), (), type, 0, real=value, infinite=value == -math.inf, constant=value)

    def cast(self, value: Value, type: str) -> Value:
        """Returns a value in another type."""
        if value.type == type:
            return value
        if value.constant is not None:
            return self.number(value.constant, type)
        return self.emit(f"{value.text}_{type}", "cast", (value,), value.axes, type, (type,), pads=value.pads, real=value.real,
                         infinite=value.infinite)

    def integer(self, op: str, *operands: Value, stem: str = "at") -> Value:
        """Returns integer arithmetic on operands; numbers are computed now."""
        if all(o.constant is not None for o in operands):
            from einsum_cascades.elementwise import function_of
            return self.number(float(function_of(op)(*(o.constant for o in operands))), "int32")
        if len(operands) == 2:
            a, b = operands
            if op == "add" and a.constant == 0 or op == "mul" and a.constant == 1:
                return b
            if op == "add" and a.constant is not None:
                a, b = b, a
                operands = (a, b)
            if op in ("add", "sub") and b.constant is not None and b.constant < 0:
                op, b = {"add": "sub", "sub": "add"}[op], self.number(-b.constant, "int32")
                operands = (a, b)
            if op in ("add", "sub") and b.constant == 0 or op in ("mul", "floordiv") and b.constant == 1:
                return a
        comparison = op in ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not")
        return self.emit(stem if not comparison else "c", op, operands, None, "int1" if comparison else "int32")


def literal(value: float, type: str) -> str:
    """Returns a number as source."""
    if type == "int1":
        return str(bool(value))
    if type in _INTEGER:
        return str(int(value))
    if math.isinf(value):
        return "float('inf')" if value > 0 else "float('-inf')"
    return repr(float(value))

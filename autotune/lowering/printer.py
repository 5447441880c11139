"""A tile program as the source of a Triton module."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from autotune.kernel import Argument
from autotune.lowering.functions import COMBINERS, HELPERS, NEEDS, TEMPLATES
from autotune.lowering.tile import Block, Instruction, Loop, Operand, TileProgram
from einsum_cascades.ir import Access, Call, Cascade, Expr, Num, UserOperator
from einsum_cascades.operators import parameters
from einsum_cascades.printing import to_text

_INFIX = frozenset(("add", "sub", "mul", "floordiv", "mod"))
_INLINE = _INFIX | {"min", "max", "cdiv", "floor_floordiv", "floor_mod"}
_LONGEST = 70
"""Characters of an expression that is written where it is read."""

_TYPES = {"fp32": "tl.float32", "fp16": "tl.float16", "bf16": "tl.bfloat16", "int1": "tl.int1", "int32": "tl.int32",
          "int64": "tl.int64"}


def source(program: TileProgram, arguments: Sequence[Argument], cascade: Cascade, about: str) -> str:
    """Returns the module of a kernel: the cascade as a comment, helpers, and the kernel."""
    printer = _Printer(program, {o.name: o for o in cascade.operators})
    body = [f"    {line}" for line in printer.block(program.body)]
    names = ",\n".join(f"    {a.name}{': tl.constexpr' if a.kind == 'constexpr' else ''}" for a in arguments)
    lines = [f"# {line}".rstrip() for line in (*about.splitlines(), "", *to_text(cascade).splitlines())]
    lines += ["", "import triton", "import triton.language as tl", ""]
    for helper in printer.helpers():
        lines += ["", "@triton.jit", *helper.strip().splitlines(), ""]
    lines += ["", "@triton.jit", f"def {program.name}(", names + ",", "):", *body]
    return "\n".join(lines) + "\n"


class _Printer:
    def __init__(self, program: TileProgram, users: dict[str, UserOperator]) -> None:
        self.program, self.users = program, users
        self.used: dict[str, None] = {}
        self.reads: Counter[str] = Counter()
        self.inlined: dict[str, str] = {}
        self.count(program.body)

    def count(self, block: Block) -> None:
        for step in block.steps:
            if isinstance(step, Loop):
                # What a loop reads is no candidate: it stays before the loop. Its bounds are read in this block.
                self.reads.update((step.start.text, step.stop.text))
                made = {inner.target for inner in step.body.steps if isinstance(inner, Instruction)}
                outside = {o.text for i in step.body.instructions() for o in i.operands} | set(_bounds_inside(step.body))
                self.reads.update(dict.fromkeys(outside - made, 2))
                self.count(step.body)
            else:
                self.reads.update(o.text for o in step.operands)

    def text(self, operand: Operand) -> str:
        return self.inlined.get(operand.text, operand.text)

    def hidden(self, step: Instruction) -> bool:
        """Whether a whole number is read once, in the block where it is made: then it is written where it is read."""
        if step.axes or step.type != "int32" or step.op not in _INLINE or self.reads[step.target] != 1:
            return False
        texts = [self.inlined.get(o.text, o.text) for o in step.operands]
        right = self.call(TEMPLATES[step.op].format(*texts))
        if len(right) > _LONGEST:
            return False
        self.inlined[step.target] = right if right.endswith(")") and step.op not in _INFIX else f"({right})"
        return True

    # --- helpers ---

    def helpers(self) -> Iterator[str]:
        wanted: dict[str, None] = {}

        def want(name: str) -> None:
            for needed in NEEDS.get(name, ()):
                want(needed)
            wanted[name] = None

        for name in self.used:
            want(name)
        for name in wanted:
            yield HELPERS[name] if name in HELPERS else self.combiner(name.removeprefix("_combine_"))

    def call(self, text: str) -> str:
        for name in re.findall(r"(?<![\w.])_[a-z]\w*", text):
            if name in HELPERS:
                self.used[name] = None
        return text

    def combiner(self, op: str) -> str:
        """A cascade's own operator as a function of its operands, one after another."""
        user = self.users[op]
        names = {p: f"x{n}" for n, p in enumerate(parameters(user))}

        def text(expr: Expr) -> str:
            match expr:
                case Access(tensor=name):
                    return names[name]
                case Num(value=value):
                    return repr(float(value))
                case Call(op=inner, args=args):
                    return "(" + self.call(TEMPLATES[inner].format(*(text(a) for a in args))) + ")"
            raise TypeError(expr)

        bodies = ", ".join(text(b) for b in user.bodies)
        return f"def _combine_{op}({', '.join(names.values())}):\n    return {bodies}\n"

    def combine(self, op: str) -> str:
        name = f"_combine_{op}" if op in self.users else COMBINERS[op]
        self.used[name] = None
        return name

    # --- instructions ---

    def block(self, block: Block) -> Iterator[str]:
        for step in block.steps:
            if isinstance(step, Loop):
                if step.note:
                    yield f"# {step.note}"
                size = "" if step.step == 1 else f", {step.step}"
                first, last = (_bare(self.text(o)) for o in (step.start, step.stop))
                yield f"for {step.variable} in range({first}, {last}{size}):"
                inner = list(self.block(step.body))
                yield from (f"    {line}" for line in inner or ["pass"])
            elif not self.hidden(step):
                yield from self.instruction(step)

    def shape(self, axes: Sequence[str]) -> str:
        return "[" + ", ".join(f"BLOCK_{a.upper()}" for a in axes) + "]"

    def brought(self, operand: Operand, axes: Sequence[str]) -> str:
        """An operand with the axes of a result: those that it lacks are inserted."""
        if not operand.axes or operand.axes == tuple(axes):
            return self.text(operand)
        return operand.text + "[" + ", ".join(":" if a in operand.axes else "None" for a in axes) + "]"

    def instruction(self, step: Instruction) -> Iterator[str]:
        texts = [self.brought(o, step.axes) for o in step.operands]
        match step.op:
            case "program":
                right = "tl.program_id(0)"
            case "arange":
                right = f"tl.arange(0, {step.detail[0]})"
            case "base":
                right = " + ".join([texts[0], *(f"tl.cast({t}, tl.int64) * {s}" for t, s in zip(texts[1:], step.detail, strict=True))])
            case "load":
                right = self.load(step)
            case "store":
                yield self.stored(step)
                return
            case "cast":
                right = f"tl.cast({texts[0]}, {_TYPES[step.type]})"
            case "full" | "spread":
                right = self.spread(step)
            case "trans":
                right = f"tl.trans({step.operands[0].text})"
            case "dot":
                right = f'tl.dot({step.operands[0].text}, {step.operands[1].text}, input_precision="{step.detail[0]}")'
            case "reduce":
                right = self.reduce(step)
            case "scan":
                op, place = step.detail
                name = step.operands[0].text
                right = f"tl.cumsum({name}, {place})" if op == "sum" else f"tl.associative_scan({name}, {place}, {self.combine(op)})"
            case "reduce_tuple" | "scan_tuple":
                op, place, *names = step.detail
                what = "tl.reduce" if step.op == "reduce_tuple" else "tl.associative_scan"
                packed = ", ".join(o.text for o in step.operands)
                yield f"{', '.join(names)} = {what}(({packed}), {place}, {self.combine(op)})"
                return
            case _:
                right = _bare(self.call(TEMPLATES[step.op].format(*texts)))
        yield f"{step.target} = {right}"

    def spread(self, step: Instruction) -> str:
        (operand,) = step.operands
        if operand.axes == step.axes and step.axes:
            return operand.text
        if not operand.axes:
            return f"tl.full({self.shape(step.axes)}, {operand.text}, {_TYPES[step.type]})"
        return f"tl.broadcast_to({self.brought(operand, step.axes)}, {self.shape(step.axes)})"

    def reduce(self, step: Instruction) -> str:
        op, place = step.detail
        name = {"sum": "tl.sum", "max": "tl.max", "min": "tl.min", "any": "tl.max", "all": "tl.min"}.get(op)
        if name is None:
            return f"tl.reduce({step.operands[0].text}, {place}, {self.combine(op)})"
        return f"{name}({step.operands[0].text}, axis={place})"

    def address(self, step: Instruction, indices: Sequence[Operand], axes: Sequence[str]) -> str:
        _, wide, _, *strides = step.detail
        parts = [step.operands[0].text]
        for operand, kind, stride in zip(indices, wide, strides, strict=True):
            if operand.text == "0":
                continue
            text = f"tl.cast({_bare(self.text(operand))}, tl.int64)" if kind == "w" else self.text(operand)
            parts.append(f"{self.brought(Operand(text, operand.axes), axes)} * {stride}")
        return " + ".join(parts)

    def load(self, step: Instruction) -> str:
        count = len(step.detail) - 3
        indices, rest = step.operands[1:1 + count], step.operands[1 + count:]
        varied = [a for a in step.axes if any(a in o.axes for o in indices)]
        address = self.address(step, indices, step.axes)
        if len(varied) < len(step.axes) and step.axes:
            address = f"{address} + tl.zeros({self.shape(step.axes)}, tl.int32)"
        if not rest:
            return f"tl.load({address})"
        return f"tl.load({address}, mask={self.brought(rest[0], step.axes)}, other={rest[1].text})"

    def stored(self, step: Instruction) -> str:
        count = len(step.detail) - 3
        indices, (value, *mask) = step.operands[1:1 + count], step.operands[1 + count:]
        limit = f", mask={self.brought(mask[0], step.axes)}" if mask else ""
        text = self.brought(value, step.axes)
        if step.axes and value.axes != step.axes:
            text = f"tl.broadcast_to({text}, {self.shape(step.axes)})" if value.axes else \
                f"tl.full({self.shape(step.axes)}, {value.text}, tl.float32)"
        return f"tl.store({self.address(step, indices, step.axes)}, {text}{limit})"


def _bounds_inside(block: Block) -> Iterator[str]:
    for step in block.steps:
        if isinstance(step, Loop):
            yield from (step.start.text, step.stop.text)
            yield from _bounds_inside(step.body)


def _bare(text: str) -> str:
    """An expression without the brackets around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0 and place < len(text) - 1:
            return text
    return text[1:-1]

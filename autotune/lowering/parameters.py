"""The arguments of a kernel, added as they are used, under names that are checked."""

from __future__ import annotations

import keyword
import re

from autotune.errors import LoweringError
from autotune.kernel import Argument

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED = frozenset(("tl", "triton", "float", "range", "int", "min", "max", "abs", "True", "False", "None"))
"""Names that source uses itself."""


def checked(name: str, kernel: str) -> str:
    """Returns a name that may stand in source.

    Raises: LoweringError where it is none: too long, no identifier, or a word of the language.
    """
    if not _NAME.fullmatch(name) or len(name) > 100 or keyword.iskeyword(name) or name in RESERVED:
        raise LoweringError(f"{kernel}: a name that cannot stand in source, got {name[:120]!r}; rename the tensor or rank: letters, "
                            f"digits and '_', at most 100 characters, no word of the language")
    return name


class Parameters:
    """The arguments that a kernel has so far; ``order`` puts pointers first, then strides, sizes, extents, constants."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel
        self.arguments: dict[str, Argument] = {}

    def pointer(self, tensor: str, dtype: str) -> str:
        """Returns the name of a tensor's pointer."""
        return self._add(Argument(checked(f"{tensor}_ptr", self.kernel), "pointer", tensor, dtype=dtype))

    def stride(self, tensor: str, axis: int, label: str) -> str:
        """Returns the name of the stride of a dimension (counted with the instances)."""
        return self._add(Argument(checked(f"{tensor}_stride_{label}", self.kernel), "stride", tensor, axis))

    def size(self, tensor: str, axis: int) -> str:
        """Returns the name of the length of a dimension."""
        return self._add(Argument(checked(f"{tensor}_size_{axis}", self.kernel), "size", tensor, axis))

    def extent(self, rank: str) -> str:
        """Returns the name of an extent that is given at run time."""
        return self._add(Argument(checked(f"{rank.upper()}_extent", self.kernel), "extent", rank=rank))

    def constant(self, rank: str, value: int) -> str:
        """Returns the name of an extent that is fixed."""
        return self._add(Argument(checked(f"{rank.upper()}_EXTENT", self.kernel), "constexpr", rank=rank, value=value))

    def block(self, axis: str, value: int) -> str:
        """Returns the name of the number of lanes of an axis, or of coordinates that a program or a step takes."""
        return self._add(Argument(checked(f"BLOCK_{axis.upper()}", self.kernel), "constexpr", value=value))

    def _add(self, argument: Argument) -> str:
        known = self.arguments.setdefault(argument.name, argument)
        if known != argument:
            raise LoweringError(f"{self.kernel}: two arguments have one name, got {argument.name!r}; rename a tensor or a rank")
        return argument.name

    def ordered(self) -> tuple[Argument, ...]:
        """Returns the arguments in the order of the kernel's parameters."""
        kinds = ("pointer", "stride", "size", "extent", "constexpr")
        return tuple(sorted(self.arguments.values(), key=lambda a: kinds.index(a.kind)))

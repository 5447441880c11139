"""What a search for mappings may choose from: the declared space, as a value and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Objective = Literal["latency", "energy", "edp"]
OBJECTIVES: tuple[Objective, ...] = ("latency", "energy", "edp")


@dataclass(frozen=True)
class MapperSpace:
    """The declared space of a search; docs/mapping.md says what each limit means.

    ``fuse`` allows groups of more than one Einsum, of at most ``most_einsums``. A group has at most ``most_loops`` shared
    loops beside the instances, over at most ``most_parts`` - 1 parts of one rank. A rank has at most ``most_sizes`` tile sizes
    to choose from. ``levels`` is how many on-chip memories keep a tensor at a time. ``forward`` lets tensors pass from
    registers to registers.
    """

    fuse: bool = True
    most_einsums: int = 12
    most_loops: int = 3
    most_parts: int = 3
    most_sizes: int = 16
    levels: int = 1
    forward: bool = True

    def to_dict(self) -> dict[str, object]:
        """Returns the limits as plain values for JSON."""
        return {"fuse": self.fuse, "most_einsums": self.most_einsums if self.fuse else 1, "most_loops": self.most_loops,
                "most_parts": self.most_parts, "most_sizes": self.most_sizes, "levels": self.levels, "forward": self.forward}

    def words(self) -> str:
        """Returns the space in words."""
        groups = f"every cut of the evaluation order into connected groups of at most {self.most_einsums} Einsums that need no rank " \
                 f"whole from one another inside a shared loop" if self.fuse else "every Einsum by itself"
        return (f"{groups}; in each group every order of at most {self.most_loops} shared loops, a rank in at most {self.most_parts} parts, "
                f"tile sizes from divisors, powers of two and sides of the units (at most {self.most_sizes} of a rank); every Einsum on "
                f"every unit that has its operators; on each unit every assignment of the ranks' inner parts to its sides, the same for all "
                f"Einsums of the group there; each tensor kept in {'one' if self.levels == 1 else f'at most {self.levels}'} of the on-chip "
                f"memories, at every shared loop{', or forwarded between registers' if self.forward else ''}; an Einsum's own loops with "
                f"the ranks of its result outside of those that it reduces; overlap as units and dependencies allow")

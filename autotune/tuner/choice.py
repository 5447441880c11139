"""The choice among tied configurations: the same one every time, since times cannot tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.space import Configuration
from autotune.store.record import Scalar, canonical

FACTS = ("spill_bytes", "shared_bytes", "registers")
"""What a kernel should need little of, in this order: it leaves room beside it."""


@dataclass(frozen=True)
class Tied:
    """A configuration of the tie band, and what is known of it."""

    configuration: Configuration
    facts: Mapping[str, Scalar]


def choose(band: Sequence[Tied], before: Configuration | None = None) -> tuple[Tied, str]:
    """Returns the chosen one of a band and the rule: the one that was chosen ``before`` where it is among them, else the one
    that needs least (see :data:`FACTS`), then the fewest warps and stages, then the first in the order of its text."""
    for one in band:
        if before is not None and dict(one.configuration) == dict(before):
            return one, "tied, and chosen before" if len(band) > 1 else "fastest"
    chosen = min(band, key=_key)
    return chosen, "fastest" if len(band) == 1 else f"tied with {len(band) - 1}, and needs least"


def _key(one: Tied) -> tuple[tuple[float, ...], str]:
    needs = [float(one.facts.get(name, 0) or 0) for name in FACTS]
    sizes = [float(sum(v for k, v in one.configuration.items() if k.endswith(what) and isinstance(v, int)))
             for what in ("num_warps", "num_stages")]
    return (*needs, *sizes), canonical(dict(one.configuration))

"""The rewrites by name: every module of this package that has a ``NAME`` is one."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from einsum_cascades.errors import UnknownNameError
from einsum_cascades.ir import Cascade
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.structure import structure

Site = tuple[str, ...]
"""Where a rewrite applies: a tensor and a rank, a tensor, a rank, or nothing for the cascade as a whole."""


@dataclass(frozen=True)
class Rewrite:
    """A rewrite: ``apply`` takes the cascade and a site, one of its ``candidates``.

    ``apply`` raises IllegalRewriteError where its condition does not hold.
    """

    name: str
    apply: Callable[..., Cascade]
    candidates: Callable[[Cascade], Iterable[Site]]
    summary: str

    def at(self, cascade: Cascade, site: Site) -> Cascade:
        """Returns the cascade after the rewrite at a site.

        Raises: IllegalRewriteError where it is not legal; UnknownNameError for a tensor or a rank that does not exist.
        """
        known = {*structure(cascade).producers, *structure(cascade).ranks}
        for name in site:
            if name not in known:
                raise UnknownNameError("tensor or rank", name, known, place=f"rewrite {self.name!r}")
        takes = {len(candidate) for candidate in self.candidates(cascade)}
        if takes and len(site) not in takes:
            raise IllegalRewriteError(f"rewrite {self.name!r}: its site has {min(takes)} "
                                      f"part{'s' if min(takes) != 1 else ''}, got {len(site)}; give a tensor and a "
                                      f"rank, a tensor, or a rank, as {self.summary.lower()}")
        return self.apply(cascade, *site)

    def sites(self, cascade: Cascade) -> Iterator[Site]:
        """Yields the candidates where the rewrite is legal and changes something."""
        for site in self.candidates(cascade):
            try:
                if self.apply(cascade, *site) != cascade:
                    yield site
            except IllegalRewriteError:
                continue


@cache
def rewrites() -> Mapping[str, Rewrite]:
    """Returns all rewrites by name."""
    found = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        made = import_module(f"{__package__}.{module.name}")
        if hasattr(made, "NAME"):
            summary = str(made.__doc__).splitlines()[0]
            found[made.NAME] = Rewrite(made.NAME, made.apply, made.candidates, summary)
    return dict(sorted(found.items()))


def find(name: str) -> Rewrite:
    """Returns the rewrite of a name.

    Raises: UnknownNameError for one that does not exist.
    """
    known = rewrites()
    if name not in known:
        raise UnknownNameError("rewrite", name, known)
    return known[name]

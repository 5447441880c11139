"""Derives a cascade with fewer passes, by rewrites that the algebra of its operators makes legal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from reports.cascades import load_cascade
from reports.options import cascade_argument, extent_option, json_option
from reports.output import emit

if TYPE_CHECKING:
    from einsum_cascades.ir import Cascade
    from einsum_cascades.rewrites import Rewriting


@click.command(epilog="Examples: fusebench rewrite attention:3pass --passes 1; fusebench rewrite mamba2_ssd:sequential "
                      "--apply chunked-scan:H")
@cascade_argument
@click.option("--passes", type=click.IntRange(min=1), default=None, help="Passes to reach at most; 1 without --apply.")
@click.option("--over", metavar="RANK", default=None, help="The rank that is to reach it; every rank without it.")
@click.option("--apply", "names", multiple=True, metavar="NAME[:TENSOR][:RANK]",
              help="Apply a rewrite first; repeatable. Without a site, where it is first legal.")
@extent_option
@json_option
def command(cascade: str, passes: int | None, over: str | None, names: Sequence[str], extents: Mapping[str, int],
            as_json: bool) -> int:
    """Rewrite a CASCADE into an equal one with at most so many passes, and the fewest operations.

    Ends with status 1, and the read that forces the pass, where no legal sequence of rewrites reaches it.
    """
    found = load_cascade(cascade).cascade
    from einsum_cascades.rewrites import IllegalRewriteError, NoRewriteError
    try:
        rewritings = _rewritings(found, passes, over, names, extents)
    except (NoRewriteError, IllegalRewriteError) as error:
        refused = {"cascade": found.name, "reason": str(error), "rank": getattr(error, "rank", None),
                   "einsum": getattr(error, "einsum", None), "read": error.read}
        if as_json:
            emit(refused, as_json, str)
        click.echo(f"fusebench: {error}", err=True)
        return 1
    document = _document(rewritings)
    emit(document, as_json, lambda: _text(document))
    return 0


def _rewritings(cascade: Cascade, passes: int | None, over: str | None, names: Sequence[str],
                extents: Mapping[str, int]) -> list[Rewriting]:
    """The named rewrites one after another, then the search, if there is a target or nothing else to do."""
    from einsum_cascades.extents import mentioned
    from einsum_cascades.rewrites import apply, rewrite
    made: list[Rewriting] = []
    for entry in names:
        name, *site = entry.split(":")
        made.append(apply(cascade, name, *site, extents={r: n for r, n in extents.items() if r in mentioned(cascade)}))
        cascade = made[-1].cascade
    if passes is not None or not made:
        made.append(rewrite(cascade, passes or 1, over, extents))
    return made


def _document(rewritings: Sequence[Rewriting]) -> dict[str, Any]:
    from einsum_cascades.printing import to_text
    first, last = rewritings[0], rewritings[-1]
    return {
        "cascade": first.source.name,
        "text": to_text(last.cascade),
        "applied": [name for r in rewritings for name in r.applied],
        "steps": [str(step) for r in rewritings for step in r.steps],
        "passes": last.passes,
        "passes_before": first.before.passes,
        "operations": {"before": first.before.operations, "after": last.after.operations},
        "live_footprint_values": {"before": first.before.live_footprint_values,
                                  "after": last.after.live_footprint_values},
    }


def _text(document: Mapping[str, Any]) -> str:
    from reports.tables import pairs, table
    operations = document["operations"]
    names = dict.fromkeys((*operations["before"], *operations["after"]))
    rows = [(n, operations["before"].get(n, 0), operations["after"].get(n, 0)) for n in names]
    counts = table(("operations", "before", "after"), rows, right=("before", "after"))
    largest = {when: _footprint(values) for when, values in document["live_footprint_values"].items()}
    passes = ", ".join(f"{rank} {count}" for rank, count in document["passes"].items())
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(document["steps"], start=1)) or \
        "nothing: the target is met already"
    facts = pairs([("passes", passes), ("held before", largest["before"]), ("held after", largest["after"])])
    return f"{document['text']}\n{click.style('applied', bold=True)}\n{steps}\n\n{facts}\n\n{counts}"


def _footprint(values: Mapping[str, Any]) -> str:
    """The tensors of which more than one value has to be live at once."""
    held = [f"{tensor} {count}" for tensor, count in values.items() if count not in (0, 1)]
    return ", ".join(held) or "one value of each"

"""Which place each tensor gets, for given units and tables: the best that fits, for many combinations of sizes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from accelerator_sim.machine import Machine
from accelerator_sim.mapper.costs import Option, filled
from accelerator_sim.mapper.tiles import Array

if TYPE_CHECKING:
    from accelerator_sim.mapper.search import Weights

MOST_CHOICES = 20_000
"""Choices of places that are compared; where there are more, each tensor keeps its best few, and the bound stays open."""


@dataclass(frozen=True, eq=False)
class Retained:
    """The best choice of places for each combination of sizes. ``groups`` holds the combinations by choice (the number of each
    tensor's option), ``bound`` the value that their mapping has at least, infinite where nothing fits. Where not all choices
    were compared, none that was left out is below ``open_bound``."""

    groups: Mapping[tuple[int, ...], Array]
    bound: Array
    open_bound: float


def retain(machine: Machine, options: Mapping[str, Sequence[Option]], busiest_s: Array, chain: tuple[Array, Array],
           fixed_pj: Array, weights: Weights) -> Retained:
    """Returns the best choice of places; of those that are as good, the one with the least energy."""
    count = len(busiest_s)
    own = [_useful(list(o), machine, weights) for o in options.values()]
    sizes = {m.name: float(m.bytes) for m in machine.memories.values() if m.bytes is not None and m is not machine.outermost}
    rates = {m.name: float(m.bytes_per_s) for m in machine.memories.values() if m.bytes_per_s is not None}
    left = np.inf
    total = 1
    for useful in own:
        total *= len(useful)
    if total > MOST_CHOICES:
        left = float(weights.value(filled(busiest_s, chain, float(machine.clock_hz)), fixed_pj).min())
        own = _fewer(own)
    # Those with the most to choose from first; the least that the others need is known.
    order = sorted(range(len(own)), key=lambda n: -len(own[n]))
    ahead: list[dict[str, Array]] = [{} for _ in range(len(order) + 1)]
    for place in range(len(order) - 1, -1, -1):
        ahead[place] = {m: ahead[place + 1].get(m, np.zeros(count)) + np.minimum.reduce(
            [np.where(o.ok, o.taken.get(m, 0.0), np.inf) for _, o in own[order[place]]]) for m in sizes}
    best = np.full(count, np.inf)
    spent = np.full(count, np.inf)
    chosen = np.full((count, len(own)), -1)
    choice = [0] * len(own)

    def choose(place: int, ok: Array, taken: dict[str, Array], moved: dict[str, Array], energy: Array) -> None:
        if place == len(order):
            seconds = busiest_s
            for memory, rate in rates.items():
                seconds = np.maximum(seconds, moved[memory] / rate)
            value = np.where(ok, weights.value(filled(seconds, chain, float(machine.clock_hz)), energy), np.inf)
            better = (value < best) | (value == best) & (energy < spent) & np.isfinite(value)
            if better.any():
                best[better], spent[better] = value[better], energy[better]
                chosen[better] = choice
            return
        number = order[place]
        for index, option in own[number]:
            now = ok & option.ok
            more = dict(taken)
            for memory, value in option.taken.items():
                if memory in sizes:
                    more[memory] = more[memory] + value
            for memory in sizes:
                now = now & (more[memory] + ahead[place + 1].get(memory, 0.0) <= sizes[memory])
            if now.any():
                choice[number] = index
                choose(place + 1, now, more, {m: moved[m] + option.moved[m] for m in moved}, energy + option.energy_pj)

    zero = np.zeros(count)
    choose(0, np.ones(count, bool), dict.fromkeys(sizes, zero), dict.fromkeys(rates, zero), fixed_pj)
    groups: dict[tuple[int, ...], Array] = {}
    kept = np.flatnonzero(np.isfinite(best))
    if len(kept):
        rows, which = np.unique(chosen[kept], axis=0, return_inverse=True)
        groups = {tuple(int(n) for n in row): kept[which.ravel() == i] for i, row in enumerate(rows)}
    return Retained(groups, best, left)


def _useful(options: list[Option], machine: Machine, weights: Weights) -> list[tuple[int, Option]]:
    """The options, numbered, without those that another is as good as everywhere."""
    inner = [m for m in machine.memories if m != machine.outermost.name]

    def row(option: Option) -> Array:
        rows = [option.taken.get(m, np.zeros(len(option.ok))) for m in inner]
        rows += [*option.moved.values(), option.energy_pj, ~option.ok]
        return np.stack([np.asarray(r, float) for r in rows])
    kept: list[tuple[int, Option, Array]] = []
    rows = [row(o) for o in options]
    for number in sorted(range(len(options)), key=lambda n: float(rows[n].sum())):
        if not any((other <= rows[number]).all() for _, _, other in kept):
            kept.append((number, options[number], rows[number]))
    return [(n, o) for n, o, _ in kept]


def _fewer(own: list[list[tuple[int, Option]]]) -> list[list[tuple[int, Option]]]:
    """The options of each tensor without those in the middle, until there are few enough choices."""
    own = [list(o) for o in own]
    while np.prod([len(o) for o in own]) > MOST_CHOICES:
        longest = max(own, key=len)
        longest.pop(len(longest) // 2)
    return own

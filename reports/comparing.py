"""Compares algorithms, machines and lengths: speed-up, energy and EDP against a baseline, means, and who wins how surely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from accelerator_sim.design_space.sizing import Sized
from accelerator_sim.designs import load_design_file
from accelerator_sim.energy import PHYSICAL
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machine import Machine, with_parameters
from accelerator_sim.machines import load_machine
from einsum_cascades.errors import DefinitionError, FusebenchError, UnknownNameError
from reports.cascades import NamedCascade, load_cascade
from reports.choosing import BASELINE, BUDGET_S, Choice, choose
from reports.iso_area import AreaGoal, sized_machine
from reports.shapes import ShapeRule, shape_under

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]

RATIOS: Mapping[str, tuple[str, bool]] = {"speedup": ("latency_s", True), "energy_ratio": ("energy_pj", False),
                                          "edp_ratio": ("edp_pj_s", False)}
"""Each ratio to the baseline: of which figure, and whether the baseline's stands above (then more is better)."""

_FIGURE = {"latency": "latency_s", "energy": "energy_pj", "edp": "edp_pj_s"}
_ENDS = ("low", "high")
_SAME = 1e-9


@dataclass(frozen=True)
class Question:
    """What is compared. ``designs`` names a design for a machine, ``sizings`` and ``goal`` what is made equal; ``costs`` is
    nominal, low, high, or both (ends beside the nominal ones); ``baseline`` is a cascade and a machine."""

    cascades: tuple[str, ...]
    machines: tuple[str, ...]
    workload: str | None = None
    seq_lens: tuple[int | None, ...] = (None,)
    batch: int | None = None
    extents: Mapping[str, int] = field(default_factory=dict)
    rules: tuple[ShapeRule, ...] = ()
    settings: Mapping[str, float] = field(default_factory=dict)
    designs: Mapping[str, str] = field(default_factory=dict)
    objective: str = "latency"
    way: str = "auto"
    accounting: str = PHYSICAL
    costs: str = "nominal"
    baseline: tuple[str, str] | None = None
    budget_s: float = BUDGET_S


@dataclass(frozen=True)
class Comparison:
    """``rows``, one for each cascade, machine and length; ``means`` over lengths; ``winners``; ``notes``. Not ``finished`` where it
    was interrupted: then rows are missing at the end."""

    rows: tuple[Row, ...]
    means: tuple[Row, ...]
    winners: tuple[Row, ...]
    baseline: tuple[str, str]
    notes: tuple[str, ...]
    finished: bool = True

    def to_frame(self) -> pd.DataFrame:
        """Returns the rows as a table; mappings become columns of their own."""
        import pandas as pd
        return pd.json_normalize([dict(row) for row in self.rows])


def compare(question: Question, sized: Mapping[str, Sized], goal: AreaGoal | None = None,
            progress: Callable[[int], None] | None = None) -> Comparison:
    """Returns the comparison on sized machines (see :func:`size_machines`).

    A cascade without a mapping on a machine has a row with the reason.

    Raises: UnknownNameError for a cascade, baseline or design that there is not; DefinitionError where nothing can be compared.
    """
    named = {name: load_cascade(name) for name in question.cascades}
    baseline = _baseline(question, tuple(named))
    ends = {name: [_at_end(name, sized[name], question, end) for end in _ENDS] for name in question.machines} \
        if question.costs == "both" else {}
    rows: list[dict[str, Any]] = []
    points = [(name, machine, seq_len) for name in named for machine in question.machines for seq_len in question.seq_lens]
    try:
        for name, machine, seq_len in points:
            rows.append(_row(question, name, named[name], machine, sized[machine], seq_len, goal, ends.get(machine)))
            if progress is not None:
                progress(1)
    except KeyboardInterrupt:
        # What is finished is worth having, if there is anything.
        if not rows:
            raise
    if all(row["reason"] for row in rows):
        raise DefinitionError(f"nothing can be compared: no cascade has a mapping on any machine, got {rows[0]['reason']}", source="compare")
    rows = [_against(row, rows, baseline) for row in rows]
    return Comparison(tuple(rows), tuple(_means(rows)), tuple(_winners(rows, question.objective)), baseline,
                      tuple(_notes(rows, sized, goal)), len(rows) == len(points))


def size_machines(machines: Iterable[str], sizings: Mapping[str, Any], goal: AreaGoal | None,
                  settings: Mapping[str, float]) -> dict[str, Sized]:
    """Returns each machine at the goal's area.

    Raises: AreaError where one cannot be, FusebenchError for a machine that is none.
    """
    return {name: sized_machine(load_machine(name, settings), sizings.get(name), goal) for name in machines}


def _baseline(question: Question, cascades: tuple[str, ...]) -> tuple[str, str]:
    cascade, machine = question.baseline or (cascades[0], question.machines[0])
    if cascade not in cascades:
        raise UnknownNameError("cascade", cascade, cascades, place="--baseline")
    if machine not in question.machines:
        raise UnknownNameError("machine", machine, question.machines, place="--baseline")
    return cascade, machine


def _at_end(name: str, sized: Sized, question: Question, end: str) -> Machine:
    """The sized machine with costs at an end of their bands."""
    return with_parameters(load_machine(name, question.settings, end), sized.changed)


def _row(question: Question, name: str, named: NamedCascade, machine: str, sized: Sized, seq_len: int | None, goal: AreaGoal | None,
         ends: Sequence[Machine] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"cascade": name, "machine": machine, "seq_len": seq_len, "workload": question.workload,
                           "technology_nm": sized.machine.technology_nm, "area_mm2": sized.area_mm2,
                           "area_at_node_mm2": goal.back(sized.machine, sized.area_mm2) if goal is not None else sized.area_mm2,
                           "sized": dict(sized.changed), "reason": None}
    used = sized.machine if question.costs in ("nominal", "both") else _at_end(machine, sized, question, question.costs)
    try:
        shape = shape_under(name, named, question.rules, workload=question.workload, seq_len=seq_len, batch=question.batch,
                            extents=question.extents)
        choice = choose(named, used, shape, objective=question.objective, design=_design(question, name, named, machine),
                        way=question.way, accounting=question.accounting, budget_s=question.budget_s)
        row |= _figures(choice)
        for end, other in zip(_ENDS, ends or (), strict=False):
            found = estimate(named.cascade, choice.design, other, choice.shape, question.accounting)
            row[f"energy_pj_{end}"] = _energy(found)
            row[f"edp_pj_s_{end}"] = _energy(found) * float(found.latency_s)
    except FusebenchError as error:
        row["reason"] = str(error)
    return row


def _design(question: Question, name: str, named: NamedCascade, machine: str) -> str | None:
    """The design that is given for a machine, for the cascades that it is for; for any, where it is for none of those compared."""
    given = question.designs.get(machine)
    if given is None:
        return None
    wanted = load_design_file(given).cascade
    fitting = [c for c in question.cascades if wanted in (c, c.partition(":")[0], load_cascade(c).cascade.name)]
    return given if not fitting or wanted in (name, name.partition(":")[0], named.cascade.name) else None


def _figures(choice: Choice) -> dict[str, Any]:
    found, shape = choice.estimate, choice.shape
    latency, energy = float(found.latency_s), _energy(found)
    return {"design": found.design, "way": choice.way, "gap": choice.gap, "extents": dict(shape.extents), "instances": shape.instances.get("b", 1),
            "latency_s": latency, "latency_cycles": float(found.latency_cycles), "energy_pj": energy, "edp_pj_s": latency * energy,
            "dram_bytes": float(found.dram_bytes), "utilization": {k: float(v) for k, v in found.utilization.items()},
            "bound": found.bound, "energy_by_component": {k: float(v) for k, v in found.energy_pj.items() if k != "total"},
            "area_by_component": {k: float(v) for k, v in found.area_mm2.items() if k != "total"}, "notes": list(found.notes)}


def _energy(found: Estimate) -> float:
    return float(found.energy_pj["total"])


def _against(row: dict[str, Any], rows: Sequence[Row], baseline: tuple[str, str]) -> dict[str, Any]:
    base = next((r for r in rows if (r["cascade"], r["machine"]) == baseline and r["seq_len"] == row["seq_len"]), None)
    found: dict[str, float | None] = dict.fromkeys(RATIOS)
    if base is not None and row["reason"] is None and base["reason"] is None:
        for name, (key, inverse) in RATIOS.items():
            found[name] = base[key] / row[key] if inverse else row[key] / base[key]
    return {**row, **found}


def _means(rows: Sequence[Row]) -> Iterable[Row]:
    """Geometric means over the lengths at which both the row and the baseline have figures."""
    for cascade, machine in dict.fromkeys((r["cascade"], r["machine"]) for r in rows):
        own = [r for r in rows if (r["cascade"], r["machine"]) == (cascade, machine) and r["speedup"] is not None]
        yield {"cascade": cascade, "machine": machine, "lengths": len(own),
               **{name: math.exp(sum(math.log(r[name]) for r in own) / len(own)) if own else None for name in RATIOS}}


def _winners(rows: Sequence[Row], objective: str) -> Iterable[Row]:
    """Who is best at each length: of all, of the cascades on each machine, and of the machines for each cascade."""
    key = _FIGURE[objective]
    cascades, machines = (list(dict.fromkeys(r[k] for r in rows)) for k in ("cascade", "machine"))
    for seq_len in dict.fromkeys(r["seq_len"] for r in rows):
        here = [r for r in rows if r["seq_len"] == seq_len and r["reason"] is None]
        groups: list[tuple[str, list[Row]]] = [("all", here)]
        if len(cascades) > 1 and len(machines) > 1:
            groups += [(f"machine {m}", [r for r in here if r["machine"] == m]) for m in machines]
            groups += [(f"cascade {c}", [r for r in here if r["cascade"] == c]) for c in cascades]
        for among, entries in groups:
            if entries:
                yield {"seq_len": seq_len, "among": among, "objective": objective, **_winner(entries, key)}


def _winner(entries: Sequence[Row], key: str) -> dict[str, Any]:
    """The winner, the next with its distance, those that are as good, and whether both ends of the cost bands agree. ``certain``: the
    winner at its high end is still better than all others at their low ends."""
    ranked = sorted(entries, key=lambda r: r[key])
    first, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    found: dict[str, Any] = {"winner": _name(first), "next": second and _name(second), "by": second and second[key] / first[key],
                             "as_good": [_name(r) for r in ranked[1:] if r[key] <= first[key] * (1 + _SAME)]}
    if not all(f"{key}_low" in r for r in entries):
        return {**found, "winner_low": None, "winner_high": None, "changes": None if key != "latency_s" else False,
                "certain": None if key != "latency_s" else True}
    low, high = (_best_at(entries, f"{key}_{end}", first) for end in _ENDS)
    certain = all(first[f"{key}_high"] < r[f"{key}_low"] for r in ranked[1:])
    return {**found, "winner_low": low, "winner_high": high, "changes": {low, high} != {found["winner"]}, "certain": certain}


def _best_at(entries: Sequence[Row], key: str, first: Row) -> str:
    """The best by another figure; the winner by the first one, where it is as good."""
    least = min(r[key] for r in entries)
    return _name(first if first[key] <= least * (1 + _SAME) else min(entries, key=lambda r: float(r[key])))


def _name(row: Row) -> str:
    return f"{row['cascade']} on {row['machine']}"


def _notes(rows: Sequence[Row], sized: Mapping[str, Sized], goal: AreaGoal | None) -> Iterable[str]:
    nodes = {s.machine.technology_nm for s in sized.values()}
    if len(nodes) > 1 and (goal is None or goal.node_nm is None):
        yield f"machines are of different nodes ({', '.join(f'{n} nm' for n in sorted(nodes))}): --area-node makes them equal at one"
    baselines = sorted({r["cascade"] for r in rows if r.get("way") == BASELINE})
    if baselines:
        yield f"A25: einsum-by-einsum is a baseline without fusion, no optimum: {', '.join(baselines)}"
    unproven = [r["gap"] for r in rows if r.get("gap")]
    if unproven:
        yield f"{len(unproven)} of the mapper's designs are not proven optimal in their space: their bounds are up to {max(unproven):.1%} lower"
    if goal is not None:
        yield "A40: bandwidth, clock and costs of a machine stay as they are when it is sized"
    if any(len(set(r["extents"])) and r["cascade"].partition(":")[0] != rows[0]["cascade"].partition(":")[0]
           for r in rows if r["reason"] is None):
        yield "different operators compute different functions: equal are tokens, batch and width, not the quality of a model"

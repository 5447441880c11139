"""Small random cascades of what the lowering supports: the kernel and the interpreter of cascades agree.

Chains of maps, sums, maxima, dots, predicates and normalisations over a few ranks, with random roles and blocks.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from autotune.workers import run_tasks

pytest.importorskip("triton")
pytest.importorskip("torch")

_MAPS = ("{} * 0.5", "tanh({})", "sigmoid({})", "{} + 1", "relu({})", "abs({})", "-{}", "exp(tanh({}))", "{} * {}")
_PREDICATES = ("m <= p", "m < p + 3", "p - m < 5", "m % 2 == 0", "p < 9", "m * 2 <= p", "Seen[p,m]", "m < p or m == 7",
               "clamp(p - 3, 0, M - 6) <= m and m < clamp(p - 3, 0, M - 6) + 6")


def drawn_cascade(rng: random.Random) -> tuple[str, str]:
    """A cascade over p, m and e, f, and the roles of its ranks."""
    where = f" where {rng.choice(_PREDICATES)}" if rng.random() < 0.6 else ""
    lines = [f"A[p,m] = {rng.choice(('Q[p,e] * K[m,e]', 'U[p,m]', 'U[p,m] * W[m] + G[p]'))}{where}"]
    tensor, count = "A", 0

    def new() -> str:
        nonlocal count
        count += 1
        return f"T{count}"

    for _ in range(rng.randint(1, 4)):
        name = new()
        kind = rng.choice(("map", "softmax", "mean", "scan", "both"))
        more = f" where {rng.choice(_PREDICATES)}" if rng.random() < 0.3 else ""
        match kind:
            case "map":
                lines.append(f"{name}[p,m] = {rng.choice(_MAPS).replace('{}', f'{tensor}[p,m]')}{more}")
            case "softmax":
                top, out, total = new(), new(), new()
                lines += [f"{top}[p] = max[m] {tensor}[p,m]", f"{out}[p,m] = exp({tensor}[p,m] - {top}[p])",
                          f"{total}[p] = {out}[p,m]", f"{name}[p,m] = {out}[p,m] / {total}[p]"]
            case "mean":
                middle = new()
                lines += [f"{middle}[p] = mean[m] {tensor}[p,m]", f"{name}[p,m] = {tensor}[p,m] - {middle}[p]{more}"]
            case "scan":
                lines.append(f"{name}[p,m] = {tensor}[p,m] + W[m]{more}")
            case "both":
                lines.append(f"{name}[p,m] = {tensor}[p,m] * {lines[-1].split('[')[0]}[p,m]" if lines[-1].split("[")[1].startswith(
                    "p,m]") else f"{name}[p,m] = {tensor}[p,m] * 2")
        tensor = name
    end = rng.choice(("dot", "sum", "max", "all"))
    if end in ("dot", "all"):
        lines.append(f"O[p,f] = {tensor}[p,m] * V[m,f]")
    if end in ("sum", "all"):
        lines.append(f"S[p] = {tensor}[p,m]")
    if end in ("max", "all"):
        lines.append(f"X[p] = max[m] {tensor}[p,m]{' where m < 11' if rng.random() < 0.3 else ''}")
    text = "\n".join(lines)
    roles = [rng.choice(("p=grid:16", "p=grid:4", "p=grid", "p=tile")), rng.choice(("m=tile", "m=loop:16", "m=loop:8", "m=loop"))]
    if "[p,e]" in text:
        roles.append(rng.choice(("e=tile", "e=loop:4")))
    if end in ("dot", "all"):
        roles.append(rng.choice(("f=tile", "f=tile:16") if end == "all" else ("f=tile:16", "f=grid:16", "f=tile")))
    writes = {"dot": "O", "sum": "S", "max": "X", "all": "O S X"}[end]
    return text, f"{writes}: {' '.join(roles)}"


def test_random_cascades_agree_with_the_interpreter() -> None:
    tasks: list[dict[str, Any]] = []
    for seed in range(60):
        rng = random.Random(seed)
        text, roles = drawn_cascade(rng)
        extents = {"p": rng.choice((13, 16, 21)), "m": rng.choice((19, 32, 27)), "e": 6, "f": 5}
        known = {r: n for r, n in extents.items() if f"{r}]" in text or f"{r}," in text}
        tasks.append({"text": text, "config": roles, "extents": known, "seed": seed})
    failures: dict[int, Any] = {}
    refused = 0
    for number, outcome in run_tasks("tests.autotune.lowering.interpreted:check_cascade", tasks, jobs=2,
                                     environment={"TRITON_INTERPRET": "1"}):
        task = tasks[number]
        if outcome.error:
            failures[number] = (task["text"], task["config"], outcome.error)
        elif "refused" in outcome.result:
            refused += 1
        elif not max(outcome.result["errors"].values()) < 1e-5:
            failures[number] = (task["text"], task["config"], task["extents"], outcome.result["errors"])
    assert failures == {}
    assert refused < 10

"""Random cascades of statistics along one rank: what is reduced is read again, mixed, and reduced again.

Rank m is reduced; p and f are kept. Steps make maps of what is early, reductions with and without predicates, and maps that
mix what moves along m with a statistic (exponentials of differences, powers of deviations, quotients, products, selections).
What would keep m at the end is summed over it, so that one pass is within reach.
"""

from __future__ import annotations

from random import Random

EXTENTS = {"p": 4, "m": 7, "e": 2, "f": 3}

INPUTS = {"X": ("p", "m"), "B": ("m",), "V": ("m", "f"), "Y": ("p", "m")}

PREDICATES = ("", "", "", "m <= p", "Mask[p,m] > 0", "m < 4", "p < 3")

MIXTURES = ("exp({} - {})", "exp({} - {})", "({} - {})", "square({} - {})", "{} * {}", "exp(({} - {}) * 0.5)", "exp2({} - {})",
            "where(m < 3, {} - {}, 0)")


class _Writer:
    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.lines: list[str] = []
        self.early: dict[str, tuple[str, ...]] = dict(INPUTS)
        self.late: dict[str, tuple[str, ...]] = {}
        self.statistics: dict[str, tuple[str, ...]] = {}
        self.number = 0

    def name(self) -> str:
        self.number += 1
        return f"T{self.number}"

    def pick(self, kind: dict[str, tuple[str, ...]]) -> tuple[str, tuple[str, ...]]:
        tensor, ranks = self.rng.choice(sorted(kind.items()))
        return read(tensor, ranks), ranks

    def add(self, kind: dict[str, tuple[str, ...]], ranks: tuple[str, ...], body: str) -> None:
        tensor = self.name()
        self.lines.append(f"{read(tensor, ranks)} = {body}")
        kind[tensor] = ranks

    # --- steps ---

    def map_of_early(self) -> None:
        (a, ra), (b, rb) = self.pick(self.early), self.pick(self.early)
        form = self.rng.choice(("{} + {}", "{} * {}", "{} - {}", "tanh({}) * {}", "max({}, {})"))
        self.add(self.early, union(ra, rb), form.format(a, b))

    def reduction(self) -> None:
        late = bool(self.late) and self.rng.random() < 0.6
        body, ranks = self.pick(self.late if late else self.early)
        op = self.rng.choice(("sum", "sum", "sum", "mean", "max") if late else ("max", "sum", "sum", "mean", "sum", "min"))
        if self.rng.random() < 0.4:
            other, more = self.pick(self.early)
            body = self.rng.choice(("{} * {}", "{} * {}", "{} / (1 + square({}))")).format(body, other)
            ranks = union(ranks, more)
        predicate = self.rng.choice(PREDICATES)
        if "p" in predicate and "p" not in ranks:
            predicate = ""
        kept = tuple(r for r in ranks if r != "m" and not (r == "f" and op == "sum" and self.rng.random() < 0.2))
        gone = ",".join(r for r in ranks if r not in kept)
        self.add(self.statistics, kept, f"{op}[{gone}] {body}{' where ' + predicate if predicate else ''}")

    def mixture(self) -> None:
        (a, ra), (s, rs) = self.pick(self.early), self.pick(self.statistics)
        self.add(self.late, union(ra, rs), self.rng.choice(MIXTURES).format(a, s))

    def map_of_late(self) -> None:
        if not self.late:
            return self.mixture()
        a, ra = self.pick(self.late)
        if self.rng.random() < 0.4:
            b, rb = self.pick(self.late | self.early)
            self.add(self.late, union(ra, rb), self.rng.choice(("{} * {}", "{} + {}", "{} - {}")).format(a, b))
            return None
        s, rs = self.pick(self.statistics)
        forms = ["{} / {}", "{} * {}", "{} - {}", "square({}) * {}"]
        if "p" in union(ra, rs):
            forms.append("where(Mask[p,m] > 0, {}, 0) * {}")
        self.add(self.late, union(ra, rs), self.rng.choice(forms).format(a, s))
        return None

    def map_of_statistics(self) -> None:
        (a, ra), (b, rb) = self.pick(self.statistics), self.pick(self.statistics)
        form = self.rng.choice(("{} + {}", "max({}, {})", "{} * {}", "{} / (1 + abs({}))", "{} + log(1 + square({}))"))
        self.add(self.statistics, union(ra, rb), form.format(a, b))

    def finish(self) -> None:
        for tensor, ranks in (*self.late.items(), *self.early.items()):
            read_by = [line.split("=", 1)[1] for line in self.lines]
            if tensor not in INPUTS and not any(f"{tensor}[" in right for right in read_by):
                self.add(self.statistics, tuple(r for r in ranks if r != "m"), f"sum[m] {read(tensor, ranks)}")


def read(tensor: str, ranks: tuple[str, ...]) -> str:
    """Returns an access as text."""
    return f"{tensor}[{','.join(ranks)}]"


def union(*several: tuple[str, ...]) -> tuple[str, ...]:
    """Returns ranks of several tensors, each once."""
    return tuple(dict.fromkeys(r for ranks in several for r in ranks))


def statistics_text(rng: Random) -> str:
    """Returns the text of a random cascade of statistics."""
    w = _Writer(rng)
    if rng.random() < 0.5:
        w.lines.append("QK[p,m] = Q[p,e] * K[m,e]" + rng.choice(("", " where m <= p", " where Mask[p,m] > 0", " where m < 4")))
        w.early["QK"] = ("p", "m")
    w.reduction()
    for _ in range(rng.randint(4, 9)):
        rng.choice((w.map_of_early, w.reduction, w.reduction, w.mixture, w.mixture, w.map_of_late, w.map_of_statistics))()
    w.finish()
    return "\n".join(w.lines) + "\n"

"""Published figures of FuseMax: tables of its public artifact, headline averages, and the excess that the tables hold.

The tables are facts from the artifact's results (attention, end to end and Pareto figures; BERT and XLM at 1K, 16K
and 256K tokens). Source: "FuseMax: Leveraging Extended Einsums to Optimize Attention Accelerator Design", MICRO 2024,
arXiv 2406.10491, Figures 6-12 and section VI; artifact FPSG-UIUC/micro24-fusemax-artifact.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_FOLDER = Path(__file__).parent

SOURCE = "FuseMax, MICRO 2024, arXiv 2406.10491, and its public artifact"


@dataclass(frozen=True)
class Headline:
    """A headline average: what the paper states, and what its artifact's results give when they are averaged again."""

    id: str
    title: str
    paper: float | None
    artifact: float | None


HEADLINES = (
    Headline("attention_speedup_vs_unfused", "attention, speed-up of FuseMax over unfused", 10.0, 10.052),
    Headline("attention_speedup_vs_flat", "attention, speed-up of FuseMax over FLAT", 6.7, 6.723),
    Headline("attention_energy_vs_unfused", "attention, energy of FuseMax over unfused", 0.77, 0.767),
    Headline("attention_energy_vs_flat", "attention, energy of FuseMax over FLAT", 0.79, 0.788),
    Headline("end_to_end_speedup_vs_unfused", "end to end, speed-up over unfused", 7.6, 7.602),
    Headline("end_to_end_speedup_vs_flat", "end to end, speed-up over FLAT", 5.3, 5.302),
    Headline("end_to_end_energy_vs_unfused", "end to end, energy over unfused", 0.82, 0.821),
    Headline("end_to_end_energy_vs_flat", "end to end, energy over FLAT", 0.83, 0.834),
    Headline("end_to_end_speedup_1m_vs_unfused", "end to end at 1M tokens, speed-up over unfused", 10.0, 10.14),
    Headline("end_to_end_speedup_1m_vs_flat", "end to end at 1M tokens, speed-up over FLAT", 7.5, 7.54),
    Headline("util_2d_unfused", "2D utilization, unfused", None, 0.099),
    Headline("util_2d_flat", "2D utilization, FLAT", None, 0.149),
    Headline("util_2d_cascade", "2D utilization, +Cascade", None, 0.132),
    Headline("util_2d_arch", "2D utilization, +Architecture", None, 0.326),
    Headline("util_2d_binding", "2D utilization, +Binding", None, 0.970),
    Headline("util_1d_unfused", "1D utilization, unfused", None, 0.633),
    Headline("util_1d_flat", "1D utilization, FLAT", None, 0.953),
    Headline("util_1d_cascade", "1D utilization, +Cascade", None, 1.0),
    Headline("util_1d_arch", "1D utilization, +Architecture", None, 0.337),
    Headline("util_1d_binding", "1D utilization, +Binding", None, 1.0),
    Headline("area_vs_flat", "chip area of FuseMax over FLAT", 0.936, 0.936),
)


@dataclass(frozen=True)
class Excess:
    """Buffer reads that the artifact's energies hold beyond what its loops do (probably an integer that wraps in the tool
    it used), from a length on: a share of the energy, or None where the reference names the excess without its size."""

    design: str
    models: tuple[str, ...]
    from_seq_len: int
    low: float | None
    high: float | None


_ALL = ("bert", "trxl", "t5", "xlm")
EXCESSES = (
    Excess("flat", _ALL, 65536, 0.017, 0.029),
    Excess("cascade", _ALL, 262144, 0.044, 0.071),
    Excess("arch", _ALL, 262144, 0.0034, 0.0052),
    Excess("binding", _ALL, 262144, 0.0034, 0.0052),
    Excess("unfused", ("xlm",), 262144, None, None),
    Excess("unfused", ("bert",), 1048576, None, None),
)
_NONE_FOR_FLAT = (("bert", 262144), ("t5", 262144))


def excess_of(design: str, model: str, seq_len: int) -> Excess | None:
    """Returns the excess that the artifact's energy has at a point, or None."""
    if design == "flat" and (model, seq_len) in _NONE_FOR_FLAT:
        return None
    return next((e for e in EXCESSES if e.design == design and model in e.models and seq_len >= e.from_seq_len), None)


@lru_cache(maxsize=1)
def published_rows() -> Mapping[tuple[str, str, int], Mapping[str, float]]:
    """Returns the published figures by (design, model, length): ``dram_bytes``, ``latency_s``, ``energy_pj``, ``util_2d``,
    ``util_1d``, ``end_to_end_latency_s`` and ``end_to_end_energy_pj``."""
    found: dict[tuple[str, str, int], dict[str, float]] = {}
    for name in ("published_attention", "published_end2end"):
        for row in _read(name):
            key = (row.pop("design"), row.pop("model"), int(row.pop("seq_len")))
            found.setdefault(key, {}).update({k: float(v) for k, v in row.items()})
    return found


@lru_cache(maxsize=1)
def published_pareto() -> Mapping[tuple[str, int], Mapping[str, float]]:
    """Returns the published points of Figure 12 by (model, PE array size): ``latency_s`` and ``area_mm2``."""
    return {(r["model"], int(r["pe_dim"])): {"latency_s": float(r["latency_s"]), "area_mm2": float(r["area_mm2"])}
            for r in _read("published_pareto")}


def pareto_inputs() -> list[dict[str, str]]:
    """Returns the machines of Figure 12: the array's size, the buffer's bytes and row, and register depths, by model."""
    return _read("pareto_inputs")


def _read(name: str) -> list[dict[str, str]]:
    with (_FOLDER / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))

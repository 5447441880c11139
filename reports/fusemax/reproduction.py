"""The paper's evaluation, recomputed: five designs, four models, six lengths, averages and the Pareto points.

Every number comes from the simulator's one evaluation path; the designs, machines and models are data. Published
figures stand beside ours where the artifact's tables hold them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from accelerator_sim.area import machine_area
from accelerator_sim.designs import DesignFile, load_design_file
from accelerator_sim.energy import ARTIFACT, PHYSICAL
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machine import Machine
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from einsum_cascades.ir import Cascade
from reports.cascades import load_cascade
from reports.fusemax.published import HEADLINES, excess_of, pareto_inputs, published_pareto, published_rows
from workloads.models import Workload, load_workload, shape_of
from workloads.transformer import linear_layers

DESIGNS = ("unfused", "flat", "cascade", "arch", "binding")
MODELS = ("bert", "trxl", "t5", "xlm")
PARETO_SEQ_LEN = 262144
LONGEST = 1048576

COMPARED = ("dram_bytes", "latency_s", "util_2d", "util_1d", "energy_pj", "end_to_end_latency_s", "end_to_end_energy_pj")
"""Figures of a row that the published tables hold."""


@dataclass(frozen=True)
class Reproduction:
    """``rows`` for every design, model and length; ``averages`` and ``pareto`` beside what is published."""

    rows: tuple[Mapping[str, Any], ...]
    averages: tuple[Mapping[str, Any], ...]
    pareto: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the results as plain values for JSON."""
        return {"rows": [dict(r) for r in self.rows], "averages": [dict(a) for a in self.averages],
                "pareto": [dict(p) for p in self.pareto],
                "accounting": {"energy_pj": ARTIFACT, "end_to_end_energy_pj": ARTIFACT, "energy_pj_physical": PHYSICAL,
                               "end_to_end_energy_pj_physical": PHYSICAL}}


def reproduce() -> Reproduction:
    """Returns the paper's evaluation, recomputed."""
    runner = _Runner()
    rows = tuple(runner.row(design, model, seq_len)
                 for design in DESIGNS for model in MODELS for seq_len in load_workload(model).seq_lens)
    return Reproduction(rows, tuple(_averages(rows, runner.machines)), tuple(runner.pareto()))


class _Runner:
    """What many points share: machines, cascades, models and designs, each read once."""

    def __init__(self) -> None:
        self.designs: dict[str, DesignFile] = {name: load_design_file(name) for name in (*DESIGNS, "linear")}
        self.machines: dict[str, Machine] = {name: load_machine(name) for name in ("flat", "fusemax")}
        self.cascades: dict[str, Cascade] = {}
        self.models: dict[str, Workload] = {name: load_workload(name) for name in MODELS}
        self.fixed = {name: file.design() for name, file in self.designs.items() if not file.table}
        self.linear: dict[tuple[str, str, int], tuple[float, float, float]] = {}

    def machine_of(self, design: str) -> Machine:
        """The machine that a design is evaluated on: the first that it names."""
        return self.machines[self.designs[design].machines[0]]

    def attention(self, design: str, model: str, seq_len: int, machine: Machine | None = None) -> Estimate:
        """The attention of one layer."""
        name = self.designs[design].cascade
        if name not in self.cascades:
            self.cascades[name] = load_cascade(name).cascade
        made = shape_of(_variant(name), self.models[model], seq_len=seq_len)
        bound = self.fixed.get(design) or self.designs[design].design(model, seq_len)
        return estimate(self.cascades[name], bound, machine or self.machine_of(design),
                        Shape(made.extents, {"b": made.instances}, model, seq_len), ARTIFACT)

    def linear_layers(self, machine: str, model: str, seq_len: int) -> tuple[float, float, float]:
        """Seconds, and pJ under the artifact's and the physical accounting, of a layer's linear layers."""
        key = (machine, model, seq_len)
        if key not in self.linear:
            cascade = self.cascades.setdefault("gemm", load_cascade("gemm").cascade)
            known: dict[tuple[int, int, int], Estimate] = {}
            total = [0.0, 0.0, 0.0]
            for layer in linear_layers(self.models[model], seq_len):
                size = (layer.m, layer.n, layer.k)
                if size not in known:
                    known[size] = estimate(cascade, self.fixed["linear"], self.machines[machine], Shape(layer.extents), ARTIFACT)
                found = known[size]
                total[0] += found.latency_s
                total[1] += found.energy_pj["total"]
                total[2] += found.energy_under(PHYSICAL)["total"]
            self.linear[key] = (total[0], total[1], total[2])
        return self.linear[key]

    def row(self, design: str, model: str, seq_len: int) -> dict[str, Any]:
        """One row, with the published figures and our relative error where there are any."""
        found = self.attention(design, model, seq_len)
        linear_s, linear_pj, linear_physical_pj = self.linear_layers(found.machine, model, seq_len)
        physical = found.energy_under(PHYSICAL)["total"]
        row: dict[str, Any] = {
            "design": design, "model": model, "seq_len": seq_len, "machine": found.machine,
            "dram_bytes": float(found.dram_bytes), "latency_s": found.latency_s, "util_2d": found.utilization["2d"],
            "util_1d": found.utilization["1d"], "energy_pj": found.energy_pj["total"], "energy_pj_physical": physical,
            "end_to_end_latency_s": found.latency_s + linear_s,
            "end_to_end_energy_pj": found.energy_pj["total"] + linear_pj,
            "end_to_end_energy_pj_physical": physical + linear_physical_pj, "bound": found.bound}
        published = published_rows().get((design, model, seq_len))
        row["published"] = dict(published) if published else None
        row["error"] = {key: row[key] / published[key] - 1 for key in COMPARED} if published else None
        excess = excess_of(design, model, seq_len)
        row["published_excess"] = [excess.low, excess.high] if excess else None
        return row

    def pareto(self) -> Iterable[dict[str, Any]]:
        """The points of Figure 12: FuseMax's binding at 256K tokens over sizes of the array."""
        for entry in pareto_inputs():
            size = int(entry["pe_dim"])
            machine = load_machine("fusemax", {
                "array_2d.rows": size, "array_2d.cols": size, "array_1d.lanes": size,
                "global_buffer.bytes": int(entry["global_buffer_bytes"]), "global_buffer.row_bits": int(entry["row_bits"]),
                "array_2d.register_file.depth": int(entry["depth_2d"]),
                "array_1d.register_file.depth": int(entry["depth_1d"])})
            found = self.attention("binding", entry["model"], PARETO_SEQ_LEN, machine)
            point: dict[str, Any] = {"model": entry["model"], "pe_dim": size, "latency_s": found.latency_s,
                                     "area_mm2": found.area_mm2["total"], "bound": found.bound}
            published = published_pareto().get((entry["model"], size))
            point["published"] = dict(published) if published else None
            point["error"] = {k: point[k] / v - 1 for k, v in published.items()} if published else None
            yield point


def _variant(cascade: str) -> Any:
    variant = load_cascade(cascade).variant
    assert variant is not None
    return variant


def _averages(rows: tuple[Mapping[str, Any], ...], machines: Mapping[str, Machine]) -> Iterable[dict[str, Any]]:
    by = {(r["design"], r["model"], r["seq_len"]): r for r in rows}
    points = [(r["model"], r["seq_len"]) for r in rows if r["design"] == "binding"]

    def ratio(key: str, over: str, lengths: int | None = None) -> float:
        """The mean of FuseMax's figure over another design's."""
        return fmean(by["binding", m, n][key] / by[over, m, n][key] for m, n in points if lengths in (None, n))

    def speedup(key: str, over: str, lengths: int | None = None) -> float:
        return fmean(by[over, m, n][key] / by["binding", m, n][key] for m, n in points if lengths in (None, n))

    values: dict[str, float] = {}
    physical: dict[str, float] = {}
    for over in ("unfused", "flat"):
        values[f"attention_speedup_vs_{over}"] = speedup("latency_s", over)
        values[f"attention_energy_vs_{over}"] = ratio("energy_pj", over)
        physical[f"attention_energy_vs_{over}"] = ratio("energy_pj_physical", over)
        values[f"end_to_end_speedup_vs_{over}"] = speedup("end_to_end_latency_s", over)
        values[f"end_to_end_energy_vs_{over}"] = ratio("end_to_end_energy_pj", over)
        physical[f"end_to_end_energy_vs_{over}"] = ratio("end_to_end_energy_pj_physical", over)
        values[f"end_to_end_speedup_1m_vs_{over}"] = speedup("end_to_end_latency_s", over, LONGEST)
    for design in DESIGNS:
        for array in ("util_2d", "util_1d"):
            values[f"{array}_{design}"] = fmean(by[design, m, n][array] for m, n in points)
    values["area_vs_flat"] = machine_area(machines["fusemax"])["total"] / machine_area(machines["flat"])["total"]
    for headline in HEADLINES:
        ours = values[headline.id]
        reference = headline.artifact if headline.artifact is not None else headline.paper
        yield {"id": headline.id, "title": headline.title, "paper": headline.paper, "artifact": headline.artifact,
               "ours": ours, "ours_physical": physical.get(headline.id),
               "error": ours / reference - 1 if reference else None}

"""How often the gate is right: simulated runs of it on the fake device, under a named noise model.

Nothing here is a measurement: times are known, noise is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autotune.regression.protocol import GatePlan, run_gate
from autotune.regression.verdict import Outcome, differences
from autotune.store.record import Round
from autotune.timing.device import Checked, Evidence, Mode
from autotune.timing.fake import FakeDevice, Noise, fake_candidate
from autotune.timing.rounds import RoundPlan, time_interleaved

ROUNDS = RoundPlan(rounds=3, samples=10, extra=3)

_RIGHT = Evidence("fake: nothing to check", 0.0, 0.0)
_BASE_US = 100.0


@dataclass
class FakeRunner:
    """Processes on a fake device whose clock goes on from one to the next, so that drift and throttling do as well.

    ``changes`` says by how much the head's time of a benchmark differs from the base's (0.05: 5% longer).
    """

    seed: int
    changes: Mapping[str, float]
    noise: Noise = field(default_factory=Noise)
    rounds: RoundPlan = ROUNDS
    clock_s: float = 0.0

    def run(self, side: str, benchmarks: Sequence[str], process: int) -> Mapping[str, Sequence[Round]]:
        """Returns what a fresh process with a bias of its own measures."""
        device = FakeDevice(self.seed, process, self.noise, self.clock_s)
        checked = {}
        for name in benchmarks:
            time = _BASE_US * (1 + (self.changes.get(name, 0.0) if side == "head" else 0.0))
            checked[name] = Checked(fake_candidate(name, time), _RIGHT)
        found = time_interleaved(device, checked, Mode.COLD_FLUSHED, self.rounds, stage=side, process=process, seed=self.seed)
        self.clock_s = device.clock_s
        return found


@dataclass(frozen=True)
class OperatingPoint:
    """Of ``runs`` simulated gates at one true ``change``: the shares of each outcome."""

    change: float
    processes: int
    runs: int
    shares: Mapping[Outcome, float]

    @property
    def alarms(self) -> float:
        """The share of runs that ended in a regression."""
        return self.shares[Outcome.REGRESSION]


def operating_point(change: float, *, runs: int = 400, seed: int = 0, plan: GatePlan | None = None, noise: Noise | None = None,
                    calibrated: bool = True) -> OperatingPoint:
    """Returns how the gate ends over simulated runs of one benchmark whose true change is known.

    ``calibrated`` runs have A/A runs of the same noise in the store, as a gate in use has.
    """
    used = plan or GatePlan()
    model = noise or Noise()
    found = dict.fromkeys(Outcome, 0)
    calibration = {"kernel": _self_differences(seed, model)} if calibrated else None
    for run in range(runs):
        runner = FakeRunner(seed * 1_000_003 + run + 1, {"kernel": change}, model)
        found[run_gate(runner, ["kernel"], used, calibration).verdicts[0].outcome] += 1
    return OperatingPoint(change, used.processes, runs, {o: n / runs for o, n in found.items()})


def operating_curve(changes: Sequence[float], *, runs: int = 400, seed: int = 0, plan: GatePlan | None = None,
                    noise: Noise | None = None) -> list[OperatingPoint]:
    """Returns the operating point at each of some true changes."""
    return [operating_point(change, runs=runs, seed=seed + i, plan=plan, noise=noise) for i, change in enumerate(changes)]


def _self_differences(seed: int, noise: Noise) -> list[float]:
    runner = FakeRunner(seed * 1_000_003, {}, noise)
    plan = replace(GatePlan(), processes=20)
    return differences(run_gate(runner, ["kernel"], plan).processes, "kernel")

"""A kernel beside its peers, as candidates of one process: timed in the same rounds on the same tensors.

A peer is correct when, at the full shape, it differs from the kernel in its default configuration (which passes the gate)
by no more than two kernels may; one that is said to compute ``another`` operator (what a user without ours would take) is
not compared. The kernel in the chosen configuration is checked as in tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.peers import PeerError, make_peer
from autotune.space import Configuration
from autotune.store.record import Status, digest_of
from autotune.timing import Candidate, Device, Evidence
from autotune.tuner.errors import TrialFailure
from autotune.tuner.kernels import KernelSubject, Work, apart, guarded

FACTORY = "autotune.campaign.comparison:subject"

KERNEL = "kernel"
"""The implementation that is ours."""


class ComparisonSubject:
    """Implementations: ``{"implementation": "kernel", ...its configuration}``, or a peer's id."""

    def __init__(self, kernel: KernelSubject, peers: Mapping[str, Mapping[str, Any]]) -> None:
        self.kernel, self.peers, self.device = kernel, peers, kernel.device

    def prepare(self, configuration: Configuration) -> Candidate:
        """Returns the kernel in a configuration, or a peer.

        Raises: TrialFailure where it cannot be launched here.
        """
        name = str(configuration["implementation"])
        if name == KERNEL:
            return self.kernel.prepare(self._own(configuration))
        run = self._peer(name)
        guarded(run)
        return Candidate((run,), {}, digest_of([name, repr(sorted(self.peers[name].items(), key=str))]))

    def check(self, configuration: Configuration, candidate: Candidate, *, thorough: bool, seed: int) -> Evidence:
        """Returns how the kernel does in its gate, or how far a peer is from it."""
        name = str(configuration["implementation"])
        if name == KERNEL:
            return self.kernel.check(self._own(configuration), candidate, thorough=thorough, seed=seed)
        got = guarded(candidate.launches[0])
        if self.peers[name].get("another"):
            return Evidence("another operator: not compared", 0.0, 0.0)
        want = self.kernel.baseline()[self._output(name)]
        return Evidence("the default configuration at the full shape: error over tolerance",
                        apart(got, want, self.kernel.work.dtype), 1.0)  # type: ignore[arg-type]

    def _own(self, configuration: Configuration) -> Configuration:
        """The kernel's configuration; the default one where none is given."""
        return {name: value for name, value in configuration.items() if name != "implementation"} or self.kernel.space.default

    def _peer(self, name: str) -> Any:
        plan = self.kernel.space.plan(self.kernel.space.default)
        dimensions = {spec.name: (*spec.instances, *(rank or "?" for rank in spec.ranks)) for spec in plan.tensors}
        options = {key: value for key, value in self.peers[name].items() if key != "another"}
        try:
            return make_peer(str(options.pop("peer")), options, self.kernel.tensors(plan), dimensions)
        except PeerError as error:
            raise TrialFailure(Status.COMPILE_ERROR, str(error)) from error

    def _output(self, name: str) -> str:
        out = self.peers[name].get("out")
        return str(out.get("tensor") if isinstance(out, Mapping) else out)


def subject(arguments: Mapping[str, Any]) -> ComparisonSubject:
    """Returns the subject on the current CUDA device.

    Raises: TimingError where there is none.
    """
    from autotune.timing.cuda import CudaDevice
    return on_device(arguments, CudaDevice(), "cuda")


def on_device(arguments: Mapping[str, Any], device: Device, where: str) -> ComparisonSubject:
    """Returns the subject on a device, whose tensors torch keeps at ``where``."""
    work = Work(**arguments["work"])
    return ComparisonSubject(KernelSubject(work, device, where), arguments["peers"])

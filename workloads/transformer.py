"""The linear layers of one Transformer layer, as matrix products, from a workload's figures.

Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3: projections of queries, keys, values and the
output, then two linear layers with ``ffn`` features between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workloads.models import Workload


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer ``Z[m,n] = A[m,k] * B[k,n]``: m tokens of all sequences, k features in, n features out."""

    name: str
    m: int
    n: int
    k: int

    @property
    def extents(self) -> Mapping[str, int]:
        """Its extents by rank."""
        return {"m": self.m, "n": self.n, "k": self.k}


def linear_layers(workload: Workload, seq_len: int, batch: int | None = None) -> tuple[LinearLayer, ...]:
    """Returns the six linear layers of one layer at a length in tokens, for a batch (default: the workload's)."""
    tokens = (batch or workload.batch) * seq_len
    keys, values = workload.heads * workload.e, workload.heads * workload.f
    return (LinearLayer("query", tokens, keys, workload.d_model), LinearLayer("key", tokens, keys, workload.d_model),
            LinearLayer("value", tokens, values, workload.d_model), LinearLayer("output", tokens, workload.d_model, values),
            LinearLayer("ffn1", tokens, workload.ffn, workload.d_model),
            LinearLayer("ffn2", tokens, workload.d_model, workload.ffn))

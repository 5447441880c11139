"""Options of peers, checked: tensors by name, in the order of dimensions that a peer wants."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune.peers.errors import PeerError
from einsum_cascades.errors import suggest

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Options:
    """The options of one peer, and the tensors that it may be given."""

    peer: str
    values: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    dimensions: Mapping[str, tuple[str, ...]]

    def allow(self, names: Collection[str]) -> None:
        """Refuses options that the peer does not have.

        Raises: PeerError.
        """
        for name in self.values:
            if name not in names:
                raise PeerError(f"peer {self.peer}: unknown option, got {name!r}; {suggest(name, names)}")

    def get(self, name: str, kind: type[Any] | tuple[type[Any], ...], default: Any = None) -> Any:
        """Returns an option of a type.

        Raises: PeerError where it is missing without a default, or of another type.
        """
        value = self.values.get(name, default)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise PeerError(f"peer {self.peer}: option {name!r} is missing or of another type, got {value!r}; correct it")
        return value

    def tensor(self, name: str) -> torch.Tensor:
        """Returns a tensor of the kernel by name.

        Raises: PeerError where there is none.
        """
        if name not in self.tensors:
            raise PeerError(f"peer {self.peer}: there is no such tensor, got {name!r}; {suggest(name, self.tensors)}")
        return self.tensors[name]

    def ordered(self, name: str, order: Sequence[str]) -> torch.Tensor:
        """Returns a tensor with its dimensions in an order, contiguous: a layout of the peer's own is no cost of its call."""
        own = self.dimensions.get(name, ())
        tensor = self.tensor(name)
        if sorted(own) != sorted(order):
            raise PeerError(f"peer {self.peer}: tensor {name!r} has the dimensions {', '.join(own)}, got the order {', '.join(order)}; "
                            f"name each once")
        return tensor.permute([own.index(rank) for rank in order]).contiguous()

    def heads(self, name: str) -> torch.Tensor:
        """Returns a tensor of instances, (groups,) rows and features as (instances, groups, rows, features)."""
        tensor = self.tensor(name)
        own = self.dimensions[name]
        instances = sum(rank in ("b", "h") for rank in own[:2])
        lead = 1
        for size in tensor.shape[:instances]:
            lead *= int(size)
        inner = tensor.shape[instances:]
        if len(inner) not in (2, 3):
            raise PeerError(f"peer {self.peer}: tensor {name!r} should have rows and features, got the dimensions {', '.join(own)}; use "
                            f"another peer")
        return tensor.reshape(lead, *(inner if len(inner) == 3 else (1, *inner)))

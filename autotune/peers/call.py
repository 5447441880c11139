"""A function of another package, called on the kernel's tensors in the order of dimensions that it wants.

```yaml
- {id: mamba_ssm, peer: call, function: "mamba_ssm.ops.selective_scan_interface:selective_scan_fn",
   arguments: {u: {tensor: U, order: [b, e, i]}, delta_softplus: true}, out: {tensor: G, order: [b, e, i]}}
```

``order`` names a tensor's dimensions (instances are ``b`` and ``h``); what is no mapping is passed as it is. Only packages
of operators can be called.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from autotune.peers.errors import PeerError
from autotune.peers.options import Options

if TYPE_CHECKING:
    import torch

    from autotune.peers import Run

PACKAGES = ("causal_conv1d", "fla", "flash_attn", "flash_attn_interface", "mamba_ssm", "natten", "torch", "xformers")
"""What a campaign may call: a file names functions, so it must not name any that there are."""


def make(values: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], dimensions: Mapping[str, tuple[str, ...]]) -> Run:
    """Returns the peer. Options: function, arguments, out.

    Raises: PeerError for a package that is not installed or not allowed, or options that do not fit.
    """
    options = Options("call", values, tensors, dimensions)
    options.allow(("function", "arguments", "out"))
    module, _, name = options.get("function", str).partition(":")
    package = module.partition(".")[0]
    if package not in PACKAGES or not name.isidentifier():
        raise PeerError(f"peer call: it calls 'module:function' of {', '.join(PACKAGES)}, got {values['function']!r}; use one of these")
    if find_spec(package) is None:
        raise PeerError(f"peer call: its package is not installed, got no {package!r}; install it, or leave the peer out")
    function = getattr(import_module(module), name, None)
    if not callable(function):
        raise PeerError(f"peer call: there is no such function, got {values['function']!r}; see the version of {package}")
    arguments = {key: _argument(options, value) for key, value in options.get("arguments", dict).items()}
    out = options.get("out", dict)
    wanted = options.dimensions.get(str(out.get("tensor")), ())
    order = [str(rank) for rank in out.get("order", wanted)]
    if sorted(order) != sorted(wanted) or not wanted:
        raise PeerError(f"peer call: out: the output has the dimensions {', '.join(wanted)}, got {out!r}; name its tensor and their order")

    def run() -> torch.Tensor:
        got = function(**arguments)
        first: torch.Tensor = got[0] if isinstance(got, (tuple, list)) else got
        return first.permute([order.index(rank) for rank in wanted])
    return run


def _argument(options: Options, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    name = str(value.get("tensor"))
    options.tensor(name)
    return options.ordered(name, [str(rank) for rank in value.get("order", options.dimensions[name])])

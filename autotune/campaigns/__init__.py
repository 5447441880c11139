"""Campaign files that are shipped, one YAML file each."""

from __future__ import annotations

import os
from pathlib import Path

from einsum_cascades.errors import UnknownNameError

_FOLDER = Path(__file__).parent


def campaign_ids() -> tuple[str, ...]:
    """Returns the names of the campaigns that are shipped."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def campaign_path(name: str) -> Path:
    """Returns the file of a campaign: one that is shipped, or a path.

    Raises: UnknownNameError for neither.
    """
    if name in campaign_ids():
        return _FOLDER / f"{name}.yaml"
    if os.sep in name or name.lower().endswith((".yaml", ".yml")):
        return Path(name)
    raise UnknownNameError("campaign", name, campaign_ids())

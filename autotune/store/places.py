"""Where the store is when nobody says: one for each user, in the folder that is for data of this kind."""

from __future__ import annotations

import os
from pathlib import Path


def default_folder() -> Path:
    """Returns the folder of the user's own store: ``fusebench`` under ``XDG_DATA_HOME``, or under ``~/.local/share``."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "share") / "fusebench"

"""``python -m reports``: the ``fusebench`` command of a tree that is not installed."""

from __future__ import annotations

import sys

from reports.cli import main

if __name__ == "__main__":
    sys.exit(main())

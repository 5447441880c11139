"""Configuration spaces of kernels, and what is removed from them before anything runs."""

from __future__ import annotations

from autotune.space.errors import SpaceError
from autotune.space.space import Axis, Configuration, Constraint, Space

__all__ = ["Axis", "Configuration", "Constraint", "Space", "SpaceError"]

"""The errors of the simulator: children of the one base class."""

from __future__ import annotations

from einsum_cascades.errors import DesignError, FusebenchError


class ComponentError(FusebenchError):
    """A component's cost cannot be told from what is known."""


class CapacityError(DesignError):
    """What a mapping keeps in a memory does not fit it."""


class AreaError(FusebenchError):
    """A machine cannot be made of an area that is asked for."""


class SearchEndedError(DesignError):
    """A search for a mapping whose time ended before it had found any."""

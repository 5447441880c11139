"""The mapper: searches partitioning, loop order, parallel ranks, fusion, retention and binding of a cascade on a machine."""

from __future__ import annotations

from accelerator_sim.mapper.mapping import map_cascade
from accelerator_sim.mapper.options import OBJECTIVES, MapperSpace, Objective
from accelerator_sim.mapper.progress import Progress
from accelerator_sim.mapper.result import GroupFound, MapperResult

__all__ = ["OBJECTIVES", "GroupFound", "MapperResult", "MapperSpace", "Objective", "Progress", "map_cascade"]

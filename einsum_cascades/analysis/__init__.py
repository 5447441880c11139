"""Analyses of cascades that need no hardware: passes, footprint, operations, traffic, critical path, fusion."""

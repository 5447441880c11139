"""Kernels from cascades: nothing yet; lowering to Triton, configurations, timing and search belong here."""

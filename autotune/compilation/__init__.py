"""Kernels compiled without a GPU: a stub driver, what the compiled code needs, a pool of processes and a cache."""

"""The correctness gate: a kernel's outputs against the float64 reference of its variant, within an error that is derived."""

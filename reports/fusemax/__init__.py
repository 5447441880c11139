"""The evaluation of the FuseMax paper, recomputed, beside its published figures."""

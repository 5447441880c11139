"""The event simulator: tiles as tasks on units and a memory channel, one after another in time.

It checks the analytic path and shares nothing with it but the inputs: cascade, mapping, binding, machine, shape and
the sizes of tiles. It walks the loops, cuts ranges of coordinates, and lets tasks wait for units and for each other.
"""

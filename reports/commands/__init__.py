"""The commands of ``fusebench``: each module here is one, named as the module.

A module's first line is the command's line in ``fusebench --help``; its ``command`` is a click command whose function
returns None or an exit status. Nothing here is imported before it is used, and a module imports what is heavy (NumPy,
pandas, matplotlib) inside of its functions.
"""

"""The ``fusebench`` command, its tables and figures: the only code that prints or exits."""

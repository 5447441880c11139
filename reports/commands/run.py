"""Runs a cascade on given arrays, in float64."""

from __future__ import annotations

from collections.abc import Mapping

import click

from reports.cascades import load_cascade
from reports.options import cascade_argument, extent_option, json_option
from reports.output import emit


@click.command(epilog="Example: fusebench run attention:1pass --inputs qkv.npz --extent m0=16 --out av.npz")
@cascade_argument
@click.option("--inputs", required=True, metavar="IN.npz", help="The inputs by name.")
@click.option("--out", required=True, metavar="OUT.npz", help="Where the outputs go, by name.")
@extent_option
@json_option
def command(cascade: str, inputs: str, out: str, extents: Mapping[str, int], as_json: bool) -> None:
    """Run a CASCADE on arrays with the reference interpreter, which is the meaning of the notation.

    Extents follow from the arrays; those that do not (the tile of a partition) are given.
    """
    found = load_cascade(cascade).cascade
    from einsum_cascades.interpreter import run
    from reports.arrays import read_arrays, write_arrays
    outputs = run(found, read_arrays(inputs), extents)
    write_arrays(out, outputs)
    shapes = {name: list(array.shape) for name, array in outputs.items()}

    def text() -> str:
        from reports.tables import table
        rows = [(name, " x ".join(map(str, shape)) or "scalar") for name, shape in shapes.items()]
        return f"{table(('output', 'shape'), rows)}\n\nwritten to {out}"
    emit({"cascade": found.name, "outputs": shapes, "out": out}, as_json, text)

"""Published models: the figures of one layer, as one YAML file each, beside this module or of one's own."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from einsum_cascades.definitions import Fields, read_yaml
from einsum_cascades.errors import DefinitionError, UnknownNameError, suggest
from workloads.variant import Shape, Variant

_FOLDER = Path(__file__).parent
_SUFFIX = ".yaml"


@dataclass(frozen=True)
class Workload:
    """One layer of a model: ``e`` features of a query and key in each head, ``f`` of a value, ``ffn`` features between
    the two linear layers; ``seq_lens`` are the lengths in tokens that it is evaluated at."""

    id: str
    title: str
    batch: int
    heads: int
    d_model: int
    e: int
    f: int
    ffn: int
    seq_lens: tuple[int, ...]
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures by name."""
        return {**asdict(self), "seq_lens": list(self.seq_lens)}


def workload_ids() -> tuple[str, ...]:
    """Returns the ids of the models that there are, in alphabetical order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob(f"*{_SUFFIX}")))


def load_workload(id_or_path: str | os.PathLike[str]) -> Workload:
    """Returns the workload of an id, or of the path of a YAML file with the same keys (its name is then the id).

    Raises: UnknownNameError for an id that there is not; DefinitionError for a file that is none or has wrong keys.
    """
    name = os.fspath(id_or_path)
    if name in workload_ids():
        return _read(_FOLDER / f"{name}{_SUFFIX}")
    if os.sep in name or name.lower().endswith((_SUFFIX, ".yml")) or Path(name).is_file():
        return _read(Path(name))
    raise UnknownNameError("workload", name, workload_ids())


def shape_of(variant: Variant, workload: Workload, *, seq_len: int | None = None, batch: int | None = None) -> Shape:
    """Returns a variant's shape in a model: at ``seq_len`` tokens (default: the model's shortest), a batch of ``batch``
    (default: the model's). A batch or heads that no rank of the variant takes make independent copies.

    Raises: DefinitionError where the variant does not say how its ranks follow from a model.
    """
    source = f"variant {variant.id!r}"
    if not variant.workload_ranks:
        raise DefinitionError(f"it has no shape in a model, got workload {workload.id!r}; give extents", source=source)
    figures = {"seq_len": seq_len or workload.seq_lens[0], "batch": batch or workload.batch, "heads": workload.heads,
               "d_model": workload.d_model, "e": workload.e, "f": workload.f, "ffn": workload.ffn}
    for rank, name in variant.workload_ranks.items():
        if name not in figures:
            raise DefinitionError(f"unknown figure of a model, got {name!r}; {suggest(name, figures)}", source=source,
                                  path=f"workload_ranks.{rank}")
    taken = set(variant.workload_ranks.values())
    instances = 1
    for name in ("batch", "heads"):
        instances *= 1 if name in taken else figures[name]
    return Shape(f"{workload.id}-{figures['seq_len']}", {r: figures[n] for r, n in variant.workload_ranks.items()},
                 workload.source, instances)


def _read(path: Path) -> Workload:
    fields = Fields(read_yaml(path), source=str(path))
    sizes = {name: fields.integer(name, least=1) for name in ("batch", "heads", "d_model", "e", "f", "ffn")}
    lengths = fields.integers("seq_lens", least=1)
    if not lengths:
        fields.fail("seq_lens", "at least one length is needed", [], "give one")
    found = Workload(id=path.stem, title=fields.text("title"), seq_lens=lengths, source=fields.text("source"), **sizes)
    fields.finish()
    return found

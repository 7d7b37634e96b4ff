"""How a checkpoint names its weights: prefixes that wrappers leave, and whether every weight that is read was there.

transformers fills what a checkpoint lacks with random numbers and only logs it. So nothing may be missing but what
export does not read, and nothing may stand beside a layer that the architecture has no place for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from edge_runtime.wire.text import counted
from export.errors import UnsupportedModelError
from export.source.families import Family

KNOWN_PREFIXES: Final = (
    "module",  # torch's DataParallel
    "_orig_mod",  # torch.compile
    "_fsdp_wrapped_module",
    "0",  # sentence-transformers: the first of its modules
    "auto_model",  # sentence-transformers
    "base_model",
    "model",  # Lightning, and transformers' decoders
    "encoder_model",
    "encoder",
    "backbone",
    "bert",
    "roberta",
    "distilbert",
)
"""Parts of names that wrappers put in front of a whole model."""
UNREAD: Final = {
    "pooler": "a text's feature is the mean of its last hidden states, not the pooler's output",
}
"""Modules of the stock models that export does not read: a checkpoint may lack them, and they are taken out."""
USUAL_HEADS: Final = ("cls", "lm_head", "classifier", "pre_classifier", "score", "qa_outputs", "vocab_")
"""Beginnings of the names of heads that transformers' models have beside the backbone; export reads none of them."""
SHOWN: Final = 3


def wrapper_prefix(names: Iterable[str], family: Family, source: str) -> str:
    """Return what stands in front of every name and has to be taken off, such as ``module.encoder_model.``.

    Args:
        names: of the checkpoint's tensors.
        family: its row of the table.
        source: the model, for people.

    Raises:
        UnsupportedModelError: for a prefix that no wrapper is known to leave, or when there are several models.
    """
    table = f"{family.lookup}.weight"
    prefixes = sorted({name.removesuffix(table) for name in names if name == table or name.endswith(f".{table}")})
    if len(prefixes) > 1:
        tables = ", ".join(prefix + table for prefix in prefixes[:SHOWN])
        raise UnsupportedModelError(
            f"{source}: the checkpoint holds several models: {tables}; save the one that you mean by itself"
        )
    prefix = prefixes[0] if prefixes else ""
    strange = [part for part in prefix.split(".") if part and part not in KNOWN_PREFIXES]
    if strange:
        raise UnsupportedModelError(
            f"{source}: the checkpoint's names begin with {prefix!r} ({prefix}{table}), which is no known wrapper's"
            f" ({', '.join(KNOWN_PREFIXES)}); save the model by itself"
        )
    own = f"{family.prefix}."
    return prefix.removesuffix(own) if prefix == own or prefix.endswith(f".{own}") else prefix


def beside(names: Iterable[str], prefix: str, family: Family) -> list[str]:
    """Return the names of tensors that belong to no module of the backbone and to no usual head."""
    bare = [name.removeprefix(prefix).removeprefix(f"{family.prefix}.") for name in names]
    return [name for name in bare if name.partition(".")[0] not in family.modules and not name.startswith(USUAL_HEADS)]


def check_loaded(report: Mapping[str, Any], family: Family, source: str) -> None:
    """Refuse a model some of whose weights would be random, or that leaves weights of a layer unused.

    Args:
        report: ``output_loading_info`` of transformers' loader.
        family: its row of the table.
        source: the model, for people.

    Raises:
        UnsupportedModelError: with the first names of each kind.
    """
    mismatched = sorted((name, list(there), list(wanted)) for name, there, wanted in report["mismatched_keys"])
    if mismatched:
        name, there, wanted = mismatched[0]
        raise UnsupportedModelError(
            f"{source}: config.json says other sizes of {counted(len(mismatched), 'weight')}: {name} is {there},"
            f" expected {wanted}"
        )
    missing = sorted(name for name in report["missing_keys"] if not _of(name, family, tuple(UNREAD)))
    unused = sorted(name for name in report["unexpected_keys"] if _of(name, family, family.modules))
    if missing == ["lm_head.weight"]:
        raise UnsupportedModelError(
            f"{source}: the checkpoint has no lm_head.weight, and by config.json (tie_word_embeddings) the head is no"
            ' other table; where the head is the table of word embeddings, say "tie_word_embeddings": true'
        )
    if missing:
        others = f"; it has {_first(unused)}" if unused else ""
        raise UnsupportedModelError(
            f"{source}: the checkpoint lacks {counted(len(missing), 'weight')} of this architecture: "
            f"{_first(missing)}{others}; save the model again with transformers' save_pretrained"
        )
    if unused:
        raise UnsupportedModelError(
            f"{source}: this architecture has no place for {counted(len(unused), 'weight')}: "
            f"{_first(unused)}; config.json must describe the model that the weights are of"
        )


def check_finite(weights: Iterable[tuple[str, bool]], source: str) -> None:
    """Refuse a model with NaN or infinity in its weights, as a training run that diverged leaves them.

    Args:
        weights: name, and whether all values are finite.
        source: the model, for people.

    Raises:
        UnsupportedModelError: with the first names.
    """
    broken = [name for name, finite in weights if not finite]
    if broken:
        raise UnsupportedModelError(
            f"{source}: NaN or infinity in {counted(len(broken), 'weight')}: {_first(broken)}; give a"
            " checkpoint that works"
        )


def _of(name: str, family: Family, modules: Sequence[str]) -> bool:
    """Return whether a weight belongs to one of these modules of the backbone."""
    return name.removeprefix(f"{family.prefix}.").partition(".")[0] in modules


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")

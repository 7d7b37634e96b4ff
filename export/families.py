"""The table of model families: where each keeps what export needs. A new family is a new row, not a new forward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from export.errors import UnsupportedModelError


@dataclass(frozen=True)
class Family:
    """Where a family of models keeps what export needs.

    Args:
        stack: path of the list of layers inside the model.
        entry: module of a layer whose input is the feed-forward's own input.
        exit: module of a layer whose output is the feed-forward's output, before the residual sum. May be ``entry``.
        lookup: path of the table of word embeddings.
        width: config key of d.
        depth: config key of the number of layers.
        inner: config key of the feed-forward's inner width.
        heads: config key of the number of attention heads.
        positions: config key of the longest sequence.
        after_padding: positions count from the padding id + 1 instead of 0.
    """

    stack: str
    entry: str
    exit: str
    lookup: str
    width: str = "hidden_size"
    depth: str = "num_hidden_layers"
    inner: str = "intermediate_size"
    heads: str = "num_attention_heads"
    positions: str = "max_position_embeddings"
    after_padding: bool = False


_BERT: Final = Family("encoder.layer", "intermediate", "output.dense", "embeddings.word_embeddings")

FAMILIES: Final[dict[str, Family]] = {
    "bert": _BERT,
    # RoBERTa numbers its positions from the padding id on.
    "roberta": Family(_BERT.stack, _BERT.entry, _BERT.exit, _BERT.lookup, after_padding=True),
}
"""By ``model_type`` of the Hugging Face config."""


def family_of(config: dict[str, Any], source: str) -> Family:
    """Return the row of a model.

    Raises:
        UnsupportedModelError: naming the architecture and the supported ones.
    """
    kind = str(config.get("model_type", "unknown"))
    if kind not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedModelError(f"{source}: model type {kind!r} is not supported; supported: {known}")
    return FAMILIES[kind]

"""The table of model families: where each keeps what export needs. A new family is a new row, not a new forward.

Sizes are read through optimum's normalized configs, which know each family's own names for width, depth, heads and
vocabulary; a row here names only what they do not know. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Final

from optimum.utils import NormalizedConfigManager

from edge_runtime.wire.manifest_checks import CAUSAL_LM, CLASSIFICATION
from export.errors import UnsupportedModelError

TASKS: Final = (CLASSIFICATION, CAUSAL_LM)


@dataclass(frozen=True)
class Family:
    """Where a family of models keeps what export needs.

    Args:
        stack: path of the list of layers inside the model.
        entry: module of a layer whose input is the feed-forward's own input.
        exit: module of a layer whose output is the feed-forward's output, before the residual sum. May be ``entry``.
        lookup: path of the table of word embeddings.
        places: path of the table of position embeddings, or of the module that makes rotary angles.
        inner: config key of the feed-forward's inner width.
        positions: config key of the longest sequence.
        gated: the feed-forward has a third matrix whose activated product multiplies the inner values.
        causal: a token sees those before it only, so the model can continue a text.
        after_padding: positions count from the padding id + 1 instead of 0.
        aliases: this family's names of config keys that optimum expects under their usual names.
        prefix: name that transformers gives the backbone inside a model with a head.
        modules: of the backbone, outermost, as its weights' names begin.
        defaults: what transformers takes where config.json leaves out a key that export reads, too.
    """

    stack: str
    entry: str
    exit: str
    lookup: str
    places: str
    inner: str = "intermediate_size"
    positions: str = "max_position_embeddings"
    gated: bool = False
    causal: bool = False
    after_padding: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    prefix: str = "model"
    modules: tuple[str, ...] = ("embeddings", "encoder", "pooler")
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def value(self, config: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - of a JSON object
        """Return what a config says of a key, or the family's default where it says nothing."""
        return config[key] if key in config else self.defaults.get(key)


@dataclass(frozen=True)
class BackboneSizes:
    """Sizes of a backbone, as its config says them.

    Args:
        width: d.
        depth: number of layers.
        inner: inner width of the feed-forward.
        heads: attention heads (of queries).
        kv_heads: heads of keys and values; fewer than ``heads`` where groups of queries share them.
        head_width: values of one head.
        positions: longest sequence.
        vocabulary: rows of the table of word embeddings.
        gated: the feed-forward has three matrices.
        tied: the language head is the table of word embeddings.
    """

    width: int
    depth: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    positions: int
    vocabulary: int
    gated: bool = False
    tied: bool = True

    @property
    def linears(self) -> tuple[tuple[int, int, int], ...]:
        """Count, outputs and inputs of a layer's frozen linears: query, key and value, output, the feed-forward's."""
        queries, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        attention = (1, queries, self.width), (2, keys, self.width), (1, self.width, queries)
        return *attention, (2 if self.gated else 1, self.inner, self.width), (1, self.width, self.inner)


_BERT: Final = Family(
    "encoder.layer",
    "intermediate",
    "output.dense",
    "embeddings.word_embeddings",
    "embeddings.position_embeddings",
    prefix="bert",
    defaults={"pad_token_id": 0, "tie_word_embeddings": True},
)
_LLAMA: Final = Family(
    "layers",
    "mlp",
    "mlp",
    "embed_tokens",
    "rotary_emb",
    gated=True,
    causal=True,
    modules=("embed_tokens", "layers", "norm", "rotary_emb"),
    defaults={"tie_word_embeddings": False, "eos_token_id": 2},
)
_QWEN2: Final = replace(_LLAMA, defaults={"tie_word_embeddings": False, "num_key_value_heads": 32})

FAMILIES: Final[dict[str, Family]] = {
    "bert": _BERT,
    # RoBERTa numbers its positions from the padding id on.
    "roberta": replace(
        _BERT, after_padding=True, prefix="roberta", defaults={**_BERT.defaults, "pad_token_id": 1, "eos_token_id": 2}
    ),
    "distilbert": Family(
        "transformer.layer",
        "ffn.lin1",
        "ffn.lin2",
        _BERT.lookup,
        _BERT.places,
        inner="hidden_dim",
        aliases={"num_hidden_layers": "n_layers"},
        prefix="distilbert",
        modules=("embeddings", "transformer"),
        defaults=_BERT.defaults,
    ),
    "llama": _LLAMA,
    "qwen2": _QWEN2,
    # Like Qwen2, with a norm on each head's queries and keys.
    "qwen3": replace(_QWEN2, defaults={**_QWEN2.defaults, "head_dim": 128}),
}
"""By ``model_type`` of the Hugging Face config."""


def family_of(config: Mapping[str, Any], source: str) -> Family:
    """Return the row of a model.

    Raises:
        UnsupportedModelError: naming the architecture and the supported ones.
    """
    kind = str(config.get("model_type", "unknown"))
    if kind not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        named = ", ".join(map(str, config.get("architectures") or ())) or "no architecture named"
        raise UnsupportedModelError(f"{source}: model type {kind!r} ({named}) is not supported; supported: {known}")
    return FAMILIES[kind]


def sizes_of(config: Mapping[str, Any], source: str) -> BackboneSizes:
    """Read a model's sizes from its config.

    Raises:
        UnsupportedModelError: for an unknown architecture or a missing key.
    """
    family = family_of(config, source)
    normalized = NormalizedConfigManager.get_normalized_config_class(config["model_type"])(
        SimpleNamespace(**config, attribute_map=dict(family.aliases))
    )
    try:
        width, heads = int(normalized.hidden_size), int(normalized.num_attention_heads)
        return BackboneSizes(
            width=width,
            depth=int(normalized.num_layers),
            inner=int(config[family.inner]),
            heads=heads,
            kv_heads=int(family.value(config, "num_key_value_heads") or heads),
            head_width=int(family.value(config, "head_dim") or width // heads),
            positions=int(config[family.positions]) - _first_position(family, config),
            vocabulary=int(normalized.vocab_size),
            gated=family.gated,
            tied=bool(family.value(config, "tie_word_embeddings")),
        )
    except KeyError as error:
        raise UnsupportedModelError(f"{source}: config.json lacks the key {error}") from error
    except AttributeError as error:
        raise UnsupportedModelError(f"{source}: config.json is not complete ({error})") from error


def _first_position(family: Family, config: Mapping[str, Any]) -> int:
    return int(family.value(config, "pad_token_id") or 0) + 1 if family.after_padding else 0


def check_task(config: Mapping[str, Any], task: str, source: str) -> None:
    """Refuse a task that the architecture cannot do.

    Raises:
        UnsupportedModelError: naming the families that can.
    """
    if task == CAUSAL_LM and not family_of(config, source).causal:
        able = ", ".join(sorted(name for name, row in FAMILIES.items() if row.causal))
        raise UnsupportedModelError(
            f"{source}: a {config['model_type']} reads a text from both sides and cannot continue one;"
            f" {CAUSAL_LM} works with {able}"
        ).about("task", "model")

"""What a config.json says of how its model computes: each key is followed, refused by name, or mentioned.

A key that nobody reads changes what the model was trained to compute, without an error: transformers itself ignores
``position_embedding_type`` and builds absolute positions. So every key that is known to change a computation has its
allowed values here; what is known not to is listed; any other is said to have been ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from export.errors import UnsupportedModelError
from export.source.families import Family, family_of

_NONE: Final = (None,)
_OFF: Final = (None, False)
_ONE: Final = (None, 1, 1.0)
_ACTIVATIONS: Final = (None, "gelu", "gelu_python", "gelu_new", "gelu_pytorch_tanh", "relu")
"""Of an encoder's feed-forward: programs with each pass the proof (gelu_python is gelu)."""
_ENCODER: Final[Mapping[str, tuple[Any, ...]]] = {
    "position_embedding_type": (None, "absolute"),
    "hidden_act": _ACTIVATIONS,
    "activation": _ACTIVATIONS,
    "is_decoder": _OFF,
    "add_cross_attention": _OFF,
    "embedding_size": _NONE,
}
_DECODER: Final[Mapping[str, tuple[Any, ...]]] = {
    "hidden_act": (None, "silu", "gelu"),
    "use_sliding_window": _OFF,
    "no_rope_layers": _NONE,
    "no_rope_layer_interval": _NONE,
    "partial_rotary_factor": _ONE,
}
_ANY_FAMILY: Final[Mapping[str, tuple[Any, ...]]] = {
    "alibi": _OFF,
    "attention_chunk_size": _NONE,
    "attention_multiplier": _NONE,
    "attn_logit_softcapping": _NONE,
    "auto_map": _NONE,
    "chunk_size_feed_forward": (None, 0),
    "clip_qkv": _NONE,
    "embedding_multiplier": _ONE,
    "final_logit_softcapping": _NONE,
    "is_encoder_decoder": _OFF,
    "logit_scale": _ONE,
    "logits_scaling": _ONE,
    "num_experts": _NONE,
    "num_local_experts": _NONE,
    "parallel_attn": _OFF,
    "pruned_heads": (None, {}),
    "query_pre_attn_scalar": _NONE,
    "residual_multiplier": _ONE,
    "scale_embedding": _OFF,
    "use_parallel_residual": _OFF,
}
"""Allowed values of keys that change a computation; None stands for a key that is not there."""

_FOLLOWED: Final = frozenset(
    {
        "attention_bias", "bos_token_id", "cls_token_id", "dim", "eos_token_id", "head_dim", "hidden_dim",
        "hidden_size", "intermediate_size", "layer_norm_eps", "layer_types", "max_position_embeddings", "mlp_bias",
        "model_type", "n_heads", "n_layers", "num_attention_heads", "num_hidden_layers", "num_key_value_heads",
        "pad_token_id", "quantization_config", "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta",
        "sep_token_id", "tie_word_embeddings", "type_vocab_size", "vocab_size",
    }
)  # fmt: skip
"""Read by transformers when it builds the model, or by export."""
_HARMLESS: Final = frozenset(
    {
        "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "architectures",
        "attention_dropout", "attention_probs_dropout_prob", "classifier_dropout", "directionality", "dropout", "dtype",
        "finetuning_task", "gradient_checkpointing", "hidden_dropout_prob", "id2label", "initializer_range",
        "is_llama_config", "label2id", "language", "mask_token_id", "max_length", "max_window_layers", "name",
        "num_labels", "output_attentions", "output_hidden_states", "output_past", "pooler_fc_size",
        "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "pretraining_tp",
        "problem_type", "qa_dropout", "return_dict", "rope_interleaved", "seq_classif_dropout", "sinusoidal_pos_embds",
        "sliding_window", "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
        "summary_use_proj", "task_specific_params", "tie_weights_", "tokenizer_class", "torch_dtype", "torchscript",
        "transformers.js_config", "transformers_version", "unk_token_id", "unsloth_fixed", "unsloth_version",
        "use_bfloat16", "use_cache",
    }
)  # fmt: skip
"""Of training, of heads that are not read, of other programs, or without effect on this family in transformers."""
_GENERATION: Final = frozenset(
    {
        "bad_words_ids", "begin_suppress_tokens", "cross_attention_hidden_size", "decoder_start_token_id",
        "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
        "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id", "length_penalty",
        "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores",
        "prefix", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens",
        "temperature", "tf_legacy_loss", "top_k", "top_p", "typical_p",
    }
)  # fmt: skip
"""Of how older versions of transformers generate text, which stood in every config; a device has its own options."""
_ROPE: Final = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions that do not depend on the length of the text at hand."""


def check_config(config: Mapping[str, Any], source: str) -> None:
    """Refuse a config.json that asks for a computation that the exported program would not do.

    Raises:
        UnsupportedModelError: naming the key, its value and what is supported.
    """
    family = family_of(config, source)
    for key, allowed in _limits(family).items():
        if config.get(key) not in allowed:
            supported = " or ".join(_shown(value) for value in allowed)
            raise UnsupportedModelError(
                f"{source}: config.json says {key}: {_shown(config[key])}, which export does not compute; supported:"
                f" {supported}"
            )
    _check_layers(config, source)
    _check_rope(config, source)
    _check_eps(config, source)
    _check_padding(config, family, source)


def ignored(config: Mapping[str, Any]) -> list[str]:
    """Return the keys of a config that neither export nor transformers is known to read, but for empty ones."""
    known = {*_FOLLOWED, *_HARMLESS, *_GENERATION, *_ANY_FAMILY, *_ENCODER, *_DECODER}
    return sorted(
        key for key, value in config.items() if key not in known and value not in (None, False, 0, "", [], {})
    )


def _limits(family: Family) -> dict[str, tuple[Any, ...]]:
    return {**_ANY_FAMILY, **(_DECODER if family.causal else _ENCODER)}


def _check_layers(config: Mapping[str, Any], source: str) -> None:
    kinds = sorted({str(kind) for kind in config.get("layer_types") or ()} - {"full_attention"})
    if kinds:
        raise UnsupportedModelError(
            f"{source}: config.json has layers of {', '.join(kinds)}; supported: full_attention in every layer"
        )


def _check_rope(config: Mapping[str, Any], source: str) -> None:
    for key in ("rope_parameters", "rope_scaling"):
        rope = config.get(key) or {}
        if not isinstance(rope, Mapping):
            raise UnsupportedModelError(f"{source}: config.json says {key}: {_shown(rope)}; expected an object")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in _ROPE:
            raise UnsupportedModelError(
                f"{source}: config.json says {key}: {_shown(kind)}, which export does not compute; supported:"
                f" {', '.join(_ROPE)}"
            )
        if rope.get("partial_rotary_factor") not in _ONE:
            raise UnsupportedModelError(f"{source}: config.json turns a part of each head only (partial_rotary_factor)")


def _check_eps(config: Mapping[str, Any], source: str) -> None:
    for key in ("layer_norm_eps", "rms_norm_eps"):
        eps = config.get(key, 1e-12)
        if not isinstance(eps, (int, float)) or not math.isfinite(eps) or eps < 0:
            raise UnsupportedModelError(f"{source}: config.json says {key}: {_shown(eps)}; expected a small number")


def _check_padding(config: Mapping[str, Any], family: Family, source: str) -> None:
    if family.after_padding and not isinstance(family.value(config, "pad_token_id"), int):
        raise UnsupportedModelError(
            f"{source}: config.json says pad_token_id: null, and this family counts positions from that id on; name it"
        )


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

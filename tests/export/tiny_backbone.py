"""Small backbones with random weights, saved as Hugging Face folders: fast to lower, nothing to download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = [f"word{number}" for number in range(95)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
SIZES: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}


DECODER: dict[str, Any] = {**SIZES, "num_hidden_layers": 2, "num_key_value_heads": 2, "eos_token_id": 3}
OTHER_NAMES = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertConfig", "BertModel", SIZES),
    "roberta": ("RobertaConfig", "RobertaModel", SIZES),
    "distilbert": (
        "DistilBertConfig",
        "DistilBertModel",
        {OTHER_NAMES.get(name, name): size for name, size in SIZES.items() if name != "intermediate_size"}
        | {"hidden_dim": 48, "n_layers": 2},
    ),
    "llama": ("LlamaConfig", "LlamaForCausalLM", {**DECODER, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", {**DECODER, "tie_word_embeddings": False}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**DECODER, "tie_word_embeddings": True, "head_dim": 16}),
}
"""Classes of transformers and the sizes of a small model, by ``model_type``."""


def save_tiny(folder: Path, kind: str = "bert") -> Path:
    """Write config.json, model.safetensors and tokenizer.json of a random model of a family; return ``folder``."""
    import torch
    import transformers

    torch.manual_seed(7)
    config_class, model_class, sizes = FAMILIES[kind]
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**sizes))
    for name, parameter in model.named_parameters():  # biases and norms of a fresh model are trivial: make them not so
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
        assert torch.isfinite(parameter).all(), name
    model.save_pretrained(folder, safe_serialization=True)
    save_tokenizer(folder / "tokenizer.json")
    return folder


def save_tokenizer(path: Path) -> None:
    """Write a WordPiece tokenizer over the tiny vocabulary."""
    path.write_text(
        json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [],
                "normalizer": {
                    "type": "BertNormalizer",
                    "clean_text": True,
                    "handle_chinese_chars": True,
                    "strip_accents": None,
                    "lowercase": True,
                },
                "pre_tokenizer": {"type": "BertPreTokenizer"},
                "post_processor": None,
                "decoder": None,
                "model": {
                    "type": "WordPiece",
                    "unk_token": "[UNK]",
                    "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": 100,
                    "vocab": {word: place for place, word in enumerate(VOCABULARY)},
                },
            }
        )
    )

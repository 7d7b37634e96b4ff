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


def save_tiny(folder: Path, kind: str = "bert") -> Path:
    """Write config.json, model.safetensors and tokenizer.json of a random model of a family; return ``folder``."""
    import torch
    import transformers

    torch.manual_seed(7)
    config_class, model_class = {
        "bert": (transformers.BertConfig, transformers.BertModel),
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
    }[kind]
    model = model_class(config_class(**SIZES))
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

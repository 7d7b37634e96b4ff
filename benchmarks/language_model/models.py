"""A language model of SmolLM's 135 M sizes with random weights: time and memory do not depend on their values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

SIZES: Final[dict[str, Any]] = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "eos_token_id": 0,
    "bos_token_id": 0,
}
"""LlamaConfig of HuggingFaceTB/SmolLM2-135M."""


def make(folder: Path) -> Path:
    """Write config.json, model.safetensors and a byte tokenizer, unless they are there; return the folder."""
    if (folder / "tokenizer.json").is_file():
        return folder
    import torch  # noqa: PLC0415 - heavy
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - heavy

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(folder, safe_serialization=True)
    _write_tokenizer(folder / "tokenizer.json")
    return folder


def _write_tokenizer(path: Path) -> None:
    """Write a byte-level BPE without merges: every byte is a token, 0 ends a text."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tree = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": level,
        "decoder": level,
        "model": {
            "type": "BPE",
            "vocab": {"<|endoftext|>": 0} | {letters[byte]: byte + 1 for byte in range(256)},
            "merges": [],
        },
    }
    path.write_text(json.dumps(tree), encoding="utf-8")

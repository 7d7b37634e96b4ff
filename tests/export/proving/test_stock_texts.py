"""Texts are read as the model's folder says: ids as transformers makes them, hidden states as the stock model's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checkpoints import changed
from tiny_backbone import FAMILIES, save_tiny

from export.errors import ProofError, UnsupportedModelError
from export.proving.stock_texts import prove_texts, texts
from export.source import backbone

LENGTH = 24
LINEAR = {"rope_type": "linear", "factor": 2.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


def test_texts_are_what_tokenizers_stumble_over() -> None:
    """No text twice; empty, long, many scripts, emoji, control characters, composed and decomposed letters."""
    sentences = texts()
    assert len(set(sentences)) == len(sentences) > 100
    assert min(map(len, sentences)) == 0
    assert max(map(len, sentences)) > 500
    for part in ("ß", "ж", "ع", "中", "한", "👍🏽", "\0", "\u200d", "\ufeff", "e\u0301", "é"):
        assert any(part in text for text in sentences), part


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_every_family_reads_texts_as_its_stock_model(tmp_path: Path, kind: str) -> None:
    """Positions, padding, masks and stand-ins together change hidden states by float32's rounding only."""
    folder = save_tiny(tmp_path, kind)
    proof = prove_texts(backbone.find(str(folder)), "causal-lm" if kind == "llama" else "classification", LENGTH)
    assert proof.texts == len(texts())
    assert 0 < proof.hidden_error < 1e-5


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("bert", {"layer_norm_eps": 0.1}),
        ("bert", {"hidden_act": "gelu_new"}),
        ("bert", {"hidden_act": "gelu_pytorch_tanh"}),
        ("distilbert", {"activation": "relu"}),
        ("llama", {"rope_scaling": LINEAR, "rope_parameters": None}),
        ("llama", {"rope_parameters": {**YARN, "rope_theta": 100.0}}),
        ("llama", {"rope_parameters": {**LLAMA3, "rope_theta": 100.0}}),
        ("llama", {"hidden_act": "gelu"}),
    ],
)
def test_what_config_json_changes_is_followed(tmp_path: Path, kind: str, keys: dict[str, Any]) -> None:
    """Supported keys reach the stand-ins: they compute what the stock model computes with the same keys."""
    folder = changed(save_tiny(tmp_path / "a", kind), tmp_path / "b", **keys)
    assert prove_texts(backbone.find(str(folder)), "classification", LENGTH).hidden_error < 1e-5


def test_padding_that_tokenizer_and_config_number_differently_is_refused(tmp_path: Path) -> None:
    """RoBERTa counts positions over tokens that are not padding: by default id 1, which must be no word."""
    folder = changed(save_tiny(tmp_path / "a", "roberta"), tmp_path / "b", pad_token_id=None)
    info = backbone.find(str(folder))
    with pytest.raises(ProofError, match="hidden states differ"):
        prove_texts(info, "classification", LENGTH)  # here 1 is [UNK]
    tree = json.loads((folder / "tokenizer.json").read_text())
    tree["model"]["vocab"] |= {"[PAD]": 1, "[UNK]": 0}
    (folder / "tokenizer.json").write_text(json.dumps(tree))
    assert prove_texts(info, "classification", 38).hidden_error < 1e-5  # to the last position


def test_a_rule_that_stands_beside_the_tokenizer_is_refused_with_both_ids(tiny: Path, tmp_path: Path) -> None:
    """Where tokenizer_config.json alone lowers letters, a device would not know "Wake"; both remedies work."""
    folder = changed(tiny, tmp_path / "model")
    tree = json.loads((folder / "tokenizer.json").read_text())
    tree["normalizer"]["lowercase"] = False
    words = {"wake": 95, "me": 96, "at": 97, "six": 98}
    kept = {word: number for word, number in tree["model"]["vocab"].items() if number not in words.values()}
    tree["model"]["vocab"] = {**kept, **words}
    (folder / "tokenizer.json").write_text(json.dumps(tree))
    info = backbone.find(str(folder))
    prove_texts(info, "classification", LENGTH)  # nothing but tokenizer.json speaks

    def say(kind: str) -> None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, "do_lower_case": True}))

    say("BertTokenizer")
    said = r"on \d+ of \d+ texts the ids of tokenizer.json are not those of .*AutoTokenizer, first .*, expected \[2, "
    with pytest.raises(UnsupportedModelError, match=said):
        prove_texts(info, "classification", LENGTH)
    say("PreTrainedTokenizerFast")
    prove_texts(info, "classification", LENGTH)
    say("BertTokenizer")
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    prove_texts(info, "classification", LENGTH)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert tokenizer["normalizer"]["lowercase"]


def test_a_tokenizer_that_transformers_cannot_load_is_refused(tiny: Path, tmp_path: Path) -> None:
    """With a damaged tokenizer_config.json nobody knows what more it says."""
    folder = changed(tiny, tmp_path / "model")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": tr')
    with pytest.raises(UnsupportedModelError, match="transformers cannot load the tokenizer that tokenizer_config"):
        prove_texts(backbone.find(str(folder)), "classification", LENGTH)


def test_other_hidden_states_are_refused_with_the_number(tmp_path: Path) -> None:
    """A RoBERTa called as a BERT, with positions from 0 instead of behind the padding id, is another model."""
    info = backbone.find(str(save_tiny(tmp_path, "roberta")))
    wrong = replace(info, config={**info.config, "model_type": "bert"})
    with pytest.raises(ProofError, match=r"hidden states differ from the .* by up to \d\.\de.\d\d \(limit 1e-03"):
        prove_texts(wrong, "classification", LENGTH)

"""Models of sentence-transformers: what their folders say of pooling, further layers and prompts is never dropped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import changed

from export.errors import UnsupportedModelError
from export.source import backbone
from export.source.sentence_model import check_pooling
from export.source.tokenizer_file import read_tokenizer

TYPE = "sentence_transformers.models."
E5 = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": None}


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """Return the folder of a model that pools by the mean, as MiniLM's."""
    model = changed(tiny, tmp_path / "model")
    _say(model, "modules.json", [{"type": TYPE + kind} for kind in ("Transformer", "Pooling", "Normalize")])
    _say(model, "1_Pooling/config.json", {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True})
    _check(model)
    return model


def _say(folder: Path, name: str, tree: object) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(tree))


def _check(folder: Path, task: str = "classification") -> None:
    check_pooling(folder, task, read_tokenizer(folder), "bge")


def _refused(folder: Path, said: str) -> None:
    with pytest.raises(UnsupportedModelError, match=said):
        _check(folder)
    _check(folder, "causal-lm")


def test_another_pooling_is_refused(folder: Path) -> None:
    """The first token's state (BGE), or the last's (decoders), is another vector than the mean; with both, too."""
    _say(folder, "1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    _refused(
        folder, r"bge: 1_Pooling/config\.json says pooling_mode_cls_token, supported: pooling_mode_mean_tokens; take"
    )
    _say(folder, "1_Pooling/config.json", {"pooling_mode_lasttoken": True})
    _refused(folder, "says pooling_mode_lasttoken")
    _say(folder, "1_Pooling/config.json", {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True})
    _refused(folder, "says pooling_mode_max_tokens, pooling_mode_mean_tokens")
    _say(folder, "1_Pooling/config.json", {"pooling_mode": "mean"})
    _check(folder)
    _say(folder, "1_Pooling/config.json", {"pooling_mode": "cls"})
    _refused(folder, "says pooling_mode 'cls'")
    (folder / "1_Pooling/config.json").unlink()
    _check(folder)


def test_further_layers_are_refused(folder: Path) -> None:
    """A dense layer after the mean would be left out."""
    _say(folder, "modules.json", [{"type": TYPE + kind} for kind in ("Transformer", "Pooling", "Dense")])
    _refused(folder, r"modules\.json adds Dense, supported: Transformer, Pooling, Normalize, Dropout; take")
    (folder / "modules.json").write_text("[{")
    _refused(folder, r"modules\.json cannot be read")


def test_a_prompt_before_every_text_is_refused_and_others_are_mentioned(folder: Path) -> None:
    """E5's "query: " is the user's to put before texts, unless the folder says that it always is."""
    _say(folder, "config_sentence_transformers.json", E5)
    _check(folder)
    said = "prompts of config_sentence_transformers.json are not put before texts: query 'query: '"
    assert backbone.find(str(folder)).notes == (said,)
    _say(folder, "config_sentence_transformers.json", {**E5, "default_prompt_name": "query"})
    _refused(folder, r"puts 'query: ' before every text \(default_prompt_name\), which a device does not; say null")


def test_letters_that_are_lowered_before_the_tokenizer_are_refused(folder: Path) -> None:
    """The tiny tokenizer lowers letters itself; one that does not would see what the model never saw."""
    _say(folder, "sentence_bert_config.json", {"do_lower_case": True})
    _check(folder)
    tree = json.loads((folder / "tokenizer.json").read_text())
    _say(folder, "tokenizer.json", {**tree, "normalizer": {**tree["normalizer"], "lowercase": False}})
    _refused(folder, r"sentence_bert_config\.json lowers letters \(do_lower_case\), and tokenizer\.json does not")

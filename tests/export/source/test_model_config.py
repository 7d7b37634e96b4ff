"""What config.json says of how a model computes is followed, refused by name, or mentioned: never dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from checkpoints import changed
from tiny_backbone import FAMILIES, save_tiny

from export.errors import UnsupportedModelError
from export.source import backbone
from export.source.families import FAMILIES as ROWS
from export.source.model_config import check_config


@pytest.mark.parametrize(
    ("kind", "keys", "said"),
    [
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type: 'relative_key', which export"),
        ("bert", {"is_decoder": True}, "is_decoder: True"),
        (
            "bert",
            {"hidden_act": "swish"},
            "hidden_act: 'swish', which export does not compute; supported: nothing or 'gelu'",
        ),
        ("bert", {"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ("bert", {"embedding_size": 128}, "embedding_size: 128"),
        ("bert", {"auto_map": {"AutoModel": "own.Model"}}, "auto_map"),
        ("roberta", {"pad_token_id": None}, "pad_token_id: null, and this family counts positions from that id on"),
        ("distilbert", {"activation": "relu6"}, "activation: 'relu6'"),
        ("llama", {"final_logit_softcapping": 30.0}, "final_logit_softcapping: 30.0"),
        ("llama", {"embedding_multiplier": 12.0}, "embedding_multiplier: 12.0"),
        (
            "llama",
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "rope_scaling: 'dynamic'.*supported: default, linear",
        ),
        ("llama", {"rope_parameters": {"rope_type": "longrope"}}, "rope_parameters: 'longrope'"),
        ("llama", {"rms_norm_eps": "small"}, "rms_norm_eps: 'small'; expected a small number"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window: True"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "layers of sliding_attention"),
    ],
)
def test_a_computation_that_export_does_not_do_is_refused(kind: str, keys: dict[str, Any], said: str) -> None:
    """By the key's name, its value, and what is supported; without the key the config passes."""
    config = {"model_type": kind}
    check_config(config, "there")
    with pytest.raises(UnsupportedModelError, match=f"^there: config.json.*{said}"):
        check_config({**config, **keys}, "there")


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_configs_as_transformers_writes_them_pass_without_a_word(tmp_path: Path, kind: str) -> None:
    """No key that a family's own config class writes is unknown."""
    assert backbone.find(str(save_tiny(tmp_path, kind))).notes == ()
    check_config(getattr(transformers, FAMILIES[kind][0])().to_dict(), kind)


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_defaults_of_left_out_keys_are_transformers_own(kind: str) -> None:
    """Else export would plan another model than transformers builds."""
    config = getattr(transformers, FAMILIES[kind][0])()
    row = ROWS[kind]
    read = ["tie_word_embeddings", "eos_token_id", "pad_token_id"]
    read += ["num_key_value_heads", "head_dim"] if kind.startswith("qwen") else []
    for key in read:
        assert row.value({}, key) == getattr(config, key, None), key


def test_positions_begin_behind_the_default_padding(tmp_path: Path) -> None:
    """A RoBERTa without pad_token_id pads with 1: of 40 positions 38 are left, not 39."""
    folder = changed(save_tiny(tmp_path / "a", "roberta"), tmp_path / "b", pad_token_id=None)
    assert backbone.find(str(folder)).sizes.positions == 38


def test_unknown_keys_are_mentioned(tiny: Path, tmp_path: Path) -> None:
    """A key that is empty or false says nothing; any other is named."""
    folder = changed(tiny, tmp_path / "model", residual_sharpness=0.5, quiet=False)
    said = "keys of config.json that export does not know, and ignores: residual_sharpness"
    assert backbone.find(str(folder)).notes == (said,)


def test_configs_of_published_models_pass_without_a_word(tmp_path: Path, tiny: Path) -> None:
    """Keys that older versions of transformers and usual tools wrote are known to say nothing of a computation."""
    keys = {
        "gradient_checkpointing": True, "position_embedding_type": "absolute", "directionality": "bidi",
        "pooler_type": "first_token_transform", "pooler_fc_size": 768, "temperature": 1.0, "top_k": 50, "num_beams": 1,
        "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "is_llama_config": True, "torch_dtype": "float32",
        "transformers.js_config": {"dtype": "q4"}, "classifier_dropout": 0.1, "unsloth_version": "2026.1",
    }  # fmt: skip
    assert backbone.find(str(changed(tiny, tmp_path / "model", **keys))).notes == ()

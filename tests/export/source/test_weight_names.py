"""Every weight that export reads comes from the checkpoint: none is random, none is left over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import changed, prefixed, without
from tiny_backbone import save_tiny

from export.errors import UnsupportedModelError
from export.source import backbone
from export.source.weight_names import KNOWN_PREFIXES


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small decoder whose head is its table of word embeddings."""
    return save_tiny(tmp_path_factory.mktemp("llama"), "llama")


def _hidden(folder: Path, task: str = "classification") -> torch.Tensor:
    info = backbone.find(str(folder))
    base, _ = backbone.with_head(backbone.load(info, task))
    ids = torch.arange(1, 9).unsqueeze(0)
    hidden: torch.Tensor = base(input_ids=ids).last_hidden_state
    return hidden


@pytest.mark.parametrize("prefix", ["module.encoder_model.", "bert.", "module.bert.", "0.auto_model."])
def test_a_wrappers_prefix_is_taken_off_and_said(tiny: Path, tmp_path: Path, prefix: str) -> None:
    """The hidden states are those of the model without the prefix; transformers' own prefix is not worth a word."""
    folder = changed(tiny, tmp_path / "model", prefixed(prefix))
    assert torch.equal(_hidden(folder), _hidden(tiny))
    mapped = prefix.removesuffix("bert.")
    said = (f"the checkpoint's names begin with {mapped!r}, which was taken off",) if mapped else ()
    assert backbone.find(str(folder)).notes == said


@pytest.mark.parametrize("task", ["classification", "causal-lm"])
def test_a_prefix_is_taken_off_a_decoder(llama: Path, tmp_path: Path, task: str) -> None:
    """Transformers' own ``model.`` stays where it is."""
    assert torch.equal(_hidden(changed(llama, tmp_path / "model", prefixed("module.")), task), _hidden(llama, task))


def test_unknown_prefixes_and_several_models_are_refused(tiny: Path, tmp_path: Path) -> None:
    """A teacher or a second encoder is not guessed at."""
    with pytest.raises(UnsupportedModelError, match=r"begin with 'teacher\.' .* no known wrapper's \(module, "):
        backbone.find(str(changed(tiny, tmp_path / "a", prefixed("teacher."))))
    both = changed(tiny, tmp_path / "b", lambda one: prefixed("bert.")(one) | prefixed("encoder.")({**_copied(one)}))
    with pytest.raises(
        UnsupportedModelError, match=r"several models: bert\.embeddings\S+, encoder\.embeddings\S+; save"
    ):
        backbone.find(str(both))
    assert "module" in KNOWN_PREFIXES


def _copied(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in weights.items()}


def test_missing_weights_are_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    """Of a layer that is not there, and of a table under another name; the first names and how many."""

    def refuse(folder: Path, said: str) -> None:
        with pytest.raises(UnsupportedModelError, match=said):
            backbone.load(backbone.find(str(folder)))

    refuse(
        changed(tiny, tmp_path / "a", without("layer.2.output.dense")), r"lacks 2 weights .*: encoder\.layer\.2\.output"
    )
    refuse(
        changed(tiny, tmp_path / "b", num_hidden_layers=4), r"lacks 16 weights of this .*encoder\.layer\.3\S+, …; save"
    )
    refuse(
        changed(tiny, tmp_path / "c", without("word_embeddings")), r"lacks 1 weight of .*embeddings\.word_embeddings"
    )


def test_weights_without_a_place_in_a_layer_are_refused(tiny: Path, tmp_path: Path) -> None:
    """A table of distances between tokens, or a low-rank adapter, changes what a layer computes."""
    name = "encoder.layer.1.attention.self.distance_embedding.weight"
    folder = changed(tiny, tmp_path / "model", lambda weights: {**weights, name: torch.ones(3, 8)})
    with pytest.raises(UnsupportedModelError, match=rf"this architecture has no place for 1 weight: {name}; config"):
        backbone.load(backbone.find(str(folder)))


def test_weights_that_are_no_numbers_are_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    """One NaN in one weight, as a run that diverged leaves it."""
    name = "encoder.layer.1.output.dense.weight"

    def diverged(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weights[name][0, 3] = float("nan")
        return weights

    folder = changed(tiny, tmp_path / "model", diverged)
    with pytest.raises(UnsupportedModelError, match=f"NaN or infinity in 1 weight: {name}; give"):
        backbone.load(backbone.find(str(folder)))


def test_sizes_that_config_json_denies_are_refused(tiny: Path, tmp_path: Path) -> None:
    """The table has 100 rows, config.json says 120."""
    folder = changed(tiny, tmp_path / "model", vocab_size=120)
    with pytest.raises(UnsupportedModelError, match=r"word_embeddings.weight is \[100, 32\], expected \[120, 32\]"):
        backbone.load(backbone.find(str(folder)))


def test_heads_and_poolers_are_not_read(tiny: Path, tmp_path: Path) -> None:
    """A checkpoint may lack the pooler, and have heads; a head that is not transformers' is mentioned."""

    def more(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        kept = prefixed("bert.")(without("pooler")(weights))
        return {**kept, "cls.predictions.bias": torch.ones(3), "intent_head.weight": torch.ones(3, 32)}

    folder = changed(tiny, tmp_path / "model", more)
    assert torch.equal(_hidden(folder), _hidden(tiny))
    assert backbone.find(str(folder)).notes == ("beside the backbone and not used: intent_head.weight (1 in all)",)
    assert not [name for name, _ in backbone.load(backbone.find(str(tiny))).named_modules() if "pooler" in name]


def test_a_head_that_is_not_there_is_refused(llama: Path, tmp_path: Path) -> None:
    """Untied and absent would be random; tied and different is one of two; a classifier reads no head at all."""
    untied = changed(llama, tmp_path / "untied", tie_word_embeddings=False)
    default = changed(llama, tmp_path / "default", tie_word_embeddings=None)
    for folder in (untied, default):
        with pytest.raises(UnsupportedModelError, match=r"no lm_head\.weight.*say \"tie_word_embeddings\": true"):
            backbone.load(backbone.find(str(folder)), "causal-lm")
    assert torch.equal(_hidden(untied), _hidden(llama))
    other = changed(llama, tmp_path / "other", lambda weights: {**weights, "lm_head.weight": torch.ones(100, 32)})
    with pytest.raises(UnsupportedModelError, match=r"lm_head\.weight differs from it; say .*: false"):
        backbone.load(backbone.find(str(other)), "causal-lm")


def test_a_checkpoint_loads_the_same_twice(tiny: Path, tmp_path: Path) -> None:
    """Without a pooler, which transformers would fill with random numbers: no parameter differs between two loads."""
    info = backbone.find(str(changed(tiny, tmp_path / "model", without("pooler"))))
    first, second = (backbone.load(info).state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())

"""From a configuration to tiers and methods, with texts, with sizes by hand, and with neither: nothing is compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_backbone import save_tiny

from export.errors import ConfigError
from export.planning.config import ExportConfig
from export.planning.job import PackagePlan, plan

TEXTS = ("word " * 8,) * 999 + ("word " * 60,)
"""999 of 8 tokens and one that is longer than any row."""


def planned(tiny: Path, told: list[str] | None = None, **changes: object) -> PackagePlan:
    """Return the plan of a package for the tiny backbone, which has 40 positions."""
    settings: dict[str, object] = {
        "device": "linux-x86_64",
        "model": str(tiny),
        "labels": ("red", "green"),
        "out": Path("unused"),
        "experts": 3,
        "train_slots": 2,
    }
    return plan(ExportConfig(**{**settings, **changes}), (told if told is not None else []).append)  # type: ignore[arg-type]


def test_texts_choose_length_and_rows_and_say_how_full_steps_are(tiny: Path) -> None:
    """Rows of 16 take two texts of 8: eight rows take 16 texts and are full, half as many take eight texts.

    The tier of the upper two of three layers has the rows of the first.
    """
    told: list[str] = []
    package = planned(tiny, told, texts=TEXTS)
    assert told == ["count the tokens of 1000 texts"]
    names = ["train_m2_f1_s16_r8_b16", "train_m2_f1_s16_r4_b16", "train_l2_m2_f1_s16_r8_b16"]
    assert [tier.train.name for tier in package.tiers] == names
    assert package.row_choice.texts is not None
    assert package.row_choice.texts.longer(16) == 1
    fills = [tier.fill for tier in package.tiers]
    assert [fill.texts_per_step for fill in fills if fill] == pytest.approx([15.9, 8.0, 15.9], abs=0.1)
    assert [fill.share for fill in fills if fill] == pytest.approx([0.99, 0.99, 0.99], abs=0.015)


def test_a_length_by_hand_is_kept_and_rows_follow_the_texts(tiny: Path) -> None:
    """Rows of 32 take four texts: four rows hold 16 of them; rows by hand are kept as well, and their fill is told."""
    by_length = planned(tiny, texts=TEXTS, seq_len=32)
    assert [tier.train.name for tier in by_length.tiers] == ["train_m2_f1_s32_r4_b16"]
    by_tokens = planned(tiny, texts=TEXTS, seq_len=8, tokens=(32, 64), batch_size=8)
    told = [(tier.shape.rows, tier.fill.share, tier.fill.texts_per_step) for tier in by_tokens.tiers if tier.fill]
    assert told == [(8, 1.0, 8.0), (4, 1.0, 4.0)]


def test_texts_are_no_longer_than_the_backbone_takes(tiny: Path) -> None:
    """The profile's 64 tokens are refused where they are the default, and lowered to 40 where texts choose."""
    with pytest.raises(ConfigError, match=r"seq_len 64: .* takes at most 40 tokens"):
        planned(tiny)
    assert planned(tiny, texts=("word " * 60,)).tiers[0].shape.sequence == 40


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"tokens": 31},
            "tokens 31: a row holds one text of up to 32 tokens; give 32 or more, or a smaller seq_len",
        ),
        (
            {"tokens": (512, 513)},
            "tokens 513: 16 texts of at most 32 tokens fill 512 places; give that or less, or a larger batch_size",
        ),
    ],
)
def test_capacities_that_make_no_sense(tiny: Path, changes: dict[str, object], said: str) -> None:
    """What came, what was expected and what to do."""
    with pytest.raises(ConfigError) as caught:
        planned(tiny, seq_len=32, **changes)
    assert str(caught.value) == said


def test_every_method_is_there_once(tiny: Path) -> None:
    """Tiers with their trunks, shortest first, then the inferences, most places first."""
    package = planned(tiny, seq_len=32, tokens=(256, 512), layers="last:2")
    trunks = ["trunk_s16_r8", "trunk_s32_r8"]
    assert [trunk.name for trunk in package.tiers[0].trunks] == trunks
    assert [method.name for method in package.job.methods] == [
        "train_m2_f1_s32_r16_b16",
        *trunks,
        "train_m2_f1_s32_r8_b16",
        "predict_s32_r8_b32",
        "predict_s32_r1_b1",
        "predict_s16_r1_b1",
        "predict_s8_r1_b1",
    ]


@pytest.mark.parametrize(
    "changes", [{"trunk": False}, {"held": "slots"}, {"layers": "last:2"}, {"seq_len": 16}, {"most_tiers": 2}]
)
def test_no_tier_of_the_upper_layers_where_it_cannot_be_or_is_not_asked_for(
    tiny: Path, changes: dict[str, object]
) -> None:
    """No trunk; experts that nobody runs; no more layers than two; sizes by hand; two tiers at most."""
    assert not any(tier.shape.layers for tier in planned(tiny, texts=TEXTS, **changes).tiers)


def test_a_tier_of_fewer_layers_has_methods_and_trunks_of_its_own(tiny: Path) -> None:
    """Of three adapted layers two; as many layers as are adapted are all, and have no trunk."""
    package = planned(tiny, train_slots=None, tiers=((2, 32, 2), (2, 32, 3)), micro_batches=2)
    whole, upper = package.tiers
    step = ["accumulate_m2_f1_s32_r4_b16", "apply_m2"]
    assert [method.name for method in whole.methods] == step
    upper_step = ["accumulate_l2_m2_f1_s32_r4_b16", "apply_l2_m2"]
    assert [method.name for method in upper.methods] == [*upper_step, "trunk_l2_s16_r8", "trunk_l2_s32_r8"]
    assert (whole.cut, upper.cut) == (False, True)
    with pytest.raises(ConfigError, match=r"tiers: a tier of 4 layers, and 3 are adapted; give 3 or fewer"):
        planned(tiny, train_slots=None, tiers=((2, 32, 4),))


def test_each_window_of_a_language_model_has_a_row(tmp_path: Path) -> None:
    """As many rows as windows; half the length to step down to; no inference for many texts."""
    folder = save_tiny(tmp_path / "llama", "llama")
    package = planned(folder, task="causal-lm", labels=(), seq_len=None, batch_size=4, device=_short(tmp_path))
    assert [method.name for method in package.job.methods] == [
        "train_m2_f1_s32_r4_b4",
        "train_m2_f1_s16_r4_b4",
        "predict_s32_r1_b1",
        "predict_s16_r1_b1",
        "predict_s8_r1_b1",
    ]


def _short(folder: Path) -> str:
    """Return a profile whose texts have 32 tokens, which the tiny backbone takes."""
    from export.planning.profiles import FOLDER

    path = folder / "short.toml"
    path.write_text((FOLDER / "linux-x86_64.toml").read_text().replace("seq_len = 64", "seq_len = 32"))
    return str(path)

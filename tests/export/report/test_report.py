"""What a build tells people of tiers that train the upper layers alone."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console

from export.report.report import as_json, print_table

if TYPE_CHECKING:
    from export.packaging.pipeline import Built

Build = Callable[..., "Built"]


def test_a_tier_of_the_upper_layer_is_told_apart_and_what_runs_below_it(build: Build) -> None:
    """Of three adapted layers one: two run in the trunk with all their experts; JSON has the number of each tier."""
    built = build("depth", train_slots=None, seq_len=None, tiers=((2, 12, 0), (2, 12, 1)))
    shown = StringIO()
    print_table(built, Console(file=shown, width=300))
    text = shown.getvalue()
    assert text.count("upper 1 layer") == 1
    assert (
        "tiers that train 1 layer: of the backbone's 3 layers the lowest 2, with all experts of 2 adapted layers, and"
        " the attention of the next are a method of their own: a device keeps what they make of each text until one of"
        " those changes" in text
    )
    assert [tier["layers"] for tier in as_json(built)["tiers"]] == [3, 1]

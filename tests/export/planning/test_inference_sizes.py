"""Which inferences and trunks a program gets for a length of texts."""

from __future__ import annotations

import pytest

from export.planning.inference_sizes import predict_methods, trunk_methods


@pytest.mark.parametrize(
    ("longest", "names"),
    [
        (64, ["s64_r4_b32", "s64_r1_b1", "s32_r1_b1", "s16_r1_b1", "s8_r1_b1"]),
        (24, ["s24_r10_b30", "s24_r1_b1", "s16_r1_b1", "s8_r1_b1"]),
        (512, [f"s512_r1_{texts}" for texts in ("b64", "b1")] + [f"s{2**n}_r1_b1" for n in (8, 7, 6, 5, 4, 3)]),
        (4, ["s4_r64_b32", "s4_r1_b1"]),
    ],
)
def test_inferences_by_length_and_one_for_many_texts(longest: int, names: list[str]) -> None:
    """One text each at 8, 16, 32, ... and the longest; a classifier's packed one has 256 places, eight a text."""
    assert [method.name for method in predict_methods(3, longest, packed=True)] == [f"predict_{name}" for name in names]
    alone = [method.name for method in predict_methods(3, longest, packed=False)]
    assert alone == [f"predict_{name}" for name in names if name.endswith("_r1_b1")]
    assert {method.held for method in predict_methods(3, longest, packed=True)} == {3}


@pytest.mark.parametrize(
    ("longest", "lengths"), [(64, (16, 32, 64)), (24, (16, 24)), (16, (16,)), (12, (12,)), (100, (16, 32, 64, 100))]
)
def test_trunks_by_length(longest: int, lengths: tuple[int, ...]) -> None:
    """Eight rows at 16, 32, ... and the longest, shortest first."""
    assert [method.name for method in trunk_methods(longest)] == [f"trunk_s{length}_r8" for length in lengths]

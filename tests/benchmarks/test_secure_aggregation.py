"""benchmarks.secure_aggregation: its rounds are those of the product, exact with dropouts, and its figures add up."""

from __future__ import annotations

import json

import pytest

from benchmarks import sections, secure_aggregation


def test_a_small_round_is_exact_and_becomes_a_row_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Six devices of one circle, one gone; values take 11 bits, and everything else little beside them."""
    assert secure_aggregation.main(["--devices", "6", "--bundles", "1", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert (run["exact"], run["closed"], run["dropped_out"], run["sums"]) == (True, 0, 1, 1)
    assert (run["bits"], run["neighbours"], run["threshold"], run["circles"]) == (11, 5, 4, 1)
    # 6 * 6,920 values of a bundle, 6 * 6,536 of shared experts, 20 * 385 of the head; a weight each, 20 of the head.
    assert run["values"] == 6 * 6921 + 6 * 6537 + 20 * 385 + 20
    assert run["bytes_up"]["delta"] == -(-run["values"] * 11 // 8)
    assert run["bytes_up"]["shares"] == run["bytes_down"]["shares"] == 5 * (64 + 16)
    assert run["bytes_up"]["answer"] == 6 * 32
    assert run["bytes_up_all"] == sum(run["bytes_up"].values())
    where = {"command": secure_aggregation.COMMAND, "date": "2026-11-30", "machine": "a machine", "commit": "abc"}
    text = sections.secure_aggregation([run | where | {"ms_all": 1}, run | where, run | where | {"devices": 7}])
    sizes = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert sizes.count("6") == sizes.count("7") == 1
    assert "1 of 1 sums exact" in text


def test_bundles_have_ten_trainers_each() -> None:
    """Ten devices with four bundles train the same four; forty take turns with eight, so that each has twenty."""
    assert set(secure_aggregation.trained(10, 4)) == {frozenset(range(4))}
    turns = secure_aggregation.trained(40, 4)
    assert {sum(index in one for one in turns) for index in range(8)} == {20}
    assert len(secure_aggregation.circles_of(turns)) == 9
    assert len(secure_aggregation.circles_of(secure_aggregation.trained(10, 4))) == 1


def test_bad_usage_says_what_is_expected(capsys: pytest.CaptureFixture[str]) -> None:
    """Five devices, nine bundles."""
    for words in (["--devices", "5"], ["--bundles", "9"]):
        with pytest.raises(SystemExit):
            secure_aggregation.parse(words)
        assert "expected 6 devices or more and 1 to 8 bundles" in capsys.readouterr().err

"""Buckets of tokens: a burst, then a steady rate, each name its own."""

from __future__ import annotations

import pytest

from broker_server.rules import rates
from broker_server.rules.rates import Bucket, Buckets


def test_a_burst_and_then_a_steady_rate() -> None:
    """Three at once, then one every two seconds."""
    bucket = Bucket(3, 0.5)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait_s() == 2.0
    assert not bucket.take(101.0)
    assert bucket.wait_s() == 1.0
    assert bucket.take(102.0)
    assert not bucket.take(102.0)


def test_tokens_do_not_pile_up() -> None:
    """After an hour there are three again."""
    bucket = Bucket(3, 0.5)
    assert bucket.take(0.0)
    assert [bucket.take(3600.0) for _ in range(4)] == [True, True, True, False]


def test_no_capacity_is_no_limit() -> None:
    """0 lets everything happen."""
    bucket = Bucket(0, 0)
    assert all(bucket.take(0.0) for _ in range(1000))
    assert bucket.wait_s() == 0.0


def test_names_do_not_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is used up leaves the others theirs; of many names those used last are remembered."""
    monkeypatch.setattr(rates, "NAMES_REMEMBERED", 2)
    buckets = Buckets(1, 0.001)
    assert buckets.take("a", 0.0)
    assert not buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)
    assert buckets.take("c", 0.0)
    assert buckets.take("a", 0.0)  # forgotten meanwhile

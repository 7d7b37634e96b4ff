"""What a real run is compared by: the texts of its plans, and what the label prior makes of a version."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.federation import real, replay
from benchmarks.federation.reading import Texts
from edge_runtime.data.examples import EntryOrder
from edge_runtime.wire import wire_pb2 as pb


def test_a_prior_moves_a_client_to_its_own_labels() -> None:
    """Of three texts the last is nearly undecided: who has label 1 nine times in ten gets it right under its prior."""
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.55, 0.45]], np.float32)
    figures = real._prior(probabilities, np.array([0, 1, 1]), np.array([[0, 8]]))
    # Weighed as its labels, only the two texts of label 1 count: 1/2 right, then both.
    assert figures["0.0"]["mean"] == pytest.approx(0.5)
    assert figures["1.0"]["mean"] == pytest.approx(1.0)
    # Nine times as likely, the first text is undecided at 0.9 to 0.9, and stays with the first of both.
    assert figures["0.5"] == {"mean": 1.0, "worst": 1.0, "everywhere": 1.0}


def test_steps_of_a_replay_take_the_texts_that_the_device_took() -> None:
    """Rows of 8 places, two texts of 5 tokens do not share one: a step of two rows takes two of them, then goes on."""
    lengths = np.full(6, 5)
    texts = Texts.of(np.zeros((6, 8)), lengths, np.zeros(6), torch.device("cpu"))
    tier: Any = SimpleNamespace(rows=2, seq_len=8, batch_size=4)
    share = replay.Share(np.arange(6), tier)
    run: Any = SimpleNamespace(shares={"a": share}, frozen=SimpleNamespace(texts=texts))
    draws = replay._draws(pb.Plan(seed=7, steps=3), run, "a")
    order = EntryOrder(7, 6)
    wanted = [order.row(entry) for entry in range(6)]
    assert draws.shape == (3, 4)
    assert [row[:2].tolist() for row in draws] == [wanted[0:2], wanted[2:4], wanted[4:6]]
    assert draws[0].tolist() == [*wanted[0:2], *wanted[0:2]]

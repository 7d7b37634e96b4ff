"""Three devices, so that experts have several trainers, in the modes whose merging is no plain mean of the payloads."""

from __future__ import annotations

import numpy as np
import pytest
from loop_bank import (
    SHARED,
    Bank,
    assert_equal,
    cut,
    merged_by_hand,
    next_by_hand,
    read_version,
    robust_by_hand,
    usual_norms,
    values,
)
from loop_federation import Federation, deltas
from loop_packages import EXPERTS, LAYERS, Packages
from loop_story import Data

from edge_runtime.store import Store
from edge_runtime.wire import wire_pb2 as pb

ROUNDS = 2
NAMES = ("ada", "bo", "cy")


def play(
    federation: Federation, data: Data, gateway: str, packages: dict[str, str], variants: Packages, *options: object
) -> list[list[pb.Delta]]:
    """Play two rounds of three devices; return each round's deltas in the order of names."""
    server = federation.gateway(variants[gateway], "--rounds", ROUNDS, "--steps", 8, "--quorum", len(NAMES), *options)
    wires = {name: federation.wire(server) for name in NAMES}
    texts = dict(zip(NAMES, (data.ada, data.bo, data.held_out), strict=True))
    devices = [federation.device(name, variants[packages[name]], texts[name], wires[name].url) for name in NAMES]
    for running in (*devices, server):
        running.done()
    sent = {name: deltas(wires[name]) for name in NAMES}
    assert all([delta.round for delta in deltas_of_one] == [1, 2] for deltas_of_one in sent.values())
    return [[sent[name][number] for name in NAMES] for number in range(ROUNDS)]


def trainers(sent: list[pb.Delta]) -> dict[tuple[int, int], int]:
    """Return how many devices trained each expert."""
    trained = [block for delta in sent for block in values(delta) if block[1] != SHARED]
    return {(layer, index): trained.count((layer, index)) for layer in range(LAYERS) for index in range(EXPERTS)}


@pytest.mark.parametrize("codec_down", ["float32", "int8"])
def test_topk_merging_weighs_by_tokens_and_drops_the_routers_common_shift(
    federation: Federation, packages: Packages, data: Data, codec_down: str
) -> None:
    """Recomputed from the wire, both rounds to the last bit; the weights matter, since experts have two trainers."""
    rounds = play(federation, data, "topk", dict.fromkeys(NAMES, "topk"), packages, "--codec-down", codec_down)
    left: Bank = {}
    banks = [read_version(federation, number) for number in range(2 + ROUNDS)]
    for number, sent in enumerate(rounds):
        assert set(trainers(sent).values()) == {1, 2}
        expected, left = next_by_hand(banks[1 + number], left, sent, codec_down=codec_down, topk=True)
        assert_equal(banks[2 + number], expected)
        plain = merged_by_hand(banks[1 + number], sent)
        assert any(plain[block].tobytes() != expected[block].tobytes() for block in plain)


@pytest.mark.parametrize("codec_down", ["float32", "int8"])
def test_int8_deltas_merge_as_they_read_and_what_rounding_dropped_comes_later(
    federation: Federation, packages: Packages, data: Data, codec_down: str
) -> None:
    """Three slot counts and number formats in one federation; the second delta carries the first one's rounding error.

    A device keeps what int8 left out of each block: on the disk of a device is the difference for the next delta.
    """
    devices, codecs = {"ada": "one", "bo": "two", "cy": "float"}, ("--codec", "int8", "--codec-down", codec_down)
    rounds = play(federation, data, "one", devices, packages, *codecs)
    left: Bank = {}
    banks = [read_version(federation, number) for number in range(2 + ROUNDS)]
    for number, sent in enumerate(rounds):
        assert {delta.codec for delta in sent} == {pb.INT8}
        assert sum(trainers(sent).values()) == LAYERS * (1 + 2 + 2)
        expected, left = next_by_hand(banks[1 + number], left, sent, codec_down=codec_down)
        assert_equal(banks[2 + number], expected)
    for name, sent in zip(NAMES, rounds[-1], strict=True):
        with Store(federation.folder / name) as store:
            left = store.read("feedback")
        assert left is not None
        kept = left.tensors()
        for (layer, index), block in values(sent).items():
            error = kept[f"{layer}.{index}"]
            # Rounding drops at most half a step of a group, and the largest value of a group is 127 steps.
            assert 0 < np.abs(error).max() <= np.abs(block).max() / 127 * 0.501


SETTINGS = """
[server]
optimizer = "momentum"
normalize_steps = true
[robust]
enabled = true
"""


def test_robust_means_and_momentum_are_what_the_formulas_say(
    federation: Federation, packages: Packages, data: Data
) -> None:
    """Recomputed from the wire, both rounds to the last bit, from settings in a file.

    All make 8 steps, and dividing by 8 and multiplying with it changes no bit. What is usual in the second round is the
    median of both rounds' medians. m = 0.9 m + D is kept as float32; a block that nobody trained keeps both.
    """
    (federation.folder / "gateway.toml").write_text(SETTINGS)
    devices = {"ada": "one", "bo": "two", "cy": "two"}
    rounds = play(federation, data, "one", devices, packages, "--config", federation.folder / "gateway.toml")
    banks = [read_version(federation, number) for number in range(2 + ROUNDS)]
    moments: Bank = {}
    usual = []
    for number, sent in enumerate(rounds):
        updates = [values(delta) for delta in sent]
        usual.append(usual_norms(updates))
        limits = {shared: float(np.median([one[shared] for one in usual])) for shared in (False, True)}
        means = robust_by_hand(cut(updates, limits), [delta.examples for delta in sent])
        assert {sum(block in update for update in updates) for block in means} == {1, 2, 3}
        expected = dict(banks[1 + number])
        for block, mean in means.items():
            before = moments[block].astype(np.float64) if block in moments else np.zeros(len(mean))
            step = 0.9 * before + mean
            moments[block] = step.astype(np.float32)
            expected[block] = (banks[1 + number][block].astype(np.float64) + step).astype(np.float32)
        assert_equal(banks[2 + number], expected)
    assert (
        federation.ask("status", code=1)["merging"]
        == "robust, compares directions, trims 0.2; steps taken out; momentum at a rate of 1"
    )

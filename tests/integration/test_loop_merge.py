"""Two devices of different size in one round, and what the gateway makes of what they send."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from loop_bank import HEAD, MEAN, SHARED, Bank, assert_equal, next_by_hand, read_version, values
from loop_federation import answer, bodies, call
from loop_packages import EXPERTS, LABELS, LAYERS, WIDTH, sentences
from loop_story import ROUNDS, STEPS, Story

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import encode


@pytest.fixture(scope="module", params=["undisturbed", "stepped"])
def story(request: pytest.FixtureRequest) -> Story:
    """Return the undisturbed run, with versions as they are merged and in steps of int8."""
    told: Story = request.getfixturevalue(request.param)
    return told


@pytest.fixture(scope="module")
def versions(story: Story) -> list[Bank]:
    """Return the banks of all versions: initial, head, round 1, round 2."""
    assert len(story.digests) == 2 + ROUNDS
    return [read_version(story.federation, number) for number in range(2 + ROUNDS)]


def test_devices_with_different_slots_train_different_experts_of_one_round(story: Story) -> None:
    """One expert a layer for ada, two others for bo, and both deltas are in the version."""
    plans = story.rounds[0]["devices"]
    chosen = {name: {tuple(block) for block in plan["experts"] if block[1] != SHARED} for name, plan in plans.items()}
    for layer in range(LAYERS):
        counts = {name: sum(block[0] == layer for block in blocks) for name, blocks in chosen.items()}
        assert counts == {"ada": 1, "bo": 2}
    assert not chosen["ada"] & chosen["bo"]
    for name, sent in story.deltas.items():
        assert [delta.round for delta in sent] == [1, 2]
        assert all(delta.steps == STEPS for delta in sent)
        assert {block for block in values(sent[0]) if block[1] != SHARED} == chosen[name]
    merges = [event for event in story.versions if event["reason"] == "merge"]
    assert [event["accepted"] for event in merges] == [2, 2]


def test_a_merged_version_is_the_weighted_mean_of_what_was_sent_bit_for_bit(story: Story, versions: list[Bank]) -> None:
    """Recomputed from the bytes on the wire: every block of both rounds' versions is equal to the last bit.

    In steps of int8 the second round has what the first left out.
    """
    examples = {name: sent[0].examples for name, sent in story.deltas.items()}
    assert examples == {"ada": 15, "bo": 23}
    left: Bank = {}
    for number in range(ROUNDS):
        sent = [story.deltas[name][number] for name in ("ada", "bo")]
        expected, left = next_by_hand(versions[1 + number], left, sent, codec_down=story.codec_down)
        assert bool(left) == (story.codec_down == "int8")
        moved = [block for block in expected if expected[block].tobytes() != versions[1 + number][block].tobytes()]
        assert moved, "nothing was trained"
        assert_equal(versions[2 + number], expected)


def test_what_nobody_trained_keeps_its_bits(story: Story, versions: list[Bank]) -> None:
    """In each round three of a layer's four experts are trained; the fourth, the head and the mean do not move."""
    for number in range(ROUNDS):
        sent = {block for name in ("ada", "bo") for block in values(story.deltas[name][number])}
        still = set(versions[0]) - sent
        assert still >= {HEAD, MEAN}
        assert sorted(layer for layer, index in still - {HEAD, MEAN}) == list(range(LAYERS))
        for block in still:
            assert versions[2 + number][block].tobytes() == versions[1 + number][block].tobytes(), block


def test_every_expert_is_trained_before_one_is_trained_twice_as_often(story: Story) -> None:
    """Coverage rotates: over two rounds of three, each of a layer's four experts had at least one trainer."""
    trained = [block for sent in story.deltas.values() for delta in sent for block in values(delta)]
    for layer in range(LAYERS):
        counts = [trained.count((layer, index)) for index in range(EXPERTS)]
        assert sum(counts) == 3 * ROUNDS
        assert max(counts) - min(counts) <= 1


def test_the_head_starts_as_the_class_means_of_all_devices(story: Story, versions: list[Bank]) -> None:
    """From the sums on the wire: row c is the direction from the mean of all to the mean of class c."""
    sums = np.zeros((len(LABELS), WIDTH))
    counts = np.zeros(len(LABELS))
    for statistics in story.statistics.values():
        sums += np.frombuffer(statistics.sums, "<f4").reshape(len(LABELS), WIDTH)
        counts += np.frombuffer(statistics.counts, "<f4")
    assert counts.tolist() == [12, 14, 12]
    mean = sums.sum(axis=0) / counts.sum()
    rows = sums / counts[:, None] - mean
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    head = versions[1][HEAD]
    np.testing.assert_allclose(head[: rows.size].reshape(rows.shape), rows, rtol=1e-6, atol=1e-7)
    assert head[rows.size :].tolist() == [0, 0, 0]
    np.testing.assert_allclose(versions[1][MEAN], mean, rtol=1e-6, atol=1e-7)
    for block in set(versions[0]) - {HEAD, MEAN}:
        assert versions[1][block].tobytes() == versions[0][block].tobytes()


def test_a_versions_digest_is_that_of_its_blocks(story: Story, versions: list[Bank]) -> None:
    """Recomputed as SPEC.md says: SHA-256 over (layer, index, digest of the values) in ascending order."""
    for bank, digest in zip(versions, story.digests, strict=True):
        text = b"".join(
            struct.pack("<II", *block) + hashlib.sha256(bank[block].astype("<f4").tobytes()).digest()
            for block in sorted(bank)
        )
        assert hashlib.sha256(text).hexdigest() == digest


def test_bytes_are_counted_as_they_pass(story: Story) -> None:
    """A device's own count, the gateway's ledger and the bytes on the wire agree."""
    ledger = {row["device"]: row for row in story.federation.ask("devices")["devices"]}
    for name, device in story.devices.items():
        wire = story.wires[name]
        up = sum(len(heard.payload) for heard in wire.heard("") if heard.upward)
        down = sum(len(heard.payload) for heard in wire.heard("") if not heard.upward)
        told = device.event("done")
        assert (told["bytes_up"], told["bytes_down"]) == (up, down)
        # The gateway counts what it sends to a device; what the broker had kept for all, it does not see.
        kept = [*wire.heard("gateway"), wire.heard("version")[0]]
        # A broker that sees the socket close before it read DISCONNECT says bye in the device's name as well: its will.
        assert ledger[name]["bytes_up"] - up in (0, len(encode(pb.Bye(device=name))))
        assert ledger[name]["bytes_down"] == down - sum(len(heard.payload) for heard in kept)


def test_a_version_in_steps_comes_down_in_about_a_quarter_of_the_bytes(story: Story, versions: list[Bank]) -> None:
    """Counted on the wire: of a block of n values 4 n bytes, of its update n and 4 for each 64."""
    for wire in story.wires.values():
        came = sum(len(body) for body in bodies(wire, "blob"))
        expected = 0
        for number in range(1, len(versions)):
            changed = [block for block in versions[0] if differ(versions[number - 1 : number + 1], block)]
            sizes = [versions[0][block].size for block in changed]
            by_update = number > 1 and story.codec_down == "int8"
            expected += sum(size + 4 * -(-size // 64) if by_update else 4 * size for size in sizes)
        assert came == expected


def differ(banks: list[Bank], block: tuple[int, int]) -> bool:
    """Return whether a block has not the same bytes in two banks."""
    return banks[0][block].tobytes() != banks[1][block].tobytes()


def test_no_text_leaves_a_device(story: Story) -> None:
    """No word of four letters or more of any example is in any payload that a device sent."""
    words = {word.encode() for text, _ in sentences() for word in text.split() if len(word) >= 4}
    for wire in story.wires.values():
        sent = b"".join(heard.payload for heard in wire.heard("") if heard.upward)
        assert [word for word in words if word in sent] == []


def test_the_device_keeps_the_newest_version_to_predict_with(story: Story) -> None:
    """``predict --state`` answers with the bank that ``export`` gives: the same probabilities for a text."""
    federation = story.federation
    read_version(federation, 1 + ROUNDS)
    package = story.packages["one"]
    text = "play some jazz"
    common = ("predict", "--package", package, "--top", 3)
    own = answer("edge_runtime", *common, "--state", federation.folder / "ada", text, folder=federation.folder)
    bank = federation.folder / f"version-{1 + ROUNDS}"
    assert own == answer("edge_runtime", *common, "--bank", bank, text, folder=federation.folder)
    alone = call("edge_runtime", *common, "--json", text, folder=federation.folder)
    assert own != json.loads(alone.stdout)
    assert "the package's bank has not learned any label yet" in alone.stderr
    assert Path(bank / "version.json").exists()

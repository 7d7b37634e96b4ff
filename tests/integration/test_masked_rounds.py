"""Rounds under masks with a real gateway and real devices: sums are exact, whoever leaves or is killed meanwhile."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from masked_federation import RULES, SECURE, SETTINGS, TRAIN, Federation, plain_sum

from broker_server.config import GatewayConfig
from broker_server.config_file import load
from broker_server.errors import UsageError
from broker_server.rounds import masked_opener
from broker_server.rounds.masked_opening import Opening, open_sums
from broker_server.rules.round import State
from broker_server.secure_config import Secure
from broker_server.state.ledger import NAME
from broker_server.state.schema import SCHEMA
from broker_server.upstream_config import UpstreamTable
from broker_server.views.masks import masks_words
from broker_server.views.reading import reading
from broker_server.views.status import read_status
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import SecureError, WireError
from edge_runtime.wire.experts import HEAD
from edge_runtime.wire.messages import decode, encode, ids
from edge_runtime.wire.secure.lists import to_bits
from edge_runtime.wire.secure.member import public_keys
from edge_runtime.wire.secure.terms import Terms
from edge_runtime.wire.topics import Topic

FIVE = tuple(f"d{number}" for number in range(5))
TEN = tuple(f"d{number}" for number in range(10))


def terms_of(federation: Federation, number: int = 1) -> Terms:
    """Return the terms of a round."""
    row = federation.store.ledger.masks(number)
    assert row is not None
    return Terms.of(pb.MaskTerms.FromString(row.terms))


def expected(federation: Federation, devices: Collection[str], number: int = 1) -> Bank:
    """Return the first version that devices' integers make, of all circles."""
    terms = terms_of(federation, number)
    return plain_sum(federation.trained, federation.bank(0), terms, devices, terms.circles)


def test_thirty_percent_leave_after_dealing_and_the_sum_of_the_others_is_exact(tmp_path: Path) -> None:
    """The version is, bit for bit, what the survivors' integers make without masks."""
    federation = Federation(tmp_path)
    federation.start(*TEN)
    federation.run(lambda: federation.phase() == "deltas")
    federation.store.tidy()  # files that no version names go; what devices were told of is made again
    federation.kill("d1", "d4", "d7")
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    row = federation.store.ledger.masks(1)
    assert row is not None
    opened = {one["circle"] for one in row.told["circles"] if one["opened"]}
    assert opened == set(terms_of(federation).circles)
    left = set(TEN) - {"d1", "d4", "d7"}
    base, merged = federation.bank(0), federation.bank(1)
    assert merged.digest() == plain_sum(federation.trained, base, terms_of(federation), left, opened).digest()
    assert merged.digest() != base.digest()
    federation.kill_gateway()


@pytest.mark.parametrize("phase", ["keys", "shares", "deltas", "answers"])
def test_a_gateway_that_is_killed_goes_on_with_the_step_that_it_was_at(tmp_path: Path, phase: str) -> None:
    """Nothing that was accepted is lost, nobody trains twice, and the version is the same."""
    federation = Federation(tmp_path)
    federation.start(*FIVE)
    federation.run(lambda: federation.phase() == phase)
    kept = federation.store.ledger.masks(1)
    federation.kill_gateway()
    for _ in range(3):
        federation.step()
    federation.start_gateway()
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    row = federation.store.ledger.masks(1)
    assert row is not None
    assert kept is not None
    assert [
        (new, old)
        for new, old in zip((row.members, row.dealt), (kept.members, kept.dealt), strict=True)
        if old not in (None, new)
    ] == []
    assert federation.bank(1).digest() == expected(federation, FIVE).digest()
    assert len(federation.events("round")) == 1
    federation.kill_gateway()


def test_sums_that_take_long_are_opened_beside_the_gateway_which_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with devices meanwhile; a stop does not wait for the sums, and the next start makes the same ones."""
    begun, go_on = threading.Event(), threading.Event()

    def slowly(*arguments: Any, goes_on: Callable[[], None]) -> Opening:
        begun.set()
        while not go_on.wait(0.001):
            goes_on()
        return open_sums(*arguments, goes_on=goes_on)

    monkeypatch.setattr(masked_opener, "AT_ONCE", 0)
    monkeypatch.setattr(masked_opener, "open_sums", slowly)
    federation = Federation(tmp_path)
    federation.start(*FIVE)
    federation.run(begun.is_set)
    for _ in range(5):
        federation.step()
    assert federation.phase() == "answers"
    assert [event["devices"] for event in federation.events("masks_opening")] == [5]
    assert "masks" in {thread.name for thread in threading.enumerate()}
    federation.conductor.masks.stop()
    assert "masks" not in {thread.name for thread in threading.enumerate()}
    federation.kill_gateway()
    federation.start_gateway()
    federation.run(lambda: len(federation.events("masks_opening")) == 2)
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "masks":
            thread.join()
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    assert federation.bank(1).digest() == expected(federation, FIVE).digest()
    federation.kill_gateway()


@pytest.mark.parametrize("steps", [1, 6])
def test_a_device_that_is_killed_between_its_shares_and_its_delta_goes_on(tmp_path: Path, steps: int) -> None:
    """Trained already or not: its root is on its disk, so what it masks fits what it dealt; and so does its answer."""
    federation = Federation(tmp_path, train=replace(TRAIN, steps=steps))
    federation.start(*FIVE)
    if steps == 1:
        federation.run(lambda: federation.phase() == "shares" and federation.devices["d2"].work.unmasked is not None)
        federation.kill("d2")
        federation.start("d2")
        assert federation.devices["d2"].work.unmasked is not None
    federation.run(lambda: federation.phase() == "deltas")
    federation.kill("d2")
    federation.start("d2")
    federation.run(lambda: federation.phase() == "answers")
    federation.kill("d2")
    federation.step()
    federation.start("d2")
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    assert federation.bank(1).digest() == expected(federation, FIVE).digest()
    assert [event["survivors"] for event in federation.events("masks")][-1] == 5
    federation.kill_gateway()


def test_a_device_that_knows_no_masks_gets_no_plan_and_no_delta_in_the_clear_is_taken(tmp_path: Path) -> None:
    """The operator is told which; a plan under masks is never answered without."""
    federation = Federation(tmp_path)
    federation.start(*FIVE, "old")
    hello = federation.devices["old"].device._membership._hello
    federation.devices["old"].device._membership._hello = lambda: without_masks(hello())  # type: ignore[method-assign]
    federation.run(lambda: federation.phase() == "deltas")
    assert set(federation.store.ledger.plans(1)) == set(FIVE)
    payload = federation.store.ledger.plans(1)["d0"]
    plan = decode(pb.Plan, payload)
    values = [
        pb.ExpertDelta(layer=b.layer, index=b.index, values=bytes(4 * toy.SHAPE.size(b))) for b in ids(plan.train)
    ]
    clear = pb.Delta(
        device="d0", plan_digest=sha256(payload), round=1, base_version=plan.base_version, examples=3, steps=1,
        experts=values, label_counts=[1.0, 1.0, 1.0],
    )  # fmt: skip
    code, detail = federation.sent("d0", pb.DELTA, encode(clear))
    assert (code, "not under masks" in detail) == (pb.MALFORMED, True)
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    with reading(federation.folder / "gateway") as ledger:
        status = read_status(ledger, 0.0)
    assert status.secure["last"]["round"] == 1
    assert "no single delta" in masks_words(status.secure)
    assert federation.bank(1).digest() == expected(federation, FIVE).digest()
    federation.kill_gateway()


def test_who_is_silent_costs_the_others_time_and_no_sum(tmp_path: Path) -> None:
    """One sends no keys, one no shares: plans are taken back, and deltas have their time from then on."""
    federation = Federation(tmp_path, round=replace(RULES, deadline_s=15.0))
    federation.start(*FIVE)
    federation.run(lambda: federation.phase() == "keys")
    federation.kill("d1")  # without a bye: nobody knows that it is gone
    federation.run(lambda: federation.phase() == "shares")
    federation.kill("d4")
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    assert [event["members"] for event in federation.events("masks")] == [4, 4, 4]
    assert [event["dealt"] for event in federation.events("masks")] == [0, 3, 3]
    row = federation.store.ledger.masks(1)
    assert row is not None
    opened = [one["circle"] for one in row.told["circles"] if one["opened"]]
    assert opened
    plain = plain_sum(federation.trained, federation.bank(0), terms_of(federation), {"d0", "d2", "d3"}, opened)
    assert federation.bank(1).digest() == plain.digest()
    assert federation.broker.retained[Topic.PLAN, "d1"] == federation.broker.retained[Topic.PLAN, "d4"] == b""
    federation.kill_gateway()


def test_hostile_bodies_are_refused_with_a_code_and_change_nothing(tmp_path: Path) -> None:
    """Another's name, a second body, shares for strangers, answers before their time, values of the wrong size."""
    federation = Federation(tmp_path)
    federation.start(*FIVE)
    federation.run(lambda: federation.phase() == "shares")
    bodies = federation.store.ledger.mask_bodies(1, pb.KEYS)
    keys = decode(pb.MaskKeys, bodies["d0"])
    assert federation.sent("d1", pb.KEYS, bodies["d0"])[0] == pb.MALFORMED  # says d0 on the topic of d1
    keys.masking[0].key = public_keys(bytes(31) + b"7", [0]).masking[0]
    assert federation.sent("d0", pb.KEYS, encode(keys))[0] == pb.DUPLICATE
    row = federation.store.ledger.masks(1)
    assert row is not None
    list_digest = sha256(row.members or b"")
    shares = pb.MaskShares(device="d3", members=list_digest, shares=[pb.SealedShares(place=4000, data=b"x")])
    assert federation.sent("d3", pb.SHARES, encode(shares))[0] in (pb.MALFORMED, pb.DUPLICATE)
    other = pb.MaskShares(device="d3", members=bytes(32))
    assert federation.sent("d3", pb.SHARES, encode(other))[0] in (pb.STALE, pb.DUPLICATE)
    early = pb.MaskAnswer(device="d3", survivors=bytes(32))
    assert federation.sent("d3", pb.ANSWER, encode(early))[0] == pb.STALE
    stranger = pb.MaskAnswer(device="nobody", survivors=bytes(32))
    assert federation.sent("nobody", pb.ANSWER, encode(stranger))[0] == pb.UNKNOWN_DEVICE
    federation.run(lambda: federation.phase() == "deltas")
    small = pb.Delta(
        device="d0", plan_digest=sha256(federation.store.ledger.plans(1)["d0"]), round=1, examples=1, steps=1,
        members=list_digest, masked=[pb.MaskedCircle(number=0, words=b"x")],
    )  # fmt: skip
    assert federation.sent("d0", pb.DELTA, encode(small))[0] in (pb.NOT_PLANNED, pb.WRONG_SIZE)
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    assert federation.bank(1).digest() == expected(federation, FIVE).digest()
    assert federation.store.ledger.mask_bodies(1, pb.KEYS) == {}  # nobody can open anything any more
    federation.kill_gateway()


def test_a_device_takes_part_in_one_list_and_answers_one_set_of_survivors(tmp_path: Path) -> None:
    """Whoever signs another one: with two, shares of both kinds would open what nobody may see."""
    federation = Federation(tmp_path)
    federation.start(*FIVE)
    masks, store = federation.devices["d0"].work.masks, federation.devices["d0"].store
    federation.run(lambda: store.recall("mask_members") is not None)
    said = decode(pb.MaskRound, federation.broker.retained[Topic.SECURE, "d0"])
    place = masks._part().place
    without = encode(pb.MaskDealt(members=said.members, dealt=to_bits({0, 1, 2, 3, 4} - {place}, 5)))
    store.put_blob(sha256(without), without)
    masks.take(encode(changed(said, dealt=sha256(without))))
    with pytest.raises(SecureError, match="goes on without this device"):
        masks.advance()
    del masks._named["dealt"]  # as if it had not been told
    federation.run(lambda: federation.phase() == "answers")
    reception, clock = federation.broker.reception, federation.clock
    assert reception is not None
    for _ in range(8):  # the round does not go on meanwhile
        clock.now += 1.0
        federation.devices["d0"].device.turn()
        reception.tick(clock.now, clock.now)
    said = decode(pb.MaskRound, federation.broker.retained[Topic.SECURE, "d0"])
    for part in ("members", "dealt", "survivors"):
        with pytest.raises(WireError, match=f"other {part}"):
            masks.take(encode(changed(said, **{part: bytes(32)})))
    with pytest.raises(SecureError, match="other values"):
        masks.masked({number: values + 1 for number, values in federation.trained["d0"].items()})
    federation.kill_gateway()


def changed(message: pb.MaskRound, **fields: bytes) -> pb.MaskRound:
    """Return a message with other fields, as a gateway that lies would sign it."""
    other = pb.MaskRound()
    other.CopyFrom(message)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def test_a_round_that_too_many_leave_makes_no_version_and_the_next_one_does(tmp_path: Path) -> None:
    """What came of it is part of nothing, and it does not count as one of the rounds that were asked for."""
    federation = Federation(tmp_path)
    federation.start(*FIVE)
    federation.run(lambda: federation.phase() == "deltas")
    federation.kill("d0", "d1", "d2")
    federation.run(lambda: bool(federation.events("masks_failed")))
    assert [row.version for row in federation.store.ledger.deltas(1)] == [-1] * len(federation.store.ledger.deltas(1))
    federation.kill_gateway()
    federation.start_gateway()
    federation.start("d0", "d1", "d2")
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    assert federation.conductor.round == 2
    assert federation.bank(1).digest() == expected(federation, FIVE, 2).digest()
    federation.kill_gateway()


def test_a_version_is_made_again_from_the_sums_alone(tmp_path: Path) -> None:
    """A damaged block of it is put right by a start, without any key, share or answer."""
    federation = Federation(tmp_path)
    federation.start(*FIVE)
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    merged = federation.bank(1)
    row = federation.store.ledger.version(1)
    assert row is not None
    changed = [d for b, d in merged.digests().items() if federation.bank(0).digests()[b] != d]
    federation.kill_gateway()
    for copy in (federation.folder / "gateway/versions").glob("*"):
        if copy.suffix != ".json":
            copy.unlink()
    path = federation.folder / "gateway/blobs" / changed[0].hex()[:2] / changed[0].hex()[2:]
    path.write_bytes(b"damaged")
    federation.start_gateway()
    assert [note for note in federation.store.notes if "made again from version 0" in note]
    assert federation.bank(1).digest() == merged.digest()
    federation.kill_gateway()


def test_settings_that_need_single_deltas_are_refused_by_name() -> None:
    """All at once, with what to do."""
    with pytest.raises(UsageError) as caught:
        GatewayConfig(Path("package"), secure=Secure(enabled=True))
    for word in ("round.quorum", "round.max_staleness = 0", "server.normalize_steps = false", "limits.norm_factor = 0"):
        assert word in str(caught.value)
    above = UpstreamTable(url="mqtt://127.0.0.1:1884", name="site")
    with pytest.raises(UsageError, match="sites and their sums do not go under masks yet"):
        GatewayConfig(Path("package"), upstream=above, **SETTINGS)
    for fault in ({"trainers": 2}, {"most_weight": 200}, {"dropouts": 0.5}, {"keys_s": 0.0}, {"most_move": 0.0}):
        assert Secure(**fault).fault()  # type: ignore[arg-type]
    assert Secure(class_sums="yes").fault()
    for before, instead in ((True, 'write "seen"'), (False, 'write "no"')):
        with pytest.raises(UsageError, match=instead):
            load(None, {"package": "package", "secure.class_sums": before})


def test_a_head_that_nobody_would_make_is_refused_at_the_start(tmp_path: Path) -> None:
    """Without class sums it has to be trained."""
    with pytest.raises(UsageError, match=r"secure\.class_sums"):
        Federation(tmp_path, train=replace(TRAIN, head_share=0.0))


def test_class_sums_go_under_masks_once_and_the_head_is_that_of_their_plain_sum(tmp_path: Path) -> None:
    """Bit for bit that of the survivors' fixed-point sums, whoever is killed; latecomers add theirs once."""
    secure = replace(SECURE, class_sums="masked")
    federation = Federation(tmp_path, secure=secure, train=replace(TRAIN, head_share=0.0), rounds=2)
    federation.start(*FIVE)
    federation.run(lambda: federation.phase() == "deltas")
    federation.kill("d1")
    federation.run(lambda: federation.phase() == "answers")
    federation.kill_gateway()
    federation.start_gateway()
    federation.start("d1", "d5", "d6")
    federation.run(lambda: bool(federation.events("version")))
    first = plain_class_sums(federation, 1, set(FIVE) - {"d1"})
    assert federation.bank(2).digest() == federation.bank(1).replace(class_mean_head(first, toy.SCALE)).digest()
    assert first.counts.sum() == sum(federation.class_sums[name].counts.sum() for name in set(FIVE) - {"d1"})
    assert federation.store.ledger.statistics_digest("d0") is None
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    assert federation.store.ledger.class_sum_givers() == {1: ["d0", "d2", "d3", "d4"], 2: ["d1", "d5", "d6"]}
    both = ClassSums.total([first, plain_class_sums(federation, 2, {"d1", "d5", "d6"})])
    headed = federation.bank(4)
    assert headed.digest() == federation.bank(3).replace(class_mean_head(both, toy.SCALE)).digest()
    with reading(federation.folder / "gateway") as ledger:
        told = masks_words(read_status(ledger, 0.0).secure)
    assert "class sums of 7 devices as 2 sums, the least over 3" in told
    federation.kill_gateway()
    for copy in (federation.folder / "gateway/versions").glob("*"):
        if copy.suffix != ".json":
            copy.unlink()
    head = headed.digests()[HEAD]
    (federation.folder / "gateway/blobs" / head.hex()[:2] / head.hex()[2:]).write_bytes(b"damaged")
    federation.start_gateway()
    assert [note for note in federation.store.notes if "made again from version 3" in note]
    assert federation.bank(4).digest() == headed.digest()
    federation.kill_gateway()


def plain_class_sums(federation: Federation, number: int, devices: Collection[str]) -> ClassSums:
    """Return what devices' class sums add up to in a round's fixed point, computed the plain way."""
    terms = terms_of(federation, number).classes
    assert terms is not None
    listed = [federation.class_sums[device] for device in sorted(devices)]
    scaled = [[np.rint(values.astype(np.float64) / terms.step) for values in (one.counts, one.sums)] for one in listed]
    counts, sums = (np.sum(parts, axis=0) * terms.step for parts in zip(*scaled, strict=True))
    return ClassSums(counts, sums)


def without_masks(hello: pb.Hello) -> pb.Hello:
    """Return a Hello of a runtime of before."""
    hello.masks = 0
    return hello


def test_a_ledger_of_before_masks_is_read_as_it_is_and_brought_up_by_a_start(tmp_path: Path) -> None:
    """Schema 8 had no table of theirs; a round that was open in the clear ends as it began."""
    federation = Federation(tmp_path, secure=Secure(), round=replace(RULES, quorum=2))
    federation.start(*FIVE)
    federation.run(lambda: federation.conductor.state is State.OPEN)
    federation.kill_gateway()
    database = sqlite3.connect(tmp_path / "gateway" / NAME)
    database.executescript("DROP TABLE mask_rounds; DROP TABLE mask_bodies")
    database.execute("UPDATE meta SET value = '8' WHERE key = 'schema'")
    database.commit()
    database.close()
    with reading(tmp_path / "gateway") as ledger:
        assert read_status(ledger, 0.0).secure == {}
    federation.config = replace(federation.config, secure=SECURE, round=RULES)
    federation.start_gateway()
    assert federation.store.ledger.get("schema") == str(SCHEMA)
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    assert federation.phase() == "none"
    assert {row.version for row in federation.store.ledger.deltas(1)} == {1}
    federation.kill_gateway()

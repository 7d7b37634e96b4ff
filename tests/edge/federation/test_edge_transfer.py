"""Bodies go up when they are asked for, and only what lacks; blobs come down likewise. No sockets, no waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import toy
from fakes import ScriptedGateway
from test_edge_device import TRAIN, Rig
from test_edge_fetch import Rig as FetchRig

from edge_runtime.federation import upload as uploads
from edge_runtime.federation.fetch import Fetcher
from edge_runtime.federation.session import WorkState
from edge_runtime.federation.upload import Upload
from edge_runtime.wire import chunks, messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import missing_bytes, missing_chunks
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.topics import Topic


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A device whose delta has twenty chunks, and a gateway with the package's own bank."""
    package = toy.write_package(tmp_path / "package")
    toy.write_data(tmp_path / "data.csv")
    opened = Rig(package, tmp_path, ScriptedGateway(toy.initial_bank(), package.manifest.architecture.digest()))
    opened.start()
    opened.run(lambda: opened.device.session.member and bool(opened.gateway.statistics))
    opened.gateway.full = True
    opened.gateway.give_plan("me", TRAIN)
    opened.run(lambda: opened.device.session.work is WorkState.UPLOADING)
    pending = opened.device._work.pending
    assert pending is not None
    monkeypatch.setattr(uploads, "PAYLOAD", -(-len(pending.body) // 20))
    opened.device._delivery._pending = None
    opened.gateway.offers.clear()
    yield opened
    opened.close()


def deltas(rig: Rig) -> list[pb.Chunk]:
    """Return the chunks of deltas that the device sent since it started."""
    return [messages.decode(pb.Chunk, payload) for topic, payload in rig.link.said if topic is Topic.DELTA]


def accepted(rig: Rig) -> bool:
    """Return whether the delta was accepted."""
    return len(rig.gateway.deltas) == 1 and rig.device.session.work is WorkState.IDLE


def test_a_delta_waits_until_it_is_asked_for(rig: Rig) -> None:
    """BUSY: nothing is sent, and nothing is offered again before the time that the gateway named; then it calls."""
    rig.run(lambda: len(rig.gateway.offers) == 1, tick_s=5.0)
    rig.turn()
    at = rig.clock.now
    rig.run(lambda: len(rig.gateway.offers) == 2)
    assert rig.clock.now - at == pytest.approx(90.0, abs=2.0)
    assert deltas(rig) == []
    rig.gateway.call()
    rig.run(lambda: accepted(rig))
    assert [chunk.index for chunk in deltas(rig)] == list(range(20))
    assert len(rig.gateway.offers) == 2


def test_a_lost_connection_costs_no_chunk_twice(rig: Rig) -> None:
    """Twelve of twenty arrived: the device offers again, and sends the other eight."""
    rig.gateway.full, rig.link.cut_after = False, 12
    rig.run(lambda: not rig.link.up)
    rig.link.connect()
    rig.run(lambda: accepted(rig))
    assert [chunk.index for chunk in deltas(rig)] == list(range(20))


def test_a_device_that_is_started_anew_sends_what_lacks(rig: Rig) -> None:
    """Killed after twelve of twenty: the same body, the other eight chunks."""
    rig.gateway.full, rig.link.cut_after = False, 12
    rig.run(lambda: not rig.link.up)
    first = deltas(rig)
    rig.kill()
    rig.start()
    rig.run(lambda: accepted(rig))
    assert [chunk.index for chunk in (*first, *deltas(rig))] == list(range(20))
    assert {chunk.digest for chunk in deltas(rig)} == {first[0].digest}


def test_an_accepted_delta_that_was_lost_is_offered_too(rig: Rig) -> None:
    """The gateway's disk lost it; of the body that it asks for it has seven chunks already."""
    rig.gateway.full = False
    rig.run(lambda: accepted(rig))
    rig.link.said.clear()
    body = rig.gateway.deltas[0].body
    for index in range(7):
        cut = chunks.Cut.of(body, pb.DELTA, uploads.PAYLOAD)
        rig.gateway._assembler.add("device", messages.decode(pb.Chunk, cut.chunk(index)))
    rig.gateway.lose(body)
    rig.run(lambda: accepted(rig))
    assert [chunk.index for chunk in deltas(rig)] == list(range(7, 20))
    assert rig.gateway.deltas[0].body == body


def test_a_request_for_chunks_that_there_are_not_sends_nothing(rig: Rig) -> None:
    """Chunk 20 of twenty, or a list of another length."""
    rig.run(lambda: bool(rig.gateway.offers))
    digest = rig.gateway.offers[0].digest
    for missing in (b"\0\0\x10", b"\1"):
        verdict = pb.Verdict(kind=pb.DELTA, digest=digest, code=pb.INCOMPLETE, retry_after_s=20, missing=missing)
        rig.link.deliver(Topic.VERDICT, messages.encode(verdict))
        rig.turn()
    assert deltas(rig) == []
    assert len(rig.events("ignored")) == 2


def test_what_is_not_on_its_way_yet_is_left_out_when_there_is_no_room_any_more(rig: Rig) -> None:
    """The lease ended while a slow link sent the first two chunks: BUSY, and the others wait for the next call."""
    sending: list[Iterator[bytes]] = []
    send = rig.link.send

    def slowly(topic: Topic, payloads: Iterator[bytes]) -> None:
        sending.append(payloads) if topic is Topic.DELTA else send(topic, payloads)

    rig.link.send = slowly  # type: ignore[method-assign,assignment] - a link that takes its time
    rig.gateway.full = False
    rig.run(lambda: bool(sending))
    (first,) = sending
    assert [messages.decode(pb.Chunk, next(first)).index for _ in range(2)] == [0, 1]
    digest = rig.gateway.offers[-1].digest
    busy = pb.Verdict(kind=pb.DELTA, digest=digest, code=pb.BUSY, retry_after_s=5)
    rig.link.deliver(Topic.VERDICT, messages.encode(busy))
    rig.turn()
    assert list(first) == []


def test_class_sums_are_sent_when_asked_for(tmp_path: Path) -> None:
    """Offered after the welcome; a gateway that is full calls for them."""
    package = toy.write_package(tmp_path / "package")
    toy.write_data(tmp_path / "data.csv")
    rig = Rig(package, tmp_path, ScriptedGateway(toy.initial_bank(), package.manifest.architecture.digest()))
    rig.gateway.full = True
    rig.start()
    rig.run(lambda: bool(rig.gateway.offers))
    rig.turn()
    assert not any(topic is Topic.STATISTICS for topic, _ in rig.link.said)
    assert (rig.gateway.offers[0].kind, rig.gateway.offers[0].device) == (pb.STATISTICS, "me")
    rig.gateway.call()
    rig.run(lambda: bool(rig.gateway.statistics))
    assert sha256(rig.gateway.statistics[0]) == rig.gateway.hellos[0].statistics_digest
    rig.close()


def test_a_new_request_takes_the_place_of_the_one_before() -> None:
    """Chunks that were asked for and are not on their way yet are not sent twice."""
    body = bytes(5 * chunks.PAYLOAD - 7)
    upload = Upload("me", pb.DELTA, body)
    first, size = upload.asked(b"")
    assert size == len(body)
    assert [messages.decode(pb.Chunk, next(first)).index for _ in range(2)] == [0, 1]
    second, size = upload.asked(missing_bytes([1, 4], 5))
    assert size == 2 * chunks.PAYLOAD - 7
    assert list(first) == []
    assert [messages.decode(pb.Chunk, chunk).index for chunk in second] == [1, 4]


def test_a_body_is_cut_anew_for_a_broker_with_other_packets() -> None:
    """Ten bytes in chunks of four: three of them, under the same digest; what was asked for before is not sent."""
    upload = Upload("me", pb.DELTA, b"0123456789")
    before, _ = upload.asked(b"")
    offer = messages.decode(pb.Offer, upload.offer(4))
    assert (offer.count, offer.total, offer.digest) == (3, 10, sha256(b"0123456789"))
    assert list(before) == []
    asked, size = upload.asked(b"")
    assert size == 10
    assert [messages.decode(pb.Chunk, chunk).payload for chunk in asked] == [b"0123", b"4567", b"89"]


# blobs


@pytest.fixture
def fetching(tmp_path: Path) -> Iterator[FetchRig]:
    """A fetcher that lacks nothing."""
    opened = FetchRig(tmp_path)
    yield opened
    opened.store.close()


def anew(rig: FetchRig) -> None:
    """Start the fetcher as a new process would."""
    rig.fetcher = Fetcher(rig.versions, rig.link, "me", rig.bank.shape, rig.store.folder / "pieces")


def wants(rig: FetchRig) -> list[pb.Want]:
    """Return what was asked for."""
    return [messages.decode(pb.Want, payload) for topic, payload in rig.link.said if topic is Topic.WANT]


def test_pieces_of_a_blob_outlive_a_restart(fetching: FetchRig) -> None:
    """Three of five pieces came: the device asks for the other two, then the blob is whole and its pieces go."""
    blobs = fetching.announce(1.0)
    (name, blob), *_ = blobs.items()
    pieces = list(chunks.split(blob, pb.BLOB, -(-len(blob) // 5)))
    fetching.link.up = True
    fetching.fetcher.ask(fetching.fetcher.wanted([]))
    for index in (4, 0, 2):
        assert fetching.fetcher.take(name, pieces[index])
    fetching.fetcher.save()
    (file,) = (fetching.store.folder / "pieces").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    anew(fetching)
    fetching.fetcher.ask(fetching.fetcher.wanted([]))
    first, second = wants(fetching)
    assert list(first.missing) == []
    missing = dict(zip((digest.hex() for digest in second.digests), second.missing, strict=True))
    assert missing_chunks(missing[name], len(pieces)) == (1, 3)
    assert [one for other, one in missing.items() if other != name] == [b""] * (len(blobs) - 1)
    for index in (1, 3):
        fetching.fetcher.take(name, pieces[index])
    assert fetching.store.blob(bytes.fromhex(name)) == blob
    assert not file.exists()


def test_pieces_that_are_cut_otherwise_now_are_let_go(fetching: FetchRig) -> None:
    """The blob comes whole in two pieces, though one of five was here."""
    (name, blob), *_ = fetching.announce(1.0).items()
    fetching.fetcher.ask(fetching.fetcher.wanted([]))
    fetching.fetcher.take(name, next(chunks.split(blob, pb.BLOB, -(-len(blob) // 5))))
    for piece in chunks.split(blob, pb.BLOB, -(-len(blob) // 2)):
        fetching.fetcher.take(name, piece)
    assert fetching.store.blob(bytes.fromhex(name)) == blob


def test_pieces_of_what_nobody_wants_any_more_go(fetching: FetchRig) -> None:
    """A newer version shares no block with the one that was on its way."""
    (name, blob), *_ = fetching.announce(1.0).items()
    fetching.fetcher.ask(fetching.fetcher.wanted([]))
    fetching.fetcher.take(name, next(chunks.split(blob, pb.BLOB, -(-len(blob) // 5))))
    fetching.fetcher.save()
    anew(fetching)
    fetching.announce(2.0)
    fetching.fetcher.ask(fetching.fetcher.wanted([]))
    assert list((fetching.store.folder / "pieces").iterdir()) == []


def test_pieces_that_lie_cost_the_blob_its_pieces(fetching: FetchRig) -> None:
    """Somebody wrote other bytes: the whole does not have the digest, and is fetched anew."""
    (name, blob), *_ = fetching.announce(1.0).items()
    size = -(-len(blob) // 5)
    fetching.fetcher.ask(fetching.fetcher.wanted([]))
    lie = messages.decode(pb.Chunk, next(chunks.split(blob, pb.BLOB, size)))
    lie.payload = bytes(len(lie.payload))
    fetching.fetcher.take(name, messages.encode(lie))
    fetching.fetcher.save()
    pieces = list(chunks.split(blob, pb.BLOB, size))
    for piece in pieces[1:-1]:
        fetching.fetcher.take(name, piece)
    with pytest.raises(WireError, match="DIGEST_MISMATCH"):
        fetching.fetcher.take(name, pieces[-1])
    assert list((fetching.store.folder / "pieces").iterdir()) == []
    for piece in pieces:
        fetching.fetcher.take(name, piece)
    assert fetching.store.blob(bytes.fromhex(name)) == blob


def test_who_is_told_to_ask_again_asks_for_what_lacks_then(tmp_path: Path) -> None:
    """What the gateway published before it said so is here by then; where that is all, nothing is asked for."""
    package = toy.write_package(tmp_path / "package")
    toy.write_data(tmp_path / "data.csv")
    rig = Rig(package, tmp_path, ScriptedGateway(toy.initial_bank(), package.manifest.architecture.digest()))
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.silent = True
    bank = toy.initial_bank()
    bank.experts[:] += 1.0
    rig.gateway.announce(bank, 1)
    rig.run(lambda: len(rig.gateway.wants) == 1)
    (want,) = rig.gateway.wants
    verdict = pb.Verdict(kind=pb.HELLO, digest=sha256(messages.encode(want)), code=pb.BUSY, retry_after_s=0.2)
    for served, expected in ((1, len(want.digests) - 1), (len(want.digests), 0)):
        before = len(rig.gateway.wants)
        for digest in want.digests[:served]:
            rig.gateway.send_blob(digest)
        verdict.digest = sha256(messages.encode(rig.gateway.wants[-1]))
        rig.link.deliver(Topic.VERDICT, messages.encode(verdict))
        rig.turn(60)
        assert [len(one.digests) for one in rig.gateway.wants[before:]] == [expected] * bool(expected)
    assert not rig.link.listening
    rig.close()

"""The queue of offers: room in bytes, turns in order, leases, and nobody who keeps the others out. No clock."""

from __future__ import annotations

from broker_server.rounds import offers
from broker_server.rounds.offers import LEASE_S, PENALTY, RETRY_LEAST_S, RETRY_MOST_S, Offer, Offers
from edge_runtime.wire import wire_pb2 as pb


def offer(device: str, total: int = 100, digest: str = "d", kind: pb.Kind = pb.DELTA) -> Offer:
    """Return an offer of one chunk."""
    return Offer(device, kind, digest.encode() * 32, 1, total)


def names(granted: list[Offer]) -> list[str]:
    """Return whose offers were granted."""
    return [one.device for one in granted]


def queue(room: int = 1000, new: str = "new") -> Offers:
    """Return an empty queue without jitter. Args: new: how names of devices begin that had no delta accepted yet."""
    return Offers(room, lambda: 0.5, lambda device: not device.startswith(new))


def test_grants_go_by_arrival_and_never_beyond_the_room() -> None:
    """Ten of 300 bytes in 1,000: three at a time, in their order, the next as soon as one is decided."""
    waiting = queue()
    devices = [f"d{number}" for number in range(10)]
    for device in devices:
        assert waiting.ask(offer(device, 300))
    assert names(waiting.grant_due(0.0)) == ["d0", "d1", "d2"]
    assert (waiting.granted_bytes, waiting.waiting_bytes, waiting.waiting) == (900, 2100, 7)
    assert waiting.grant_due(1.0) == []
    waiting.done("d1", offer("d1").digest, 1.0, accepted=True)
    assert names(waiting.grant_due(1.0)) == ["d3"]
    assert waiting.granted_bytes == 900


def test_a_body_larger_than_the_room_comes_alone() -> None:
    """It waits for the room to be empty, and nobody overtakes it meanwhile."""
    waiting = queue()
    waiting.ask(offer("small", 10))
    waiting.ask(offer("large", 5000))
    waiting.ask(offer("later", 10))
    assert names(waiting.grant_due(0.0)) == ["small"]
    waiting.done("small", offer("small").digest, 1.0, accepted=True)
    assert names(waiting.grant_due(1.0)) == ["large"]
    waiting.done("large", offer("large").digest, 2.0, accepted=True)
    assert names(waiting.grant_due(2.0)) == ["later"]


def test_an_offer_that_is_repeated_keeps_its_place_and_its_grant() -> None:
    """Also when it is for another body: there is one turn for a device and kind."""
    waiting = queue(100)
    for device in "abc":
        waiting.ask(offer(device))
    assert names(waiting.grant_due(0.0)) == ["a"]
    waiting.ask(offer("a"))
    waiting.ask(offer("b", digest="e"))
    assert waiting.holds(offer("a"))
    assert waiting.waiting == 2
    waiting.done("a", offer("a").digest, 2.0, accepted=True)
    assert waiting.grant_due(2.0) == [offer("b", digest="e")]


def test_a_grant_lapses_when_nothing_comes_and_holds_while_something_does() -> None:
    """LEASE_S from the last chunk."""
    waiting = queue(100)
    waiting.ask(offer("a"))
    waiting.ask(offer("b"))
    waiting.grant_due(0.0)
    assert waiting.came(offer("a"), LEASE_S - 1)
    assert waiting.grant_due(2 * LEASE_S - 2) == []
    assert names(waiting.grant_due(2 * LEASE_S - 1)) == ["b"]
    assert not waiting.holds(offer("a"))


def test_who_let_a_grant_lapse_comes_last_and_comes() -> None:
    """It stands behind whoever waits now and comes soon, and is not put off for ever."""
    waiting = queue(100)
    waiting.ask(offer("liar"))
    waiting.ask(offer("a"))
    waiting.grant_due(0.0)
    waiting.grant_due(LEASE_S)  # a has it now
    waiting.ask(offer("liar"))
    waiting.ask(offer("b"))
    waiting.done("a", offer("a").digest, LEASE_S, accepted=True)
    assert names(waiting.grant_due(LEASE_S)) == ["b"]
    for number in range(PENALTY):
        waiting.ask(offer(f"n{number}"))
        waiting.forget(f"n{number}")
    waiting.ask(offer("c"))
    waiting.done("b", offer("b").digest, LEASE_S, accepted=True)
    assert names(waiting.grant_due(LEASE_S)) == ["liar"]


def test_names_that_cost_nothing_hold_half_of_the_room_at_most() -> None:
    """Those that had a delta accepted pass them then."""
    waiting = queue()
    for number in range(20):
        waiting.ask(offer(f"new{number}"))
    waiting.ask(offer("worker", 400))
    assert names(waiting.grant_due(0.0)) == ["new0", "new1", "new2", "new3", "new4", "worker"]


def test_a_chunk_without_an_offer_has_room_while_nobody_waits() -> None:
    """It holds a grant like another; what a device has granted for one body does not count for another."""
    waiting = queue(100)
    assert waiting.came(offer("a", 60), 0.0)
    assert waiting.granted_bytes == 60
    assert not waiting.came(offer("b", 60), 0.0)
    assert waiting.came(offer("a", 30, "other"), 0.0)
    assert waiting.granted_bytes == 30
    waiting.ask(offer("b", 90))
    assert not waiting.came(offer("c", 1), 0.0)


def test_who_leaves_holds_nothing() -> None:
    """Its grant and its place go to others."""
    waiting = queue(100)
    for device in "abc":
        waiting.ask(offer(device))
    waiting.grant_due(0.0)
    waiting.forget("a")
    waiting.forget("b")
    assert names(waiting.grant_due(0.0)) == ["c"]
    assert (waiting.granted_bytes, waiting.waiting_bytes) == (100, 0)


def test_the_queue_is_bounded_whoever_comes_and_goes() -> None:
    """A place that nobody waits at any more is forgotten; one over the limit is not kept."""
    waiting = queue(100)
    waiting.ask(offer("first"))
    waiting.grant_due(0.0)
    waiting.ask(offer("head"))
    for number in range(5000):
        waiting.ask(offer(f"n{number}"))
        waiting.forget(f"n{number}")
    assert sum(map(len, waiting._queues)) <= 2 * waiting.waiting + 65
    for number in range(offers.WAITING_LIMIT - 1):
        assert waiting.ask(offer(f"m{number}"))
    assert not waiting.ask(offer("one too many"))


def test_retry_follows_the_backlog_at_the_measured_rate() -> None:
    """Twice what 10 MB take at the 1 MB a second that came lately; a little at least, minutes at most."""
    waiting = queue(100)
    assert waiting.retry_after_s(0.0) == RETRY_LEAST_S
    waiting.came(offer("a", 10_000_000), 0.0)
    waiting.done("a", offer("a").digest, 0.0, accepted=True)
    waiting.came(offer("a", 5_000_000), 0.0)
    waiting.ask(offer("b", 5_000_000))
    assert waiting.retry_after_s(0.0) == 20.0
    assert waiting.retry_after_s(1000.0) == RETRY_MOST_S

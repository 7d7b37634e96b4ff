"""The inbox of the thread that decides: order, bounds by bytes and number, and who is told of room."""

from __future__ import annotations

import threading
from collections.abc import Callable

from broker_server import inbox
from broker_server.inbox import Inbox


def put_later(box: Inbox[str], event: str, size: int) -> tuple[threading.Thread, list[bool]]:
    """Put an event from another thread; return the thread and what ``put`` will have returned."""
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(box.put(event, size)), daemon=True)
    thread.start()
    return thread, results


def test_events_come_out_in_their_order_all_at_once() -> None:
    """One take returns everything that waits."""
    box: Inbox[str] = Inbox()
    for event in "abc":
        box.put(event, 10)
    assert (len(box), box.held_bytes) == (3, 30)
    assert box.take(0) == ["a", "b", "c"]
    assert (len(box), box.held_bytes) == (0, 0)
    assert box.take(0) == []


def test_what_does_not_fit_into_the_bytes_is_not_taken() -> None:
    """Ten bytes are room for 6 and 4, and then for nothing that has a size; an event without one still fits."""
    box: Inbox[str] = Inbox(limit=10)
    assert box.offer("a", 6)
    assert not box.offer("b", 5)
    assert box.offer("c", 4)
    assert not box.offer("d", 1)
    assert box.offer("notice")
    assert box.take(0) == ["a", "c", "notice"]


def test_the_number_of_events_is_bounded_too() -> None:
    """Events without bytes cannot fill the memory either."""
    box: Inbox[str] = Inbox(length=2)
    assert [box.offer(event) for event in "abc"] == [True, True, False]


def test_an_event_larger_than_the_inbox_comes_alone() -> None:
    """It is taken when nothing else waits, so nobody waits for ever."""
    box: Inbox[str] = Inbox(limit=10)
    assert box.offer("large", 11)
    assert not box.offer("small", 1)
    assert box.take(0) == ["large"]
    assert box.offer("small", 1)
    assert not box.offer("large", 11)


def test_a_result_of_bounded_work_needs_no_room() -> None:
    """The thread that checks bodies never waits for the one that waits for it."""
    box: Inbox[str] = Inbox(limit=10, length=1)
    assert box.offer("body", 10)
    assert box.push("result", 10)
    assert box.take(0) == ["body", "result"]


def test_put_waits_until_there_is_room() -> None:
    """The event comes with the take after the one that made room for it."""
    box: Inbox[str] = Inbox(limit=10)
    box.put("a", 10)
    thread, results = put_later(box, "b", 10)
    assert box.take(0) == ["a"]
    assert box.take(30) == ["b"]
    thread.join(30)
    assert results == [True]


def test_who_waits_for_room_is_called_once_when_it_comes() -> None:
    """A device whose message did not fit is read again after the next take, and not called by later ones."""
    box: Inbox[str] = Inbox(limit=10)
    box.put("a", 10)
    calls: list[str] = []
    box.when_room(lambda: calls.append("b"))
    box.when_room(lambda: calls.append("c"))
    assert calls == []
    box.take(0)
    assert calls == ["b", "c"]
    box.put("d", 10)
    box.take(0)
    assert calls == ["b", "c"]


def test_who_asks_for_room_that_is_there_is_called_at_once() -> None:
    """Room that comes between the offer that failed and the request is not missed."""
    box: Inbox[str] = Inbox(limit=10)
    calls: list[str] = []
    box.when_room(lambda: calls.append("now"))
    assert calls == ["now"]


def test_room_is_half_of_it() -> None:
    """Six of ten bytes are too much to wake anybody, five are not; and of four events two."""
    calls: list[str] = []
    box: Inbox[str] = Inbox(limit=10, length=4)
    box.put("a", 6)
    box.when_room(lambda: calls.append("bytes"))
    assert calls == []
    box.take(0)
    assert calls == ["bytes"]
    box.put("b", 5)
    box.put("c")
    box.when_room(lambda: calls.append("at once"))
    box.put("d")
    box.when_room(lambda: calls.append("length"))
    assert calls == ["bytes", "at once"]
    box.take(0)
    assert calls == ["bytes", "at once", "length"]


def test_a_call_may_offer_and_wait_again() -> None:
    """What is called is called without the lock: the first of two takes the room, the second waits for the next."""
    box: Inbox[str] = Inbox(limit=10)
    box.put("a", 10)

    def retry(event: str) -> Callable[[], None]:
        return lambda: None if box.offer(event, 10) else box.when_room(retry(event))

    box.when_room(retry("b"))
    box.when_room(retry("c"))
    assert [box.take(0) for _ in range(3)] == [["a"], ["b"], ["c"]]


def test_one_take_is_bounded_so_that_the_clock_is_looked_at() -> None:
    """It returns the first event that passes the bound of bytes, and at most so many events."""
    box: Inbox[int] = Inbox()
    for number in range(3):
        box.put(number, inbox.TAKEN_BYTES - 1)
    assert [box.take(0), box.take(0)] == [[0, 1], [2]]
    for number in range(inbox.TAKEN_LENGTH + 1):
        box.put(number)
    assert [len(box.take(0)), len(box.take(0))] == [inbox.TAKEN_LENGTH, 1]


def test_a_closed_inbox_takes_nothing_and_keeps_nobody_waiting() -> None:
    """A thread that waits in ``put`` goes on, and is told that its event was not taken."""
    box: Inbox[str] = Inbox(limit=10)
    box.put("a", 10)
    calls: list[str] = []
    box.when_room(lambda: calls.append("b"))
    thread, results = put_later(box, "c", 10)
    box.close()
    thread.join(30)
    assert results == [False]
    assert not box.offer("d")
    box.when_room(lambda: calls.append("e"))
    assert calls == []  # whom it told of room would offer, be refused and ask again, for ever

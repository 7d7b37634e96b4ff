"""The session's tables: every pair is decided, and the conversation of SPEC.md follows from them."""

from __future__ import annotations

import itertools

import pytest

from edge_runtime.errors import SessionError
from edge_runtime.federation.session import LINK, WORK, Action, Event, LinkState, Session, WorkState, step


def play(session: Session, *events: Event) -> tuple[Session, list[Action]]:
    """Apply events in turn and gather the actions."""
    actions: list[Action] = []
    for event in events:
        session, more = step(session, event)
        actions += more
    return session, actions


@pytest.mark.parametrize(("link", "work", "event"), itertools.product(LinkState, WorkState, Event))
def test_every_pair_is_in_a_table_or_raises_and_changes_nothing(link: LinkState, work: WorkState, event: Event) -> None:
    """What neither table has is refused by name; what one has moves that part only."""
    session = Session(link, work)
    if (link, event) not in LINK and (work, event) not in WORK:
        with pytest.raises(SessionError, match=event.value):
            step(session, event)
        return
    after, _ = step(session, event)
    assert after.link is (LINK[link, event][0] if (link, event) in LINK else link)
    assert after.work is (WORK[work, event][0] if (work, event) in WORK else work)


def test_a_round_from_connecting_to_verdict() -> None:
    """Hello, plan, train, send, settle: in that order, each once."""
    session, actions = play(
        *(Session(), Event.LINK_UP, Event.GATEWAY, Event.WELCOME, Event.PLAN),
        *(Event.READY, Event.TRAINED, Event.SETTLED),
    )
    assert session == Session(LinkState.MEMBER, WorkState.IDLE)
    assert actions == [Action.HELLO, Action.FETCH, Action.TRAIN, Action.OFFER]


def test_a_delta_waits_for_the_gateway_to_know_the_device_again() -> None:
    """Trained while the link was down: nothing is sent until the next welcome, then it is."""
    training = Session(LinkState.OFFLINE, WorkState.TRAINING)
    uploading, actions = play(training, Event.TRAINED, Event.LINK_UP, Event.GATEWAY)
    assert Action.OFFER not in actions
    _, actions = play(uploading, Event.WELCOME)
    assert actions == [Action.FETCH, Action.OFFER]


def test_training_goes_on_while_the_link_is_down() -> None:
    """Losing the broker or the gateway does not touch the work."""
    session, actions = play(
        Session(LinkState.MEMBER, WorkState.TRAINING), Event.LINK_DOWN, Event.LINK_UP, Event.GATEWAY_GONE
    )
    assert session == Session(LinkState.LISTENING, WorkState.TRAINING)
    assert actions == []


def test_a_new_gateway_session_is_greeted_again() -> None:
    """A member that sees another session says hello; a gateway that does not know it too."""
    session, actions = play(Session(LinkState.MEMBER, WorkState.IDLE), Event.GATEWAY, Event.WELCOME, Event.UNKNOWN)
    assert (session.link, actions) == (LinkState.GREETING, [Action.HELLO, Action.FETCH, Action.HELLO])


def test_a_plan_taken_back_ends_training_but_not_an_upload() -> None:
    """What was trained is sent all the same and takes its verdict."""
    stopped, actions = step(Session(LinkState.MEMBER, WorkState.TRAINING), Event.WITHDRAWN)
    assert (stopped.work, actions) == (WorkState.IDLE, (Action.ABANDON,))
    kept, actions = step(Session(LinkState.MEMBER, WorkState.UPLOADING), Event.WITHDRAWN)
    assert (kept.work, actions) == (WorkState.UPLOADING, ())


def test_nothing_leads_back_from_expulsion() -> None:
    """An expelled device reacts to no gateway."""
    session, actions = step(Session(LinkState.MEMBER, WorkState.IDLE), Event.EXPEL)
    assert (session.link, actions) == (LinkState.EXPELLED, ())
    with pytest.raises(SessionError):
        step(session, Event.GATEWAY)


def test_a_damaged_block_sends_a_plan_back_to_waiting() -> None:
    """Found when the plan begins: the block is fetched again, with or without a gateway, and the plan begins then."""
    session, actions = play(Session(LinkState.MEMBER, WorkState.WAITING), Event.READY, Event.DAMAGED, Event.READY)
    assert (session.work, actions) == (WorkState.TRAINING, [Action.TRAIN, Action.FETCH, Action.TRAIN])
    assert step(Session(LinkState.OFFLINE, WorkState.TRAINING), Event.DAMAGED)[0] == Session(
        LinkState.OFFLINE, WorkState.WAITING
    )

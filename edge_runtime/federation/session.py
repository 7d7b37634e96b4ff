"""What a device does next, as two tables without I/O, clock or chance.

``LinkState`` is where the device stands with the gateway, ``WorkState`` what it does for the present plan; the two are
independent, so training goes on while the link is down. Events come in, a new session and the actions to take come
out. A pair that neither table has raises and changes nothing. The meaning of the messages behind: wire/SPEC.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from edge_runtime.errors import SessionError


class LinkState(StrEnum):
    """Where the device stands with the gateway."""

    OFFLINE = "offline"  # no broker
    LISTENING = "listening"  # a broker, no gateway
    GREETING = "greeting"  # said hello, waits for the verdict
    MEMBER = "member"
    STRANGER = "stranger"  # the gateway serves another federation: silent
    EXPELLED = "expelled"  # removed by the operator, or the gateway cannot talk to this software: the end


class WorkState(StrEnum):
    """What the device does for a plan."""

    IDLE = "idle"
    WAITING = "waiting"  # has a plan, lacks its version or membership
    TRAINING = "training"
    UPLOADING = "uploading"  # keeps a delta until its verdict


class Event(StrEnum):
    """What happened."""

    LINK_UP = "link up"
    LINK_DOWN = "link down"
    GATEWAY = "gateway"  # online, our federation, a session that we did not greet yet
    GATEWAY_GONE = "gateway gone"
    FOREIGN = "foreign"  # online, another federation
    WELCOME = "welcome"  # hello accepted
    UNKNOWN = "unknown"  # the gateway does not know us: hello again
    EXPEL = "expel"
    HELLO_DUE = "hello due"  # no verdict for the hello in time
    PLAN = "plan"  # a plan that is neither done nor the present one
    WITHDRAWN = "withdrawn"
    READY = "ready"  # a member, and the plan's version is complete
    DAMAGED = "damaged"  # a block of the plan's version is not what was stored
    TRAINED = "trained"
    FAILED = "failed"  # the plan cannot be carried out here
    RESEND_DUE = "resend due"
    SETTLED = "settled"  # a final verdict on the delta


class Action(StrEnum):
    """What to do."""

    HELLO = "hello"
    TRAIN = "train"
    ABANDON = "abandon"  # stop training, drop its checkpoint
    OFFER = "offer"  # the delta; the gateway says which of its chunks lack
    FETCH = "fetch"  # ask for every block that is missing, those asked for before as well


LINK: Final[dict[tuple[LinkState, Event], tuple[LinkState, tuple[Action, ...]]]] = {
    (LinkState.OFFLINE, Event.LINK_UP): (LinkState.LISTENING, ()),
    (LinkState.LISTENING, Event.GATEWAY): (LinkState.GREETING, (Action.HELLO,)),
    (LinkState.GREETING, Event.GATEWAY): (LinkState.GREETING, (Action.HELLO,)),
    (LinkState.MEMBER, Event.GATEWAY): (LinkState.GREETING, (Action.HELLO,)),
    (LinkState.STRANGER, Event.GATEWAY): (LinkState.GREETING, (Action.HELLO,)),
    (LinkState.GREETING, Event.HELLO_DUE): (LinkState.GREETING, (Action.HELLO,)),
    (LinkState.GREETING, Event.WELCOME): (LinkState.MEMBER, (Action.FETCH,)),  # it remembers no earlier Want
    (LinkState.GREETING, Event.UNKNOWN): (LinkState.GREETING, ()),
    (LinkState.MEMBER, Event.UNKNOWN): (LinkState.GREETING, (Action.HELLO,)),
    **{(link, Event.LINK_DOWN): (LinkState.OFFLINE, ()) for link in LinkState if link is not LinkState.EXPELLED},
    **{
        (link, Event.GATEWAY_GONE): (LinkState.LISTENING, ())
        for link in (LinkState.LISTENING, LinkState.GREETING, LinkState.MEMBER, LinkState.STRANGER)
    },
    **{
        (link, Event.FOREIGN): (LinkState.STRANGER, ())
        for link in (LinkState.LISTENING, LinkState.GREETING, LinkState.MEMBER, LinkState.STRANGER)
    },
    **{(link, Event.EXPEL): (LinkState.EXPELLED, ()) for link in (LinkState.GREETING, LinkState.MEMBER)},
}

WORK: Final[dict[tuple[WorkState, Event], tuple[WorkState, tuple[Action, ...]]]] = {
    (WorkState.IDLE, Event.PLAN): (WorkState.WAITING, ()),
    (WorkState.IDLE, Event.WITHDRAWN): (WorkState.IDLE, ()),
    (WorkState.WAITING, Event.PLAN): (WorkState.WAITING, ()),
    (WorkState.WAITING, Event.WITHDRAWN): (WorkState.IDLE, ()),
    (WorkState.WAITING, Event.READY): (WorkState.TRAINING, (Action.TRAIN,)),
    (WorkState.WAITING, Event.FAILED): (WorkState.IDLE, ()),
    (WorkState.TRAINING, Event.PLAN): (WorkState.TRAINING, ()),  # finish first: a late delta still counts
    (WorkState.TRAINING, Event.WITHDRAWN): (WorkState.IDLE, (Action.ABANDON,)),
    (WorkState.TRAINING, Event.TRAINED): (WorkState.UPLOADING, (Action.OFFER,)),
    (WorkState.TRAINING, Event.DAMAGED): (WorkState.WAITING, (Action.FETCH,)),
    (WorkState.TRAINING, Event.FAILED): (WorkState.IDLE, (Action.ABANDON,)),
    (WorkState.UPLOADING, Event.PLAN): (
        WorkState.UPLOADING,
        (Action.OFFER,),
    ),  # the round moved on: its verdict was lost
    (WorkState.UPLOADING, Event.WITHDRAWN): (WorkState.UPLOADING, ()),
    (WorkState.UPLOADING, Event.RESEND_DUE): (WorkState.UPLOADING, (Action.OFFER,)),
    (WorkState.UPLOADING, Event.WELCOME): (WorkState.UPLOADING, (Action.OFFER,)),
    (WorkState.UPLOADING, Event.SETTLED): (WorkState.IDLE, ()),
}


@dataclass(frozen=True)
class Session:
    """Where a device stands; starts offline, with the work that its store remembers."""

    link: LinkState = LinkState.OFFLINE
    work: WorkState = WorkState.IDLE

    @property
    def member(self) -> bool:
        """Whether the gateway knows this device."""
        return self.link is LinkState.MEMBER


def step(session: Session, event: Event) -> tuple[Session, tuple[Action, ...]]:
    """Return the session after ``event`` and what to do, in order.

    A delta is offered to a gateway that knows the device only: before, OFFER is left out, and WELCOME offers it.

    Raises:
        SessionError: when neither table has a place for the event; nothing is changed.
    """
    link, work = LINK.get((session.link, event)), WORK.get((session.work, event))
    if link is None and work is None:
        msg = f"event {event.value!r} has no place while {session.link.value} and {session.work.value}"
        raise SessionError(msg)
    after, actions = session, tuple[Action, ...]()
    if link is not None:
        after, actions = replace(after, link=link[0]), (*actions, *link[1])
    if work is not None:
        after, actions = replace(after, work=work[0]), (*actions, *work[1])
    if not after.member:
        actions = tuple(action for action in actions if action is not Action.OFFER)
    return after, actions

"""What a device does next, as two tables without I/O, clock or chance.

``Link`` is where the device stands with the gateway, ``Work`` what it does for the present plan; the two are
independent, so training goes on while the link is down. Events come in, a new session and the actions to take come
out. A pair that neither table has raises and changes nothing. The meaning of the messages behind: wire/SPEC.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from edge_runtime.errors import SessionError


class Link(StrEnum):
    """Where the device stands with the gateway."""

    OFFLINE = "offline"  # no broker
    LISTENING = "listening"  # a broker, no gateway
    GREETING = "greeting"  # said hello, waits for the verdict
    MEMBER = "member"
    STRANGER = "stranger"  # the gateway serves another federation: silent
    EXPELLED = "expelled"  # removed by the operator, or the gateway cannot talk to this software: the end


class Work(StrEnum):
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
    SEND = "send"  # the delta, whole
    FETCH = "fetch"  # ask for every block that is missing, those asked for before as well


LINK: Final[dict[tuple[Link, Event], tuple[Link, tuple[Action, ...]]]] = {
    (Link.OFFLINE, Event.LINK_UP): (Link.LISTENING, ()),
    (Link.LISTENING, Event.GATEWAY): (Link.GREETING, (Action.HELLO,)),
    (Link.GREETING, Event.GATEWAY): (Link.GREETING, (Action.HELLO,)),
    (Link.MEMBER, Event.GATEWAY): (Link.GREETING, (Action.HELLO,)),
    (Link.STRANGER, Event.GATEWAY): (Link.GREETING, (Action.HELLO,)),
    (Link.GREETING, Event.HELLO_DUE): (Link.GREETING, (Action.HELLO,)),
    (Link.GREETING, Event.WELCOME): (Link.MEMBER, (Action.FETCH,)),  # it remembers no earlier Want
    (Link.GREETING, Event.UNKNOWN): (Link.GREETING, ()),
    (Link.MEMBER, Event.UNKNOWN): (Link.GREETING, (Action.HELLO,)),
    **{(link, Event.LINK_DOWN): (Link.OFFLINE, ()) for link in Link if link is not Link.EXPELLED},
    **{
        (link, Event.GATEWAY_GONE): (Link.LISTENING, ())
        for link in (Link.LISTENING, Link.GREETING, Link.MEMBER, Link.STRANGER)
    },
    **{
        (link, Event.FOREIGN): (Link.STRANGER, ())
        for link in (Link.LISTENING, Link.GREETING, Link.MEMBER, Link.STRANGER)
    },
    **{(link, Event.EXPEL): (Link.EXPELLED, ()) for link in (Link.GREETING, Link.MEMBER)},
}

WORK: Final[dict[tuple[Work, Event], tuple[Work, tuple[Action, ...]]]] = {
    (Work.IDLE, Event.PLAN): (Work.WAITING, ()),
    (Work.IDLE, Event.WITHDRAWN): (Work.IDLE, ()),
    (Work.WAITING, Event.PLAN): (Work.WAITING, ()),
    (Work.WAITING, Event.WITHDRAWN): (Work.IDLE, ()),
    (Work.WAITING, Event.READY): (Work.TRAINING, (Action.TRAIN,)),
    (Work.WAITING, Event.FAILED): (Work.IDLE, ()),
    (Work.TRAINING, Event.PLAN): (Work.TRAINING, ()),  # finish first: a late delta still counts
    (Work.TRAINING, Event.WITHDRAWN): (Work.IDLE, (Action.ABANDON,)),
    (Work.TRAINING, Event.TRAINED): (Work.UPLOADING, (Action.SEND,)),
    (Work.TRAINING, Event.DAMAGED): (Work.WAITING, (Action.FETCH,)),
    (Work.TRAINING, Event.FAILED): (Work.IDLE, (Action.ABANDON,)),
    (Work.UPLOADING, Event.PLAN): (Work.UPLOADING, (Action.SEND,)),  # the round moved on: its verdict was lost
    (Work.UPLOADING, Event.WITHDRAWN): (Work.UPLOADING, ()),
    (Work.UPLOADING, Event.RESEND_DUE): (Work.UPLOADING, (Action.SEND,)),
    (Work.UPLOADING, Event.WELCOME): (Work.UPLOADING, (Action.SEND,)),
    (Work.UPLOADING, Event.SETTLED): (Work.IDLE, ()),
}


@dataclass(frozen=True)
class Session:
    """Where a device stands; starts offline, with the work that its store remembers."""

    link: Link = Link.OFFLINE
    work: Work = Work.IDLE

    @property
    def member(self) -> bool:
        """Whether the gateway knows this device."""
        return self.link is Link.MEMBER


def step(session: Session, event: Event) -> tuple[Session, tuple[Action, ...]]:
    """Return the session after ``event`` and what to do, in order.

    A delta is sent to a gateway that knows the device only: before, SEND is left out, and WELCOME sends it.

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
        actions = tuple(action for action in actions if action is not Action.SEND)
    return after, actions

"""Prints what a session does in every state at every event: [link, work, event, outcome or null]."""

from __future__ import annotations

import itertools
import json
import sys

from edge_runtime.errors import SessionError
from edge_runtime.federation.session import Event, LinkState, Session, WorkState, step


def outcome(session: Session, event: Event) -> list[object] | None:
    """Return the link, the work and the actions after an event; None where it has no place."""
    try:
        after, actions = step(session, event)
    except SessionError:
        return None
    return [after.link, after.work, list(actions)]


table = [
    [link, work, event, outcome(Session(link, work), event)]
    for link, work, event in itertools.product(LinkState, WorkState, Event)
]
json.dump(table, sys.stdout)

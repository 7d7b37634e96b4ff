"""What can be changed on the page: just what the command line can, after a question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker_server.config import GatewayConfig
from broker_server.state.requests import ask_rollback, certificates_of, mark, refuse_certificates


@dataclass(frozen=True)
class Action:
    """One of them.

    Args:
        name: in its URL.
        verb: on its button.
        question: before it is done, {} for what it is done to.
        consequence: below the question.
        command: that does the same.
        done: after it.
        leads_to: page that is shown then.
    """

    name: str
    verb: str
    question: str
    consequence: str
    command: str
    done: str
    leads_to: str


REVOKE: Final = Action(
    "revoke", "Revoke", "Revoke {}?",
    "It is cut off within seconds with every certificate that enroll gave it. What it sent and no version has is left "
    "out, its class sums too. Its name can be taken back; its certificates stay revoked.",
    "broker_server revoke {}", "{} is revoked.", "/devices",
)  # fmt: skip
RESTORE: Final = Action(
    "restore", "Take back", "Take {} back?",
    "Its name is let in again. Where devices have certificates, it needs a new one: broker_server enroll.",
    "broker_server devices --restore {}", "{} is taken back.", "/devices",
)  # fmt: skip
ROLLBACK: Final = Action(
    "rollback", "Go back", "Go back to version {}?",
    "Its bank comes back as a new version when the open round has closed; no version is removed. Revoke a device first "
    "if what it sent should not stay.",
    "broker_server rollback {}", "Version {} comes back as a new version when the open round has closed.", "/versions",
)  # fmt: skip
OF_DEVICES: Final = {action.name: action for action in (REVOKE, RESTORE)}


def do(action: Action, what: str, config: GatewayConfig) -> None:
    """Do it.

    Args:
        action: what to do.
        what: name of a device that is registered, or number of a version.
        config: of the gateway.

    Raises:
        UsageError, StateError, StorageError: when it cannot be done.
    """
    if action is ROLLBACK:
        ask_rollback(config.state, int(what))
    elif action is REVOKE:
        refuse_certificates(config, certificates_of(config, [what]))
        mark(config.state, [what], revoked=True)
    else:
        mark(config.state, [what], revoked=False)

"""Errors of the gateway; each text is one line that says what came, what was expected, and what to do."""

from __future__ import annotations

from edge_runtime.wire.errors import FederationError


class BrokerError(FederationError):
    """Base of every error that the gateway raises on purpose."""


class UsageError(BrokerError):
    """An option or a configuration file asks for what cannot be; the command exits with 2."""


class ListenError(BrokerError):
    """The embedded broker cannot listen, or an external broker does not answer."""


class StateError(BrokerError):
    """The state directory is in use, belongs to another federation, or is damaged."""


class BodyError(StateError):
    """An accepted delta is missing in the spool, or was changed there."""


class DamagedError(StateError):
    """The ledger is no database, or not the one that was written."""


class StorageError(BrokerError):
    """The disk is full or refuses a write; what was acknowledged before is safe."""


class EngineError(BrokerError):
    """What merges cannot be reached, or gave up; nothing was changed, and the same call may be made again."""


class RoundError(BrokerError):
    """An event came in a state that has no answer to it; nothing was changed."""


class EvaluationError(BrokerError):
    """A data file or the gateway's model cannot be used to evaluate a version."""

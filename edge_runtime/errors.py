"""Errors of a device. Each text is one line: what came, what was expected, what to do; never a user's text."""

from __future__ import annotations

from edge_runtime.wire.errors import FederationError


class EdgeError(FederationError):
    """Base of every error that a device raises on purpose."""


class ConfigError(EdgeError):
    """An argument or a combination of arguments that cannot work."""


class BudgetError(EdgeError):
    """No tier of the package fits what this device may spend."""


class ProgramError(EdgeError):
    """A program cannot be opened or executed."""


class PlanError(EdgeError):
    """A plan asks for what this package or tier cannot do."""


class StoreError(EdgeError):
    """The state directory cannot be used."""


class StateInUseError(StoreError):
    """Another process works in the state directory."""


class DamagedError(StoreError):
    """A file of the state directory is not what was written there."""


class SessionError(EdgeError):
    """An event came in a state that has no place for it; the session is unchanged."""

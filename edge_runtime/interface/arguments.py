"""Checks of what a caller of the interface gives, where the command line has its own: each names the argument."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Final

from edge_runtime.errors import ConfigError
from edge_runtime.training.budget import Budget

_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")
_LIMITS: Final = tuple(field.name for field in fields(Budget))


def check_amounts(**amounts: float | None) -> None:
    """Refuse numbers that are negative or not finite; None is none.

    Raises:
        ConfigError: naming the first.
    """
    for name, value in amounts.items():
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name}: {value} came, expected a number of 0 or more")


def check_choice(name: str, value: object, allowed: Collection[object]) -> None:
    """Refuse what is none of the allowed values.

    Raises:
        ConfigError: listing them.
    """
    if value not in allowed:
        raise ConfigError(f"{name}: {str(value)[:60]} came, expected one of {', '.join(map(str, allowed))}")


def key_bytes(name: str, text: str) -> bytes:
    """Return a public key, 32 bytes, of its hex digits; "" is none.

    Raises:
        ConfigError: when it is no such key.
    """
    if text and not _KEY.fullmatch(text):
        raise ConfigError(f"{name}: {text[:80]} came, expected 64 hex digits")
    return bytes.fromhex(text)


def limited(budget: Budget, limits: Mapping[str, float]) -> Budget:
    """Return a budget with these limits in place of its own.

    Raises:
        ConfigError: for a limit that there is not, or a value that is none.
    """
    for name in limits:
        check_choice("budget", name, _LIMITS)
    check_amounts(**{f"budget {name}": value for name, value in limits.items()})
    return budget.override(**limits)

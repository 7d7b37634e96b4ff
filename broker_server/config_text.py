"""A configuration file that explains itself: every key of GatewayConfig with what it is and its default.

Written from the dataclasses and their docstrings, so that a new key is in the file of the next ``broker_server init``,
and in what ``broker_server config`` prints.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker_server.config import GatewayConfig

_WIDTH: Final = 118
_ARGUMENT: Final = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n        .*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Key:
    """One key of a configuration.

    Args:
        name: with its table: "quorum" is "round.quorum".
        kind: its type as the dataclass has it: "int", "Path | None".
        default: None: no path, or none at all (``package``).
        text: what it is.
        secret: not to be shown.
    """

    name: str
    kind: str
    default: Any
    text: str
    secret: bool

    @property
    def table(self) -> str:
        """The table that it stands in; "" for the top of the file."""
        return self.name.rpartition(".")[0]


def keys() -> list[Key]:
    """Return every key, those of the top of the file first, then table by table."""
    every = list(_keys(GatewayConfig, ""))
    for field in dataclasses.fields(GatewayConfig):
        kind = field.default_factory
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            every += _keys(kind, f"{field.name}.")
    return every


def config_text(values: Mapping[str, Any], head: str, only: frozenset[str] | None = None) -> str:
    """Return a TOML file.

    Args:
        values: by dotted key ("listen.host"), what is set; all else stands there as a comment, with its default.
        head: text at the beginning; "": none.
        only: dotted keys; None: all.
    """
    parts = [_comment(head), ""] if head else []
    table = ""
    for key in keys():
        if only is not None and key.name not in only:
            continue
        if key.table != table:
            parts += [*([""] if parts else []), f"[{key.table}]"]
            table = key.table
        last = key.name.rpartition(".")[2]
        if key.name in values:
            default = "" if key.default is None else f" (default: {_value(key.default)})"
            parts += [_comment(f"{last}: {key.text}{default}"), f"{last} = {_value(values[key.name])}"]
        else:
            parts += [_comment(f"{last}: {key.text}"), f"# {last} = {_value(key.default)}"]
    return "\n".join(parts) + "\n"


def _keys(kind: type[Any], prefix: str) -> Iterator[Key]:
    about = argument_texts(kind)
    for field in dataclasses.fields(kind):
        if field.default_factory is dataclasses.MISSING:  # else a table
            default = None if field.default is dataclasses.MISSING else field.default
            yield Key(prefix + field.name, str(field.type), default, about[field.name], secret=not field.repr)


def argument_texts(kind: type[Any]) -> dict[str, str]:
    """Return what the docstring of a dataclass, and those that it extends, say of each field."""
    texts: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        arguments = inspect.cleandoc(one.__doc__ or "").partition("Args:\n")[2]
        texts |= {match[1]: " ".join(match[2].split()).replace("``", "") for match in _ARGUMENT.finditer(arguments)}
    return texts


def _comment(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False)


def _value(value: Any) -> str:  # noqa: ANN401 - what a field can hold
    if value is None:
        return '""'
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)

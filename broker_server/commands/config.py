"""``broker_server config``: every setting, what it is, its default and, where there is a file, its present value."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, Final

from broker_server.commands import Subcommands, parser, say, say_json
from broker_server.config import flat
from broker_server.config_file import here, load
from broker_server.config_text import Key, config_text, keys
from broker_server.errors import UsageError

EXAMPLES = """  broker_server config                       every setting; with gateway.toml here, as that file has it
  broker_server config round limits.keep_versions
  broker_server config --config /etc/edge-experts/gateway.toml --json
  broker_server config >sample.toml          a file to begin with
  broker_server config --check               is gateway.toml right? exit code 2: no
"""
HIDDEN: Final = "(hidden)"
_PASSWORD: Final = re.compile(r"(://[^/@:]*):[^/@]*@")
_HEAD: Final = "What stands behind a # is the default; take the # away to change it. Secrets are hidden here."


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "config", "print every setting: what it is, its default, its present value", EXAMPLES)
    command.add_argument("keys", nargs="*", metavar="KEY", help="only these: a key (round.quorum) or a table (round)")
    command.add_argument(
        "--config", type=Path, metavar="TOML", help="settings file (default: gateway.toml, if this folder has one)"
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON value instead of TOML")
    form.add_argument("--check", action="store_true", help="print nothing but what is wrong with the file")
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print them. Raises: UsageError for a key that is none, and for a file that is wrong."""
    file = here(args.config)
    # No package is looked for: what a file says of it can be read anywhere.
    present = flat(load(file, {}, lambda _: Path())) if file is not None else {}
    chosen = [key for key in keys() if _is_asked_for(key, args.keys)]
    if args.check:
        say(f"{file}: every key is known, every value possible" if file else "there is no gateway.toml; defaults hold")
        return 0
    values = {key.name: _shown(key, present.get(key.name, key.default)) for key in chosen}
    changed = {name for name, value in present.items() if _differs(name, value)}
    if args.json:
        say_json([_tree(key, values[key.name], given=key.name in changed) for key in chosen])
        return 0
    text = {name: value for name, value in values.items() if name in changed}
    say(config_text(text, "" if args.keys else _HEAD, frozenset(values)).rstrip("\n"))
    return 0


def _is_asked_for(key: Key, names: list[str]) -> bool:
    known = {one.name for one in keys()} | {one.table for one in keys()}
    unknown = sorted(set(names) - known)
    if unknown:
        raise UsageError(f"no setting {', '.join(unknown)}; broker_server config lists all")
    return not names or key.name in names or key.table in names


def _differs(name: str, value: object) -> bool:
    default = next(key.default for key in keys() if key.name == name)
    return bool(value != default) and value != Path()


def _shown(key: Key, value: Any) -> Any:  # noqa: ANN401 - what a setting can hold
    if key.secret and value:
        return HIDDEN
    return _PASSWORD.sub(rf"\1:{HIDDEN}@", value) if key.name == "broker" else value


def _tree(key: Key, value: Any, *, given: bool) -> dict[str, Any]:  # noqa: ANN401 - what a setting can hold
    paths = [str(one) if isinstance(one, Path) else one for one in (key.default, value)]
    return {"key": key.name, "default": paths[0], "value": paths[1], "set": given, "text": key.text}

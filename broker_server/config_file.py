"""Reading of a configuration: a TOML file, over it the command line. The only reader of such files."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from broker_server.config import STATE, GatewayConfig
from broker_server.errors import UsageError
from edge_runtime.wire.manifest import MANIFEST

PACKAGES: Final = Path("packages")
CONFIG: Final = Path("gateway.toml")
_RESPELLED: Final = {
    ("class_sums", True): 'write "seen": the gateway sees those of each device; or "masked", and it sees their sum',
    ("class_sums", False): 'write "no"',
}
"""What to write in the place of values that a setting had before."""
"""What ``broker_server init`` writes; read from the working folder when no other is named."""

T = TypeVar("T")


def here(chosen: Path | None) -> Path | None:
    """Return the chosen configuration file, else the one of this folder, if there is one."""
    return CONFIG if chosen is None and CONFIG.is_file() else chosen


def only_package(_state: Path) -> Path:
    """Return the only package below ``packages/``, whatever the state."""
    return default_package(PACKAGES)


def load(
    file: Path | None, overrides: dict[str, Any], package_of: Callable[[Path], Path] = only_package
) -> GatewayConfig:
    """Read a TOML file and put the command line over it.

    Args:
        file: with the keys of GatewayConfig; its tables are [listen], [round], [train], [limits], [server], [robust],
            [gate], [privacy], [secure], [web], [engine] and [upstream].
            Relative paths in it begin in its folder, and "" is no path.
        overrides: values by dotted key ("round.quorum"); None leaves the file's value.
        package_of: chooses the package for a state directory when neither names one.

    Raises:
        UsageError: for an unreadable file, an unknown key, or a value of the wrong kind.
    """
    tree: dict[str, Any] = {}
    if file is not None:
        try:
            tree = _placed(GatewayConfig, tomllib.loads(file.read_text(encoding="utf-8")), file.parent)
        except OSError as error:
            msg = f"cannot read configuration {file}: {error.strerror}"
            raise UsageError(msg) from error
        except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
            msg = f"configuration {file} is not TOML: {error}"
            raise UsageError(msg) from error
    for key, value in overrides.items():
        if value is not None:
            table = tree
            *path, last = key.split(".")
            for name in path:
                table = table.setdefault(name, {})
            table[last] = value
    if "package" not in tree:
        state = tree.get("state", STATE)
        tree["package"] = package_of(Path(state) if isinstance(state, (str, Path)) else STATE)
    return _built(GatewayConfig, tree, str(file or "settings"))


def default_package(folder: Path) -> Path:
    """Return the only package below ``folder``.

    Raises:
        UsageError: when there is none, or more than one.
    """
    packages = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    if len(packages) == 1:
        return packages[0]
    if packages:
        names = ", ".join(str(path) for path in packages)
        msg = f"there are {len(packages)} packages ({names}): choose one; any of a federation will do"
    else:
        msg = f"no package below {folder}/: make one with python -m export.build --device pixel8, or give its folder"
    raise UsageError(msg).about("package")


def _placed(kind: Any, tree: dict[str, Any], folder: Path) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """Return a table whose paths begin in ``folder``; an empty one is left out. What is wrong is refused later."""
    hints = typing.get_type_hints(kind)
    placed: dict[str, Any] = {}
    for name, value in tree.items():
        hint = hints.get(name)
        if isinstance(value, dict) and dataclasses.is_dataclass(hint):
            placed[name] = _placed(hint, value, folder)
        elif isinstance(value, str) and Path in (hint, *typing.get_args(hint)):
            placed |= {name: folder / value} if value else {}
        else:
            placed[name] = value
    return placed


def _built(kind: type[T], tree: Any, where: str) -> T:  # noqa: ANN401 - what TOML holds
    hints = typing.get_type_hints(kind)
    if not isinstance(tree, dict):
        msg = f"{where}: expected a table, got {tree!r}"
        raise UsageError(msg)
    unknown = sorted(set(tree) - set(hints))
    if unknown:
        msg = f"{where}: unknown keys {', '.join(unknown)}; known: {', '.join(hints)}"
        raise UsageError(msg)
    values = {name: _value(value, hints[name], f"{where}: {name}") for name, value in tree.items()}
    return kind(**values)


def _value(value: Any, kind: Any, where: str) -> Any:  # noqa: ANN401
    if dataclasses.is_dataclass(kind):
        return _built(typing.cast("type[Any]", kind), value, where)
    if typing.get_origin(kind) is types.UnionType:
        kind = next(one for one in typing.get_args(kind) if one is not types.NoneType)
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        msg = f"{where} is {value}, expected a number; 0 stands for no limit where there is one"
        raise UsageError(msg)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        instead = _RESPELLED.get((where.rpartition(" ")[2], value), f"expected {kind.__name__}")
        msg = f"{where} is {value!r}, {instead}"
        raise UsageError(msg)
    return value

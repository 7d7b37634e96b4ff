"""JSON into frozen dataclasses and back, strictly: what two readers could take differently is refused.

Refused are duplicate and unknown keys, NaN and infinity, numbers beyond 64 bits, lone surrogates, other encodings than
UTF-8, and nesting that no file of ours has. Every refusal is a PackageError of one line.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, NoReturn

from edge_runtime.wire.errors import PackageError
from edge_runtime.wire.text import shown

JSON_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a file that is read; a manifest has about 7 KB."""
DEPTH_LIMIT: Final = 16
"""Objects and lists inside each other; a manifest has six."""


def parse(data: bytes, source: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return the tree of ``data``.

    Raises:
        PackageError: when it is too large or is not strict JSON.
    """
    if len(data) > JSON_LIMIT:
        msg = f"{source} has over {JSON_LIMIT} bytes"
        raise PackageError(msg)
    try:
        tree = json.loads(
            data.decode(),
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_integer,
            object_pairs_hook=_object,
        )
        _shallow(tree)
        json.dumps(tree, ensure_ascii=False).encode()  # lone surrogates raise here
    except (ValueError, RecursionError) as error:
        msg = f"{source} is not JSON that this software reads ({shown(str(error), 200)})"
        raise PackageError(msg) from error
    return tree


def plain_tree(value: Any) -> Any:  # noqa: ANN401 - any field
    """Return dataclasses as dicts and tuples as lists, all the way down."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain_tree(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain_tree(item) for key, item in value.items()}
    return [plain_tree(item) for item in value] if isinstance(value, (tuple, list)) else value


def typed(tree: Any, kind: Any, where: str) -> Any:  # noqa: ANN401 - one return for each kind of type
    """Return ``tree`` as a ``kind``: a dataclass, tuple, dict, str, int, float or Any.

    Raises:
        PackageError: naming the place in the tree, what stands there and what was expected.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _typed_dataclass(tree, kind, where)
    if origin is tuple:
        _expect(isinstance(tree, list), where, "a list", tree)
        return tuple(typed(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(tree))
    if origin is dict:
        _expect(isinstance(tree, dict), where, "an object", tree)
        return {key: typed(item, arguments[1], f"{where}.{shown(key).strip(chr(34))}") for key, item in tree.items()}
    if kind is Any:
        return tree
    number = isinstance(tree, (int, float)) and not isinstance(tree, bool)
    if kind is float:
        _expect(number, where, "a number", tree)
        return float(tree)
    _expect(isinstance(tree, kind) and (kind is not int or number), where, kind.__name__, tree)
    return tree


def _typed_dataclass(tree: Any, kind: Any, where: str) -> Any:  # noqa: ANN401 - any dataclass
    _expect(isinstance(tree, dict), where, "an object", tree)
    hints, required = _keys(kind)
    missing, unknown = sorted(required - set(tree)), sorted(set(tree) - set(hints))
    if missing or unknown:
        msg = f"{where}: missing keys {shown(missing, 200)}, unknown keys {shown(unknown, 200)}"
        raise PackageError(msg)
    return kind(**{name: typed(item, hints[name], f"{where}.{name}") for name, item in tree.items()})


@cache  # a manifest has hundreds of tensors, and reading the hints of one takes longer than all else
def _keys(kind: type[Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the types of a dataclass's fields by name, and the names of those that may not be left out."""
    fields = dataclasses.fields(kind)
    required = frozenset(f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING)
    return typing.get_type_hints(kind), required


def _expect(condition: bool, where: str, expected: str, value: Any) -> None:  # noqa: ANN401 - an assertion
    if not condition:
        msg = f"{where} is {shown(value, 60)}, expected {expected}"
        raise PackageError(msg)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in pairs:
        if name in tree:
            _refuse(f"duplicate key {shown(name)}")
        tree[name] = value
    return tree


def _shallow(tree: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    level = [tree]
    for _ in range(DEPTH_LIMIT + 1):
        level = [item for node in level if isinstance(node, (dict, list)) for item in _items(node)]
    if level:
        _refuse(f"nesting deeper than {DEPTH_LIMIT}")


def _items(node: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse(shown(text))


def _integer(text: str) -> int:
    return int(text) if len(text) <= 20 and -(2**63) <= int(text) < 2**63 else _refuse(shown(text))


def _refuse(what: str) -> NoReturn:
    msg = f"{what} is refused"
    raise ValueError(msg)

"""Write docs/api.md from the docstrings of the public names: ``python -m docs.api``; ``--check`` only compares.

A reader of its own, because what we have is small and the kept generators (pdoc, mkdocstrings) make web sites, not a
page that is read beside the others: names are those of each package's ``__all__``, docstrings have the sections of
Google's style, and signatures come from ``inspect``.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).with_name("api.md")
PACKAGES: Final = ("edge_runtime", "export", "broker_server")
ERRORS: Final = (
    "edge_runtime.wire.errors", "edge_runtime.wire.enrolment", "edge_runtime.wire.signatures", "edge_runtime.errors",
    "edge_runtime.federation.device", "export.errors", "broker_server.errors",
)  # fmt: skip
"""Modules whose errors a caller meets."""
WIDTH: Final = 100
HEADER: Final = """# Python interface

Three packages, each for a machine of its own or all in one program: `export` makes a device package from a pretrained
model, `edge_runtime` predicts and trains with it on a device, `broker_server` is the gateway that merges what devices
learned. Begin with [`build_package`](#build_package), [`Model`](#model) and [`Gateway`](#gateway).
[tutorial.md](tutorial.md) begins from nothing, `examples/train_and_join.py` trains, saves and joins in 20 lines, and
[examples/two_devices.ipynb](../examples/two_devices.ipynb) is a notebook. [glossary.md](glossary.md) explains words
such as bank, tier and delta.

The commands call the same functions. Everything is typed for strict mypy (`py.typed`); `PathLike` is
`str | os.PathLike[str]`. Every error that is raised on purpose is a `FederationError`, one line of text for people;
[Errors](#errors), at the end, lists them.

This page is written from the docstrings by `make api`; change those.
"""
_SECTION: Final = re.compile(r"^(Args|Raises|Returns|Yields):(.*)$")
_ITEM: Final = re.compile(r"^(\*{0,2}[\w, ]+): (.*)$", re.DOTALL)


def page() -> str:
    """Return docs/api.md."""
    parts = [HEADER]
    for name in PACKAGES:
        package = importlib.import_module(name)
        parts.append(f"\n## {name}\n\n{prose(package.__doc__ or '')}")
        parts += [_entry(name, getattr(package, name)) for name in sorted(package.__all__, key=_turn)]
    return "".join([*parts, _errors()])


def _turn(name: str) -> tuple[bool, str]:
    """Sort what a reader begins with before what it returns."""
    return name not in ("Model", "build_package", "Gateway"), name


def _entry(name: str, thing: Any) -> str:  # noqa: ANN401 - a class or a function
    if isinstance(thing, type) and issubclass(thing, Exception):
        return ""
    if not isinstance(thing, type):
        return f"\n### {name}\n\n{_code(name, thing)}{prose(thing.__doc__ or '')}"
    plain = dataclasses.is_dataclass(thing)
    head = "" if plain or not _takes(thing) else _code(name, thing)
    members = "".join(_member(thing, attribute) for attribute in _public(thing))
    return f"\n### {name}\n\n{head}{prose(thing.__doc__ or '', _types(thing) if plain else {})}{members}"


def _takes(kind: type) -> bool:
    """Return whether a class is made by calling it: one with ``open`` is not."""
    return not hasattr(kind, "open")


def _public(kind: type) -> Iterator[str]:
    """Yield the names of members as they are written, those of our own base classes first."""
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    ours = [base for base in reversed(kind.__mro__) if base.__module__.startswith(PACKAGES)]
    for name, value in {name: value for base in ours for name, value in vars(base).items()}.items():
        known = isinstance(value, (property, classmethod, staticmethod)) or inspect.isfunction(value)
        if known and not name.startswith("_") and name not in fields:
            yield name


def _member(kind: type, name: str) -> str:
    value = inspect.getattr_static(kind, name)
    if isinstance(value, property):
        returned = inspect.signature(value.fget).return_annotation if value.fget else ""
        return f"\n`{kind.__name__}.{name}`: {returned}. {prose(value.__doc__ or '')}"
    function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    return f"\n#### {kind.__name__}.{name}\n\n{_code(name, function)}{prose(function.__doc__ or '')}"


# --- signatures ----------------------------------------------------------------------------------------------------


def _code(name: str, thing: Any) -> str:  # noqa: ANN401 - a class or a function
    return f"```python\n{signature(name, thing)}\n```\n\n"


def signature(name: str, thing: Any) -> str:  # noqa: ANN401 - a class or a function
    """Return how something is called, on as many lines as it needs."""
    told = inspect.signature(thing)
    kinds = inspect.Parameter
    parts, starred = list[str](), False
    for parameter in told.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is kinds.KEYWORD_ONLY and not starred:
            parts.append("*")
        starred = starred or parameter.kind in (kinds.KEYWORD_ONLY, kinds.VAR_POSITIONAL)
        parts.append(_parameter(parameter))
    returned = (
        "" if isinstance(thing, type) or told.return_annotation is told.empty else f" -> {told.return_annotation}"
    )
    line = f"{name}({', '.join(parts)}){returned}"
    return line if len(line) <= WIDTH else "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){returned}"])


def _parameter(parameter: inspect.Parameter) -> str:
    kinds = inspect.Parameter
    stars = "**" if parameter.kind is kinds.VAR_KEYWORD else "*" if parameter.kind is kinds.VAR_POSITIONAL else ""
    told = f"{stars}{parameter.name}: {parameter.annotation}"
    return told if parameter.default is parameter.empty else f"{told} = {_default(parameter.default)}"


def _default(value: object) -> str:
    if isinstance(value, enum.Enum):
        return repr(value.value)
    return "..." if callable(value) else repr(value)


def _types(kind: type) -> dict[str, str]:
    return {field.name: str(field.type) for field in dataclasses.fields(kind)}


# --- docstrings ----------------------------------------------------------------------------------------------------


def prose(text: str, types: dict[str, str] | None = None) -> str:
    """Return a docstring as Markdown: paragraphs as they stand, sections as lists.

    Args:
        text: of the docstring.
        types: of a class's fields, told beside their names.
    """
    lines = inspect.cleandoc(text).replace("``", "`").splitlines()
    parts, section = list[str](), ""
    kept: list[str] = []
    for line in [*lines, "Args:"]:
        match = _SECTION.match(line)
        if match is None:
            kept.append(line)
            continue
        parts.append(_section(section, kept, types or {}))
        section, kept = match[1], [f"    {match[2].strip()}"] if match[2].strip() else []
    return "\n".join(part for part in parts if part)


def _section(name: str, lines: Sequence[str], types: dict[str, str]) -> str:
    body = textwrap.dedent("\n".join(lines)).strip()
    if not name or not body:
        return f"{body}\n" if body else ""
    items = [" ".join(item.split()) for item in re.split(r"\n(?=\S)", body)]
    if name in ("Returns", "Yields"):
        return f"{name}: {' '.join(items)}\n"
    return f"{name}:\n\n" + "".join(f"- {_item(item, types)}\n" for item in items)


def _item(text: str, types: dict[str, str]) -> str:
    match = _ITEM.match(text)
    if match is None:
        return text
    names = [name.strip() for name in match[1].split(",")]
    told = ", ".join(f"`{name}`" for name in names)
    kind = f" ({types[names[0]]})" if names[0] in types else ""
    return f"{told}{kind}: {match[2]}"


def _errors() -> str:
    """Return the list of errors, each once, where it is defined."""
    rows = ["\n## Errors\n\n| error | is a | what it says |\n| --- | --- | --- |\n"]
    for name in ERRORS:
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == name:
                said = inspect.cleandoc(value.__doc__ or "").partition("\n\n")[0].replace("``", "`")
                rows.append(f"| `{name}.{key}` | {value.__bases__[0].__name__} | {' '.join(said.split())} |\n")
    return "".join(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Write or compare the page; exit status 1 when ``--check`` finds another text."""
    parser = argparse.ArgumentParser(prog="python -m docs.api", description="Write docs/api.md from docstrings.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 when it is out of date")
    options = parser.parse_args(argv)
    text = page()
    if not options.check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        sys.stderr.write("docs/api.md is not what the docstrings say; run make api\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

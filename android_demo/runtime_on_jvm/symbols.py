"""Jumps from what Android libraries import to what glibc, or our C file, has under that name.

Android's libraries ask for ``malloc@LIBC``; glibc has ``malloc@GLIBC_2.2.5``. A versioned name of the one and a jump to
the other fit them together: arguments stay where they are, variadic ones too.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from android_demo.errors import BuildError

OWN: Final = "bionic_"
_IMPORT: Final = re.compile(r"^\s*[Uw] ([^@\s]+)@(LIBC\w*)$")
_DEFINED: Final = re.compile(rf"^[0-9a-f]+ T {OWN}(\S+)$")
_DATA: Final = frozenset({"__sF", "stdin", "stdout", "stderr"})
"""Variables, which our C file names itself."""


def imports(libraries: Iterable[Path]) -> list[tuple[str, str]]:
    """Return (name, version) of all that the libraries take from Android's C library, sorted."""
    symbols = {
        (match[1], match[2])
        for library in libraries
        for line in _nm("-D", "--undefined-only", str(library))
        if (match := _IMPORT.match(line))
    }
    return sorted(symbols)


def defined(compiled: Path) -> frozenset[str]:
    """Return the names of Android's functions that our compiled C file has."""
    return frozenset(match[1] for line in _nm(str(compiled)) if (match := _DEFINED.match(line)))


def jumps(wanted: Sequence[tuple[str, str]], own: frozenset[str]) -> str:
    """Return assembly with a jump for each function.

    Args:
        wanted: (name, version).
        own: names that our C file has; the others are glibc's.
    """
    lines = [".text"]
    for name, version in wanted:
        if name in _DATA:
            continue
        target = OWN + name if name in own else name
        label = f"to_{version}_{name}"
        lines += [
            f".globl {label}",
            f".type {label}, @function",
            f".symver {label}, {name}@{version}",
            f"{label}: jmp *{target}@GOTPCREL(%rip)",
        ]
    return "\n".join([*lines, '.section .note.GNU-stack, "", @progbits', ""])


def versions(wanted: Sequence[tuple[str, str]]) -> str:
    """Return the linker's version script, which keeps everything else inside."""
    names: dict[str, list[str]] = {"LIBC": []}
    for name, version in wanted:
        names.setdefault(version, []).append(name)
    lines = []
    for version, exported in sorted(names.items()):
        rest = "local: *; " if version == "LIBC" else ""
        lines.append(f"{version} {{ global: {' '.join(f'{name};' for name in exported)} {rest}}};\n")
    return "".join(lines)


def _nm(*arguments: str) -> list[str]:
    try:
        done = subprocess.run(["nm", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"nm cannot read {arguments[-1]} ({error}); on Debian: apt-get install binutils") from error
    return done.stdout.splitlines()

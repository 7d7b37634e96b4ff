"""Versions as people write them: one, several, a range, all."""

from __future__ import annotations

from collections.abc import Sequence

from broker_server.errors import UsageError


def version_list(text: str, existing: Sequence[int]) -> list[int]:
    """Return the versions that ``text`` asks for, ascending, each once.

    Args:
        text: "4", "1,4", "2-5", "0,2-5", "all"; empty: the newest.
        existing: numbers of the versions that there are, ascending; numbers between them may be missing.

    Raises:
        UsageError: for anything else, and for a version that is not there.
    """
    if not text.strip():
        return list(existing[-1:])
    if text.strip() == "all":
        return list(existing)
    ranges = [_range(part.strip(), text) for part in text.split(",")]
    ends = {end for numbers in ranges for end in (numbers[0], numbers[-1])}
    missing = sorted(ends - set(existing))
    if missing:
        raise UsageError(f"no version {', '.join(map(str, missing))}; {_existing(existing)}")
    return sorted({number for numbers in ranges for number in numbers} & set(existing))


def _range(part: str, text: str) -> range:
    first, dash, last = part.partition("-")
    first, last = first.strip(), last.strip() if dash else first.strip()
    if not (first.isdecimal() and last.isdecimal()):
        raise UsageError(f"--version {text!r}: expected numbers like 4, 1,4 or 2-5, or all")
    if int(first) > int(last):
        raise UsageError(f"--version {text!r}: the range {part} ends before it begins")
    return range(int(first), int(last) + 1)


def _existing(existing: Sequence[int]) -> str:
    return f"there are {existing[0]} to {existing[-1]}, or say all" if existing else "there is none yet"

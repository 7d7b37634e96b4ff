"""Class files become Android's: D8, Android's dexer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from android_demo.apk import cache, parts, tools

MIN_API: Final = 26
"""Android 8; the manifest says the same."""
_HEAP: Final = "-Xmx2g"


def dex(folder: Path, jars: Sequence[Path], say: parts.Say) -> list[Path]:
    """Return classes.dex, classes2.dex and so on, of all classes of the jars.

    Raises:
        BuildError: with the dexer's lines.
    """
    files = parts.fetch((parts.DEXER, parts.PLATFORM), say)

    def make(work: Path) -> None:
        say(f"dex {len(jars)} jars")
        command = ("java", _HEAP, "-cp", files[parts.DEXER], "com.android.tools.r8.D8")
        options = ("--release", "--min-api", str(MIN_API), "--thread-count", "2")
        platform = ("--lib", files[parts.PLATFORM], "--lib", tools.jdk())
        tools.run(*command, *options, *platform, "--output", work, *jars)

    key = cache.key(parts.DEXER, parts.PLATFORM, files=[Path(__file__), *jars])
    return sorted(cache.kept(folder, "dex", key, make).glob("*.dex"), key=lambda file: (len(file.name), file.name))

"""Programs that a build starts: found, or missing with the command that gets them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from android_demo.errors import BuildError

OLDEST_JDK: Final = 17
DEBIAN: Final = {
    "aapt2": "aapt",
    "apksigner": "apksigner",
    "java": "openjdk-17-jdk-headless",
    "javac": "openjdk-17-jdk-headless",
    "keytool": "openjdk-17-jdk-headless",
    "mvn": "maven",
    "npm": "npm",
}
"""Debian's package of each program; `make android-tools` installs what is missing."""
_LINES: Final = 5
_SECONDS: Final = 900


def missing(programs: tuple[str, ...] = tuple(DEBIAN)) -> list[str]:
    """Return what a build lacks here, in words, each with what gets it."""
    lacking = [
        f"{program} (on Debian and Ubuntu: apt-get install {DEBIAN[program]})"
        for program in programs
        if shutil.which(program) is None
    ]
    version = jdk_version() if shutil.which("javac") else OLDEST_JDK
    if version < OLDEST_JDK:
        lacking.append(f"a JDK from {OLDEST_JDK} on, javac is {version} (apt-get install {DEBIAN['javac']})")
    return lacking


def jdk_version() -> int:
    """Return the major version of javac."""
    said = subprocess.run(["javac", "-version"], capture_output=True, text=True, check=False)
    number = re.search(r"javac (\d+)", said.stdout + said.stderr)
    return int(number[1]) if number else 0


def jdk() -> Path:
    """Return the folder of the JDK that javac belongs to."""
    return Path(shutil.which("javac") or "javac").resolve().parent.parent


def run(*command: str | Path, folder: Path | None = None, hidden: str = "") -> str:
    """Run a program to its end and return what it printed.

    Args:
        command: program and arguments.
        folder: to run in.
        hidden: a secret that must not be in a message.

    Raises:
        BuildError: with the program's last lines.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_SECONDS, cwd=folder)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{words[0]} did not finish: {error}") from error
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-_LINES:]
        text = f"{words[0]} failed ({done.returncode}): " + ("; ".join(lines) or "it said nothing")
        raise BuildError(text.replace(hidden, "***") if hidden else text)
    return done.stdout

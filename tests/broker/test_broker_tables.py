"""Tables as a terminal shows them: in colour, and within its width; a pipe gets the words alone, whole."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from tiny_gateway import Gateway

LONG = "the-phone-that-stands-in-the-kitchen-of-somebody"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state with a device of a long name, and one whose delta was refused."""
    gateway = Gateway(tmp_path / "state", tiny.make_package(tmp_path / "package"))
    gateway.hello(LONG, "b")
    gateway.tick()
    gateway.train("b", value=float("nan"))
    gateway.close()
    return tmp_path / "state"


def on_terminal(*arguments: str) -> str:
    """Return what a command shows on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment = {**kept, "COLUMNS": "80", "TERM": "xterm"}
    command = [sys.executable, "-m", "broker_server", *arguments]
    done = subprocess.run(command, stdout=theirs, env=environment, check=False)
    os.close(theirs)
    assert done.returncode in (0, 1)
    text = os.read(ours, 1 << 16).decode().replace("\r\n", "\n")
    os.close(ours)
    return text


def test_a_terminal_gets_colour_and_no_line_beyond_its_width(state: Path) -> None:
    """The long name gives way, cut with a mark; what was refused is yellow."""
    text = on_terminal("devices", "--state", str(state))
    assert "\x1b[33m" in text
    plain = COLOUR.sub("", text)
    assert max(map(len, plain.splitlines())) <= 80
    assert any(line.startswith("the-") and "…" in line for line in plain.splitlines())
    assert "\x1b[1;31mnot running" in on_terminal("status", "--state", str(state))


def test_a_pipe_gets_the_words_alone(state: Path) -> None:
    """No colour, and every name whole: a program may look for it."""
    command = [sys.executable, "-m", "broker_server", "devices", "--state", str(state)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in text
    assert LONG in text
    assert len({line.index("tiny") for line in text.splitlines()[1:]}) == 1

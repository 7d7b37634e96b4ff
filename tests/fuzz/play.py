"""An input as a list of acts, done one after the other on something whole in a folder of its own."""

from __future__ import annotations

import abc
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fuzz.scratch import scratch

_ACTS_LIMIT: Final = 24


class Play(abc.ABC):
    """What is played with, and the bytes that say how. Args: data: the acts that are left."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        """Return the next byte; 0 at the end."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def rest(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        self._at += size
        return self._data[self._at - size : self._at]

    @property
    def left(self) -> bool:
        """Whether there are acts left."""
        return self._at < len(self._data)

    @abc.abstractmethod
    def act(self) -> None:
        """Do the next thing."""

    @abc.abstractmethod
    def check(self) -> None:
        """State what holds after every act."""

    @abc.abstractmethod
    def outcome(self) -> str:
        """Return what became of it, in few words."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give files back."""


def play_through(begin: Callable[[Path, bytes], Play], data: bytes) -> str:
    """Do all acts of an input, and check after each; return the outcome. Args: begin: of a folder and the acts."""
    folder = Path(tempfile.mkdtemp(dir=scratch()))
    play = begin(folder, data)
    try:
        acts = 0
        while play.left and acts < _ACTS_LIMIT:
            play.act()
            play.check()
            acts += 1
        return play.outcome()
    finally:
        play.close()
        shutil.rmtree(folder, ignore_errors=True)

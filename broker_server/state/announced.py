"""HEAD: the newest version that may have been announced, in a file of its own outside of the ledger.

A damaged or lost write-ahead log, or an older ledger that was put back, makes SQLite forget commits without a word.
HEAD is on the disk before a version's commit, and so before anybody is told of it: a start that finds the ledger behind
it knows what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker_server.state.files import read_sealed, seal, write_durably

NAME: Final = "HEAD"


@dataclass(frozen=True)
class Announced:
    """Args: version: its number; digest: of its blocks; round: the last one whose plans may have gone out."""

    version: int
    digest: bytes
    round: int

    def write(self, folder: Path) -> None:
        """Put it in place of what was announced before.

        Raises:
            StorageError: when the disk refuses.
        """
        tree = {"version": self.version, "digest": self.digest.hex(), "round": self.round}
        write_durably(folder / NAME, seal(tree))

    @classmethod
    def read(cls, folder: Path) -> Announced | None:
        """Return what a state directory's HEAD says; None when there is none.

        Raises:
            StateError: when it is damaged.
        """
        return read_sealed(
            folder / NAME,
            lambda tree: cls(int(tree["version"]), bytes.fromhex(tree["digest"]), int(tree["round"])),
        )

"""Versions outside of the ledger: one sealed file each, with all that its transaction puts into the ledger.

A file is on the disk before HEAD names its version, and HEAD before the ledger's commit. So whatever happens to the
ledger, an announced version can be put back into it: its row, the deltas that it was made from, each of which counts
once, also after that, and settings and trust that changed with it.

The newest version has a copy of its whole bank beside it (N.bank, its blocks one after the other), from which a block
whose own file is damaged comes back.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker_server.state.files import read_sealed, seal, write_durably
from broker_server.state.rows import DeltaRow, TrustRow, VersionRow
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import ExpertId

_BANK: Final = ".bank"
_BYTES: Final = ("digest", "payload", "residuals")
"""Fields of a version's row that a file has in hex."""


@dataclass(frozen=True)
class VersionRecord:
    """What goes into the ledger with a version.

    Args:
        row: of the ledger.
        deltas: that it was merged from, in the order of folding, those of distrusted devices among them.
        settings: that go with it.
        trust: of the devices whose deltas these are, after it.
    """

    row: VersionRow
    deltas: tuple[DeltaRow, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    trust: tuple[TrustRow, ...] = ()


@dataclass(frozen=True)
class VersionFiles:
    """Args: folder: one file for each version, named by its number."""

    folder: Path

    def keep(self, record: VersionRecord) -> None:
        """Write a version's file; one of a version that was never announced is replaced.

        Raises:
            StorageError: when the disk refuses.
        """
        row = dataclasses.asdict(record.row)
        row |= {name: row[name].hex() for name in _BYTES}
        tree: dict[str, Any] = {
            "row": row,
            "deltas": [_plain(delta) for delta in record.deltas],
            "settings": dict(record.settings),
        }
        if record.trust:
            tree["trust"] = [[one.device, one.trust, one.left_out_since] for one in record.trust]
        write_durably(self._path(record.row.version), seal(tree))

    def read(self, number: int) -> VersionRecord | None:
        """Return a version's record; None when there is none.

        Raises:
            StateError: when its file is damaged.
        """
        return read_sealed(self._path(number), _record)

    def keep_bank(self, number: int, blocks: Iterable[bytes]) -> None:
        """Write the copy of a version's bank. Args: blocks: their bytes, in the order of the version's message.

        Raises:
            StorageError: when the disk refuses.
        """
        write_durably(self._path(number).with_suffix(_BANK), b"".join(blocks))

    def has_bank(self, number: int) -> bool:
        """Return whether there is a copy of a version's bank."""
        return self._path(number).with_suffix(_BANK).exists()

    def blocks(self, sizes: Sequence[int]) -> dict[bytes, bytes]:
        """Return the blocks in all copies by digest. Args: sizes: bytes of each block, in the order of a message."""
        blocks: dict[bytes, bytes] = {}
        for path in sorted(self.folder.glob(f"*{_BANK}")):
            with contextlib.suppress(OSError):
                data, place = path.read_bytes(), 0
                for size in sizes:
                    block = data[place : place + size]
                    blocks[sha256(block)] = block
                    place += size
        return blocks

    def numbers(self) -> list[int]:
        """Return the versions that have a file, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())

    def sweep(self, wanted: Iterable[int], copies: int = 1) -> None:
        """Delete every file but those of the versions that are wanted, and every copy but those of the last of them.

        Args:
            wanted: numbers, ascending.
            copies: that stay.
        """
        paths = [self._path(number) for number in wanted]
        keep = {path.name for path in (*paths, *(path.with_suffix(_BANK) for path in paths[-copies:]))}
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in keep:
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}"


def _plain(delta: DeltaRow) -> dict[str, Any]:
    return vars(delta) | {  # not asdict, which copies every block of every delta first
        "digest": delta.digest.hex(),
        "norms": dict(delta.norms),
        "blocks": [[block.layer, block.index] for block in delta.blocks],
    }


def _record(tree: dict[str, Any]) -> VersionRecord:
    row = tree["row"]
    row |= {name: bytes.fromhex(row[name]) for name in _BYTES if name in row}  # older files have no residuals
    deltas = tuple(_delta(delta) for delta in tree["deltas"])
    trust = tuple(TrustRow(*one) for one in tree.get("trust", ()))
    return VersionRecord(VersionRow(**row), deltas, tree.get("settings", {}), trust)


def _delta(tree: dict[str, Any]) -> DeltaRow:
    blocks = tuple(ExpertId(layer, index) for layer, index in tree["blocks"])
    return DeltaRow(**(tree | {"digest": bytes.fromhex(tree["digest"]), "blocks": blocks}))

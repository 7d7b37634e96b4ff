"""Accepted deltas until the merge after theirs: written and synced before their devices are told so.

A body that was accepted alone is a file, ``{digest}.delta``. Bodies that were accepted together are one file,
``{digest of their digests}.group``, so that the disk is waited for once: a header that says where each begins, then one
after the other (``group_file``). Each body is compared with its digest when it is read, wherever it stands. A group
stays until nobody needs any of its bodies. The deltas of the newest merge stay, so that the version can be made again
from its parent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker_server.errors import BodyError, StateError
from broker_server.state.files import write_durably
from broker_server.state.group_file import GROUP, Place, group_header, group_name, read_header
from edge_runtime.wire.digests import sha256

_SUFFIX = ".delta"


@dataclass(frozen=True)
class Spool:
    """Args: folder: of the files."""

    folder: Path
    _groups: dict[str, dict[bytes, Place]] = field(default_factory=dict, repr=False, compare=False)
    _known: dict[bytes, Place] = field(default_factory=dict, repr=False, compare=False)

    def keep(self, digest: bytes, body: bytes) -> None:
        """Write a body durably.

        Raises:
            StorageError: when the disk refuses.
        """
        write_durably(self._path(digest), body)
        self._known[digest] = Place(self._path(digest).name)

    def keep_all(self, bodies: Sequence[tuple[bytes, bytes]]) -> None:
        """Write bodies durably, all of them or none. Args: bodies: (digest, body), each digest once.

        Raises:
            StorageError: when the disk refuses.
        """
        if len(bodies) == 1:
            self.keep(*bodies[0])
        if len(bodies) <= 1:
            return
        name, header = group_name(digest for digest, _ in bodies), group_header(bodies)
        write_durably(self.folder / name, header, *(body for _, body in bodies))
        self._groups[name] = read_header(name, header)
        self._known.update(self._groups[name])

    def read(self, digest: bytes) -> bytes:
        """Return a body, which was compared with its digest.

        Raises:
            BodyError: when it is missing or was changed.
        """
        failure = ""
        for place in self._places(digest):
            path = self.folder / place.name
            try:
                body = place.read(self.folder)
            except OSError as error:
                failure = failure or f"accepted delta {path} cannot be read: {error.strerror}"
                continue
            if sha256(body) == digest:
                self._known[digest] = place
                return body
            failure = f"accepted delta {path} was changed: {len(body)} bytes with another digest than {_short(digest)}"
        raise BodyError(failure)

    def where(self, digest: bytes) -> str:
        """Return the name of the file that has a body, or should have it."""
        return next(self._places(digest)).name

    def bodies(self, besides: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Yield (digest, body) of every whole body but those of the digests ``besides``, by digest."""
        self._look_through()
        digests = {digest for places in self._groups.values() for digest in places}
        for path in self.folder.glob(f"*{_SUFFIX}") if self.folder.is_dir() else ():
            with contextlib.suppress(ValueError):
                digests.add(bytes.fromhex(path.name.removesuffix(_SUFFIX)))
        for digest in sorted(digests - set(besides)):
            with contextlib.suppress(StateError):
                yield digest, self.read(digest)

    def sweep(self, wanted: Iterable[bytes]) -> int:
        """Delete every body but those wanted, and halves that a kill left; return how many files went.

        A group goes when none of its bodies is wanted.
        """
        wanted = set(wanted)
        self._look_through()
        keep = {self._path(digest).name for digest in wanted}
        keep |= {name for name, places in self._groups.items() if not wanted.isdisjoint(places)}
        gone = 0
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name not in keep:
                with contextlib.suppress(OSError):
                    path.unlink()
                    gone += 1
        self._forget(keep, wanted)
        return gone

    def _forget(self, keep: set[str], wanted: set[bytes]) -> None:
        for name in set(self._groups) - keep:
            del self._groups[name]
        for digest in [one for one, place in self._known.items() if one not in wanted or place.name not in keep]:
            del self._known[digest]

    def _places(self, digest: bytes) -> Iterator[Place]:
        """Yield where a body may stand: where it was last, alone, then in groups. A damaged one may have come again."""
        known, alone = self._known.get(digest), Place(self._path(digest).name)
        if known is not None:
            yield known
        there = (self.folder / alone.name).exists()
        if there and alone != known:
            yield alone
        grouped = self._grouped(digest)
        if not grouped:
            self._look_through()
            grouped = self._grouped(digest)
        yield from (place for place in grouped if place != known)
        if not (there or grouped or known):
            yield alone

    def _grouped(self, digest: bytes) -> list[Place]:
        return [places[digest] for places in self._groups.values() if digest in places]

    def _look_through(self) -> None:
        """Read the headers of groups that are new here; one that is damaged has no bodies."""
        if self.folder.is_dir():
            for path in sorted(self.folder.glob(f"*{GROUP}")):
                if path.name not in self._groups:
                    with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
                        self._groups[path.name] = read_header(path.name, file)

    def _path(self, digest: bytes) -> Path:
        return self.folder / f"{digest.hex()}{_SUFFIX}"


def _short(digest: bytes) -> str:
    return digest.hex()[:12]

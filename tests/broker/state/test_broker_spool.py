"""Bodies that were accepted together: one file, each with its digest, found again, damaged alone, swept together."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_server.errors import StateError
from broker_server.state.spool import Spool
from edge_runtime.wire.digests import sha256

BODIES = [b"one", b"two two", b"three three three"]
DIGESTS = [sha256(body) for body in BODIES]


def grouped(folder: Path) -> Path:
    """Write the bodies as a group; return its file."""
    Spool(folder).keep_all(list(zip(DIGESTS, BODIES, strict=True)))
    (file,) = folder.iterdir()
    return file


def whole(folder: Path) -> list[bytes | None]:
    """Return each body as another process reads it; None for those that cannot be read."""
    bodies: list[bytes | None] = []
    for digest in DIGESTS:
        try:
            bodies.append(Spool(folder).read(digest))
        except StateError:
            bodies.append(None)
    return bodies


def test_bodies_that_came_together_are_one_file(tmp_path: Path) -> None:
    """Whoever wrote it and whoever comes later reads each; its name says where they stand."""
    spool = Spool(tmp_path)
    spool.keep_all(list(zip(DIGESTS, BODIES, strict=True)))
    (file,) = tmp_path.iterdir()
    assert [spool.read(digest) for digest in DIGESTS] == BODIES
    assert whole(tmp_path) == BODIES
    assert {spool.where(digest) for digest in DIGESTS} == {file.name}
    assert file.stat().st_size == 8 + 4 + 3 * 40 + 32 + sum(map(len, BODIES))


def test_a_body_alone_is_a_file_of_its_own(tmp_path: Path) -> None:
    """As it always was, so that a spool of an older gateway is read too; no bodies are no file."""
    spool = Spool(tmp_path / "spool")
    spool.keep_all([])
    assert not spool.folder.exists()
    spool.keep_all([(DIGESTS[0], BODIES[0])])
    assert [path.name for path in spool.folder.iterdir()] == [f"{DIGESTS[0].hex()}.delta"]


def test_bodies_that_nobody_knows_are_told_whole_ones_only(tmp_path: Path) -> None:
    """From groups and alone, by digest, without those that are known already."""
    grouped(tmp_path)
    Spool(tmp_path).keep(sha256(b"alone"), b"alone")
    (tmp_path / f"{'0' * 64}.delta").write_bytes(b"another digest")
    want = sorted([*zip(DIGESTS[1:], BODIES[1:], strict=True), (sha256(b"alone"), b"alone")])
    assert list(Spool(tmp_path).bodies([DIGESTS[0]])) == want


@pytest.mark.parametrize("body", range(3))
def test_a_flipped_bit_costs_one_body_of_a_group(tmp_path: Path, body: int) -> None:
    """The others are whole."""
    file = grouped(tmp_path)
    data = bytearray(file.read_bytes())
    data[8 + 4 + 3 * 40 + 32 + sum(map(len, BODIES[:body]))] ^= 1
    file.write_bytes(data)
    assert whole(tmp_path) == [None if number == body else one for number, one in enumerate(BODIES)]


def test_a_group_that_was_cut_off_keeps_what_is_before_the_cut(tmp_path: Path) -> None:
    """A cut in the header costs all of them: each is then asked for again."""
    file = grouped(tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    assert whole(tmp_path) == [*BODIES[:2], None]
    for size in (0, 5, 11, 100, 163):
        file.write_bytes(data[:size])
        assert whole(tmp_path) == [None] * 3


def test_any_damage_of_the_header_is_noticed(tmp_path: Path) -> None:
    """No body is read from a wrong place, and a count of four thousand million is not believed."""
    file = grouped(tmp_path)
    data = file.read_bytes()
    for place in range(8 + 4 + 3 * 40 + 32):
        file.write_bytes(data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :])
        assert whole(tmp_path) == [None] * 3, place


def test_a_damaged_body_that_comes_again_takes_its_place(tmp_path: Path) -> None:
    """Alone or in another group; also for the process that knew where it was before."""
    file = grouped(tmp_path)
    spool = Spool(tmp_path)
    assert spool.read(DIGESTS[0]) == BODIES[0]
    file.write_bytes(bytes(len(file.read_bytes())))
    with pytest.raises(StateError, match="was changed"):
        spool.read(DIGESTS[0])
    spool.keep(DIGESTS[0], BODIES[0])
    spool.keep_all([(DIGESTS[2], BODIES[2]), (DIGESTS[1], BODIES[1])])
    assert [spool.read(digest) for digest in DIGESTS] == whole(tmp_path) == BODIES


def test_a_group_stays_while_one_of_its_bodies_is_wanted(tmp_path: Path) -> None:
    """Then it goes as one, and halves that a kill left with it."""
    file = grouped(tmp_path)
    (tmp_path / f".{file.name}.1.part").write_bytes(b"half")
    spool = Spool(tmp_path)
    assert spool.sweep([DIGESTS[1]]) == 1
    assert spool.read(DIGESTS[1]) == BODIES[1]
    assert spool.sweep([]) == 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StateError, match=r"cannot be read: No such file"):
        spool.read(DIGESTS[1])

"""Bodies in pieces that outlive a restart."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import Assembler, Cut
from edge_runtime.wire.messages import decode
from edge_runtime.wire.piece_files import PieceFiles
from edge_runtime.wire.resumable import ResumableBodies

CUT = Cut.of(bytes(range(40)), pb.DELTA, 10)  # four chunks


def _bodies(folder: Path) -> ResumableBodies:
    return ResumableBodies(Assembler(), PieceFiles(folder))


def _chunk(index: int) -> pb.Chunk:
    return decode(pb.Chunk, CUT.chunk(index))


def _kept(folder: Path, *indexes: int) -> ResumableBodies:
    bodies = _bodies(folder)
    for index in indexes:
        bodies.add("a", _chunk(index))
    bodies.save("a", CUT.digest)
    return bodies


def test_whoever_starts_anew_needs_the_rest_alone(tmp_path: Path) -> None:
    """Two of four chunks were kept, so the other two complete the body; its file goes when it is forgotten."""
    _kept(tmp_path, 0, 2)
    anew = _bodies(tmp_path)
    assert anew.take_up(1000, lambda _sender, _chunk: True) == [("a", CUT.digest)]
    assert anew.add("a", _chunk(1)) is None
    assert anew.add("a", _chunk(3)) == CUT.body
    assert len(list(tmp_path.iterdir())) == 1
    anew.forget("a", CUT.digest)
    assert not list(tmp_path.iterdir())


def test_pieces_that_were_written_are_not_written_again(tmp_path: Path) -> None:
    """Saving twice leaves the file as it is; a further piece is added to it."""
    bodies = _kept(tmp_path, 0)
    [file] = tmp_path.iterdir()
    size = file.stat().st_size
    bodies.save("a", CUT.digest)
    assert file.stat().st_size == size
    bodies.add("a", _chunk(1))
    bodies.save("a", CUT.digest)
    assert file.stat().st_size > size


def test_files_of_no_use_go(tmp_path: Path) -> None:
    """Pieces that nobody here can use are neither taken up nor kept."""
    _kept(tmp_path, 0, 1)
    anew = _bodies(tmp_path)
    assert anew.take_up(1000, lambda sender, _chunk: sender != "a") == []
    assert anew.held_bytes == 0
    assert not list(tmp_path.iterdir())


def test_a_body_that_there_is_no_room_for_leaves_no_file(tmp_path: Path) -> None:
    """What the assembler refuses is dropped on the disk as well."""
    _kept(tmp_path, 0, 1)
    small = ResumableBodies(Assembler(body_limit=39), PieceFiles(tmp_path))
    assert small.take_up(1000, lambda _sender, _chunk: True) == []
    assert not list(tmp_path.iterdir())

"""Banks beyond the shared vectors: blocks are views of the right rows, files are bounded, shapes have limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.wire.bank import Bank
from edge_runtime.wire.errors import BankError, WireError
from edge_runtime.wire.experts import HEAD, MEAN, RESERVED, BankShape, ExpertId, head_parts, shared_expert

SHAPE = BankShape(layers=(0, 3), experts=2, rank=2, shared_rank=1, width=4, labels=3)
FEDERATION = bytes(range(32))


def counted(shape: BankShape) -> Bank:
    """Return a bank whose values count up."""
    bank = Bank.zeros(shape)
    start = 0
    for name in ("experts", "shared", "head", "mean"):
        array = getattr(bank, name)
        array[...] = np.arange(start, start + array.size, dtype=np.float32).reshape(array.shape)
        start += array.size
    return bank


def test_sizes_of_blocks() -> None:
    """P = 2(r+1)d + r = 26, Ps = (2rs+1)d + rs = 13, head (d+1)C = 15."""
    assert (SHAPE.expert_size, SHAPE.shared_size, SHAPE.head_size) == (26, 13, 15)
    assert [part.size for part in head_parts(4, 3)] == [12, 3]
    assert [str(block) for block in SHAPE.ids()] == ["0.0", "0.1", "0.shared", "3.0", "3.1", "3.shared", "head", "mean"]
    assert str(ExpertId(RESERVED, 7)) == "reserved.7"


def test_blocks_are_the_rows_of_their_layer() -> None:
    """Layer 3 is the second row, though its number is 3."""
    bank = counted(SHAPE)
    assert bank.block(ExpertId(3, 1))[0] == 3 * 26
    assert bank.block(shared_expert(3))[0] == 4 * 26 + 13
    assert bank.block(HEAD)[0] == 4 * 26 + 2 * 13
    assert bank.block(MEAN)[-1] == 4 * 26 + 2 * 13 + 15 + 4 - 1


@pytest.mark.parametrize(
    "block", [ExpertId(1, 0), ExpertId(0, 2), ExpertId(0, -1), ExpertId(RESERVED, 2), ExpertId(RESERVED, RESERVED)]
)
def test_blocks_that_are_not_there(block: ExpertId) -> None:
    """Another layer, another index, a reserved number."""
    with pytest.raises(BankError, match="no block"):
        Bank.zeros(SHAPE).block(block)


def test_no_shared_expert_without_a_shared_rank() -> None:
    """Rs = 0: the tensor is there and empty, the blocks are not; the file comes back all the same."""
    shape = BankShape((0,), 1, 1, 0, 2, 1)
    bank = counted(shape)
    assert shape.ids() == (ExpertId(0, 0), HEAD, MEAN)
    with pytest.raises(BankError):
        shape.size(shared_expert(0))
    again = Bank.from_bytes(bank.to_bytes(FEDERATION), shape, FEDERATION)
    assert again.digest() == bank.digest()
    assert again.shared.shape == (1, 0)


def test_replacing_changes_only_what_is_named() -> None:
    """The other blocks are bit-identical, and the old bank is untouched."""
    bank = counted(SHAPE)
    before = bank.digests()
    block = ExpertId(0, 1)
    after = bank.replace({block: np.zeros(26, np.float32)})
    assert bank.digests() == before
    changed = {name for name, digest in after.digests().items() if digest != before[name]}
    assert changed == {block}
    with pytest.raises(BankError, match=r"shape \[25\], expected \[26\]"):
        bank.replace({block: np.zeros(25, np.float32)})
    with pytest.raises(BankError, match="no block"):
        bank.replace({ExpertId(9, 9): np.zeros(26, np.float32)})


def test_a_bank_is_put_together_from_all_its_blocks() -> None:
    """from_blocks is the inverse of block, and names what lacks."""
    bank = counted(SHAPE)
    blocks = {block: bank.block(block) for block in SHAPE.ids()}
    assert Bank.from_blocks(SHAPE, blocks).digest() == bank.digest()
    del blocks[HEAD]
    with pytest.raises(BankError, match="1 blocks of the bank are missing: head"):
        Bank.from_blocks(SHAPE, blocks)


def test_wrong_tensors_are_no_bank() -> None:
    """A shape or dtype that differs is refused when the bank is made; NaN when it is hashed."""
    bank = Bank.zeros(SHAPE)
    with pytest.raises(BankError, match=r"mean is float64\[4\], expected float32\[4\]"):
        Bank(SHAPE, bank.experts, bank.shared, bank.head, np.zeros(4))  # type: ignore[arg-type]
    bank.mean[0] = np.nan
    with pytest.raises(WireError, match="NOT_FINITE"):
        bank.digest()


def test_files(tmp_path: Path) -> None:
    """Written, read, missing, a folder, and larger than any such bank."""
    path = tmp_path / "bank.safetensors"
    bank = counted(SHAPE)
    path.write_bytes(bank.to_bytes(FEDERATION))
    assert Bank.read(path, SHAPE, FEDERATION).digest() == bank.digest()
    path.write_bytes(bank.to_bytes(FEDERATION) + bytes(2 * 1024 * 1024))
    with pytest.raises(BankError, match="has over"):
        Bank.read(path, SHAPE, FEDERATION)
    with pytest.raises(BankError, match="cannot read bank"):
        Bank.read(tmp_path / "none", SHAPE, FEDERATION)
    with pytest.raises(BankError, match="cannot read bank"):
        Bank.read(tmp_path, SHAPE, FEDERATION)


GOOD = counted(SHAPE).to_bytes(FEDERATION)


def outcome_of(data: bytes) -> str:
    """Return the digest of the bank in ``data``, or the text with which it is refused."""
    try:
        return Bank.from_bytes(data, SHAPE, FEDERATION).digest().hex()
    except BankError as error:
        return str(error)


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=20))
def test_damaged_files_raise_only_bank_errors(start: int, stop: int, piece: bytes) -> None:
    """Bytes cut out, doubled and put in, mostly in the header."""
    data = GOOD[:start] + piece + GOOD[stop:]
    outcome = outcome_of(data)
    assert "\n" not in outcome


@given(st.text(alphabet='{}[]":,0123456789abeinsxF_', max_size=60))
def test_hostile_headers_raise_only_bank_errors(header: str) -> None:
    """Any text where the table of tensors should stand."""
    data = len(header).to_bytes(8, "little") + header.encode() + bytes(64)
    with pytest.raises(BankError):
        Bank.from_bytes(data, SHAPE, FEDERATION)


def test_default_bank_is_far_from_the_limits() -> None:
    """MiniLM with 8 experts of rank 8 in 12 layers; a 7B-sized bank of 64 experts in 32 layers fits too."""
    assert len(BankShape(tuple(range(12)), 8, 8, 8, 384, 150).ids()) == 12 * 9 + 2
    assert len(BankShape(tuple(range(32)), 64, 8, 8, 4096, 2).ids()) == 32 * 65 + 2

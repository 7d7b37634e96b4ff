"""The prefix cache: bounded, shared, never trusted, never needed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_runtime.data.prefix_cache import PrefixCache

KEY = b"\1" * 32
BLOCKS = 8192  # what an entry of 5,000 bytes takes on a disk of 4 KiB blocks


def opened(folder: Path, limit_mb: float = 1.0) -> PrefixCache:
    """Return a cache that has no reason to complain."""
    return PrefixCache(folder, limit_mb, pytest.fail)


def key(number: int) -> bytes:
    """Return a key."""
    return number.to_bytes(32, "big")


def age(folder: Path) -> None:
    """Let every entry have been used an hour ago, the one with the smallest key first."""
    for place, path in enumerate(sorted(folder.iterdir())):
        os.utime(path, (path.stat().st_mtime - 3600 + place,) * 2)


def test_what_was_kept_is_found_also_by_the_next_process(tmp_path: Path) -> None:
    """Hits, misses and bytes are counted."""
    cache = opened(tmp_path / "cache")
    assert cache.get(KEY) is None
    cache.put(KEY, b"value" * 1000)
    assert cache.get(KEY) == b"value" * 1000
    assert (cache.use.hits, cache.use.misses, cache.use.bytes) == (1, 1, BLOCKS)
    later = opened(tmp_path / "cache")
    assert later.get(KEY) == b"value" * 1000
    assert (later.use.bytes, later.use.limit_bytes) == (BLOCKS, 1_000_000)


def test_only_the_owner_may_look(tmp_path: Path) -> None:
    """Folder 0700, entries 0600: a prefix tells about the text that it was computed from."""
    opened(tmp_path / "a" / "cache").put(KEY, b"value")
    folder = tmp_path / "a" / "cache"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda data: data[:-1],
    "one bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "another magic": lambda data: b"edgepf99" + data[8:],
    "longer": lambda data: data + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_a_miss_and_goes(tmp_path: Path, damage: str) -> None:
    """Whatever happened to the file; then the entry can be kept anew."""
    cache = opened(tmp_path)
    cache.put(KEY, b"value" * 100)
    (path,) = tmp_path.iterdir()
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert cache.get(KEY) is None
    assert (cache.use.damaged, cache.use.misses) == (1, 1)
    assert not path.exists()
    cache.put(KEY, b"value" * 100)
    assert cache.get(KEY) == b"value" * 100


def test_a_link_is_no_entry(tmp_path: Path) -> None:
    """Somebody else's file is not read."""
    cache = PrefixCache(tmp_path / "cache", 1, lambda _: None)
    (tmp_path / "cache" / KEY.hex()).symlink_to(tmp_path / "other")
    (tmp_path / "other").write_bytes(b"secret")
    assert cache.get(KEY) is None


def test_an_epoch_over_too_many_examples_still_finds_those_that_fit(tmp_path: Path) -> None:
    """0.1 MB hold 12 entries of two blocks; of 40 in a second epoch the same 12 are found, and the size holds."""
    cache = opened(tmp_path, 0.1)
    for _ in range(2):
        for number in range(40):
            if cache.get(key(number)) is None:
                cache.put(key(number), b"x" * 5000)
    assert cache.use.hits == 12
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir()) == cache.use.bytes == 12 * BLOCKS


def test_what_nobody_uses_any_more_makes_room_the_longest_unused_first(tmp_path: Path) -> None:
    """Twelve entries of an earlier run fill the cache; this run uses the first, and the next ones go for its new."""
    earlier = opened(tmp_path, 0.1)
    for number in range(12):
        earlier.put(key(number), b"x" * 5000)
    age(tmp_path)
    cache = opened(tmp_path, 0.1)
    assert cache.get(key(0)) is not None
    cache.put(key(100), b"y" * 5000)
    assert cache.get(key(100)) is not None
    assert cache.get(key(0)) is not None
    assert cache.get(key(1)) is None
    assert cache.get(key(11)) is not None
    assert cache.use.bytes <= 100_000


def test_switched_off_it_touches_nothing(tmp_path: Path) -> None:
    """Size 0: no folder, no hit."""
    cache = opened(tmp_path / "cache", 0)
    cache.put(KEY, b"value")
    assert cache.get(KEY) is None
    assert not (tmp_path / "cache").exists()


def test_the_folder_may_be_deleted_at_any_time(tmp_path: Path) -> None:
    """Then everything is a miss, and new entries make the folder anew."""
    cache = opened(tmp_path / "cache")
    cache.put(KEY, b"value")
    shutil.rmtree(tmp_path / "cache")
    assert cache.get(KEY) is None
    cache.put(KEY, b"value")
    assert cache.get(KEY) == b"value"
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_said_once(tmp_path: Path) -> None:
    """A file stands in its place: work goes on without the cache."""
    (tmp_path / "cache").write_text("in the way")
    said: list[str] = []
    cache = PrefixCache(tmp_path / "cache", 1, said.append)
    for _ in range(3):
        cache.put(KEY, b"value")
    assert len(said) == 1
    assert "going on, keeping nothing new" in said[0]


_FULL = """
import resource, signal, sys
from pathlib import Path
from edge_runtime.data.prefix_cache import PrefixCache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
said = []
cache = PrefixCache(Path(sys.argv[1]), 1, said.append)
cache.put(b"1" * 32, b"before")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # the kernel refuses longer files, as a full disk would
cache.put(b"2" * 32, b"x" * 5000)
cache.put(b"3" * 32, b"x" * 5000)
assert cache.get(b"1" * 32) == b"before" and cache.get(b"2" * 32) is None
assert len(said) == 1 and "going on, keeping nothing new" in said[0], said
"""


def test_a_disk_that_takes_no_more_is_said_once_and_what_is_there_is_still_found(tmp_path: Path) -> None:
    """No half-written file stays."""
    run = [sys.executable, "-c", _FULL, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [(b"1" * 32).hex()]


_BESIDE = """
import random, sys
from pathlib import Path
from edge_runtime.data.prefix_cache import PrefixCache
cache = PrefixCache(Path(sys.argv[1]), 0.4, lambda line: sys.exit(line))
draw = random.Random(int(sys.argv[2]))
for _ in range(3000):
    number = draw.randrange(200)
    key, value = number.to_bytes(32, "big"), bytes([number]) * (2000 + number)
    found = cache.get(key)
    if found is None:
        cache.put(key, value)
    else:
        assert found == value
print(cache.use.hits, cache.use.damaged)
"""


def test_processes_share_a_folder(tmp_path: Path) -> None:
    """Three at once, more entries than room: every value found is whole, and the size holds but for one share each."""
    here = Path(__file__).parents[3]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _BESIDE, str(tmp_path), str(seed)], stdout=subprocess.PIPE, text=True, cwd=here
        )
        for seed in range(3)
    ]
    printed = [run.communicate()[0].split() for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert all(int(hits) > 300 and damaged == "0" for hits, damaged in printed)
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir()) <= 400_000 * (1 + 2 / 16) + 3 * 4096

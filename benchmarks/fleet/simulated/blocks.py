"""Who waits for which blocks. Those that lack the same and asked together are a wave: they hear the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.fleet.simulated.device import Device

Lacking = tuple[bytes, ...]
"""Digests of blobs, each once."""


@dataclass(eq=False)
class Wave:
    """Devices that listen for the same blobs since the same time.

    Args:
        lacking: what they listen for.
        came: bytes of each that came, by digest.
        devices: who still listens.
    """

    lacking: Lacking
    came: dict[bytes, int] = field(default_factory=dict)
    devices: dict[Device, None] = field(default_factory=dict)
    _wanted: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        self._wanted = frozenset(self.lacking)

    @property
    def left(self) -> Lacking:
        """What did not come yet."""
        return tuple(digest for digest in self.lacking if digest not in self.came)

    def hear(self, digest: bytes, size: int) -> bool:
        """Take a publication; return whether it was listened for."""
        if digest not in self._wanted:
            return False
        self.came[digest] = size
        return True


class Waves:
    """All that devices wait for."""

    def __init__(self) -> None:
        self._waves: dict[Lacking, list[Wave]] = {}

    def listen(self, device: Device, lacking: Lacking) -> Wave:
        """Let a device wait for blobs from now on; return its wave."""
        waves = self._waves.setdefault(lacking, [])
        if not waves or waves[-1].came:
            waves.append(Wave(lacking))
        waves[-1].devices[device] = None
        return waves[-1]

    def publish(self, sizes: Mapping[bytes, int]) -> Iterator[tuple[Wave, int]]:
        """Let all hear publications; yield each wave that heard some, and the bytes. Args: sizes: by digest."""
        for lacking, waves in list(self._waves.items()):
            waves[:] = [wave for wave in waves if wave.devices]
            for wave in waves:
                heard = sum(size for digest, size in sizes.items() if wave.hear(digest, size))
                if heard:
                    yield wave, heard
            waves[:] = [wave for wave in waves if wave.left]
            if not waves:
                del self._waves[lacking]

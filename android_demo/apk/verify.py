"""What a finished APK is: its signature, what it says of itself, and where its native libraries lie."""

from __future__ import annotations

import re
import struct
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from android_demo.apk import tools
from android_demo.apk.dex import MIN_API
from android_demo.apk.pack import PAGE
from android_demo.errors import BuildError
from edge_runtime.wire.digests import file_sha256

_LOCAL_LENGTHS: Final = struct.Struct("<HH")
_LOAD: Final = 1


@dataclass(frozen=True)
class Library:
    """A native library.

    Args:
        name: in the APK.
        size: bytes.
        offset: of its first byte in the APK.
        segments: smallest alignment of its loadable segments, bytes.
    """

    name: str
    size: int
    offset: int
    segments: int


@dataclass(frozen=True)
class Report:
    """What was found.

    Args:
        path: of the APK.
        size: bytes.
        sha256: of the APK.
        package, version, min_api, target_api: what the manifest says.
        signer: SHA-256 of the certificate.
        libraries: native libraries, by name.
    """

    path: str
    size: int
    sha256: str
    package: str
    version: str
    min_api: int
    target_api: int
    signer: str
    libraries: tuple[Library, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def verify(apk: Path) -> Report:
    """Check signature, manifest and alignment.

    Raises:
        BuildError: naming what is wrong.
    """
    if not apk.is_file():
        raise BuildError(f"{apk}: no such file; run: make android")
    said = tools.run("apksigner", "verify", "--print-certs", "--min-sdk-version", str(MIN_API), apk)
    signer = re.search(r"certificate SHA-256 digest: ([0-9a-f]{64})", said)
    badging = tools.run("aapt2", "dump", "badging", apk)
    libraries = native_libraries(apk)
    check_alignment(libraries)
    return Report(
        str(apk),
        apk.stat().st_size,
        file_sha256(apk),
        _said(badging, r"package: name='([^']+)'"),
        _said(badging, r"versionName='([^']+)'"),
        int(_said(badging, r"sdkVersion:'(\d+)'")),
        int(_said(badging, r"targetSdkVersion:'(\d+)'")),
        signer[1] if signer else "",
        libraries,
    )


def _said(badging: str, pattern: str) -> str:
    match = re.search(pattern, badging)
    if not match:
        raise BuildError(f"aapt2 dump badging does not say {pattern}")
    return match[1]


def native_libraries(apk: Path) -> tuple[Library, ...]:
    """Return the libraries of an APK.

    Raises:
        BuildError: when one is compressed: Android could not map it.
    """
    with apk.open("rb") as file, zipfile.ZipFile(apk) as opened:
        return tuple(
            _library(file.read, file.seek, info) for info in opened.infolist() if info.filename.endswith(".so")
        )


def _library(read: Any, seek: Any, info: zipfile.ZipInfo) -> Library:  # noqa: ANN401 - a file's methods
    if info.compress_type != zipfile.ZIP_STORED:
        raise BuildError(f"{info.filename} is compressed in the APK, expected stored")
    seek(info.header_offset + 26)
    offset = info.header_offset + 30 + sum(_LOCAL_LENGTHS.unpack(read(_LOCAL_LENGTHS.size)))
    seek(offset)
    return Library(info.filename, info.file_size, offset, segment_alignment(read(info.file_size)))


def segment_alignment(elf: bytes) -> int:
    """Return the smallest alignment of the loadable segments of a 64-bit ELF file; 0 without any."""
    (table,), (count,) = struct.unpack_from("<Q", elf, 32), struct.unpack_from("<H", elf, 56)
    headers = [table + 56 * number for number in range(count)]
    loaded = [header for header in headers if struct.unpack_from("<I", elf, header)[0] == _LOAD]
    return min((struct.unpack_from("<Q", elf, header + 48)[0] for header in loaded), default=0)


def check_alignment(libraries: tuple[Library, ...]) -> None:
    """Refuse libraries that a phone with pages of 16 KB could not map.

    Raises:
        BuildError: naming the first.
    """
    for one in libraries:
        if one.offset % PAGE:
            raise BuildError(f"{one.name} lies at {one.offset}, expected a multiple of {PAGE}")
        if one.segments % PAGE or not one.segments:
            raise BuildError(f"{one.name} has segments aligned to {one.segments}, expected a multiple of {PAGE}")

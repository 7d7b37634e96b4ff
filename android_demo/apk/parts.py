"""Parts from Maven and npm: fetched once by the ordinary clients, held against their digests, kept for the user."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from android_demo.apk.tools import run
from android_demo.errors import BuildError
from edge_runtime.native.sdk import cache_folder
from edge_runtime.wire.digests import file_sha256

Say = Callable[[str], None]
TABLE: Final = Path(__file__).with_name("parts.toml")
DEXER: Final = "com.android.tools:r8:8.11.18"
PLATFORM: Final = "org.robolectric:android-all:14-robolectric-10818077"
FBJNI: Final = "com.facebook.fbjni:fbjni:0.7.0:aar"
LOADER: Final = "com.facebook.soloader:nativeloader:0.10.5"
RUNTIME: Final = "react-native-executorch@0.9.3"
_MAVEN_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
_POM: Final = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>org.edgeexperts</groupId><artifactId>parts</artifactId><version>1</version><packaging>pom</packaging></project>
"""


@dataclass(frozen=True)
class Table:
    """Digests of everything that is fetched. Args: maven, npm: by coordinate; libraries: by file name."""

    maven: Mapping[str, str]
    npm: Mapping[str, str]
    libraries: Mapping[str, str]


def table(path: Path = TABLE) -> Table:
    """Read the table of parts."""
    return Table(**tomllib.loads(path.read_text(encoding="utf-8")))


def folder() -> Path:
    """Return where parts are kept, each in a folder named after its digest."""
    return cache_folder() / "android" / "parts"


def fetch(wanted: Iterable[str], say: Say, digests: Table | None = None) -> dict[str, Path]:
    """Return the files of parts, by coordinate; those that are not here yet are fetched.

    Args:
        wanted: coordinates of Maven's (``group:name:version``, perhaps ``:aar``) or npm's (``name@version``).
        say: told what is fetched.
        digests: the table of this folder without.

    Raises:
        BuildError: when a part is not in the table, cannot be fetched, or has other bytes.
    """
    return {part: _fetched(part, digests or table(), say) for part in wanted}


def _fetched(part: str, digests: Table, say: Say) -> Path:
    digest = {**digests.maven, **digests.npm}.get(part)
    if digest is None:
        raise BuildError(f"{part} is not in {TABLE.name}; add it with its SHA-256")
    place = folder() / digest
    if place.is_dir():
        (file,) = place.iterdir()
        return file
    say(f"fetch {part}")
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder()) as scratch:
        work = Path(scratch) / "part"
        work.mkdir()
        (_from_npm if part in digests.npm else _from_maven)(part, work)
        came = next(work.iterdir(), None)
        if came is None:
            raise BuildError(f"{part}: the client reported success and left no file")
        check(part, came, digest)
        if not place.is_dir():  # another build was faster
            work.replace(place)
        return place / came.name


def check(part: str, file: Path, expected: str) -> None:
    """Hold a file against its digest.

    Raises:
        BuildError: naming both digests.
    """
    digest = file_sha256(file)
    if digest != expected:
        raise BuildError(
            f"{part} has the SHA-256 {digest}, expected {expected} ({TABLE.name}): it was changed where it came from,"
            " or the table is out of date"
        )


def _from_maven(part: str, work: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pom-") as scratch:
        pom = Path(scratch) / "pom.xml"
        pom.write_text(_POM, encoding="utf-8")
        run("mvn", "-q", "-B", "-f", pom, _MAVEN_COPY, f"-Dartifact={part}", f"-DoutputDirectory={work}")


def _from_npm(part: str, work: Path) -> None:
    run("npm", "pack", "--silent", "--pack-destination", work, part)

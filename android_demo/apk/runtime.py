"""Where the APK's ExecuTorch comes from: npm's package, an official AAR, or nowhere."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from android_demo.apk import cache, parts
from android_demo.errors import BuildError

ABIS: Final = ("arm64-v8a", "x86_64")
"""Phones, and the emulator on a desktop."""
NPM_LIBRARY: Final = "package/third-party/android/libs/executorch/{abi}/libexecutorch.so"
NPM_CLASSES: Final = "package/android/libs/classes.jar"
_HELPERS: Final = ("libfbjni.so", "libc++_shared.so")


@dataclass(frozen=True)
class Runtime:
    """What joins the app.

    Args:
        name: in words.
        jars: its Java side.
        libraries: native libraries by their names in the APK.
    """

    name: str
    jars: tuple[Path, ...] = ()
    libraries: tuple[tuple[str, Path], ...] = ()


NONE: Final = Runtime("none")


def choose(aar: Path | None, *, without: bool, folder: Path, say: parts.Say) -> Runtime:
    """Return the runtime.

    Args:
        aar: an ``executorch-android`` AAR to take in place of npm's package.
        without: take none.
        folder: of the build.
        say: told what is fetched.

    Raises:
        BuildError: when something cannot be had, or the AAR is none.
    """
    if without:
        return NONE
    files = parts.fetch((parts.FBJNI, parts.LOADER), say)
    helpers = unpacked(folder, "fbjni", files[parts.FBJNI], aar_contents(_HELPERS))
    if aar is None:
        source = parts.fetch((parts.RUNTIME,), say)[parts.RUNTIME]
        own, name = unpacked(folder, "executorch", source, npm_contents()), f"npm {parts.RUNTIME}"
    else:
        own, name = unpacked(folder, "executorch", aar, aar_contents()), f"AAR {aar.name}"
    jars = own / "classes.jar", helpers / "classes.jar", files[parts.LOADER]
    return Runtime(name, jars, tuple(_libraries(own, helpers)))


def _libraries(own: Path, helpers: Path) -> Iterator[tuple[str, Path]]:
    for abi in ABIS:
        there = {file.name: file for folder in (helpers, own) for file in sorted((folder / abi).glob("*.so"))}
        if not any(name.startswith("libexecutorch") for name in there):
            raise BuildError(f"the runtime has no libexecutorch for {abi}")
        yield from ((f"lib/{abi}/{name}", there[name]) for name in sorted(there))


def npm_contents() -> dict[str, str]:
    """Return what is taken of npm's package: a place in the result for each name inside."""
    return {NPM_CLASSES: "classes.jar"} | {NPM_LIBRARY.format(abi=abi): f"{abi}/libexecutorch.so" for abi in ABIS}


def aar_contents(names: tuple[str, ...] = ()) -> dict[str, str]:
    """Return what is taken of an AAR: the libraries named, or, with none named, all of them."""
    libraries = {f"jni/{abi}/{name}": f"{abi}/{name}" for abi in ABIS for name in names or ("*.so",)}
    return {"classes.jar": "classes.jar"} | libraries


def unpacked(folder: Path, name: str, archive: Path, contents: dict[str, str]) -> Path:
    """Return the folder with parts of an archive.

    Args:
        folder: of the build.
        name: of the result.
        archive: .tgz, .aar or .zip.
        contents: name inside, perhaps ending in ``*.so``, to place in the result.

    Raises:
        BuildError: when the archive lacks one.
    """
    if not archive.is_file():
        raise BuildError(f"{archive}: no such file")

    def make(work: Path) -> None:
        present = _names(archive)
        for inside, place in contents.items():
            head, star, tail = inside.partition("*")
            files = [one for one in present if one == inside or (star and one.startswith(head) and one.endswith(tail))]
            if not files:
                raise BuildError(f"{archive.name} has no {inside}; it is no archive of this runtime")
            for one in files:
                target = work / Path(place).parent / Path(one).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(_read(archive, one))

    return cache.kept(folder, name, cache.key(*contents, files=[Path(__file__), archive]), make)


def _names(archive: Path) -> list[str]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return opened.namelist()
        with tarfile.open(archive) as tar:
            return tar.getnames()
    except (OSError, tarfile.TarError) as error:
        raise BuildError(f"{archive} cannot be read: {error}") from error


def _read(archive: Path, name: str) -> bytes:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            return opened.read(name)
    with tarfile.open(archive) as tar:
        member: IO[bytes] | None = tar.extractfile(name)
        if member is None:
            raise BuildError(f"{archive.name}: {name} is no file")
        with member:
            return member.read()

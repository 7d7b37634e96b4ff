"""From sources to a signed APK, stage by stage."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from android_demo.apk import dex, modules, parts, runtime, sign, tools
from android_demo.apk.pack import Entry, pack
from android_demo.apk.verify import Report, verify
from android_demo.errors import BuildError
from edge_runtime.wire.digests import file_sha256

BUILD: Final = modules.DEMO / "build"
APK: Final = "edge-experts.apk"
UNSIGNED: Final = "edge-experts-unsigned.apk"
_PACKAGE: Final = "assets/package/"
"""Where the app looks for a package that came with it."""


@dataclass(frozen=True)
class Order:
    """What to build.

    Args:
        folder: for everything that is made.
        aar: of ExecuTorch's, in place of npm's package.
        without_runtime: leave ExecuTorch out.
        package: a device package to put into the APK; None for an APK that gets one from a gateway.
        keystore: of the user's key; None for the debug key.
        alias: of the key in it.
    """

    folder: Path = BUILD
    aar: Path | None = None
    without_runtime: bool = False
    package: Path | None = None
    keystore: Path | None = None
    alias: str = ""


@dataclass(frozen=True)
class Built:
    """What was made. Args: report: of the signed APK; unsigned_sha256: of it before signing; runtime: in words."""

    report: Report
    unsigned_sha256: str
    runtime: str


def build(order: Order, say: parts.Say) -> Built:
    """Make the APK.

    Raises:
        BuildError: saying what is missing or wrong.
    """
    lacking = tools.missing()
    if lacking:
        raise BuildError("an APK needs " + "; ".join(lacking) + "; as root: make android-tools")
    engine = runtime.choose(order.aar, without=order.without_runtime, folder=order.folder, say=say)
    unsigned = assemble(order, engine, order.folder / UNSIGNED, say)
    say("sign")
    signed = order.folder / APK
    sign.sign(sign.choose(order.keystore, order.alias), unsigned, signed)
    say("verify")
    return Built(verify(signed), file_sha256(unsigned), engine.name)


def assemble(order: Order, engine: runtime.Runtime, target: Path, say: parts.Say) -> Path:
    """Write the unsigned APK to ``target`` and return it."""
    built = modules.build(order.folder, say)
    jars = [*built.jars, *engine.jars]
    code = dex.dex(order.folder, jars, say)
    say("pack")
    pack(_entries(built.resources, code, engine, jars, order.package), target)
    return target


def check_reproducible(order: Order, say: parts.Say) -> str:
    """Build a second time from nothing but the fetched parts; return the digest that both builds have.

    Raises:
        BuildError: when they differ.
    """
    engine = runtime.choose(order.aar, without=order.without_runtime, folder=order.folder, say=say)
    first = assemble(order, engine, order.folder / UNSIGNED, say)
    again = order.folder / "again"
    shutil.rmtree(again, ignore_errors=True)
    second = assemble(Order(folder=again, package=order.package), engine, again / UNSIGNED, say)
    one, two = file_sha256(first), file_sha256(second)
    if one != two:
        raise BuildError(f"two builds of the same sources differ: {first} has {one}, {second} has {two}")
    shutil.rmtree(again, ignore_errors=True)
    return one


def _entries(
    resources: Path, code: Sequence[Path], engine: runtime.Runtime, jars: Sequence[Path], package: Path | None
) -> Iterator[Entry]:
    with zipfile.ZipFile(resources) as opened:
        yield from (Entry(name, opened.read(name)) for name in sorted(opened.namelist()))
    yield from (Entry(file.name, file.read_bytes()) for file in code)
    yield from (Entry(name, file.read_bytes()) for name, file in engine.libraries)
    yield from _java_resources(jars)
    if package is not None:
        if not (package / "manifest.json").is_file():
            raise BuildError(f"{package} is no device package: it has no manifest.json; run: python -m export.build")
        files = sorted(file for file in package.rglob("*") if file.is_file())
        yield from (Entry(_PACKAGE + file.relative_to(package).as_posix(), file.read_bytes()) for file in files)


def _java_resources(jars: Sequence[Path]) -> Iterator[Entry]:
    """Yield what libraries read at run time: service files and message bundles; the first of a name counts."""
    seen: set[str] = set()
    for jar in jars:
        with zipfile.ZipFile(jar) as opened:
            for name in sorted(opened.namelist()):
                wanted = name.startswith("META-INF/services/") or name.endswith(".properties")
                if wanted and not name.startswith("META-INF/maven/") and not name.endswith("/") and name not in seen:
                    seen.add(name)
                    yield Entry(name, opened.read(name))

"""Our Kotlin and its resources, compiled by Maven as the tests compile them: the jars to dex, and the resource APK."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from android_demo.apk import cache, parts, tools
from android_demo.errors import BuildError
from edge_runtime.wire.digests import file_sha256

DEMO: Final = Path(__file__).resolve().parent.parent
ROOT: Final = DEMO.parent
_RESOURCES: Final = "resources.apk"
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_LIBRARIES: Final = "dependency"
"""Where Maven copies a module's libraries to, below the module's own folder: the app's are wanted and no other's."""
_OURS: Final = ("wire-", "core-", "engine-", "background-")


@dataclass(frozen=True)
class Modules:
    """What Maven made. Args: jars: the app, our modules and their libraries, sorted by name; resources: an APK."""

    jars: tuple[Path, ...]
    resources: Path


def build(folder: Path, say: parts.Say) -> Modules:
    """Compile the modules, or take what was made of the same sources.

    Raises:
        BuildError: with the compiler's lines; or when a library is not in the table of parts.
    """
    built = cache.kept(folder, "modules", _key(), lambda work: _compile(work, say))
    jars = tuple(sorted(built.glob("*.jar")))
    _check(jars)
    return Modules(jars, built / _RESOURCES)


def _key() -> str:
    names = ("wire", "core", "signatures", "engine", "background", "app")
    sources = [path for name in names if (path := DEMO / name / "src" / "main").is_dir()]
    poms = sorted(DEMO.glob("pom.xml")) + sorted(DEMO.glob("*/pom.xml"))
    versions = tools.run("aapt2", "version"), str(tools.jdk_version())
    schema = ROOT / "edge_runtime" / "wire" / "wire.proto"
    return cache.key(*versions, files=[Path(__file__), *sources, *poms, schema])


def _compile(work: Path, say: parts.Say) -> None:
    say("compile the app and its modules")
    target = DEMO / "app" / "target"
    shutil.rmtree(target / _LIBRARIES, ignore_errors=True)
    options = ("-q", "-B", "-Dmaven.test.skip=true", f"-Daapt2={shutil.which('aapt2')}", "-pl", "app", "-am")
    tools.run("mvn", *options, "package", _COPY, "-DincludeScope=runtime", folder=DEMO)
    for library in sorted((target / _LIBRARIES).glob("*.jar")):
        shutil.copy2(library, work / library.name)
    for name in _OURS:
        if not list(work.glob(f"{name}*.jar")):
            raise BuildError(f"Maven did not copy {name}*.jar beside the app's libraries")
    jars = [jar for jar in target.glob("app-*.jar") if "sources" not in jar.name]
    if len(jars) != 1:
        raise BuildError(f"{target} has {len(jars)} jars of the app, expected one; run: mvn clean")
    shutil.copy2(jars[0], work / "app.jar")
    shutil.copy2(target / _RESOURCES, work / _RESOURCES)


def _check(jars: tuple[Path, ...]) -> None:
    digests = parts.table().libraries
    for jar in jars:
        if jar.name == "app.jar" or jar.name.startswith(_OURS):
            continue
        if jar.name not in digests:
            raise BuildError(
                f"{jar.name} is not in {parts.TABLE.name}; look at it and add its SHA-256, {file_sha256(jar)}"
            )
        parts.check(jar.name, jar, digests[jar.name])
